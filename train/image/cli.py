"""`latentwire train image` and `latentwire weights`. Heavy imports wait until a command runs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from latentwire.runtime.cli import ExampleCommand
from latentwire.runtime.files import PictureOptions
from latentwire.train.image.settings import ImageSettings
from latentwire.train.options import Numbers, given, settings_options


@click.command(cls=ExampleCommand, example="latentwire train image --data photos/ --out run --minutes 120")
@click.option("--data", type=click.Path(path_type=Path, resolve_path=True), help="Folder of pictures, any size.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder.")
@click.option(
    "--validation",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of other pictures to judge on; every 20th of --data is held back if not given.",
)
@click.option(
    "--background", help="The colour behind alpha (white, #204060); pictures with alpha are refused otherwise."
)
@click.option("--depth", type=click.Choice(["8"]), help="Keep the upper 8 of 16 bits; refused otherwise.")
@click.option("--initial", type=click.Path(path_type=Path), help="Start from the weights of this run or checkpoint.")
@click.option(
    "--budget",
    type=float,
    help="Thousand multiply-accumulates per pixel that the device may spend: picks the width.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out as it was started; --data, --validation, --device and --threads may be new.",
)
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
@settings_options(ImageSettings)
def image(
    data: Path | None,
    out: Path,
    validation: Path | None,
    background: str | None,
    depth: str | None,
    initial: Path | None,
    budget: float | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Pictures of any size: one codec for all qualities."""
    if resume and initial is not None:
        raise click.UsageError("a run that is resumed has its weights: leave --initial away.")
    if resume and (background or depth):
        raise click.UsageError("a run that is resumed reads pictures as before: leave --background and --depth away.")
    chosen = _settings(given(ImageSettings, settings), budget, initial)
    if resume:
        document = _resume(out, chosen, data, validation)
    else:
        reading = PictureOptions(background, None if depth is None else int(depth))
        document = _start(out, chosen, data, validation, initial, reading)
    click.echo(json.dumps(document, indent=2) if as_json else _summary(document, out))


@click.command(cls=ExampleCommand, example="latentwire weights run --out weights")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--lambdas", type=Numbers(float), help="Other trade-offs, between or beyond those it was trained for.")
def weights(run: Path, out: Path, lambdas: tuple[float, ...] | None) -> None:
    """Write the best weights of a finished image run alone, large ones as float16: to share, export, and go on from."""
    from latentwire.train.image.compact import compact

    compact(run, out, lambdas)
    click.echo(f"{out}: the weights of {run}")


def _settings(chosen: dict[str, Any], budget: float | None, initial: Path | None) -> dict[str, Any]:
    """The settings that the options stand for: weights or a budget for widths, a time box for no limit of steps."""
    from latentwire.train.image.cost import width_for
    from latentwire.train.image.weights import read_weights, shape_of

    widths = {}
    if initial is not None:
        with contextlib.suppress(KeyError):  # weights of another network are refused by name, when they are loaded
            widths = shape_of(read_weights(initial))
    if budget is not None:
        if "width" in chosen:
            raise click.UsageError("--budget picks the width: give one of --budget and --width.")
        hyper = {"hyper": ImageSettings().hyper, **widths, **chosen}["hyper"]
        chosen = {**chosen, "width": width_for(budget, hyper)}
    chosen = {**widths, **chosen}
    return {"steps": 0, **chosen} if chosen.get("minutes") else chosen


def _start(
    out: Path,
    chosen: dict[str, Any],
    data: Path | None,
    validation: Path | None,
    initial: Path | None,
    reading: PictureOptions,
) -> dict[str, Any]:
    from latentwire.train.image.run import train as train_run

    if data is None:
        raise click.UsageError("Missing option '--data': the pictures to train on.")
    settings = ImageSettings(**chosen)
    return train_run(settings, data, out, validation=validation, initial=initial, reading=reading, report=_report)


def _resume(out: Path, chosen: dict[str, Any], data: Path | None, validation: Path | None) -> dict[str, Any]:
    from latentwire.train.image.run import read_image_document, settings_of
    from latentwire.train.image.run import resume as resume_run

    place = {name: chosen.pop(name, None) for name in ("device", "threads")}
    settings_of(read_image_document(out)).require_same(chosen)
    return resume_run(out, _report, data=data, validation=validation, **place)


def _report(line: str) -> None:
    """What happens goes to stderr: stdout is for the result."""
    click.echo(line, err=True)


def _summary(document: dict[str, Any], out: Path) -> str:
    metrics = document["metrics"]
    if metrics is None:
        return f"{out}: weights that were trained elsewhere"
    return (
        f"{out}: {document['settings']['distortion']}, {metrics['step']} steps, "
        f"rate {100 * metrics['rate_difference']:+.2f} % against the first validation"
    )
