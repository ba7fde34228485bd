"""Settings as frozen dataclasses, and their strict way to JSON and back.

A run folder stores every setting, so that `--resume` and a later reader know exactly what was trained. Reading is
strict: an unknown or a missing key is an error, because a setting that is silently ignored is a wrong experiment.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

from latentwire.train.errors import SettingsError

Settings = TypeVar("Settings", bound="DataclassInstance")
Arithmetic = Literal["float32", "bfloat16"]


def require_same(own: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises SettingsError where a setting that was asked for, {name: value}, is not the run's own."""
    for name, value in asked.items():
        if name not in own or own[name] != value:
            raise SettingsError(
                f"a run is resumed with the settings it was started with: {name} is {own.get(name)}, asked for "
                f"{value}; leave the option away, or start a new run"
            )


def to_json(settings: Any) -> dict[str, Any]:
    """The settings as a JSON object: tuples become lists, all else is already JSON."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def from_json(kind: type[Settings], document: object, where: str) -> Settings:
    """Settings of the class `kind` out of a JSON object.

    Raises SettingsError naming `where` for anything but an object with exactly the fields of `kind`, each of its type.
    """
    if not isinstance(document, Mapping):
        raise SettingsError(f"{where} must be a JSON object, found {type(document).__name__}")
    types_by_name = get_type_hints(kind)
    hints = {field.name: types_by_name[field.name] for field in dataclasses.fields(kind)}
    wrong = sorted(hints.keys() ^ document.keys())
    if wrong:
        raise SettingsError(f"{where} must have the keys {', '.join(hints)}; missing or unknown: {', '.join(wrong)}")
    return kind(**{name: _typed(hint, document[name], f"{where}.{name}") for name, hint in hints.items()})


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` asks for: int, float, str, a Literal, a tuple or one of these or None."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return (
            None if value is None else _typed(next(part for part in parts if part is not types.NoneType), value, where)
        )
    if origin is Literal and value in parts:
        return value
    if origin is tuple and isinstance(value, list):
        hints = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(hints) == len(value):
            return tuple(_typed(part, item, where) for part, item in zip(hints, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise SettingsError(f"{where} must be {getattr(hint, '__name__', hint)}, found {value!r}")


def change(settings: Any, changes: Mapping[str, Any]) -> Any:
    """The settings with some fields replaced; raises SettingsError for fields that they do not have."""
    unknown = changes.keys() - to_json(settings).keys()
    if unknown:
        owner = getattr(settings, "name", type(settings).__name__)
        raise SettingsError(
            f"{owner} has no setting {', '.join(sorted(unknown))}; it has {', '.join(to_json(settings)) or 'none'}"
        )
    return dataclasses.replace(settings, **changes)
