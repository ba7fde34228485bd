"""`latentwire train`: one subcommand for each family that is installed, found when it is asked for."""

from __future__ import annotations

import json
from operator import attrgetter
from pathlib import Path

import click

from latentwire.runtime.cli import ExampleCommand, PluginGroup
from latentwire.train.families import FAMILIES, resume_run


@click.group(cls=PluginGroup, plugins=FAMILIES, command_of=attrgetter("command"))
def train() -> None:
    """Train an autoencoder: a run folder for `latentwire export`."""


@train.command(cls=ExampleCommand, example="latentwire train resume run")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
def resume(run: Path, as_json: bool) -> None:
    """Continue RUN as it was started, whatever its family."""
    document = resume_run(run, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(document, indent=2) if as_json else f"{run}: finished")
