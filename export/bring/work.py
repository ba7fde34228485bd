"""The work of an import: `export_codec`, with what a command line says of it in the manifest."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.export.bring.options import Codec, Result
from latentwire.export.factorized import export_codec
from latentwire.export.family import Exported
from latentwire.export.folders import check_free
from latentwire.runtime.bundle import MANIFEST, open_bundle


@dataclass(frozen=True)
class Brought:
    """What an import came to.

    Attributes:
        exported: the bundle; after a check it is not there.
        notes: what was found and chosen.
        written: whether the bundle is there.
    """

    exported: Exported
    notes: tuple[str, ...]
    written: bool

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        parity = self.exported.parity
        bundle = str(self.exported.path) if self.written else None
        return {"bundle": bundle, "codec_id": self.exported.codec_id, "notes": list(self.notes), "parity": parity}

    def render(self) -> str:
        """For a person: all checks where nothing was written, their number otherwise."""
        checks = self.exported.parity["checks"]
        head = [f"{note}" for note in self.notes]
        codec = f"codec {self.exported.codec_id[:16]}, {len(checks)} parity checks passed"
        if self.written:
            return "\n".join([*head, f"{self.exported.path}: {codec}"])
        rows = [f"ok   {check['name']}: {check['value']:.3g} (limit {check['limit']:.3g})" for check in checks]
        return "\n".join([*head, *rows, f"nothing was written: {codec}"])


def bring(
    export: Callable[[Path, str, Mapping[str, Any]], Exported],
    result: Result,
    recipe: Mapping[str, Any],
    weights: Mapping[str, Path],
    notes: tuple[str, ...] = (),
) -> Brought:
    """Make a bundle of a model; with `Result.check` in a folder that is removed.

    Args:
        export: makes it: takes the folder to write, the codec's name and the provenance of the networks.
        result: where the bundle goes.
        recipe: the options, for the manifest.
        weights: files that the model was made of, by what they are; their SHA-256 goes into the manifest.
        notes: sentences of what was found before.

    Raises:
        ExportError: the model or the data does not fit; names what and why.
        ParityError: the bundle fails its own verification.
    """
    hashes = {f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest() for name, path in weights.items()}
    training = {"import": dict(recipe), **hashes, **({} if result.terms is None else {"terms": result.terms})}
    with _place(result) as out:
        exported = export(out, result.name or (out if result.out is None else result.out).name, training)
        found = _notes_of(out)
    return Brought(exported, (*notes, *found), not result.check)


def exporter(
    model: Any, data: Path, codec: Codec, result: Result, on_stage: Callable[[str], None]
) -> Callable[[Path, str, Mapping[str, Any]], Exported]:
    """What makes a bundle of any autoencoder, for `bring`.

    Args:
        model: as `export_codec` takes it.
        data: of the items.
        codec: what is told of both.
        result: whether a bundle is replaced.
        on_stage: told what is done next.
    """

    def export(out: Path, name: str, training: Mapping[str, Any]) -> Exported:
        return export_codec(
            model,
            data,
            out,
            **codec.told(),
            name=name,
            training=training,
            calibration={"data": data.name},
            overwrite=result.overwrite,
            on_stage=on_stage,
        )

    return export


@contextmanager
def _place(result: Result) -> Iterator[Path]:
    """The folder to write: the one that is meant, or one that is removed."""
    if result.out is not None and not result.check:
        check_free(result.out, MANIFEST, "a bundle", overwrite=result.overwrite)
        yield result.out
        return
    with tempfile.TemporaryDirectory(prefix="latentwire-check-") as folder:
        yield Path(folder, "codec")


def _notes_of(bundle: Path) -> tuple[str, ...]:
    return tuple(map(str, open_bundle(bundle).manifest.provenance.calibration.get("notes", ())))
