"""The models that a target gets, as ONNX and as they are shipped, and the proof that both do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle

from latentwire.export.errors import ParityError
from latentwire.export.measure import run_known
from latentwire.export.targets.fixed import fixed_analysis, fixed_synthesis
from latentwire.export.targets.ortformat import FIXED, RUNTIME, open_session, session_like, to_ort
from latentwire.export.targets.targets import Target
from latentwire.runtime.bundle import Bundle
from latentwire.runtime.manifest import EXACT, Manifest

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Models that are used together: the two assemblies, or the four pieces.

    Attributes:
        folder: below the target's folder.
        style: how they are converted.
        models: ONNX bytes by role and variant, ``encoder.int8``.
        onnx_only: roles that are shipped as they are, because their accelerator compiles ONNX.
    """

    folder: str
    style: OptimizationStyle
    models: Mapping[str, bytes]
    onnx_only: tuple[str, ...] = ()

    def write(self, root: Path) -> None:
        """Write the converted files and the config of the operators that they need."""
        folder = root / self.folder
        folder.mkdir(parents=True)
        to_ort(self.models, folder, self.style)

    def keep_shipped(self, root: Path) -> None:
        """Put ONNX files in the place of converted ones where only ONNX is compiled."""
        for name, data in self.models.items():
            if role_of(name) in self.onnx_only:
                (root / self.folder / f"{name}.ort").unlink()
                (root / self.folder / f"{name}.onnx").write_bytes(data)

    def reference(self) -> Chain:
        """What the ONNX files do."""
        return Chain({role_of(name): session_like(data, self.style) for name, data in self.models.items()})

    def converted(self, root: Path) -> Chain:
        """What the written files do."""
        paths = {role_of(name): root / self.folder / f"{name}.ort" for name in self.models}
        return Chain({role: open_session(path.read_bytes()) for role, path in paths.items()})


@dataclass(frozen=True)
class Chain:
    """Sessions by role that encode and decode together."""

    sessions: Mapping[str, ort.InferenceSession]

    def packet(self, items: Array, quality: int, size_axes: Sequence[int]) -> Array:
        """Items as one packet, uint8 [n]."""
        known: dict[str, Array] = {"input": items, "quality": np.asarray(quality, np.uint8)}
        if "encoder" in self.sessions:
            return run_known(self.sessions["encoder"], known)
        known["size"] = np.asarray([items.shape[axis] for axis in size_axes], np.int64)
        known["latents"] = run_known(self.sessions["analysis"], known)
        return run_known(self.sessions["pack"], known)

    def output(self, packet: Array) -> tuple[Array, int]:
        """(What a packet decodes to, the decoder's verdict on it: 0 for a good one)."""
        first = "decoder" if "decoder" in self.sessions else "unpack"
        names = [entry.name for entry in self.sessions[first].get_outputs()]
        found = dict(zip(names, self.sessions[first].run(None, {"packet": packet}), strict=True))
        if first == "unpack":
            found["output"] = run_known(self.sessions["synthesis"], found)
        return found["output"], int(found["status"])


def role_of(name: str) -> str:
    """The role of ``encoder.int8``."""
    return name.partition(".")[0]


def parts_of(target: Target, bundle: Bundle, shape: tuple[int, ...] | None) -> list[Part]:
    """The parts of a target.

    Args:
        target: what it gets.
        bundle: where the models come from.
        shape: of the encoder's input, where the transforms are made for one.

    Raises:
        ExportError: a transform cannot be made static.
    """
    found, manifest = [], bundle.manifest
    if target.assemblies:
        chosen = (("encoder", target.encoder), ("decoder", target.decoder))
        names = [(role, preferred(manifest, role, variants)) for role, variants in chosen]
        models = {f"{role}.{variant}": bundle.read_model(role, variant) for role, variant in names}
        found.append(Part("models", FIXED, models))
    if target.pieces is not None:
        folder = "models/pieces" if target.assemblies else "models"
        compiled = ("analysis", "synthesis") if target.static else ()
        # A static transform is shipped as ONNX, so what is converted stands for the CPU's share alone.
        style = FIXED if target.static else RUNTIME
        found.append(Part(folder, style, pieces(target.pieces, target.decoder, bundle, shape), compiled))
    return found


def pieces(
    encoder: Sequence[str], decoder: Sequence[str], bundle: Bundle, shape: tuple[int, ...] | None
) -> dict[str, bytes]:
    """The four pieces, the transforms for one shape of input if one is given."""
    manifest = bundle.manifest
    before, after = preferred(manifest, "analysis", encoder), preferred(manifest, "synthesis", decoder)
    analysis, synthesis = bundle.read_model("analysis", before), bundle.read_model("synthesis", after)
    if shape is not None:
        picture = manifest.input.is_picture
        first = fixed_analysis(onnx.load_model_from_string(analysis), shape, picture)
        latents = [dim.dim_value for dim in first.graph.output[0].type.tensor_type.shape.dim]
        second = fixed_synthesis(onnx.load_model_from_string(synthesis), latents, shape, picture)
        analysis, synthesis = first.SerializeToString(), second.SerializeToString()
    return {
        f"analysis.{before}": analysis,
        f"pack.{EXACT}": bundle.read_model("pack", EXACT),
        f"unpack.{EXACT}": bundle.read_model("unpack", EXACT),
        f"synthesis.{after}": synthesis,
    }


def preferred(manifest: Manifest, role: str, variants: Sequence[str]) -> str:
    """The first of those variants that the bundle has; fp32 is in every one."""
    there = manifest.variants(role)
    return next(variant for variant in variants if variant in there)


def check_parity(part: Part, root: Path, items: Array, qualities: Sequence[int], size_axes: Sequence[int]) -> None:
    """Nothing, if the written files make the same packets as the ONNX files, and the same of them.

    Raises:
        ParityError: names the quality and what differs.
    """
    wanted, found = part.reference(), part.converted(root)
    for quality in qualities:
        packet = wanted.packet(items, quality, size_axes)
        if found.packet(items, quality, size_axes).tobytes() != packet.tobytes():
            raise ParityError(
                f"{part.folder}: expected converted files to make the packet that the ONNX files make at quality "
                f"{quality}, found another one: do not ship them; package with the ONNX Runtime that the app will use"
            )
        (output, status), (same, verdict) = wanted.output(packet), found.output(packet)
        if status or verdict or not np.array_equal(output, same):
            raise ParityError(
                f"{part.folder}: expected converted files to decode as the ONNX files do at quality {quality}, found "
                f"another output, or status {verdict}: do not ship them"
            )
