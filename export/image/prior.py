"""The probability model inside the graph: hyper-latents and decoded latents to means and table rows, all whole numbers.

Encoder and decoder build it from the same functions; what they do between two stages (quantize, or decode) differs and
comes in as a callback. The names of its tables begin with ``prior/``. Latents and what is said of them are pictures
[1, h, w, c], of hyper-latents [1, h / 4, w / 4, Z].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from latentwire.export.graph import BOOL, FLOAT, INT32, Op, Value, integer, table, vector
from latentwire.export.image.tables import HYPER_PATCH, HYPER_ZERO, SIXTEENTHS, SPAN, ImageTables, Stage


@dataclass(frozen=True)
class Grid:
    """How many positions there are, int64 [1] each."""

    height: Value
    width: Value
    hyper_height: Value
    hyper_width: Value
    inside: Value
    """bool [1, h, w, 1]: whether the position lies within the picture, and holds more than padding."""


def grid(op: Op, size: Value) -> Grid:
    """The grids of a picture of ``size`` int64 [3] (height, width, channels): whole hyper-latent positions."""
    pixels = op.Slice(size, [0], [2])
    hyper = op.Div(op.Add(pixels, 63), 64)
    whole, used = op.Mul(hyper, 4), op.Div(op.Add(pixels, 15), 16)
    flags = [op.Less(op.Range(0, op.Squeeze(part(whole, op, i), [0]), 1), part(used, op, i)) for i in range(2)]
    inside = op.And(op.Unsqueeze(flags[0], [0, 2, 3]), op.Unsqueeze(flags[1], [0, 1, 3]))
    return Grid(part(whole, op, 0), part(whole, op, 1), part(hyper, op, 0), part(hyper, op, 1), inside)


def blocks(op: Op, size: Value) -> Value:
    """How many hyper-latent positions a picture of ``size`` int64 [3] has, int64 [1]."""
    each = op.Div(op.Add(op.Slice(size, [0], [2]), HYPER_PATCH - 1), HYPER_PATCH)
    return op.ReduceProd(each, [0])  # type: ignore[no-any-return]


def part(pair: Value, op: Op, at: int) -> Value:
    """One entry of a vector, int64 [1]."""
    return op.Slice(pair, [at], [at + 1])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Prediction:
    """What is known of a group of latents before its symbols are."""

    mean: Value | None
    """float32 [1, h, w, c], whole sixteenths of a step; None for 0 everywhere."""
    rows: Value
    """uint8 [1, h, w, c], table rows."""
    coded: Value
    """bool [1, h, w, c]: the row is not the certain one, and the position holds more than padding."""
    start: int
    channels: int
    last: bool
    """No group follows it."""


CodeStage = Callable[[Prediction], Value | None]
"""Codes one group; returns its decoded latents, float32 [1, h, w, c] in sixteenths of a step, None for the last's."""


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


def run_stages(op: Op, tables: ImageTables, hyper: Value, quality: Value, cells: Grid, code: CodeStage) -> None:
    """Go through the groups in order.

    Args:
        op: op builder.
        tables: the codec.
        hyper: hyper-latents' symbols plus `HYPER_ZERO`, uint8 [1, h / 4, w / 4, Z].
        quality: int64 scalar.
        cells: the grids.
        code: called once for each group.
    """
    features = hyper_features(op, tables, hyper, cells)
    base = base_at(op, tables, quality)
    context, start = Context(), 0
    for stage in tables.network.stages:
        decoded = code(predict(op, tables, stage, features, context, base, cells, start))
        start += stage.channels
        if decoded is not None:
            context.add(op, decoded)


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
    """Features uint8 [1, h, w, F] of hyper symbols plus `HYPER_ZERO`, uint8 [1, h / 4, w / 4, Z]."""
    height, width, picture = cells.hyper_height, cells.hyper_width, hyper
    for layer in tables.network.expand:
        picture = integer.activation(op, layer, picture)
        picture = integer.pixel_shuffle(op, picture, height, width, layer.weight.shape[0] // 4)
        height, width = op.Mul(height, 2), op.Mul(width, 2)
    return picture


def predict(
    op: Op, tables: ImageTables, stage: Stage, features: Value, context: Context, base: Value, cells: Grid, start: int
) -> Prediction:
    """Means and rows of one group."""
    seen = features
    if stage.context is not None:
        decoded = op.Concat(*context.sizes, *context.positives, axis=3)
        seen = op.Concat(features, integer.activation(op, stage.context, decoded), axis=3)
    known = op.Concat(integer.activation(op, stage.hidden, seen), features, axis=3)
    mean = None if stage.mean is None else integer.whole_numbers(op, stage.mean, known)
    own = op.Cast(op.Slice(base, [start], [start + stage.channels]), to=FLOAT)
    rows = integer.rows(op, stage.row, known, own, SIXTEENTHS, tables.latent_rows - 1)
    coded = op.And(op.Cast(rows, to=BOOL), cells.inside)
    return Prediction(mean, rows, coded, start, stage.channels, last=start + stage.channels == tables.latents)


def hyper_analysis(op: Op, tables: ImageTables, scaled: Value) -> Value:
    """Hyper-latents' symbols plus `HYPER_ZERO`, uint8 [1, h / 4, w / 4, Z], of latents in sixteenths of a step."""
    first, *strided = tables.analysis
    signed_channels = first.weight.shape[1] - tables.latents
    leading = op.Relu(op.Slice(scaled, [0], [signed_channels], [3]))
    picture = op.Concat(integer.squash(op, op.Abs(scaled)), integer.squash(op, leading), axis=3)
    for layer in (first, *strided[:-1]):
        picture = integer.activation(op, layer, picture)
    return integer.activation(op, strided[-1], picture, zero=HYPER_ZERO)


def hyper_rows(op: Op, tables: ImageTables, quality: Value, cells: Grid) -> Value:
    """Table rows of the hyper-latents, uint8 [1, h / 4, w / 4, Z]."""
    curve = op.Cast(op.Gather(table(op, tables.hyper_curve, "hyper_curve"), quality), to=INT32)
    rows = op.Gather(table(op, tables.hyper_index, "hyper_index"), curve)
    return op.Expand(rows, op.Concat(vector(op, [1]), cells.hyper_height, cells.hyper_width, vector(op, [1]), axis=0))  # type: ignore[no-any-return]
