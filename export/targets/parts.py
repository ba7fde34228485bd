"""The models that a target gets, as ONNX and as they are shipped, and the proof that both do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from latentwire.export.errors import ParityError
from latentwire.export.graph import duplicate, stamp
from latentwire.export.static import StaticForm
from latentwire.export.storage import widen_halves
from latentwire.export.targets.chain import CODER, Chain
from latentwire.export.targets.depthwise import in_blocks
from latentwire.export.targets.ortformat import open_session, session_like, to_ort
from latentwire.export.targets.qnn import ACTIVATIONS, feeds_of, quantized
from latentwire.export.targets.targets import Target
from latentwire.runtime.bundle import EXACT, Bundle, Manifest, Metadata
from latentwire.runtime.contract import Array

TRANSFORMS = ("analysis", "synthesis")
Models = Mapping[str, onnx.ModelProto]
"""By role and variant: ``encoder.int8``."""


@dataclass(frozen=True)
class Part:
    """Models that are used together: the two assemblies, or the four pieces.

    Attributes:
        folder: below the target's folder.
        models: what they are as ONNX. Transforms stay that, for accelerators to compile; all others are converted.
        coder_folder: where the integer pieces lie, if not in ``folder``.
        rewritten: what is converted in place of a model: one that does the same.
    """

    folder: str
    models: Models
    coder_folder: str | None = None
    rewritten: Callable[[onnx.ModelProto], onnx.ModelProto] = duplicate

    def place(self, name: str) -> str:
        """Where a model lies below the target's folder."""
        role = role_of(name)
        folder = self.coder_folder if self.coder_folder and role in CODER else self.folder
        return f"{folder}/{name}.{'onnx' if role in TRANSFORMS else 'ort'}"

    def write(self, root: Path) -> None:
        """Write the files that this part brings, and the config of the operators that converted ones need."""
        (root / self.folder).mkdir(parents=True)
        converted = {}
        for name, model in self.models.items():
            place = Path(self.place(name))
            if place.suffix == ".onnx":
                (root / place).write_bytes(model.SerializeToString())
            elif str(place.parent) == self.folder:
                converted[name] = self.rewritten(model).SerializeToString()
        if converted:
            to_ort(converted, root / self.folder)

    def before(self) -> Chain:
        """What the models do as ONNX."""
        return Chain({role_of(name): session_like(model.SerializeToString()) for name, model in self.models.items()})

    def written(self, root: Path) -> Chain:
        """What the written files do."""
        paths = {role_of(name): root / self.place(name) for name in self.models}
        openers = {".onnx": session_like, ".ort": open_session}
        return Chain({role: openers[path.suffix](path.read_bytes()) for role, path in paths.items()})


def role_of(name: str) -> str:
    """The role of ``encoder.int8``."""
    return name.partition(".")[0]


def parts_of(
    target: Target, bundle: Bundle, form: StaticForm, shape: tuple[int, ...] | None, calibration: Sequence[Array]
) -> list[Part]:
    """The parts of a target.

    Args:
        target: what it gets.
        bundle: where the models come from.
        form: what static shapes mean for its codecs.
        shape: of the encoder's input, where the transforms are made for one.
        calibration: inputs of that shape, to quantize with where the target needs it.

    Raises:
        ExportError: a transform cannot be made static.
    """
    found = []
    if target.assemblies:
        models = read(bundle, {"encoder": target.encoder, "decoder": target.decoder})
        blocks = target.blocks and form.blocks
        found.append(Part("models", models, rewritten=in_blocks if blocks else duplicate))
    if target.pieces is not None:
        models = read(bundle, {"analysis": target.pieces, "synthesis": target.decoder}) | read_coder(bundle)
        models = models if shape is None else static(models, form, shape)
        found += (
            quantized_parts(models, bundle.manifest, calibration) if target.static else [Part("models/pieces", models)]
        )
    return found


def read(bundle: Bundle, wanted: Mapping[str, Sequence[str]]) -> dict[str, onnx.ModelProto]:
    """Of each role, the first of those variants that the bundle has; fp32 is in every one."""
    found = {}
    for role, variants in wanted.items():
        there = bundle.manifest.variants(role)
        variant = next(variant for variant in variants if variant in there)
        model = onnx.load_model_from_string(bundle.read_model(role, variant))
        widen_halves(model)  # tools of targets look for weights where weights usually are
        found[f"{role}.{variant}"] = model
    return found


def read_coder(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """The integer pieces."""
    return read(bundle, dict.fromkeys(CODER, (EXACT,)))


def static(models: Models, form: StaticForm, shape: tuple[int, ...]) -> dict[str, onnx.ModelProto]:
    """The pieces with transforms for one shape of input."""
    names = {role_of(name): name for name in models}
    analysis = form.analysis(models[names["analysis"]], shape)
    latents = [dim.dim_value for dim in analysis.graph.output[0].type.tensor_type.shape.dim]
    synthesis = form.synthesis(models[names["synthesis"]], latents, shape)
    made = {names["analysis"]: analysis, names["synthesis"]: synthesis}
    for name, model in made.items():
        del model.metadata_props[:]
        model.metadata_props.extend(models[name].metadata_props)  # what it says of its codec
    return {**models, **made}


def quantized_parts(models: Models, manifest: Manifest, calibration: Sequence[Array]) -> list[Part]:
    """The static pieces in whole numbers: with the first kind of activations, and transforms of the others."""
    plain = Part("", models).before()
    transforms = {role_of(name): model for name, model in models.items()}
    coder = {name: model for name, model in models.items() if role_of(name) in CODER}
    qualities = [case.quality for case in manifest.golden.cases]
    feeds = feeds_of(plain, calibration, qualities, manifest.size_axes)
    parts: list[Part] = []
    for activations in ACTIVATIONS:
        made = {}
        for role in TRANSFORMS:
            model = quantized(transforms[role], feeds[role], activations)
            facts = Metadata(role, activations, activations, manifest.identity)
            made[f"{role}.{activations}"] = stamp(model, facts.to_json())
        first = not parts
        folder = "models" if first else f"models/{activations}"
        parts.append(Part(folder, made | coder, None if first else "models"))
    return parts


def check_parity(part: Part, root: Path, items: Array, qualities: Sequence[int], size_axes: Sequence[int]) -> None:
    """Nothing, if the written files make the same packets as the ONNX files, and the same of them.

    Raises:
        ParityError: names the quality and what differs.
    """
    wanted, found = part.before(), part.written(root)
    for quality in qualities:
        packet = wanted.packet(items, quality, size_axes)
        if found.packet(items, quality, size_axes).tobytes() != packet.tobytes():
            raise ParityError(
                f"{part.folder}: expected written files to make the packet that the ONNX files make at quality "
                f"{quality}, found another one: do not ship them; package with the ONNX Runtime that the app will use"
            )
        (output, status), (same, verdict) = wanted.output(packet), found.output(packet)
        if status or verdict or not np.array_equal(output, same):
            raise ParityError(
                f"{part.folder}: expected written files to decode as the ONNX files do at quality {quality}, found "
                f"another output, or status {verdict}: do not ship them"
            )
