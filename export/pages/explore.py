"""`latentwire explore`: pages of pictures that show what a codec does to data.

What the project's seed document names as uses of autoencoders, each a page: compression (reconstructions, rate against
distortion), features and visualisation (map of the latents), interpolation, and, where the training aimed at them,
denoising and generation. Everything is measured on packets that the runtime's encoder made and its decoder read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from latentwire.export import measure
from latentwire.export.pages.drawing import (
    COLORS,
    FAINT,
    INK,
    PAPER,
    Strip,
    bytes_text,
    chart_page,
    distortion_text,
    psnr,
    save,
    strips_page,
)
from latentwire.export.pages.scene import PACKET_ITEMS, Labelled, RoundTrip, Scene, objective_of, open_scene
from latentwire.runtime.contract import Array
from latentwire.train.dense import DenoisingSettings
from latentwire.train.settings import from_json

MARKED = (0, 64, 128, 192, 255)
CURVE = (0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 255)
SHOWN, MEASURED = 14, 256
"""Items in a strip, items that rates are measured on."""
PAIRS, STEPS = 6, 10
ROWS_OF_SAMPLES = 7
DOT = 14
CLASS_COLORS = (*(f"C{index}" for index in range(10)), INK, "#9ae6b4")
MOST_CLASSES = len(CLASS_COLORS)
"""Labels of more different values than these are taken for a scale, not for classes."""


def explore_bundle(bundle: str | Path, data: Labelled, out: str | Path, *, seed: int = 0) -> list[Path]:
    """Draw what a codec does to data, as PNG pages.

    Args:
        bundle: folder, zip, or name of a ready codec.
        data: items like those it was made for.
        out: folder for the pages, made if it is missing; pages of the same names are replaced.
        seed: of the choice of items and of everything drawn at random.

    Returns:
        The pages' paths.

    Raises:
        BundleError: the bundle cannot be loaded.
        InputError: the data cannot be read, or is not what the codec takes; the subclass says why.
        ExportError: the codec takes one item at a time.
    """
    scene = open_scene(bundle, data, seed)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[str, Callable[[Scene], Figure]] = {
        "reconstructions": reconstructions,
        "rate_distortion": rate_distortion,
        "latents": latent_map,
        "interpolations": interpolations,
    }
    objective = objective_of(scene.manifest)
    if objective is DenoisingSettings:
        pages["denoising"] = denoising
    if objective is not None and objective.prior == "normal":
        pages["samples"] = samples
    return [save(draw(scene), folder / f"{name}.png") for name, draw in pages.items()]


def reconstructions(scene: Scene) -> Figure:
    """Originals above what comes back at several qualities."""
    shown, measured = scene.items[:SHOWN], scene.items[:MEASURED]
    strips = [Strip("original", f"{measured[0].nbytes} B raw", shown)]
    for quality in MARKED:
        sent = scene.send(measured, quality)
        detail = f"{bytes_text(sent.bytes_per_item)} an item\n{distortion_text(sent.mse)}"
        strips.append(Strip(f"quality {quality}", detail, sent.items[: len(shown)]))
    subtitle = (
        f"Bytes all included, in packets of {min(PACKET_ITEMS, len(measured))}; "
        f"error with values scaled to [0, 1], over {len(measured)} items"
    )
    return strips_page(f"{scene.manifest.name}: originals and reconstructions", subtitle, strips, scene.look, shown)


def rate_distortion(scene: Scene) -> Figure:
    """Bytes an item against PSNR, items in packets and alone, with what raw bytes and zlib take as landmarks."""
    measured = scene.items[:MEASURED]
    figure, axes = chart_page(
        f"{scene.manifest.name}: rate and distortion",
        f"Real packets of {len(measured)} items, header and checksum included; the numbers are qualities",
    )
    axes.set(xscale="log", xlabel="bytes an item", ylabel="PSNR in dB")
    whole = [scene.send(measured, quality) for quality in CURVE]
    single = [scene.send(measured, quality, batch=1) for quality in CURVE[::2]]
    draw_curve(axes, whole, f"packets of {min(PACKET_ITEMS, len(measured))}", COLORS[0])
    draw_curve(axes, single, "one item a packet", COLORS[1])
    name_qualities(axes, whole)
    channels = scene.latents(measured[:1]).shape[1]
    packed = sum(len(zlib.compress(item.tobytes(), 9)) for item in measured) / len(measured)
    landmark(axes, measured[0].nbytes, "raw")
    landmark(axes, packed, "zlib, lossless, item by item")
    landmark(axes, 4 * channels, f"{channels} float32 latents")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, loc="upper left", labelcolor=INK, fontsize=9)
    axes.margins(x=0.08, y=0.12)
    return figure


def draw_curve(axes: Axes, points: Sequence[RoundTrip], label: str, color: str) -> None:
    """PSNR over bytes an item."""
    x, y = [point.bytes_per_item for point in points], [psnr(point.mse) for point in points]
    axes.plot(x, y, color=color, marker="o", markersize=4, linewidth=1.6, label=label)


def name_qualities(axes: Axes, points: Sequence[RoundTrip]) -> None:
    """Writes some of the qualities of `CURVE` at their points; a point without any error has no place."""
    for quality in MARKED:
        point = points[CURVE.index(quality)]
        if point.mse > 0:
            note(axes, (point.bytes_per_item, psnr(point.mse)), str(quality), (-5, 5))


def note(axes: Axes, place: tuple[float, float], text: str, offset: tuple[float, float], across: bool = False) -> None:
    """Small print left of a place; ``across``: y is a share of the chart, and the text runs upwards from it."""
    axes.annotate(
        text,
        place,
        offset,
        axes.get_xaxis_transform() if across else "data",
        "offset points",
        color=FAINT,
        fontsize=8,
        ha="right",
        va="bottom",
        rotation=90 if across else 0,
    )


def landmark(axes: Axes, count: float, label: str) -> None:
    """A vertical line at a number of bytes."""
    axes.axvline(count, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    note(axes, (count, 0.02), f"{label}: {bytes_text(count)}", (-3, 0), across=True)


def latent_map(scene: Scene) -> Figure:
    """The latents' two principal components, a dot for each item, coloured by label."""
    latents = scene.latents(scene.items)
    centred = latents.astype(np.float64) - latents.mean(0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.pad(left[:, :2] * spread[:2], ((0, 0), (0, max(0, 2 - len(spread)))))
    share = np.pad(spread[:2] ** 2 / max((spread**2).sum(), 1e-30), (0, max(0, 2 - len(spread))))
    subtitle = (
        f"{len(latents)} items as their packets at quality {scene.manifest.default_quality} hold them, seen along the "
        f"two directions in which they differ most"
    )
    figure, axes = chart_page(f"{scene.manifest.name}: map of the latents", subtitle, (9.0, 7.6))
    axes.set(xlabel=f"first component, {share[0]:.0%} of the variance", ylabel=f"second component, {share[1]:.0%}")
    draw_dots(axes, flat, scene.labels)
    return figure


def draw_dots(axes: Axes, flat: Array, labels: Array | None) -> None:
    """Dots [N, 2] in the colours of their labels: few different values as classes, many as a scale."""
    classes = [] if labels is None else np.unique(labels).tolist()
    if labels is not None and len(classes) > MOST_CLASSES:
        dots = axes.scatter(flat[:, 0], flat[:, 1], DOT, labels.astype(np.float64), cmap="viridis", alpha=0.8)
        axes.figure.colorbar(dots, ax=axes, label="label", shrink=0.6)
        return
    groups = [(str(value), flat[labels == value]) for value in classes] or [("item", flat)]
    for (name, mine), color in zip(groups, CLASS_COLORS, strict=False):
        axes.scatter(mine[:, 0], mine[:, 1], DOT, color, alpha=0.75, linewidths=0, label=name)
        if classes:
            name_class(axes, np.median(mine, axis=0), name)
    if classes:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), labelcolor=INK, fontsize=10, markerscale=2)


