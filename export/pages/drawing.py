"""How pages are drawn: strips of items side by side, charts, one look for all of them.

Figures are matplotlib objects of their own (no pyplot, no global state, no display), written whole or not at all.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.contract import Array, ItemContract

INK, FAINT, PAPER = "#1d2330", "#6b7385", "#ffffff"
GRID = "#dfe3ea"
COLORS = ("#2b6cb0", "#dd6b20", "#2f855a", "#b83280", "#805ad5", "#b7791f")
DPI = 130
LABEL_INCHES = 2.1
STRIP_INCHES = 9.0
HEAD_INCHES = 0.95
SMALLEST_PICTURE = 4
"""Vectors of fewer than 4x4 values are drawn as lines even if their number is a square."""


@dataclass(frozen=True)
class Look:
    """How items are drawn.

    Args:
        contract: its range spans black to white, or the height of a line.
        picture: [H, W] or [H, W, 3] of an item that is a picture; None for a line.
    """

    contract: ItemContract
    picture: tuple[int, ...] | None

    def scaled(self, items: Array) -> Array:
        """Float32 items, the contract's range mapped to [0, 1]."""
        low, high = self.contract.range
        scaled: Array = np.clip((items.astype(np.float32) - low) / (high - low), 0, 1)
        return scaled


@dataclass(frozen=True)
class Strip:
    """One row of a page: items [N, ...], what they are and what they cost."""

    label: str
    detail: str
    items: Array


def look_of(contract: ItemContract, item_shape: tuple[int, ...]) -> Look:
    """How to draw items of a contract whose shape in the file was ``item_shape``.

    Pictures are items of [H, W], [H, W, 1] or [H, W, 3] with sides of at least 4, and vectors whose length is a square.
    """
    shape = item_shape
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        shape = (math.isqrt(shape[0]),) * 2
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    drawable = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    return Look(contract, shape if drawable and min(shape[:2]) >= SMALLEST_PICTURE else None)


def strips_page(title: str, subtitle: str, strips: Sequence[Strip], look: Look, behind: Array | None = None) -> Figure:
    """A page of strips, one below the other, all with the same number of items.

    Args:
        title: in bold at the top.
        subtitle: what is to be seen, below it.
        strips: the rows.
        look: how items are drawn.
        behind: items that every strip of lines shows faintly behind its own; pictures ignore them.
    """
    aspect = strip_aspect(look, len(strips[0].items))
    height = STRIP_INCHES / aspect
    figure = new_figure(LABEL_INCHES + STRIP_INCHES + 0.2, HEAD_INCHES + len(strips) * (height + 0.08) + 0.1)
    heading(figure, title, subtitle)
    wide, high = figure.get_size_inches()
    for row, strip in enumerate(strips):
        bottom = high - HEAD_INCHES - (row + 1) * (height + 0.08) + 0.08
        axes = figure.add_axes((LABEL_INCHES / wide, bottom / high, STRIP_INCHES / wide, height / high))
        draw_strip(axes, strip.items, look, behind)
        middle = (bottom + height / 2) / high
        figure.text(0.22 / wide, middle, strip.label, color=INK, weight="bold", va="bottom", fontsize=9.5)
        figure.text(0.22 / wide, middle - 0.03 / high, strip.detail, color=FAINT, va="top", fontsize=8)
    return figure


def strip_aspect(look: Look, count: int) -> float:
    """Width of a strip of ``count`` items over its height."""
    if look.picture is None:
        return 9.0
    high, wide = look.picture[:2]
    gap = gap_of(look.picture)
    return (count * (wide + gap) - gap) / high


def gap_of(picture: tuple[int, ...]) -> int:
    """Empty columns between the pictures of a strip."""
    return max(1, picture[1] // 12)


def draw_strip(axes: Axes, items: Array, look: Look, behind: Array | None) -> None:
    """Items side by side in one coordinate system without a frame."""
    axes.set_axis_off()
    if look.picture is not None:
        axes.imshow(mosaic(look.scaled(items), look.picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_aspect("auto")
        return
    if behind is not None:
        draw_lines(axes, look.scaled(behind), GRID, 2.2)
    draw_lines(axes, look.scaled(items), COLORS[0], 1.0)
    axes.set_ylim(-0.05, 1.05)


def mosaic(items: Array, picture: tuple[int, ...]) -> Array:
    """Pictures in [0, 1] side by side, nothing (NaN, or white where there are colours) between them."""
    gap = gap_of(picture)
    shape = (picture[0], gap, *picture[2:])
    empty = np.full(shape, 1.0 if len(picture) == 3 else np.nan, np.float32)
    parts = [part for item in items for part in (item.reshape(picture), empty)]
    return np.concatenate(parts[:-1], axis=1)


def draw_lines(axes: Axes, items: Array, color: str, width: float) -> None:
    """Items in [0, 1] as lines, one beside the other, a tenth of an item's length between them."""
    length = items[0].size
    for index, item in enumerate(items):
        axes.plot(np.arange(length) + 1.1 * length * index, item.reshape(-1), color=color, linewidth=width)
    axes.set_xlim(0, 1.1 * length * len(items) - 0.1 * length)


def chart_page(title: str, subtitle: str, size: tuple[float, float] = (9.0, 6.2)) -> tuple[Figure, Axes]:
    """A page with one chart: thin grid, no box. ``size`` is in inches."""
    figure = new_figure(*size)
    heading(figure, title, subtitle)
    axes = figure.add_axes((0.08, 0.55 / size[1], 0.84, 1 - (HEAD_INCHES + 0.6) / size[1]))
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """Thin grid, no box, quiet ticks."""
    axes.set_facecolor(PAPER)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=FAINT, labelsize=8.5, length=0)
    axes.spines[:].set_visible(False)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)


def new_figure(width: float, height: float) -> Figure:
    """An empty page of that size in inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the top left."""
    wide, high = figure.get_size_inches()
    figure.text(0.22 / wide, 1 - 0.2 / high, title, color=INK, weight="bold", va="top", fontsize=14)
    figure.text(0.22 / wide, 1 - 0.53 / high, subtitle, color=FAINT, va="top", fontsize=9.5)


def save(figure: Figure, path: Path) -> Path:
    """Write a page as PNG."""
    buffer = io.BytesIO()
    # Whatever the user's own matplotlib settings are, the page looks the same.
    with matplotlib.rc_context({"savefig.bbox": None}):
        figure.savefig(buffer, format="png")
    with whole_file(path) as file:
        file.write(buffer.getvalue())
    return path


def bytes_text(count: float) -> str:
    """Bytes an item, with as many digits as mean something."""
    return f"{count:.0f} B" if count >= 100 or count == int(count) else f"{count:.1f} B"


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error over a range of 1; infinite without error."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def distortion_text(mse: float) -> str:
    """A mean squared error and what it is in dB."""
    return f"MSE {mse:.4f}, {psnr(mse):.1f} dB" if mse > 0 else "no loss"
