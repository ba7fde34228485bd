"""``package.module:factory``: imported from a folder or an installed package, and called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.export.bring.errors import FactoryError

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def importable(folders: Sequence[Path]) -> Iterator[None]:
    """Modules in these folders can be imported while the block runs, those of the first first."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
    try:
        yield
    finally:
        sys.path[:] = before


def make_model(named: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model that a factory makes, in evaluation mode.

    Args:
        named: ``package.module:name``; the name is of a function or class, which is called, or of a model. It may have
            dots in it.
        arguments: of the call, by name.

    Returns:
        A module; a pair of modules that a factory returns becomes one with ``encoder`` and ``decoder``.

    Raises:
        FactoryError: there is no such module or name, its code fails, or it makes no torch module.
    """
    from torch import nn

    made = found = _attribute(named)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise FactoryError(f"{named}: expected a function, a class or a torch module, found {_kind(found)}")
        made = _called(named, found, arguments)
    elif arguments:
        raise FactoryError(f"{named}: expected a function or class to hand arguments to, found a model")
    if isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(half, nn.Module) for half in made):
        made = nn.ModuleDict({"encoder": made[0], "decoder": made[1]})
    if not isinstance(made, nn.Module):
        raise FactoryError(
            f"{named}: expected it to return a torch module, or a pair (encoder, decoder) of such, found {_kind(made)}"
        )
    return made.eval()


def _attribute(named: str) -> Any:
    module, mark, name = named.partition(":")
    if not (mark and module and name):
        raise FactoryError(f"expected package.module:factory, found {named!r}: put a colon before the factory's name")
    found: Any = _imported(named, module)
    for part in name.split("."):
        if not hasattr(found, part):
            there = ", ".join(key for key in getattr(found, "__dict__", {}) if not key.startswith("_"))
            raise FactoryError(f"{named}: expected {part!r} in {module}, found none; there are {there or 'no names'}")
        found = getattr(found, part)
    return found


def _imported(named: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever the module's own code raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise FactoryError(
                f"{named}: expected a module {missing} in {Path.cwd()} or installed here, found none: change to its "
                "folder, or install its package"
            ) from error
        raise FactoryError(f"{named}: importing {module} failed: {_said(error)}") from error


def _called(named: str, factory: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return factory(**arguments)
    except Exception as error:  # whatever the factory's own code raises
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        hint = "; give its arguments as --arg name=value" if isinstance(error, TypeError) else ""
        raise FactoryError(f"{named}: calling it with ({given}) failed: {_said(error)}{hint}") from error


def _said(error: BaseException) -> str:
    """The error, and the line of code that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{place}"


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
