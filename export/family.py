"""What a family of codecs is to this layer; `latentwire.export.families` finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from latentwire.export.errors import ExportError
from latentwire.export.static import StaticForm
from latentwire.export.verify import Items, Subject, Verifier
from latentwire.runtime.bundle import Identity
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import SettingError
from latentwire.runtime.wire import Limits
from latentwire.train import without_folders

PRECISIONS = ("fp32", "int8", "fp16")
DEFAULT_QUALITY = 128


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the bundle.
        codec_id: 64 hexadecimal digits.
        parity: the verify report, as in the manifest.
    """

    path: Path
    codec_id: str
    parity: Mapping[str, Any]


@dataclass(frozen=True)
class ExportRequest:
    """How a run is to become a bundle.

    Attributes:
        precisions: variants to write; see `check_precisions`.
        calibrate: data to fit tables and int8 ranges to; the run's own training data where None.
        holdout: data to verify on; part of the run's or of the calibration data where None.
        name: the codec's; the folder's where None.
        terms: terms of use, such as those of the training data, for the card.
        overwrite: replace a bundle that is there.
        on_stage: told what is done next, in a few words.
    """

    precisions: Sequence[str] = ("fp32",)
    calibrate: Path | None = None
    holdout: Path | None = None
    name: str | None = None
    terms: str | None = None
    overwrite: bool = False
    on_stage: Callable[[str], None] = lambda _: None


class ExportFamily(Protocol):
    """One family."""

    @property
    def name(self) -> str:
        """As run.json, manifests and the entry point have it."""

    @property
    def form(self) -> StaticForm:
        """What static shapes mean for its codecs."""

    def export_run(self, run: Path, out: Path, request: ExportRequest) -> Exported:
        """Turn a finished run into a bundle.

        Raises:
            ExportError: its data is missing or does not fit, or a module cannot be exported.
            RunError: there is no finished run of this family.
            ParityError: the bundle fails its own verification.
        """

    def read_items(self, path: Path, contract: ItemContract) -> Items:
        """All items of a file or folder, as a codec of this family takes them.

        Raises:
            InputError: something cannot be read, or is not what the contract says.
        """

    def some(self, items: Items, count: int) -> Items:
        """At most so many of them, chosen to be like all."""

    def golden_items(self, golden: Any) -> Items:
        """A bundle's golden input, which is what one packet takes, as items."""

    def reference(self, run: Path) -> Any:
        """The torch side of a comparison; see `Verifier.reference_type`.

        Raises:
            RunError: there is no finished run of this family.
        """

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """The checks of a bundle on items.

        Raises:
            InputError: the items are not what the contract says.
        """

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """Draw what a codec does to data, as PNG pages; returns their paths.

        Raises:
            ExportError: there are no pages of this family's codecs.
            InputError: the data cannot be read, or is not what the codec takes.
        """


def check_precisions(precisions: Sequence[str]) -> None:
    """Nothing, if fp32 is among distinct known names.

    Raises:
        SettingError: otherwise.
    """
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or "fp32" not in precisions or len(set(precisions)) != len(precisions):
        raise SettingError(
            f"precisions must be distinct names of {', '.join(PRECISIONS)} with fp32 among them (the yardstick of the "
            f"others), found {', '.join(precisions) or 'none'}"
        )


def identity_of(
    family: str, contract: ItemContract, codec_id: bytes, size_axes: tuple[int, ...], limits: Limits
) -> Identity:
    """What manifest and metadata say alike of a codec that gives back the kind of items that it takes."""
    return Identity(codec_id.hex(), family, contract, contract, size_axes, limits, DEFAULT_QUALITY)


def existing(path: Path, option: str) -> Path:
    """The path of a run's data, if it is still there.

    Raises:
        ExportError: it is not.
    """
    if not path.exists():
        raise ExportError(f"the run's data is no longer at {path}: name real items with {option}")
    return path


def with_terms(provenance: Mapping[str, Any], terms: str | None) -> dict[str, Any]:
    """What a bundle says of its training, its terms of use among it."""
    published: dict[str, Any] = without_folders(provenance)
    return published if terms is None else {"terms": terms, **published}
