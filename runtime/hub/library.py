"""`huggingface_hub`, imported when it is first needed, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentwire.runtime.errors import BundleNotFoundError, HubError, LatentwireError, MissingExtraError, SettingError

if TYPE_CHECKING:
    from types import ModuleType

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_TELEMETRY = "HF_HUB_DISABLE_TELEMETRY"


def library() -> ModuleType:
    """`huggingface_hub`.

    It reads its settings when it is imported. It sends no telemetry, unless somebody asked for it or imported it first.

    Raises:
        MissingExtraError: the `hub` extra is not installed.
    """
    asked = _TELEMETRY in os.environ
    os.environ.setdefault(_TELEMETRY, "1")
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"codecs on the hub need the hub extra ({fault.name} is missing): pip install 'latentwire[hub]'"
        ) from fault
    finally:
        if not asked:
            del os.environ[_TELEMETRY]
    return huggingface_hub


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Errors of the library that leave the block become ours.

    Args:
        what: was asked for: an address, and a file in it where it is about one.

    Raises:
        BundleNotFoundError: there is no such repository, revision or file.
        HubError: the hub does not answer, or refuses.
    """
    errors = library().errors
    try:
        yield
    except LatentwireError:
        raise
    except errors.HFValidationError as fault:
        raise SettingError(f"{what}: expected a name as the hub has them, found another: {fault}") from fault
    except errors.GatedRepoError as fault:
        raise HubError(
            f"{what}: expected to have access, found a gated repository: ask for access on its page, and {LOGIN}"
        ) from fault
    except errors.RepositoryNotFoundError as fault:
        raise BundleNotFoundError(
            f"{what}: expected a repository on the hub, found none of that name, or a private one: {LOGIN}"
        ) from fault
    except errors.RevisionNotFoundError as fault:
        raise BundleNotFoundError(f"{what}: expected that commit, branch or tag, found none") from fault
    except errors.LocalEntryNotFoundError as fault:
        raise HubError(
            f"{what}: expected it in the cache or on a hub that answers, found neither: {_first_line(fault)}: load it "
            "once with a network"
        ) from fault
    except errors.EntryNotFoundError as fault:
        raise BundleNotFoundError(f"{what}: expected that file in the repository, found none") from fault
    except Exception as fault:  # those of its HTTP library, which differs from version to version, have no common base
        raise HubError(f"{what}: expected an answer of the hub, found {_first_line(fault)}") from fault


def _first_line(fault: BaseException) -> str:
    """What the hub says, or else the innermost fault: the library's own texts run over several lines."""
    said = getattr(fault, "server_message", None)
    if said:
        return str(said)
    cause: BaseException = fault
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else 'no reason'}"
