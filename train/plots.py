"""The curves of a run, from its metrics."""

import io
import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def loss_curve(metrics: list[dict[str, Any]]) -> bytes:
    """A PNG with one panel for each score: training and validation over steps.

    `metrics` are lines as the training loop writes them, at least one.
    """
    panels = _panels(metrics)
    figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.set(title=title, xlabel="step")
        if all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(figure)


def rate_curve(metrics: list[dict[str, Any]]) -> bytes:
    """A PNG: rate at equal quality against the first validation, in per cent, over steps.

    `metrics` are lines as the image family's loop writes them, at least one.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([line["step"] for line in metrics], [100 * line["rate_difference"] for line in metrics], marker=".")
    axes.set(xlabel="step", ylabel="rate against the first validation, %")
    axes.grid(alpha=0.3)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _panels(metrics: list[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Points (step, value) by panel and curve; scores such as `mse_32` and `mse_128` share the panel of `mse`."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for line in metrics:
        for part in ("train", "validation"):
            for name, value in line[part].items():
                stem, _, quality = name.rpartition("_")
                panel, label = (stem, f"{part}, quality {quality}") if quality.isdigit() else (name, part)
                panels.setdefault(panel, {}).setdefault(label, []).append((line["step"], value))
    return panels
