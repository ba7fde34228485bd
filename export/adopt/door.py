"""From whatever somebody has to two halves that take and return one tensor: `adopt`."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latentwire.export.adopt.arrange import arrangements
from latentwire.export.adopt.check import check_made
from latentwire.export.adopt.choose import Latent, array, choose_items, choose_latents
from latentwire.export.adopt.find import Part, find_parts
from latentwire.export.adopt.half import Choice, Half, Role
from latentwire.export.adopt.outputs import follow, leaves
from latentwire.export.errors import HalfError, OutputChoiceError, SamplingError, SwappedHalvesError
from latentwire.runtime.contract import Array

if TYPE_CHECKING:
    import onnx
    from torch import nn

EXAMPLES = 4
"""Items that are enough to see what a half does."""


@dataclass(frozen=True)
class Halves:
    """Both halves of an autoencoder, each of one tensor in and one out.

    Args:
        encoder: float32 [N, ...] -> latents float32 [N, ...]; a torch module (a frozen copy), or an ONNX model.
        decoder: latents -> float32 [N, ...] of the encoder's input shape.
        notes: what was found and chosen, as sentences for the report.
    """

    encoder: nn.Module | onnx.ModelProto
    decoder: nn.Module | onnx.ModelProto
    notes: tuple[str, ...]


def adopt(model: Any, example: Array, *, latent: Latent | None = None) -> Halves:
    """Find the encoder and the decoder, and which of their outputs are meant.

    Args:
        model: a model with both halves as methods or modules of usual names, or a pair (encoder, decoder) of modules,
            methods, functions, exported programs, TorchScript, ONNX files or models.
        example: items as the networks take them, float32 [n >= 2, ...].
        latent: which of the encoder's outputs are the latents: index, name ("latent_dist.mean") or a function of it.

    Raises:
        HalvesNotFoundError: the model has no halves of a usual name.
        HalfError: a half fails, or returns what cannot be latents or items; names half, layer and shape.
    """
    encoder_part, decoder_part, found = find_parts(model)
    example = np.ascontiguousarray(example[:EXAMPLES])
    encoder, decoder = to_halves(encoder_part, decoder_part)
    try:
        halves = _chosen(encoder, decoder, example, latent)
    except HalfError as error:
        is_pair = encoder_part.owner is None
        if is_pair and (other := swapped(encoder, decoder, example)) is not None:
            raise other from error
        halves = _arranged(encoder, decoder, example, latent, error)
    named = f"encoder and decoder: {encoder_part.label} and {decoder_part.label}"
    return replace(halves, notes=(named, *found, *halves.notes))


def to_halves(encoder: Part, decoder: Part) -> tuple[Half, Half]:
    """Both parts as what can be run, whatever they are made of."""
    parts: dict[Role, Part] = {"encoder": encoder, "decoder": decoder}
    halves: dict[Role, Half] = {}
    of_torch = {role: part for role, part in parts.items() if not is_onnx(part.value)}
    for role in parts.keys() - of_torch.keys():
        from latentwire.export.adopt.onnx_half import load

        halves[role] = load(_model_of(parts[role].value), role)
    if of_torch:
        from latentwire.export.adopt.torch_half import method_of, torch_halves

        halves |= torch_halves(
            {
                role: part.value if part.owner is None else method_of(part.owner, part.name, role)
                for role, part in of_torch.items()
            }
        )
    return halves["encoder"], halves["decoder"]


def is_onnx(part: Any) -> bool:
    """Whether it is an ONNX model or the path of a file, which can be nothing else here."""
    if isinstance(part, str) or hasattr(part, "__fspath__") or hasattr(part, "model_proto"):
        return True
    onnx = sys.modules.get("onnx")  # a model of it cannot be at hand unless it is imported
    return onnx is not None and isinstance(part, onnx.ModelProto)


def _model_of(part: Any) -> Any:
    return getattr(part, "model_proto", part)  # what torch.onnx.export returns holds the model so


def _chosen(encoder: Half, decoder: Half, example: Array, latent: Latent | None) -> Halves:
    """Both halves with the outputs that are meant, checked."""
    choice = choose_latents(encoder, example, latent, lambda latents: _makes_items(decoder, latents, example.shape))
    items = choose_items(decoder, _latents(encoder, choice, example), example.shape)
    made = encoder.taking(choice), decoder.taking(items)
    check_made(encoder.remade(made[0]), decoder.remade(made[1]), example)
    return Halves(*made, tuple(why for why in (choice.why, items.why) if why))


def _arranged(encoder: Half, decoder: Half, example: Array, latent: Latent | None, error: HalfError) -> Halves:
    """The same for items in another order of axes; if none is taken, the error of the order they have is raised."""
    if isinstance(error, SamplingError | OutputChoiceError):
        raise error
    for arrangement in arrangements(example.shape[1:]):
        try:
            halves = _chosen(encoder, decoder, arrangement.into(example), latent)
        except HalfError:
            continue
        made = (
            encoder.remade(halves.encoder).arranged(arrangement, example.shape[1:]),
            decoder.remade(halves.decoder).restored(arrangement, example.shape[1:]),
        )
        check_made(encoder.remade(made[0]), decoder.remade(made[1]), example)
        return Halves(*made, (arrangement.said, *halves.notes))
    raise error


def _latents(half: Half, choice: Choice, values: Array) -> Array:
    output = half.outputs(values)
    end = follow(output if choice.choose is None else choice.choose(output), choice.path)
    return array(end).astype(np.float32, copy=False)


def _makes_items(decoder: Half, latents: Array, shape: tuple[int, ...]) -> bool:
    try:
        choose_items(decoder, latents, shape)
    except HalfError:
        return False
    return True


def swapped(encoder: Half, decoder: Half, example: Array) -> SwappedHalvesError | None:
    """The error of halves given the wrong way round, if that is what is wrong."""
    try:
        if all(math.prod(leaf.shape) <= example.size for leaf in leaves(encoder.outputs(example))):
            return None
    except HalfError:
        pass
    try:
        found = [leaf for leaf in leaves(decoder.outputs(example)) if leaf.shape[:1] == example.shape[:1]]
        fits = any(back.shape == example.shape for leaf in found for back in leaves(encoder.outputs(array(leaf.value))))
    except HalfError:
        return None
    if not fits:
        return None
    return SwappedHalvesError(
        "model",
        f"the halves are swapped: what was given as the decoder takes items {list(example.shape)}, and what was given "
        "as the encoder makes items of what it returns; give (encoder, decoder)",
    )
