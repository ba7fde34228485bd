"""`latentwire train`: one subcommand for each family that is installed, found when it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import click

from latentwire.runtime.cli import ExampleCommand
from latentwire.train.families import FAMILIES, TrainFamily, resume_run


class Families(click.Group):
    """A group whose further commands are those of the families."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *FAMILIES.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in FAMILIES.names():
            return own
        family: TrainFamily = FAMILIES.load(cmd_name)
        return family.command


@click.group(cls=Families)
def train() -> None:
    """Train an autoencoder: a run folder for `latentwire export`."""


@train.command(cls=ExampleCommand, example="latentwire train resume run")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
def resume(run: Path, as_json: bool) -> None:
    """Continue RUN as it was started, whatever its family."""
    document = resume_run(run, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(document, indent=2) if as_json else f"{run}: finished")
