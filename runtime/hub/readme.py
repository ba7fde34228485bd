"""README.md of a repository: the bundle's card, with metadata that the hub reads, and how to load it from there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.runtime.errors import SettingError

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Facts:
    """What the metadata says of a codec.

    Attributes:
        family: kind of data.
        precisions: of its variants.
        terms: of use, in words; None where nothing was said.
        license: the hub's short name of a license, such as "apache-2.0"; None where nothing was said.

    Raises:
        SettingError: the license is no short name.
    """

    family: str
    precisions: Sequence[str]
    terms: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise SettingError(f"expected the hub's short name of a license (apache-2.0, mit), found {self.license!r}")


def model_card(card: str, repo: str, facts: Facts) -> str:
    """README.md of CARD.md.

    Args:
        card: the text of CARD.md.
        repo: ``owner/name``.
        facts: for the metadata.
    """
    head, mark, rest = card.partition("\n## ")
    return f"{front_matter(facts)}\n{head.rstrip()}\n\n{loading(repo)}" + (f"\n## {rest}" if mark else "")


def front_matter(facts: Facts) -> str:
    """The metadata, YAML between two lines; strings are JSON's, which YAML reads alike."""
    tags = ["latentwire", "onnx", "learned-compression", facts.family, *facts.precisions]
    lines = ["library_name: latentwire", "tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    if facts.license is not None:
        lines.append(f"license: {json.dumps(facts.license)}")
    elif facts.terms:
        # The hub knows licenses by short names; what else there is has a name of its own, and stands in the card.
        lines += ['license: "other"', 'license_name: "terms-in-the-card"']
    return "\n".join(["---", *lines, "---"])


def loading(repo: str) -> str:
    """How to load it from the hub."""
    return f"""## From the hub

```python
from latentwire.runtime import Decoder, Encoder

packet = Encoder.from_pretrained("{repo}").encode(items)
items = Decoder.from_pretrained("{repo}").decode(packet)
```

Or `latentwire encode hub:{repo} FILE --out FILE.lw`. Name a commit, `hub:{repo}@COMMIT` or `revision=`, to load the
same codec for ever: packets are read by the codec that wrote them, and by no other.
"""