def name_class(axes: Axes, place: Array, name: str) -> None:
    """The label of a class in the middle of its dots, readable on any of them."""
    text = axes.text(place[0], place[1], name, color=INK, weight="bold", size=14, ha="center", va="center", zorder=4)
    text.set_path_effects([withStroke(linewidth=3.5, foreground=PAPER)])


def interpolations(scene: Scene) -> Figure:
    """Straight lines through latent space from one item to another."""
    rows = min(PAIRS, len(scene.items) // 2)
    ends = scene.latents(scene.items[: 2 * rows]).reshape(rows, 2, -1)
    way = np.linspace(0, 1, STEPS, dtype=np.float32)[None, :, None]
    between = scene.synthesize((ends[:, :1] * (1 - way) + ends[:, 1:] * way).reshape(rows * STEPS, -1))
    strips = []
    for row, decoded in enumerate(np.split(between, rows)):
        first, last = scene.items[2 * row : 2 * row + 1], scene.items[2 * row + 1 : 2 * row + 2]
        strips.append(Strip(*pair_text(scene.labels, row), np.concatenate([first, decoded, last])))
    subtitle = "Originals at both ends; between them, decoded from points on the straight line between their latents"
    return strips_page(f"{scene.manifest.name}: interpolations", subtitle, strips, scene.look)


def pair_text(labels: Array | None, row: int) -> tuple[str, str]:
    """What a pair's strip is called."""
    if labels is None:
        return f"pair {row + 1}", ""
    return f"{labels[2 * row]} to {labels[2 * row + 1]}", f"pair {row + 1}"


def samples(scene: Scene) -> Figure:
    """Items that never were: decoded from draws of the distribution that training matched the latents to."""
    latents = scene.latents(scene.items[:MEASURED])
    drawn = scene.random(1).standard_normal((ROWS_OF_SAMPLES * SHOWN, latents.shape[1])).astype(np.float32)
    rows = np.split(scene.synthesize(drawn), ROWS_OF_SAMPLES)
    real = scene.items[:SHOWN]
    if len(real) < SHOWN:  # strips of one page are equally long
        rows = [row[: len(real)] for row in rows]
    strips = [Strip("real", "for comparison", real)]
    strips += [Strip(f"drawn {index + 1}", "", row) for index, row in enumerate(rows)]
    subtitle = (
        f"Decoded from draws of N(0, I) in {latents.shape[1]} dimensions; real latents have mean "
        f"{latents.mean():.2f} and standard deviation {latents.std():.2f}"
    )
    return strips_page(f"{scene.manifest.name}: generated samples", subtitle, strips, scene.look)


def denoising(scene: Scene) -> Figure:
    """Noisy items, and what the codec hands back for them."""
    objective = dict(scene.manifest.provenance.training["objective"])
    objective.pop("name")
    noise = from_json(DenoisingSettings, objective, "provenance.training.objective").noise
    clean = scene.items[:MEASURED]
    noisy = corrupted(clean, noise, scene)
    strips = [
        Strip("clean", "", clean[:SHOWN]),
        Strip("noisy", distortion_text(measure.mse(clean, noisy, scene.manifest.input)), noisy[:SHOWN]),
    ]
    for quality in (scene.manifest.default_quality, 255):
        sent = scene.send(noisy, quality)
        error = measure.mse(clean, sent.items, scene.manifest.input)
        detail = f"{bytes_text(sent.bytes_per_item)} an item\n{distortion_text(error)}"
        strips.append(Strip(f"decoded, quality {quality}", detail, sent.items[:SHOWN]))
    subtitle = f"Gaussian noise of deviation {noise:g} on the way in, as in training; errors against the clean items"
    return strips_page(f"{scene.manifest.name}: denoising", subtitle, strips, scene.look, clean[:SHOWN])


def corrupted(items: Array, noise: float, scene: Scene) -> Array:
    """Items with the noise of the objective `denoising`, clipped to the contract's range and of its dtype."""
    low, high = scene.manifest.input.range
    draws = scene.random(2).standard_normal(items.shape)
    values = np.clip((items - float(low)) / (high - low) + noise * draws, 0, 1) * (high - low) + low
    if items.dtype.kind != "f":
        values = np.round(values)
    return values.astype(items.dtype)
