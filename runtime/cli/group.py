"""The command `latentwire`: this layer's commands, and those that other layers register as entry points.

Data goes to stdout, all else to stderr. Errors of ours end with their exit code and one line; under --json they stand
in the document on stdout too (see `documents`). A command whose libraries are missing says which extra brings them.
"""

from __future__ import annotations

from typing import Any

import click

from latentwire.runtime.cli.commands import decode, doctor, encode, inspect, selftest
from latentwire.runtime.cli.documents import documents, wants_json
from latentwire.runtime.cli.plugged import PluginGroup
from latentwire.runtime.cli.push import push
from latentwire.runtime.errors import LatentwireError
from latentwire.runtime.plugins import DISTRIBUTION, Plugins, is_ours, missing_extra

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


class LayeredGroup(PluginGroup):
    """The command `latentwire`: other layers' commands are found when they are asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong gets its exit code here, wherever the command comes from."""
        try:
            with documents(wanted=wants_json(ctx)):
                return self._invoke(ctx)
        except LatentwireError as error:
            raise Failure(error) from error

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            entry = COMMANDS.entries().get(ctx.invoked_subcommand or "")
            if entry is None or is_ours(error):
                raise
            raise missing_extra(f"`latentwire {entry.name}`", entry, error) from error


@click.group(cls=LayeredGroup, plugins=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Learned compression that ends in two ONNX files: encode on a device, decode on a server.

    Exit codes: 2 usage, 3 bad input data, 4 corrupt packet, 5 incompatible codec, 6 parity failure, 7 provider
    unavailable, 8 short of memory or disk, 1 any other error. Of a folder, that of the files that failed, or 3 where
    theirs differ. With --json the document on stdout has an "error" then: class, exit_code, message, file, place.
    """


for _command in (encode, decode, inspect, selftest, doctor, push):
    main.add_command(_command)
