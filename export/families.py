"""What every family of codecs is to the export layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.runtime.errors import SettingError

PRECISIONS = ("fp32", "int8", "fp16")


DEFAULT_QUALITY = 128


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    path: Path
    codec_id: str
    parity: Mapping[str, Any]
    """The verify report, as in the manifest."""


def check_precisions(precisions: Sequence[str]) -> None:
    """fp32 first among known names, each once."""
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or "fp32" not in precisions or len(set(precisions)) != len(precisions):
        raise SettingError(
            f"precisions must be distinct names of {', '.join(PRECISIONS)} with fp32 among them (the yardstick of the "
            f"others), found {', '.join(precisions) or 'none'}"
        )
