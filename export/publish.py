"""The last steps of an export, the same for every family: models, golden cases, verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from latentwire.export.assemble import assemble_decoder, assemble_encoder
from latentwire.export.family import Exported
from latentwire.export.verify import Subject, Verifier
from latentwire.export.writer import BundleWriter, provenance_of
from latentwire.runtime.bundle import EXACT, Identity, open_bundle
from latentwire.runtime.contract import Array


@dataclass(frozen=True)
class Publication:
    """What is said of a bundle, and to whom its making is told.

    Attributes:
        name: the codec's name; the folder's where None.
        training: provenance of the networks, any JSON.
        calibration: provenance of the data that tables and int8 ranges were fitted to, any JSON.
        overwrite: replace a bundle that is there.
        on_stage: told what is done next, in a few words.
    """

    name: str | None = None
    training: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    overwrite: bool = False
    on_stage: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Models:
    """The four pieces of a codec, transforms by variant.

    Attributes:
        integers: precision of ``pack`` and ``unpack``, "int32" or "int64".
        default_encoder: variant where nobody asks for one.
    """

    pack: onnx.ModelProto
    unpack: onnx.ModelProto
    analysis: Mapping[str, onnx.ModelProto]
    synthesis: Mapping[str, onnx.ModelProto]
    integers: str
    default_encoder: str = "fp32"

    def write(self, writer: BundleWriter) -> None:
        """The pieces, and the assemblies of every variant."""
        writer.add_model("pack", EXACT, self.integers, self.pack)
        writer.add_model("unpack", EXACT, self.integers, self.unpack)
        for variant, model in self.analysis.items():
            writer.add_model("analysis", variant, variant, model)
            encoder = assemble_encoder(model, self.pack, writer.identity.size_axes)
            writer.add_model("encoder", variant, variant, encoder)
        for variant, model in self.synthesis.items():
            writer.add_model("synthesis", variant, variant, model)
            writer.add_model("decoder", variant, variant, assemble_decoder(self.unpack, model))


def publish(
    out: str | Path,
    identity: Identity,
    models: Models,
    publication: Publication,
    facts: Mapping[str, Any],
    golden: Array,
    verifier: Callable[[Subject], Verifier],
    reference: Any,
    held: str,
) -> Exported:
    """Write a bundle, and verify it before it appears.

    Args:
        out: folder to write. It appears whole, or not at all.
        identity: what all its files say alike.
        models: of all roles but the assemblies.
        publication: what is said of it.
        facts: of the fit, for the manifest; they stand beside the provenance of the calibration data.
        golden: what one packet takes.
        verifier: makes the checks of the bundle on held-out items.
        reference: the torch side of the comparison; see `Verifier.reference_type`.
        held: how many of what those are, in words.

    Raises:
        ParityError: the bundle fails its verification.
    """
    path, tell = Path(out), publication.on_stage
    provenance = provenance_of(publication.training or {}, {**(publication.calibration or {}), **facts})
    name = publication.name or path.name
    with BundleWriter(path, name, identity, provenance, publication.overwrite, models.default_encoder) as writer:
        tell("writing the bundle")
        models.write(writer)
        writer.write_golden(golden)
        tell(f"verifying on {held}")
        report = verifier(Subject(open_bundle(writer.folder))).run(reference)
        writer.finish(report.to_json())
        report.raise_on_failure()
    return Exported(path, identity.codec_id, report.to_json())
