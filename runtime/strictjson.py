"""Dataclasses as JSON, and JSON read strictly: each key of the schema, no other, of its type; errors say where.

Manifests and ONNX metadata come from files that somebody may have edited; a typing mistake must be an error with a
place, not a default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from dataclasses import fields as fields_of
from typing import Any, ClassVar, TypeVar

from latentwire.runtime.errors import ManifestError

T = TypeVar("T")
R = TypeVar("R", bound="Record")


def parse(data: bytes | str, where: str) -> object:
    """The JSON value in ``data``; duplicate keys, NaN and infinities are errors.

    Raises:
        ManifestError: names ``where`` and what is wrong.
    """
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        raise ManifestError(f"{where}: expected JSON, found {type(fault).__name__}: {fault}") from fault


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key twice among {', '.join(key for key, _ in pairs)}")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


class Fields:
    """The members of one JSON object, taken one by one; `done` refuses whatever was not taken."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ManifestError(f"{where}: expected an object, found {_kind(value)}")
        self._left: dict[str, object] = dict(value)
        self.where = where

    def __contains__(self, key: str) -> bool:
        """Whether a member of that name is still to be taken."""
        return key in self._left

    def take(self, key: str) -> object:
        """The member of that name.

        Raises:
            ManifestError: there is none.
        """
        if key not in self._left:
            raise ManifestError(f"{self.where}: expected a key {key!r}, found none")
        return self._left.pop(key)

    def fail(self, key: str, expected: str, found: object) -> ManifestError:
        """The error of a member that is not what it should be."""
        return ManifestError(f"{self.where}.{key}: expected {expected}, found {_kind(found)}")

    def text(self, key: str, *, within: tuple[str, ...] = ()) -> str:
        """A string, one of ``within`` where that is not empty."""
        value = self.take(key)
        if not isinstance(value, str) or not value or (within and value not in within):
            raise self.fail(key, f"one of {', '.join(within)}" if within else "text that is not empty", value)
        return value

    def digest(self, key: str) -> str:
        """A SHA-256 as 64 lowercase hexadecimal digits."""
        value = self.take(key)
        if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise self.fail(key, "64 lowercase hexadecimal digits", value)
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return self._integer(key, self.take(key), low, high)

    def _integer(self, key: str, value: object, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"an integer in [{low}, {high}]", value)
        return value

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """An array of one or more integers in [low, high]."""
        values = self.array(key, lambda value, where: self._integer(where.rpartition(".")[2], value, low, high))
        if not values:
            raise self.fail(key, "one or more integers", [])
        return values

    def array(self, key: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
        """An array whose members ``read`` turns into values; it is given each member and its place."""
        value = self.take(key)
        if not isinstance(value, list):
            raise self.fail(key, "an array", value)
        return tuple(read(member, f"{self.where}.{key}[{place}]") for place, member in enumerate(value))

    def child(self, key: str, read: Callable[[object, str], T]) -> T:
        """A member that ``read`` turns into a value."""
        return read(self.take(key), f"{self.where}.{key}")

    def free(self, key: str) -> Mapping[str, Any]:
        """An object of any content."""
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.fail(key, "an object", value)
        return value

    def done(self) -> None:
        """All members have been taken.

        Raises:
            ManifestError: some have not.
        """
        if self._left:
            raise ManifestError(f"{self.where}: expected no other keys, found {', '.join(sorted(self._left))}")


@dataclass(frozen=True)
class Facts:
    """A frozen dataclass that programs can have as JSON: an object with a member for each field, in their order."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, tuples as lists; a mapping among the fields is JSON already."""
        return _members(self)


@dataclass(frozen=True)
class Record(Facts):
    """Facts that are read back: `take` says what is wanted of each member; what is left over is refused here."""

    PLACE: ClassVar[str] = "record"
    """What errors call it where nobody says where it comes from."""

    @classmethod
    def take(cls: type[R], fields: Fields) -> R:
        """Take its members out of an object.

        Raises:
            ManifestError: one is missing or wrong.
        """
        raise NotImplementedError

    @classmethod
    def from_json(cls: type[R], value: object, where: str | None = None) -> R:
        """The inverse of `to_json`.

        Raises:
            ManifestError: the value does not follow the schema.
        """
        return whole(value, cls.PLACE if where is None else where, cls.take)


def whole(value: object, where: str, take: Callable[[Fields], T]) -> T:
    """What ``take`` makes of an object's members.

    Raises:
        ManifestError: ``value`` is no object, ``take`` refuses a member, or leaves one.
    """
    fields = Fields(value, where)
    result = take(fields)
    fields.done()
    return result


def _members(value: Any) -> dict[str, Any]:
    return {entry.name: _plain(getattr(value, entry.name)) for entry in fields_of(value)}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    if isinstance(value, Facts):
        return value.to_json()
    return _members(value) if is_dataclass(value) else value


def _kind(value: object) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
