"""What must hold of two halves before anything is measured: `check_made`."""

from __future__ import annotations

import math

import numpy as np

from latentwire.export.adopt.choose import array, same
from latentwire.export.adopt.half import Half
from latentwire.export.adopt.outputs import describe, dtype_name, is_float, is_tensor
from latentwire.export.errors import HalfError, SamplingError
from latentwire.runtime.contract import Array


def check_made(encoder: Half, decoder: Half, example: Array) -> Array:
    """The latents of a few items, after all checks of shape and value.

    Args:
        encoder: of one tensor in and one out.
        decoder: likewise.
        example: items as the networks take them, float32 [n >= 2, ...].

    Raises:
        HalfError: a half fails or returns what is no latent and no item: not a tensor, integers, not finite, another
            number of rows, another shape; names half, layer and shape.
        SamplingError: latents or items are drawn at random.
    """
    latents = _tensor(encoder, example)
    if latents.ndim < 2 or len(latents) != len(example) or not math.prod(latents.shape):
        raise HalfError(
            "encoder",
            f"expected the encoder to return latents [N, ...] with the items along the first axis, found "
            f"{list(latents.shape)} for items {list(example.shape)}",
        )
    if not same(latents, _tensor(encoder, example, seed=1)):
        raise SamplingError(
            "encoder", "the encoder samples: two passes over the same items differ; give one that returns the mean"
        )
    _require_apart(encoder, example, latents)
    items = _tensor(decoder, latents)
    if items.shape != example.shape:
        raise HalfError(
            "decoder",
            f"expected the decoder to return items of the encoder's shape {list(example.shape)}, found "
            f"{list(items.shape)} from latents {list(latents.shape)}",
        )
    if not same(items, _tensor(decoder, latents, seed=1)):
        raise SamplingError(
            "decoder", "the decoder samples: two passes over the same latents differ; give one that returns the mean"
        )
    return latents


def _tensor(half: Half, values: Array, seed: int = 0) -> Array:
    """A half's only output as float32."""
    output = half.outputs(values, seed)
    if not is_tensor(output):
        raise HalfError(half.role, f"expected the {half.role} to return one tensor, found {describe(output)}")
    if not is_float(output):
        raise HalfError(
            half.role,
            f"expected the {half.role} to return floats, found {dtype_name(output)} {list(output.shape)}: integers are "
            "indices or symbols already; give the part of the network before them",
        )
    result = array(output).astype(np.float32, copy=False)
    if not np.isfinite(result).all():
        count = int((~np.isfinite(result)).sum())
        raise HalfError(
            half.role,
            f"the {half.role} returns {count} values of {result.size} that are not finite, for inputs "
            f"{list(values.shape)} between {values.min():g} and {values.max():g}; see the items' scale, or its weights",
        )
    return result


def _require_apart(encoder: Half, example: Array, latents: Array) -> None:
    """An item's latents may not depend on which others are beside it: they come in packets of any number."""
    if not same(latents[::-1], _tensor(encoder, np.ascontiguousarray(example[::-1]))) or not same(
        latents[:2], _tensor(encoder, np.ascontiguousarray(example[:2]))
    ):
        raise HalfError(
            "encoder",
            f"the encoder's latents of an item depend on the others of its batch {list(example.shape)}: the first axis "
            "is not taken for the items (LSTM and GRU want batch_first=True), or a normalisation uses the "
            "batch's statistics",
        )
