"""The command `latentwire`: this layer's commands, and those that other layers register as entry points.

Data goes to stdout, all else to stderr. Errors of ours end with their exit code and one line; a command whose
libraries are missing says which extra brings them.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import click

from latentwire.runtime.cli.commands import decode, doctor, encode, inspect, selftest
from latentwire.runtime.errors import LatentwireError, MissingExtraError
from latentwire.runtime.plugins import DISTRIBUTION, Plugins, extra_of, is_ours, missing_extra

COMMANDS = Plugins("latentwire.commands", "a command")


class Failure(click.ClickException):
    """An error of ours on its way to the user."""

    def __init__(self, error: LatentwireError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance
        self.name = type(error).__name__

    def show(self, file: Any = None) -> None:
        """One line on stderr."""
        click.echo(f"latentwire: {self.name}: {self.message}", file=file, err=True)


class LayeredGroup(click.Group):
    """A group that finds other layers' commands when they are asked for, and imports nothing of theirs before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *COMMANDS.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        own = super().get_command(ctx, cmd_name)
        entry = COMMANDS.entries().get(cmd_name)
        return own if own is not None or entry is None else _load(entry)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong gets its exit code here, wherever the command comes from."""
        try:
            return super().invoke(ctx)
        except LatentwireError as error:
            raise Failure(error) from error
        except ModuleNotFoundError as error:
            entry = COMMANDS.entries().get(ctx.invoked_subcommand or "")
            if entry is None or is_ours(error):
                raise
            raise Failure(_missing(entry, error)) from error


def _load(entry: importlib.metadata.EntryPoint) -> click.Command:
    """The layer's command, or, where its libraries are missing, one that says so: the help must still list it."""
    try:
        command: click.Command = entry.load()
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        return _absent(entry, _missing(entry, error))
    return command


def _absent(entry: importlib.metadata.EntryPoint, error: MissingExtraError) -> click.Command:
    def refuse() -> None:
        raise error

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(entry.name, settings, refuse, short_help=f"(needs the {extra_of(entry)} extra)")


def _missing(entry: importlib.metadata.EntryPoint, error: ModuleNotFoundError) -> MissingExtraError:
    return missing_extra(f"`latentwire {entry.name}`", entry, error)


@click.group(cls=LayeredGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Learned compression that ends in two ONNX files: encode on a device, decode on a server.

    Exit codes: 2 usage, 3 bad input data, 4 corrupt packet, 5 incompatible codec, 6 parity failure, 7 provider
    unavailable, 1 any other error.
    """


for _command in (encode, decode, inspect, selftest, doctor):
    main.add_command(_command)
