"""The run folder of an image codec: what training leaves behind, and the way back from it to a network.

run.json                 settings, data, cost, versions, last metrics, whether it is finished
checkpoint.safetensors   weights, their average, the best average, optimizer, random state
metrics.jsonl            one line for each validation
rate.png                 rate against the first validation, over steps
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from latentwire.runtime.files import PictureOptions
from latentwire.train import checkpoint, plots
from latentwire.train.checkpoint import Checkpoint
from latentwire.train.errors import RunError, SettingsError
from latentwire.train.image.cost import Cost, cost_of
from latentwire.train.image.loop import ImageLoop
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.photos import ASKED, PLAIN, Crops, Material, options_of, read_material, scaled_copies
from latentwire.train.image.settings import Device, Distortion, ImageSettings
from latentwire.train.image.steps import fit_steps
from latentwire.train.image.validate import Point, judged, rate_difference
from latentwire.train.image.weights import is_wider, load_initial, load_weights, read_weights, shape_of
from latentwire.train.loops import Outputs, append_metrics, rewind_metrics, threads
from latentwire.train.run import CHECKPOINT_FILE, METRICS_FILE, RUN_FILE, SCHEMA, RunDocument, read_document, versions
from latentwire.train.settings import change, from_json, to_json

FAMILY = "image"
PLOT_FILE = "rate.png"
NAMED = 20
"""Files that cannot be read are named one by one, up to this many."""
WARM_CROPS = 256
"""Crops whose principal components the networks start from: 65 536 patches or more, for 768 dimensions."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class TrainedImageRun:
    """A finished image run, ready for export.

    Attributes:
        network: the best averaged weights, in eval mode, parameters frozen.
        distortion: what was minimised beside the rate: `mse`, `ms-ssim` or `mix`.
        provenance: run.json: settings, data, cost, versions, metrics.
    """

    network: ImageNetwork
    distortion: Distortion
    provenance: dict[str, Any]


