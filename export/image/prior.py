"""The probability model inside the graph: hyper-latents and decoded latents to means and table rows, all integers.

Encoder and decoder build it from the same functions; what they do between two stages (quantize, or decode) differs and
comes in as a callback. The names of its tables begin with ``prior/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from latentwire.export.graph import integer
from latentwire.export.graph.builder import FLOAT, INT32, UINT8, Op, Value, table
from latentwire.export.graph.integer import Layer
from latentwire.export.image.tables import SIXTEENTHS, SPAN, ImageTables, Stage


@dataclass(frozen=True)
class Grid:
    """How many positions there are, int64 [1] each."""

    height: Value
    width: Value
    hyper_height: Value
    hyper_width: Value
    inside: Value
    """int32 [h * w, 1]: 1 where the position lies within the picture, 0 where it holds padding only."""


def grid(op: Op, size: Value) -> Grid:
    """The grids of a picture of ``size`` int64 [3] (height, width, channels): whole hyper-latent positions."""
    pixels = op.Slice(size, [0], [2])
    hyper = op.Div(op.Add(pixels, 63), 64)
    whole, used = op.Mul(hyper, 4), op.Div(op.Add(pixels, 15), 16)
    flags = [
        op.Cast(op.Less(op.Range(0, op.Squeeze(part(whole, op, i), [0]), 1), part(used, op, i)), to=INT32)
        for i in range(2)
    ]
    inside = op.Reshape(op.Mul(op.Unsqueeze(flags[0], [1]), op.Unsqueeze(flags[1], [0])), [-1, 1])
    return Grid(part(whole, op, 0), part(whole, op, 1), part(hyper, op, 0), part(hyper, op, 1), inside)


def part(pair: Value, op: Op, at: int) -> Value:
    """One entry of a vector, int64 [1]."""
    return op.Slice(pair, [at], [at + 1])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Prediction:
    """What is known of a group before its symbols are: int32 [P, c] each."""

    mean: Value | None
    """Sixteenths of a step; None for 0 everywhere."""
    rows: Value
    """0 where the position is padding."""
    start: int
    channels: int


CodeStage = Callable[[Prediction], tuple[Value, Value]]
"""Codes one group; returns its symbols int32 [P, c] and its decoded latents in sixteenths of a step, int32 [P, c]."""


@dataclass
class Context:
    """Features of the groups that are decoded so far."""

    sizes: list[Value] = field(default_factory=list)
    positives: list[Value] = field(default_factory=list)

    def add(self, op: Op, decoded: Value) -> None:
        """Append the features of decoded latents."""
        size, positive = integer.squashed_parts(op, decoded)
        self.sizes.append(size)
        self.positives.append(positive)


def run_stages(op: Op, tables: ImageTables, hyper: Value, quality: Value, cells: Grid, code: CodeStage) -> list[Value]:
    """Go through the groups in order; returns the decoded latents of each, int32 [P, c] in sixteenths of a step.

    Args:
        op: op builder.
        tables: the codec.
        hyper: hyper-latents' symbols int32 [h / 4 * w / 4, Z].
        quality: int64 scalar.
        cells: the grids.
        code: called once for each group.
    """
    features = hyper_features(op, tables, hyper, cells)
    base = base_at(op, tables, quality)
    context, results, start = Context(), [], 0
    for stage in tables.network.stages:
        prediction = predict(op, tables, stage, features, context, base, cells, start)
        decoded = code(prediction)[1]
        results.append(decoded)
        start += stage.channels
        if start < tables.latents:
            context.add(op, decoded)
    return results


def knots_around(op: Op, stored: Value, quality: Value, knots: int) -> tuple[Value, Value, Value]:
    """(Entry below a quality, entry above it, parts of 255 of the way as int64); see `knot_of`."""
    place = op.Mul(quality, knots - 1)
    knot = op.Min(op.Div(place, SPAN), knots - 2)
    return op.Gather(stored, knot), op.Gather(stored, op.Add(knot, 1)), op.Sub(place, op.Mul(knot, SPAN))


def gain_at(op: Op, tables: ImageTables, quality: Value) -> Value:
    """Sixteenths of a step per latent unit, float32 [L]."""
    below, above, share = knots_around(op, table(op, tables.knobs.gain, "gain"), quality, len(tables.knobs.gain))
    weighted = op.Add(op.Mul(below, op.Cast(op.Sub(SPAN, share), to=FLOAT)), op.Mul(above, op.Cast(share, to=FLOAT)))
    return op.Div(weighted, float(SPAN))  # type: ignore[no-any-return]


def base_at(op: Op, tables: ImageTables, quality: Value) -> Value:
    """Sixteenths of a row, int32 [L]; floor division, made of a truncating one by lifting the dividend."""
    below, above, share = knots_around(op, table(op, tables.knobs.base, "prior/base"), quality, len(tables.knobs.base))
    part = op.Cast(share, to=INT32)
    weighted = op.Add(op.Mul(below, op.Sub(SPAN, part)), op.Mul(above, part))
    lift = 1 << 16
    return op.Sub(op.Div(op.Add(weighted, lift * SPAN), SPAN), lift)  # type: ignore[no-any-return]


def hyper_features(op: Op, tables: ImageTables, hyper: Value, cells: Grid) -> Value:
    """Features uint8 [P, F] of hyper symbols int32 [h / 4 * w / 4, Z]."""
    zero = tables.network.expand[0].zero
    shifted = op.Cast(op.Clip(op.Add(hyper, zero), 0, integer.BYTE), to=UINT8)
    height, width = cells.hyper_height, cells.hyper_width
    picture = integer.reshaped(op, shifted, [height, width], tables.hyper)
    for layer in tables.network.expand:
        channels = layer.weight.shape[1] // 4
        picture = integer.pixel_shuffle(op, integer.activation(op, layer, picture), height, width, channels)
        height, width = op.Mul(height, 2), op.Mul(width, 2)
    return op.Reshape(picture, [-1, channels])  # type: ignore[no-any-return]


def predict(
    op: Op, tables: ImageTables, stage: Stage, features: Value, context: Context, base: Value, cells: Grid, start: int
) -> Prediction:
    """Means and rows of one group."""
    seen = features
    if stage.context is not None:
        seen = op.Concat(features, context_bytes(op, stage.context, context, cells, start), axis=1)
    hidden = integer.activation(op, stage.hidden, seen)
    known = op.Concat(hidden, features, axis=1)
    mean = None if stage.mean is None else integer.signed(op, stage.mean, integer.products(op, stage.mean, known))
    own = op.Slice(base, [start], [start + stage.channels])
    rows = op.Mul(table_rows(op, tables, stage.row, known, own), cells.inside)
    return Prediction(mean, rows, start, stage.channels)


def context_bytes(op: Op, layer: Layer, context: Context, cells: Grid, start: int) -> Value:
    """The context layer's output uint8 [P, K] from all groups before ``start``."""
    rows = op.Concat(*context.sizes, *context.positives, axis=1)
    picture = rows if layer.size == 1 else integer.reshaped(op, rows, [cells.height, cells.width], 2 * start)
    return integer.activation(op, layer, picture)


