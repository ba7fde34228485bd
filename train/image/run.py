"""The run folder of an image codec: what training leaves behind, and the way back from it to a network.

run.json                 settings, data, cost, versions, whether it is finished
checkpoint.safetensors   weights, their average, the best average, optimizer, random state
metrics.jsonl            one line for each validation
rate.png                 rate against the first validation, over steps
"""

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from latentwire.train import checkpoint
from latentwire.train.errors import RunError
from latentwire.train.image.cost import cost_of
from latentwire.train.image.loop import ImageLoop, Report
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.photos import Crops, read_photos, scaled_copies
from latentwire.train.image.settings import ImageSettings
from latentwire.train.loop import rewind_metrics, threads
from latentwire.train.run import CHECKPOINT_FILE, METRICS_FILE, RUN_FILE, SCHEMA, read_document
from latentwire.train.settings import from_json, to_json

FAMILY = "image"
PLOT_FILE = "rate.png"
WARM_CROPS = 800
"""Crops whose principal components the networks start from."""


@dataclass(frozen=True)
class TrainedImage:
    """A finished image run.

    Attributes:
        network: the best averaged weights, in eval mode, parameters frozen.
        distortion: what was minimised beside the rate: `mse`, `ms-ssim` or `mix`.
        provenance: run.json.
    """

    network: ImageNetwork
    distortion: str
    provenance: dict[str, Any]


def train(
    settings: ImageSettings,
    data: Path,
    out: Path,
    *,
    validation: Path | None = None,
    initial: Path | None = None,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Train from the start into a new run folder; returns the content of run.json.

    Args:
        settings: how.
        data: folder of pictures, searched through.
        out: the run folder.
        validation: folder of other pictures; every 20th of ``data`` is held back if None.
        initial: run folder or checkpoint whose weights to start from, instead of the KLT of the data.
        report: told what happens, in lines.

    Raises:
        RunError: the folder already holds a run, or ``initial`` is of another shape.
        InputFileError: a picture cannot be read, or none is large enough.
    """
    if (out / RUN_FILE).exists():
        raise RunError(f"{out} already holds a run: continue it with --resume, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    network = new_network(settings)
    document = {
        "schema": SCHEMA,
        "family": FAMILY,
        "settings": to_json(settings),
        "data": {
            "train": str(data),
            "validation": None if validation is None else str(validation),
            "initial": None if initial is None else initial.name,
        },
        "cost": cost_of(network).to_json(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "safetensors": safetensors.__version__,
        },
        "finished": False,
        "metrics": None,
    }
    report(cost_of(network).render())
    if initial is not None:
        load_initial(network, initial)
    checkpoint.write_json(out / RUN_FILE, document)
    return _run_to_end(network, document, out, report, warm=initial is None)


def resume(out: Path, report: Report = lambda _: None) -> dict[str, Any]:
    """Continue the run in a folder to its end; returns the content of run.json.

    Raises:
        RunError: there is no image run.
    """
    document = read_image_document(out)
    if document["finished"]:
        return document
    saved = out / CHECKPOINT_FILE
    initial = document["data"]["initial"]
    if initial is not None and not saved.exists():
        raise RunError(f"{out} stopped before its first checkpoint: start it again with --initial {initial}")
    return _run_to_end(new_network(settings_of(document)), document, out, report, warm=not saved.exists())


def load_image_run(path: str | Path) -> TrainedImage:
    """The network of a finished run.

    Raises:
        RunError: there is no image run, it is unfinished, or its checkpoint is damaged.
    """
    folder = Path(path)
    document = read_image_document(folder)
    if not document["finished"]:
        raise RunError(f"{folder} is not finished: continue it with `latentwire train image --out {folder} --resume`")
    settings = settings_of(document)
    network = new_network(settings)
    load_initial(network, folder)
    return TrainedImage(network.eval().requires_grad_(False), settings.distortion, document)


def new_network(settings: ImageSettings) -> ImageNetwork:
    """The network of a run, its weights drawn from the run's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return ImageNetwork(list(settings.lambdas), hyper=settings.hyper, width=settings.width)


def load_initial(network: ImageNetwork, source: Path) -> None:
    """Take the best averaged weights of a run folder or checkpoint.

    Raises:
        RunError: there are none, or they are of another shape.
    """
    path = source / CHECKPOINT_FILE if source.is_dir() else source
    weights = checkpoint.read(path).part("best")
    try:
        network.load_state_dict(weights)
    except RuntimeError as fault:  # torch's word for tensors that are missing, unknown or of another shape
        raise RunError(f"{path}: expected weights of the network that is trained, found others: {fault}") from fault


def read_image_document(folder: Path) -> dict[str, Any]:
    """run.json of an image run.

    Raises:
        RunError: there is none, or it is another family's.
    """
    document = read_document(folder)
    if document.get("family") != FAMILY:
        raise RunError(f"{folder}: expected a run of the image family, found {document.get('family')!r}")
    return document


def settings_of(document: Mapping[str, Any]) -> ImageSettings:
    """The settings in run.json."""
    return from_json(ImageSettings, document["settings"], "run.json: settings")


def device_for(settings: ImageSettings) -> torch.device:
    """Where to train.

    Raises:
        RunError: CUDA was asked for and is not there.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("expected a CUDA device, found none: choose --device cpu or auto")
    return torch.device("cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu")


def _run_to_end(
    network: ImageNetwork, document: dict[str, Any], out: Path, report: Report, *, warm: bool
) -> dict[str, Any]:
    settings, device = settings_of(document), device_for(settings_of(document))
    photos = read_photos(Path(document["data"]["train"]))
    if document["data"]["validation"] is None:
        held, photos = photos[::20], [photo for at, photo in enumerate(photos) if at % 20] or photos
    else:
        held = read_photos(Path(document["data"]["validation"]))
    crops = Crops(scaled_copies(photos, settings.scales), settings.crop, device)
    report(
        f"{len(crops.photos)} pictures to train on ({crops.left_out} too small), {len(held)} to judge on, on {device}"
    )
    stride = max(1, len(held) // settings.validation_pictures)
    with threads(settings.threads):
        if warm:
            generator = torch.Generator().manual_seed(settings.seed)
            network.warm_start(torch.cat([crops.draw(50, generator).cpu() for _ in range(WARM_CROPS // 50)]))
        loop = ImageLoop(network, crops, held[::stride][: settings.validation_pictures], settings, device)
        saved = out / CHECKPOINT_FILE
        if saved.exists():
            loop.restore(checkpoint.read(saved))
        if (out / METRICS_FILE).exists():
            rewind_metrics(out / METRICS_FILE, loop.position.step)
        loop.run(lambda state: checkpoint.write(saved, state), out / METRICS_FILE, report)
    metrics = [json.loads(line) for line in (out / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    checkpoint.write_atomically(out / PLOT_FILE, rate_curve(metrics))
    finished = {**document, "finished": True, "metrics": metrics[-1]}
    checkpoint.write_json(out / RUN_FILE, finished)
    return finished


def rate_curve(metrics: list[dict[str, Any]]) -> bytes:
    """A PNG: rate against the first validation, in per cent, over steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([line["step"] for line in metrics], [100 * line["rate_difference"] for line in metrics], marker=".")
    axes.set(xlabel="step", ylabel="rate against the first validation, %")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
