"""Bundles on a model hub, through `huggingface_hub`, which the extra `hub` brings: what is fetched, and what is sent.

What is fetched lies in the hub library's own cache and is read from there, so that a codec that was loaded once loads
without a network too. Tokens are the library's: `hf auth login`, `HF_TOKEN`.
"""

from latentwire.runtime.hub.address import HubAddress, is_hub
from latentwire.runtime.hub.readme import Facts, model_card
from latentwire.runtime.hub.repository import README, Repository
from latentwire.runtime.hub.upload import Pushed, State, Update, state_of, upload

__all__ = [
    "README",
    "Facts",
    "HubAddress",
    "Pushed",
    "Repository",
    "State",
    "Update",
    "is_hub",
    "model_card",
    "state_of",
    "upload",
]
