"""Command-line options that are read off settings classes: one for each field, its type and its help from the class.

A new setting is thereby an option too. Only click and the standard library are imported here.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FLAGS = {"tradeoff": "--lambda", "penalty": "--critic-penalty"}
"""Options that are not called like their field: `lambda` is a word of Python's, and one `penalty` says too little."""


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, as a tuple; `count` of them, or any number where it is None."""

    def __init__(self, kind: type[int] | type[float], count: int | None = None) -> None:
        """Takes the type of the numbers."""
        self.kind = kind
        self.count = count
        self.name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The tuple; an empty text is an empty tuple."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in value.split(",")) if value else ()
        except ValueError:
            self.fail(f"expected numbers with commas between them, found {value!r}", param, ctx)
        if self.count is not None and len(numbers) != self.count:
            self.fail(f"expected {self.count} numbers with a comma between them, found {value!r}", param, ctx)
        return numbers


PAIR = Numbers(float, 2)


def settings_options(kind: type, label: str = "") -> Callable[[Command], Command]:
    """A decorator that adds an option for each field of a settings class; its value is None unless given.

    Args:
        kind: the dataclass; its docstring's `Attributes:` are the options' help.
        label: what stands in front of each help text.
    """
    hints, helps = get_type_hints(kind), attribute_docs(kind)

    def decorate(command: Command) -> Command:
        for field in reversed(fields(kind)):
            flag = FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
            text = (f"{label}: " if label else "") + helps[field.name]
            option = click.option(flag, field.name, type=option_type(hints[field.name]), default=None, help=text)
            command = option(command)
        return command

    return decorate


def given(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a settings class that the user gave as options."""
    return {field.name: values[field.name] for field in fields(kind) if values[field.name] is not None}


def option_type(hint: Any) -> Any:
    """The option's type for a field's annotation: a number, a choice of words, or numbers with commas between them."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return option_type(next(part for part in parts if part is not types.NoneType))
    if origin is Literal:
        return click.Choice(parts)
    if origin is tuple:
        return Numbers(parts[0], None if parts[-1] is Ellipsis else len(parts))
    return hint


def attribute_docs(kind: type) -> dict[str, str]:
    """The first clause of what a class's docstring says of each of its attributes."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section, re.MULTILINE)
    return {name: _sentence(" ".join(text.split())) for name, text in entries}


def _sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence, with a capital at the start."""
    first = re.split(r"(?<=[^.])\.(?:\s|$)", text.replace("`", ""), maxsplit=1)[0]
    return f"{first[0].upper()}{first[1:]}."
