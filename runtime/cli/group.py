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

ENTRY_POINTS = "latentwire.commands"
DISTRIBUTION = "latentwire"


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
        return sorted({*super().list_commands(ctx), *_registered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        own = super().get_command(ctx, cmd_name)
        entry = _registered().get(cmd_name)
        return own if own is not None or entry is None else _load(entry)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong gets its exit code here, wherever the command comes from."""
        try:
            return super().invoke(ctx)
        except LatentwireError as error:
            raise Failure(error) from error
        except ModuleNotFoundError as error:
            entry = _registered().get(ctx.invoked_subcommand or "")
            if entry is None or _is_ours(error):
                raise
            raise Failure(_missing(entry, error)) from error


def _registered() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _load(entry: importlib.metadata.EntryPoint) -> click.Command:
    """The layer's command, or, where its libraries are missing, one that says so: the help must still list it."""
    try:
        command: click.Command = entry.load()
    except ModuleNotFoundError as error:
        if _is_ours(error):
            raise
        return _absent(entry, _missing(entry, error))
    return command


def _is_ours(error: ModuleNotFoundError) -> bool:
    """A module of Latentwire itself is missing: that is a fault in the package, not a missing extra."""
    return (error.name or "").partition(".")[0] == DISTRIBUTION


def _absent(entry: importlib.metadata.EntryPoint, error: MissingExtraError) -> click.Command:
    def refuse() -> None:
        raise error

    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(entry.name, settings, refuse, short_help=f"(needs the {_extra(entry)} extra)")


def _missing(entry: importlib.metadata.EntryPoint, error: ModuleNotFoundError) -> MissingExtraError:
    extra = _extra(entry)
    return MissingExtraError(
        f"`latentwire {entry.name}` needs the {extra} extra ({error.name} is missing): "
        f"pip install '{DISTRIBUTION}[{extra}]'"
    )


def _extra(entry: importlib.metadata.EntryPoint) -> str:
    """The extra named like the command, or like the layer that it belongs to."""
    extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return entry.name if entry.name in extras else entry.module.split(".")[1]


@click.group(cls=LayeredGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Learned compression that ends in two ONNX files: encode on a device, decode on a server.

    Exit codes: 2 usage, 3 bad input data, 4 corrupt packet, 5 incompatible codec, 6 parity failure, 7 provider
    unavailable, 1 any other error.
    """


for _command in (encode, decode, inspect, selftest, doctor):
    main.add_command(_command)