def train(
    settings: ImageSettings,
    data: Path,
    out: Path,
    *,
    validation: Path | None = None,
    initial: Path | None = None,
    reading: PictureOptions = PLAIN,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Train from the start into a new run folder; returns the content of run.json.

    Args:
        settings: how.
        data: folder of pictures, searched through.
        out: the run folder; it appears once the data was read.
        validation: folder of other pictures; every 20th of ``data`` is held back if None.
        initial: run folder or checkpoint whose weights to start from, instead of the KLT of the data. Trade-offs, their
            number and the distortion may be others; the width may be smaller than theirs, and is narrowed.
        reading: what may be done to pictures with alpha or of 16 bits, which are refused otherwise.
        report: told what happens, in lines.

    Raises:
        RunError: the folder already holds a run, ``initial`` is of another shape, or there is no CUDA device.
        SettingsError: one part is to learn, and ``initial`` is not there or has other trade-offs.
        InputError: more pictures cannot be read than can, an option would let one in, or none is large enough.
        DivergedError: a loss is not finite.
    """
    require_no_run(out, "continue it with --resume, or choose another folder")
    network = new_network(settings)
    if settings.part != "all":
        _require_same_packets(settings, initial)
    if initial is not None:
        load_initial(network, initial)
    material = read_material(data, validation, reading)
    _report_bad(material, report)
    document = _description(settings)
    report(Cost(**document["cost"]).render())
    loop = _prepared_loop(network, material, settings, report, initial=initial)
    origin = {"validation": validation, "initial": initial}
    document |= {
        "data": {
            "train": str(data.resolve()),
            **{name: None if path is None else str(path.resolve()) for name, path in origin.items()},
            **{name: value for name in ASKED if (value := getattr(reading, name)) is not None},
            "pictures": [len(material.train), len(material.held)],
            **({"skipped": len(material.bad)} if material.bad else {}),
            "sha256": material.digest(),
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(out / RUN_FILE, document)
    return _run_to_end(loop, document, out, report)


def resume(
    out: Path,
    report: Report = lambda _: None,
    *,
    data: Path | None = None,
    validation: Path | None = None,
    device: Device | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Continue the run in a folder to its end; returns the content of run.json.

    The result is the same, byte by byte, as if the run had never stopped, unless it has a time box or moves to another
    machine.

    Args:
        out: the run folder.
        report: told what happens, in lines.
        data: where the pictures are now, if no longer where they were.
        validation: the same for the validation pictures.
        device: where to go on, if not as the run began.
        threads: how many to go on with, if not as the run began.

    Raises:
        RunError: there is no image run, or the pictures are others, also because one can no longer be read.
        InputError: more pictures cannot be read than can, or an option would let one in.
        DivergedError: a loss is not finite.
    """
    document = read_image_document(out)
    if document["finished"]:
        return document
    settings, source = settings_of(document), document.section("data")
    settings = replace(settings, device=device or settings.device, threads=threads or settings.threads)
    held_at = validation or (Path(source["validation"]) if source["validation"] else None)
    material = read_material(data or Path(source["train"]), held_at, options_of(source))
    _report_bad(material, report)
    if material.digest() != source["sha256"]:
        raise RunError(f"{out} was started on other pictures: their pixels or their order changed")
    saved, network = out / CHECKPOINT_FILE, new_network(settings)
    initial = None if source["initial"] is None else Path(source["initial"])
    fresh = not saved.exists()
    if fresh and initial is not None:
        load_initial(network, initial)
    loop = _prepared_loop(network, material, settings, report, initial=initial, fresh=fresh)
    if not fresh:
        checkpoint.go_back(loop.restore, saved)
    return _run_to_end(loop, document, out, report)


def load_image_run(path: str | Path) -> TrainedImageRun:
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
    load_weights(network, read_weights(folder), folder / CHECKPOINT_FILE)
    return TrainedImageRun(network.eval().requires_grad_(False), settings.distortion, document)


def write_run(
    out: Path,
    network: ImageNetwork,
    provenance: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Write a finished run folder from weights that were trained elsewhere; returns the content of run.json.

    Args:
        out: the run folder.
        network: a network for colour pictures, with the weights to hand on.
        provenance: `data`, an object that names the folders of the pictures, {"train": path, "validation": path or
            None}; `settings`, those fields of `ImageSettings` that are known (trade-offs and widths are the network's
            own); anything else is kept in run.json as `origin`.
        metrics: validations in order, {"step", "bpp", "decibels", ...} as metrics.jsonl has them; rate differences to
            the first are added.

    Raises:
        RunError: the folder already holds a run, or `data` names no folder.
        SettingsError: a setting is unknown or outside its range.
    """
    require_no_run(out)
    settings = change(
        ImageSettings(),
        {
            **provenance.get("settings", {}),
            "lambdas": decimals(network.lambdas),
            "width": network.hyper_analysis.net[0].out_channels,
            "hyper": network.prior.hyper,
            "shape": network.synthesis.shape,
        },
    )
    data = provenance.get("data", {})
    if not isinstance(data.get("train"), (str, Path)):
        raise RunError("expected the folder of the training pictures in the provenance, data.train; found none")
    places = {name: None if data.get(name) is None else str(data[name]) for name in ("train", "validation", "initial")}
    lines = _with_differences(metrics)
    document = {
        **_description(settings),
        "data": {**data, **places},
        "origin": {name: value for name, value in provenance.items() if name not in ("data", "settings")},
        "finished": True,
        "metrics": lines[-1] if lines else None,
    }
    out.mkdir(parents=True, exist_ok=True)
    rewind_metrics(out / METRICS_FILE, -1)
    for line in lines:
        append_metrics(out / METRICS_FILE, line)
    if lines:
        checkpoint.write_atomically(out / PLOT_FILE, plots.rate_curve(lines))
    weights = {f"best.{name}": value for name, value in network.state_dict().items()}
    checkpoint.write(out / CHECKPOINT_FILE, Checkpoint(weights, {"finished": True}))
    checkpoint.write_json(out / RUN_FILE, document)  # last: without it there is no run
    return document


def new_network(settings: ImageSettings) -> ImageNetwork:
    """The network of a run, its weights drawn from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return ImageNetwork(list(settings.lambdas), hyper=settings.hyper, width=settings.width, shape=settings.shape)


def read_image_document(folder: Path) -> RunDocument:
    """run.json of an image run.

    Raises:
        RunError: there is none, or it is another family's.
    """
    document = read_document(folder)
    if document.get("family") != FAMILY:
        raise RunError(f"{folder}: expected a run of the image family, found {document.get('family')!r}")
    return document


def distortion_of(source: Path) -> Distortion | None:
    """What the weights of a run folder were trained for; None for a checkpoint alone, which does not say.

    Raises:
        RunError: it is another family's run.
    """
    return settings_of(read_image_document(source)).distortion if (source / RUN_FILE).exists() else None


def settings_of(document: Mapping[str, Any]) -> ImageSettings:
    """The settings in run.json; a run from before there was `part` trained all, one without `shape` blocks."""
    settings = document["settings"]
    if isinstance(settings, Mapping):
        settings = {"part": "all", "shape": "blocks", **settings}
    return from_json(ImageSettings, settings, "run.json: settings")


def device_for(settings: ImageSettings) -> torch.device:
    """Where to train.

    Raises:
        RunError: CUDA was asked for and is not there.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("expected a CUDA device, found none: choose --device cpu or auto")
    return torch.device("cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu")


def require_no_run(out: Path, advice: str = "choose another folder") -> None:
    """Raises RunError where a folder already holds a run."""
    if (out / RUN_FILE).exists():
        raise RunError(f"{out} already holds a run: {advice}")


def _description(settings: ImageSettings) -> dict[str, Any]:
    """What run.json says of any image run."""
    return {
        "schema": SCHEMA,
        "family": FAMILY,
        "settings": to_json(settings),
        "cost": cost_of(new_network(settings)).to_json(),
        "versions": versions(),
        "finished": False,
        "metrics": None,
    }


def _with_differences(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    curves = [[Point(*pair) for pair in zip(line["bpp"], line["decibels"], strict=True)] for line in metrics]
    return [
        {**line, "rate_difference": rate_difference(curves[0], curve)}
        for line, curve in zip(metrics, curves, strict=True)
    ]


def _require_same_packets(settings: ImageSettings, initial: Path | None) -> None:
    """Raises SettingsError where a run of one part has no weights to keep, or would change their packets."""
    if initial is None:
        raise SettingsError(f"part {settings.part} goes on from weights: name them with --initial")
    weights = read_weights(initial)
    before, kept = weights.get("lambdas"), f"part {settings.part} keeps the packets as they are: expected"
    if before is not None and not torch.equal(before, torch.tensor(settings.lambdas)):
        raise SettingsError(f"{kept} --lambdas {','.join(map(str, decimals(before)))}")
    if is_wider(weights, settings.width):  # narrowed, they would make other ones
        raise SettingsError(f"{kept} --width {shape_of(weights)['width']}")


def decimals(values: torch.Tensor) -> tuple[float, ...]:
    """The shortest decimal numbers that float32 [n] stands for: 0.0018, not 0.00179999..."""
    return tuple(float(str(value)) for value in values.cpu().numpy())


def _prepared_loop(
    network: ImageNetwork,
    material: Material,
    settings: ImageSettings,
    report: Report,
    *,
    initial: Path | None,
    fresh: bool = True,
) -> ImageLoop:
    """The network, with its first weights where ``fresh``, and its pictures, on the run's device."""
    device = device_for(settings)
    held = judged(material.held, settings.distortion, settings.validation_pictures)
    with threads(settings.threads):
        crops = Crops(scaled_copies(material.train, settings.scales), settings.crop, device)
        small = sum(min(photo.shape[1:]) < settings.crop for photo in material.train)
        report(
            f"{len(material.train) - small} pictures to train on, {len(crops.photos)} with their smaller copies "
            f"({small} skipped: smaller than a crop); {len(held)} to judge on; device {device}"
        )
        network.to(device)
        if fresh:
            _first_weights(network, crops, settings, initial, report)
        return ImageLoop(network, crops, held, settings, device)


def _report_bad(material: Material, report: Report) -> None:
    """Which files were left out, and why."""
    for fault in material.bad[:NAMED]:
        report(f"skipped: {fault}")
    if len(material.bad) > NAMED:
        report(f"skipped: {len(material.bad) - NAMED} more that cannot be read")


def _first_weights(
    network: ImageNetwork, crops: Crops, settings: ImageSettings, initial: Path | None, report: Report
) -> None:
    """The KLT of the data where there is no ``initial``; steps that fit the distortion, if weights had another."""
    if initial is None:
        network.warm_start(crops.draw(WARM_CROPS, torch.Generator().manual_seed(settings.seed)))
    before = "mse" if initial is None else distortion_of(initial)
    if before is not None and before != settings.distortion and settings.part == "all":
        factor = fit_steps(network, crops, before, settings.distortion, settings.seed)
        report(
            f"steps fitted from {before} to {settings.distortion}: {1 / factor.max():.2f} to "
            f"{1 / factor.min():.2f} times as large"
        )


def _run_to_end(loop: ImageLoop, document: dict[str, Any], out: Path, report: Report) -> dict[str, Any]:
    rewind_metrics(out / METRICS_FILE, loop.position.step if loop.position.first else -1)
    with threads(loop.settings.threads):
        loop.run(Outputs(lambda state: checkpoint.write(out / CHECKPOINT_FILE, state), out / METRICS_FILE, report))
    metrics = plots.read_metrics(out / METRICS_FILE)
    checkpoint.write_atomically(out / PLOT_FILE, plots.rate_curve(metrics))
    finished = {**document, "finished": True, "metrics": metrics[-1]}
    checkpoint.write_json(out / RUN_FILE, finished)
    return finished
