"""Which of an encoder's outputs the indices are, where items and planes lie in them, and what the decoder takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from latentwire.export.adopt import Choice, Half, Leaf, choose_items, find_parts, follow, leaves, parse, to_halves
from latentwire.export.errors import ExportError, HalfError, OutputChoiceError
from latentwire.export.indices.codebooks import Codebooks
from latentwire.export.indices.halves import Axes, IndexDecoder, IndexEncoder, VectorDecoder
from latentwire.runtime.contract import Array

NAMES = (
    *("indices", "codes", "audio_codes", "encoding_indices", "min_encoding_indices", "code_indices", "embed_ind"),
    *("index", "ids", "tokens", "token_ids", "labels", "codewords"),
)


@dataclass(frozen=True)
class Found:
    """Both halves with maps of indices [N, R, P...] between them.

    Attributes:
        encoder: float32 [N, ...] -> indices as float32 [N, R, P...].
        decoder: the other way round.
        sizes: K of each plane.
        nested: whether the decoder takes fewer planes than all.
        notes: what was found, in sentences.
    """

    encoder: nn.Module
    decoder: nn.Module
    sizes: tuple[int, ...]
    nested: bool
    notes: tuple[str, ...]


def find_halves(
    model: Any,
    example: Array,
    codebooks: Codebooks,
    *,
    latent: int | str | Callable[[Any], Any] | None,
    planes: int | None,
    channels: str | None,
) -> Found:
    """See `Found`.

    Args:
        model: as `export_codec` takes it; both halves in torch.
        example: items as the encoder takes them, float32 [n >= 3, ...].
        codebooks: sizes or vectors.
        latent: which of the encoder's outputs the indices are.
        planes: axis of the planes in them, as they come.
        channels: "first" or "last", of the vectors that the decoder takes.

    Raises:
        HalfError: the halves are not found, or are not of this kind; names half and shapes.
        ExportError: the codebooks do not fit.
    """
    encoder_part, decoder_part, said = find_parts(model)
    encoder, decoder = to_halves(encoder_part, decoder_part)
    choice, indices = choose_indices(encoder, example, latent)
    axes = axes_of(encoder, choice, example, indices, codebooks, planes)
    network, second = encoder.taking(choice), None
    if isinstance(network, onnx.ModelProto):
        raise HalfError("encoder", 'expected torch halves for latents="indices", found an ONNX model as the encoder')
    whole = IndexEncoder(network, axes)
    sizes = codebooks.for_planes(int(axes.into(torch.as_tensor(indices)).shape[1]))
    taken, second = decoder_of(decoder, whole, example, codebooks, axes, channels)
    named = f"encoder and decoder: {encoder_part.label} and {decoder_part.label}"
    notes = (named, *said, *((choice.why,) if choice.why else ()), *planes_said(axes, sizes, taken), *second)
    nested = isinstance(taken, VectorDecoder) and len(sizes) > 1
    return Found(whole, taken, sizes, nested, notes)


def planes_said(axes: Axes, sizes: tuple[int, ...], decoder: nn.Module) -> Iterator[str]:
    """What the report says of several planes."""
    if len(sizes) > 1:
        yield f"{len(sizes)} planes of indices along axis {axes.planes} of the encoder's output"
        if not isinstance(decoder, VectorDecoder):
            yield (
                "all planes are always sent, and the quality has no effect: give the codebooks' vectors as codebook= "
                "and a decoder that takes their sum, and fewer planes are sent at lower qualities"
            )


def choose_indices(half: Half, example: Array, latent: int | str | Callable[[Any], Any] | None) -> tuple[Choice, Array]:
    """(The output that is meant, its integers for the example).

    Raises:
        OutputChoiceError: nothing says which of several is meant, or none is of integers; lists what is there.
    """
    output = half.outputs(example)
    everything = leaves(output)
    listed = "; ".join(leaf.describe() for leaf in everything) or "no tensor"
    if latent is not None:
        choice = told(output, latent, listed)
        return choice, integers(follow(choice.choose(output) if choice.choose else output, choice.path), listed)
    whole = [leaf for leaf in everything if is_whole(leaf.value) and len(example) in leaf.shape[:2]]
    if not whole:
        raise OutputChoiceError(
            "encoder", f"expected the encoder to return integer indices, a map for each item, found {listed}"
        )
    named = [leaf for name in NAMES for leaf in whole if leaf.word == name]
    if len(whole) > 1 and not named:
        raise OutputChoiceError(
            "encoder", f"the encoder returns several tensors of integers: {listed}; say which with latent="
        )
    leaf: Leaf = (named or whole)[0]
    return Choice(leaf.path, why=f"indices: output {leaf.name}" if leaf.path else ""), integers(leaf.value, listed)


def told(output: Any, latent: int | str | Callable[[Any], Any], listed: str) -> Choice:
    """What the caller says."""
    try:
        if callable(latent):
            latent(output)
            return Choice((), latent, why="indices: as told, by a function")
        path = (latent,) if isinstance(latent, int) else parse(latent, output)
        follow(output, path)
    except Exception as error:  # a user's function may raise whatever it likes
        raise OutputChoiceError(
            "encoder",
            f"latent={latent!r} leads nowhere ({type(error).__name__}: {error}); the encoder returns {listed}",
        ) from error
    return Choice(path, why=f"indices: as told, {latent!r}")


def is_whole(value: Any) -> bool:
    """Whether its numbers are integers."""
    return "int" in str(value.dtype)


def integers(value: Any, listed: str) -> Array:
    """As a NumPy array of integers."""
    if not hasattr(value, "dtype") or not is_whole(value):
        raise OutputChoiceError("encoder", f"expected integer indices, found another output; the encoder has {listed}")
    return np.asarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)


def axes_of(
    half: Half, choice: Choice, example: Array, indices: Array, codebooks: Codebooks, planes: int | None
) -> Axes:
    """Where items and planes lie.

    The items are along the axis whose length goes with their number. The planes are along the axis that is told, or one
    as long as there are codebooks: that before the items, behind them, or the last.
    """
    fewer = half.outputs(example[:-1])
    output = follow(choice.choose(fewer) if choice.choose else fewer, choice.path)
    shapes = tuple(indices.shape), tuple(int(length) for length in output.shape)
    along = [
        axis for axis, lengths in enumerate(zip(*shapes, strict=False)) if lengths == (len(example), len(example) - 1)
    ]
    if len(shapes[0]) != len(shapes[1]) or not along or along[0] > 1:
        raise HalfError(
            "encoder",
            f"expected indices [N, ...] or [planes, N, ...] of {len(example)} items, found {list(shapes[0])}: give a "
            "function as latent= that reshapes them",
        )
    items, rank = along[0], indices.ndim
    if planes is not None:
        if not -rank <= planes < rank or planes % rank == items:
            raise ExportError(f"expected planes= as another axis of indices {list(indices.shape)}, found {planes}")
        return Axes(items, planes % rank)
    if items == 1:
        return Axes(1, 0)
    number = len(codebooks.sizes)
    if number > 1:
        for axis in (1, rank - 1):
            if 0 < axis < rank and indices.shape[axis] == number:
                return Axes(0, axis)
        raise ExportError(
            f"expected an axis of {number} planes, one a codebook, in indices {list(indices.shape)}: give planes="
        )
    return Axes(0, None)


def decoder_of(
    half: Half, encoder: IndexEncoder, example: Array, codebooks: Codebooks, axes: Axes, channels: str | None
) -> tuple[nn.Module, list[str]]:
    """(The decoder of maps of indices, what was chosen): the way of feeding it that makes items, and the best of them.

    Raises:
        HalfError: none does; says what was tried.
    """
    with torch.no_grad():
        latents = encoder(torch.as_tensor(example))
    made: list[tuple[float, nn.Module, str]] = []
    failures: list[str] = []
    for taken, said in feeds(codebooks, axes, channels):
        values = taken.vectors(latents) if isinstance(taken, VectorDecoder) else taken.axes.back(latents.long())
        try:
            choice = choose_items(half, values.numpy(), example.shape)
        except HalfError as fault:
            failures.append(f"{said} {list(values.shape)}: {fault}")
            continue
        network = half.taking(choice)
        if isinstance(network, onnx.ModelProto):
            raise HalfError(
                "decoder", 'expected torch halves for latents="indices", found an ONNX model as the decoder'
            )
        taken.network = network
        with torch.no_grad():
            distance = float((taken(latents) - torch.as_tensor(example)).square().mean())
        made.append((distance, taken, f"the decoder takes {said} {list(values.shape[1:])} an item"))
    if not made:
        raise HalfError("decoder", f"the decoder makes no items of what it was given; {' | '.join(failures)}")
    _, decoder, said = min(made, key=lambda entry: entry[0])
    return decoder, [said]


def feeds(codebooks: Codebooks, axes: Axes, channels: str | None) -> Iterator[tuple[IndexDecoder | VectorDecoder, str]]:
    """What decoders may take; the network is put in later."""
    nothing = nn.Identity()
    if codebooks.vectors is None:
        yield IndexDecoder(nothing, axes), "indices"
        return
    for last in (False, True):
        if channels in (None, "last" if last else "first"):
            yield (
                VectorDecoder(nothing, codebooks.vectors, channels_last=last),
                (f"the planes' summed vectors, their channels {'last' if last else 'first'},"),
            )
