"""`latentwire train dense`. Heavy imports wait until the command runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from latentwire.runtime.cli import ExampleCommand
from latentwire.train.dense.objective_settings import OBJECTIVES
from latentwire.train.dense.settings import DenseSettings, LoopSettings, PresetName
from latentwire.train.options import PAIR, Command, given, settings_options


def objective_options(command: Command) -> Command:
    """The options of every objective, each named in its help."""
    for name, kind in reversed(list(OBJECTIVES.items())):
        command = settings_options(kind, name)(command)
    return command


@click.command(cls=ExampleCommand, example="latentwire train dense --data digits/ --out run")
@click.option(
    "--data",
    type=click.Path(resolve_path=True),
    help="IDX (plain or .gz), .npy, .npz, folder of images or of MNIST's files.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder.")
@click.option("--preset", type=click.Choice(get_args(PresetName)), help="Defaults: a seed program, or the codec.")
@click.option(
    "--objective",
    type=click.Choice(list(OBJECTIVES)),
    help="What to minimise; the preset's (keras, torch: mse; codec: rate) if not given, and rate without a preset.",
)
@click.option("--range", "value_range", type=PAIR, help="LOW,HIGH of the values; from dtype or data if not given.")
@click.option(
    "--validation", help="Path of held-out items, or the fraction to hold back (MNIST's test images, else 0.1)."
)
@click.option("--limit", type=click.IntRange(1), help="Use only so many items.")
@click.option("--resume", is_flag=True, help="Continue the run in --out with the settings it was started with.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
@settings_options(DenseSettings)
@objective_options
@settings_options(LoopSettings)
def dense(
    data: str | None,
    out: Path,
    preset: Any,
    objective: str | None,
    value_range: tuple[float, float] | None,
    validation: str | None,
    limit: int | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Vectors: digits, sensor readings, embeddings. Items of more than one dimension are flattened."""
    network, loop = _mirrored(given(DenseSettings, settings)), given(LoopSettings, settings)
    own = {name: value for kind in OBJECTIVES.values() for name, value in given(kind, settings).items()}
    source = {"path": data, "validation": validation, "range": value_range, "limit": limit}
    source = {name: value for name, value in source.items() if value is not None}
    if resume:
        named = {"preset": preset, "objective": objective}
        asked = {name: value for name, value in named.items() if value is not None}
        document = _resume(out, {**asked, **network, **own, **loop}, source)
    else:
        document = _start(out, preset, objective, network, own, loop, source)
    click.echo(json.dumps(document, indent=2) if as_json else _summary(document, out))


def _start(
    out: Path,
    preset: Any,
    objective: str | None,
    network: dict[str, Any],
    own: dict[str, Any],
    loop: dict[str, Any],
    source: dict[str, Any],
) -> dict[str, Any]:
    from latentwire.train.dense.data import DataRequest, load_split
    from latentwire.train.dense.recipe import dense_recipe
    from latentwire.train.dense.run import train as train_run

    if "path" not in source:
        raise click.UsageError("Missing option '--data': the items to train on.")
    split = load_split(DataRequest(**source, seed=loop.get("seed", 0)))
    recipe = dense_recipe(
        preset, objective, item_shape=split.train.item_shape, network=network, objective_settings=own, loop=loop
    )
    return train_run(recipe, split, out)


def _resume(out: Path, asked: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    from latentwire.train.dense.data import load_split
    from latentwire.train.dense.recipe import Recipe
    from latentwire.train.dense.run import recorded_request
    from latentwire.train.dense.run import resume as resume_run
    from latentwire.train.run import read_document

    document = read_document(out)
    Recipe.from_json(document).require_same(asked)
    request = recorded_request(document)
    if request != replace(request, **source):
        raise click.UsageError(f"a run is resumed on the data it was started on: {request}; leave the option away.")
    return resume_run(load_split(request), out)


def _mirrored(network: dict[str, Any]) -> dict[str, Any]:
    """The decoder's hidden layers follow the encoder's unless they are given too."""
    if "hidden" in network and "decoder_hidden" not in network:
        return {**network, "decoder_hidden": network["hidden"][::-1]}
    return network


def _summary(document: dict[str, Any], out: Path) -> str:
    metrics = document["metrics"]
    scores = metrics["validation"] or metrics["train"]
    shown = ", ".join(f"{name} {value:.5g}" for name, value in scores.items())
    return f"{out}: {document['objective']['name']}, {metrics['epoch']} epochs, {metrics['step']} steps\n{shown}"