def table_rows(op: Op, tables: ImageTables, layer: Layer, known: Value, base: Value) -> Value:
    """Rows int32 [P, c]: floor((floor(sum / divisor) + base) / 16 + 1/2), clipped to the latents' rows.

    Two floor divisions are one by the product, so a single one is made; below 0 the clip makes truncation harmless.
    """
    divisor = table(op, layer.divisor, f"{layer.name}.divisor")
    offset = op.Add(
        op.Mul(op.Add(base, SIXTEENTHS // 2), divisor), table(op, integer.rounded_bias(layer), f"{layer.name}.offset")
    )
    whole = op.Div(op.Add(integer.products(op, layer, known), offset), op.Mul(divisor, SIXTEENTHS))
    return op.Clip(whole, 0, tables.latent_rows - 1)  # type: ignore[no-any-return]


def hyper_analysis(op: Op, tables: ImageTables, scaled: Value, cells: Grid) -> Value:
    """Hyper-latents' symbols int32 [h / 4 * w / 4, Z] of latents float32 [P, L] in sixteenths of a step."""
    first, *strided = tables.analysis
    signed_channels = first.weight.shape[0] - tables.latents
    bounded = op.Cast(op.Min(op.Floor(op.Abs(scaled)), float(1 << 20)), to=INT32)
    size = integer.squash(op, op.Clip(bounded, 0, 1 << 20))
    leading = op.Greater(op.Slice(scaled, [0], [signed_channels], [1]), 0.0)
    positive = op.Mul(op.Slice(size, [0], [signed_channels], [1]), op.Cast(leading, to=INT32))
    rows = integer.activation(op, first, op.Cast(op.Concat(size, positive, axis=1), to=UINT8))
    height, width = cells.height, cells.width
    for layer in strided[:-1]:
        rows = integer.activation(
            op, layer, integer.reshaped(op, rows, [height, width], layer.weight.shape[0] // layer.size**2)
        )
        height, width = op.Div(height, 2), op.Div(width, 2)
    last = strided[-1]
    picture = integer.reshaped(op, rows, [height, width], last.weight.shape[0] // last.size**2)
    sixteenths = integer.signed(op, last, integer.products(op, last, picture))
    lift = 1 << 20
    return op.Sub(op.Div(op.Add(sixteenths, SIXTEENTHS * lift + SIXTEENTHS // 2), SIXTEENTHS), lift)  # type: ignore[no-any-return]


def index_rows(op: Op, tables: ImageTables, quality: Value, hyper: Value) -> Value:
    """Table rows int32 of the hyper-latents, expanded to the shape of ``hyper`` [h / 4 * w / 4, Z]."""
    rows = op.Cast(op.Gather(table(op, tables.hyper_index, "hyper_index"), quality), to=INT32)
    return op.Expand(rows, op.Shape(hyper))  # type: ignore[no-any-return]


def count_positions(op: Op, cells: Grid) -> Value:
    """Hyper-latent positions, int64 [1]."""
    return op.Mul(cells.hyper_height, cells.hyper_width)  # type: ignore[no-any-return]
