"""The one JSON document that a command prints under --json, with what went wrong in it.

A command hands its document to `tell`; it is printed when the command ends, so that an error can be put into it:

    {"outputs": [...], "error": {"class": "ChecksumError", "exit_code": 4, "message": "...", "file": "a.lw",
                                 "place": {"offset": 0}}}

A command that fails before it has told anything prints the error alone. What prints its documents itself, because they
are lines of a stream, gets the error as the last line.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from latentwire.runtime.errors import error_facts

_told: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("told", default=None)


def tell(document: Mapping[str, Any]) -> None:
    """Have a document printed when the command ends; a second one adds its members to the first."""
    waiting = _told.get()
    if waiting is None:  # a command that is called as a function, without the group
        click.echo(json.dumps(document))
    else:
        waiting |= document


def wants_json(ctx: click.Context) -> bool:
    """Whether the command line, which no command has read yet, asks for JSON."""
    words = [*getattr(ctx, "_protected_args", ()), *ctx.args]  # click keeps the command's name apart, and its arguments
    return "--json" in (words[: words.index("--")] if "--" in words else words)


@contextmanager
def documents(*, wanted: bool) -> Iterator[None]:
    """Prints what was told, and what goes wrong, at the end of a command.

    Args:
        wanted: whether errors are printed; they are raised in any case.
    """
    waiting: dict[str, Any] = {}
    token = _told.set(waiting)
    try:
        yield
    except (click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if wanted:
            waiting["error"] = error_facts(error) | _usage(error)
        raise
    finally:
        _told.reset(token)
        if waiting:
            click.echo(json.dumps(waiting))


def _usage(error: Exception) -> dict[str, Any]:
    """What click's own errors call otherwise."""
    return {"message": error.format_message()} if isinstance(error, click.ClickException) else {}
