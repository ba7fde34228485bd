"""Groups of commands that others register: listed by name, imported when they are asked for."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import click

from latentwire.runtime.errors import MissingExtraError
from latentwire.runtime.plugins import Plugins, extra_of, is_ours, missing_extra


class PluginGroup(click.Group):
    """A group whose further commands are members of a group of entry points.

    Args:
        plugins: the entry points.
        command_of: a member's command.
    """

    def __init__(
        self,
        *arguments: Any,
        plugins: Plugins,
        command_of: Callable[[Any], click.Command] = lambda member: member,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self._plugins, self._command_of = plugins, command_of

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *self._plugins.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None; where its libraries are missing, one that says so: help still lists it."""
        own = super().get_command(ctx, cmd_name)
        entry = self._plugins.entries().get(cmd_name)
        if own is not None or entry is None:
            return own
        try:
            return self._command_of(entry.load())
        except ModuleNotFoundError as error:
            if is_ours(error):
                raise
            return _absent(entry, missing_extra(f"`latentwire {entry.name}`", entry, error))


def _absent(entry: importlib.metadata.EntryPoint, error: MissingExtraError) -> click.Command:
    def refuse() -> None:
        raise error

    extra = extra_of(entry)
    help_text = "(a library that it needs is missing)" if extra is None else f"(needs the {extra} extra)"
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(entry.name, settings, refuse, short_help=help_text)
