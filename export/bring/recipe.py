"""A recipe: the options of one command line in a TOML file, under their own names.

    kind = "torch"                 # or onnx: the command
    model = "networks:autoencoder"
    weights = "w.safetensors"      # paths are relative to the recipe
    data = "items.npy"
    range = [-1, 1]
    precision = ["fp32", "int8"]
    arg = { width = 32 }           # of the factory
    out = "codec"

What the command line says too is taken from there. The effective options go into the bundle's manifest, as
`provenance.training.import`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from latentwire.export.bring.errors import RecipeError

KIND = "kind"
FOLDER = "latentwire.import.folder"
"""Where a command's context keeps the recipe's folder."""
_NOT_TOLD = ("recipe", "check", "as_json", "overwrite", "out")
"""Options that say nothing of the codec."""


def read_recipe(path: Path) -> dict[str, Any]:
    """The table of a recipe.

    Raises:
        RecipeError: no such file, not TOML, or without the kind.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: expected a recipe, a TOML file, found none that can be read: {error}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: expected TOML, found {error}") from error
    if not isinstance(table.get(KIND), str):
        raise RecipeError(f'{path}: expected the kind of import, such as kind = "torch", found {table.get(KIND)!r}')
    return table


def kind_of(path: Path, kinds: list[str]) -> str:
    """The command that a recipe is for.

    Raises:
        RecipeError: there is no such command.
    """
    kind: str = read_recipe(path)[KIND]
    if kind not in kinds:
        raise RecipeError(f"{path}: expected a kind of {', '.join(kinds)}, found {kind!r}")
    return kind


def take_recipe(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """What the recipe says becomes what the command's options are where the command line says nothing.

    Raises:
        RecipeError: the recipe is of another command, or has a key that no option of this one has.
    """
    if path is None:
        return None
    table = read_recipe(path)
    if table.pop(KIND) != context.info_name:
        raise RecipeError(f"{path}: expected a recipe of kind {context.info_name!r}, found another: leave out the kind")
    by_key = {key_of(parameter): parameter for parameter in context.command.params if key_of(parameter) != "recipe"}
    unknown = [key for key in table if key not in by_key]
    if unknown:
        raise RecipeError(f"{path}: expected keys of {', '.join(sorted(by_key))}, found {', '.join(unknown)}")
    told = {by_key[key].name: _told(by_key[key], value, path.parent) for key, value in table.items()}
    context.default_map = {**(context.default_map or {}), **told}
    context.meta[FOLDER] = path.parent
    return path


def key_of(parameter: click.Parameter) -> str:
    """What a parameter is called in a recipe: as on the command line, without dashes before it."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name)
    return max(parameter.opts, key=len).lstrip("-")


def _told(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """A value as the option's type takes it; paths relative to where the command runs."""
    if isinstance(parameter.type, click.Path):
        if not isinstance(value, str):
            raise RecipeError(f"{key_of(parameter)}: expected a path, found {value!r}")
        return os.path.join(folder, value)
    if isinstance(parameter, click.Option) and parameter.multiple:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key_of(parameter)}: expected a table, found {value!r}")
        return [f"{name}={json.dumps(entry)}" for name, entry in value.items()]
    return value


def effective(context: click.Context) -> dict[str, Any]:
    """The options of a command that is running, as a recipe has them; those at their defaults are left out."""
    found: dict[str, Any] = {KIND: context.info_name}
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in _NOT_TOLD or source in (None, click.core.ParameterSource.DEFAULT):
            continue
        found[key_of(parameter)] = _plain(context.params[name], context.meta.get(FOLDER, Path()))
    return found


def _plain(value: Any, folder: Path) -> Any:
    """JSON of a value. A path elsewhere is told by its name: where folders lie on a machine is nobody's concern."""
    if isinstance(value, Path):
        full, base = value.resolve(), folder.resolve()
        return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.name
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, folder) for key, entry in value.items()}
    return [_plain(entry, folder) for entry in value] if isinstance(value, tuple | list) else value
