"""What travels beside a packet: which device sent it, its place in the order, when its items were taken, and notes.

The same fields go as HTTP headers (`Latentwire-Device: gate-3`) and as MQTT 5 user properties (`device`, `gate-3`). The
packet stays as it is: an envelope can be added and dropped on the way, and nothing of it selects how a packet is read.

    device      name of the sender, 1..64 of A-Z a-z 0-9 . _ -, the first one a letter or digit
    spool       128 random bits as 32 hexadecimal digits, drawn when the sender's spool is made: a device that lost its
                spool counts from 0 again, and must not be taken for the one before
    sequence    0..2^63 - 1, counts the packets of a spool
    times       when each item was taken, milliseconds since 1970-01-01 UTC: the first one, then differences, commas
                between them; may be left out
    notes       JSON array of the items' notes, each an object or null; may be left out
    seal        name of the key that the packet is sealed with; left out where it is not sealed

(device, spool, sequence) names a packet for good: a server that has accepted it accepts it no second time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from latentwire.runtime.errors import EnvelopeError, ManifestError
from latentwire.runtime.strictjson import parse

HEADER = "Latentwire-"
"""What a field's name begins with where it is an HTTP header."""
MAX_FIELD = 1 << 14
"""Bytes of one field."""
MAX_SEQUENCE = (1 << 63) - 1
MAX_TIME = 1 << 53
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPOOL = re.compile(r"[0-9a-f]{32}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_DIFFERENCE = re.compile(r"0|-?[1-9][0-9]{0,15}")

Notes = Mapping[str, Any] | None
"""What the sender's program says of one item: a JSON object."""


@dataclass(frozen=True)
class Envelope:
    """What travels beside one packet; the fields are described at the top of this file.

    Raises:
        EnvelopeError: a field is not what it should be.
    """

    device: str
    spool: str
    sequence: int
    times: tuple[int, ...] = ()
    notes: tuple[Notes, ...] = ()
    seal: str | None = None

    def __post_init__(self) -> None:
        _require(_NAME.fullmatch(self.device), "device", "1..64 of A-Z a-z 0-9 . _ -", self.device)
        _require(_SPOOL.fullmatch(self.spool), "spool", "32 hexadecimal digits", self.spool)
        _require(0 <= self.sequence <= MAX_SEQUENCE, "sequence", "0..2^63 - 1", self.sequence)
        for time in self.times:
            _require(0 <= time <= MAX_TIME, "times", "milliseconds from 0 to 2^53", time)
        _require(self.seal is None or _NAME.fullmatch(self.seal), "seal", "1..64 of A-Z a-z 0-9 . _ -", self.seal)
        for name, value in self.to_fields().items():
            _require(len(value) <= MAX_FIELD, name, f"at most {MAX_FIELD} bytes", f"{len(value)} bytes")

    @property
    def id(self) -> str:
        """The packet's name for good, safe as the name of a file."""
        return f"{self.device}.{self.spool}.{self.sequence}"

    def to_fields(self) -> dict[str, str]:
        """The fields as ASCII text, those left out missing."""
        found = {"device": self.device, "spool": self.spool, "sequence": str(self.sequence)}
        if self.times:
            steps = [self.times[0], *(after - before for before, after in pairwise(self.times))]
            found["times"] = ",".join(map(str, steps))
        if any(note is not None for note in self.notes):
            found["notes"] = _dumped(self.notes)
        if self.seal is not None:
            found["seal"] = self.seal
        return found

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Envelope:
        """The inverse of `to_fields`; names that are not fields are passed over.

        Raises:
            EnvelopeError: a field is missing or not what it should be.
        """
        for name, value in fields.items():
            _require(len(value) <= MAX_FIELD, name, f"at most {MAX_FIELD} bytes", f"{len(value)} bytes")
        return cls(
            device=_text(fields, "device"),
            spool=_text(fields, "spool"),
            sequence=_whole(_text(fields, "sequence")),
            times=_times(fields.get("times")),
            notes=_notes(fields.get("notes")),
            seal=fields.get("seal"),
        )

    def to_headers(self) -> dict[str, str]:
        """The fields as HTTP headers."""
        return {HEADER + name.title(): value for name, value in self.to_fields().items()}

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Envelope:
        """The inverse of `to_headers`, for header names in any case.

        Raises:
            EnvelopeError: as in `from_fields`.
        """
        prefix = HEADER.lower()
        found = {name.lower(): value for name, value in headers.items()}
        return cls.from_fields({name[len(prefix) :]: found[name] for name in found if name.startswith(prefix)})


def _require(held: object, name: str, expected: str, found: object) -> None:
    if not held:
        raise EnvelopeError(f"{name}: expected {expected}, found {str(found)[:80]!r}")


def _text(fields: Mapping[str, str], name: str) -> str:
    _require(name in fields, name, "this field beside the packet", "none")
    return fields[name]


def _whole(text: str) -> int:
    _require(_DECIMAL.fullmatch(text), "sequence", "0..2^63 - 1", text)
    return int(text)


def _times(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    steps = text.split(",")
    for step in steps:
        _require(_DIFFERENCE.fullmatch(step), "times", "whole numbers with commas between them", text)
    return tuple(accumulate(map(int, steps)))


def _notes(text: str | None) -> tuple[Notes, ...]:
    if text is None:
        return ()
    try:
        found = parse(text, "notes")
    except ManifestError as fault:
        raise EnvelopeError(f"notes: expected a JSON array, found {text[:80]!r}: {fault}") from fault
    if not isinstance(found, list) or not all(note is None or isinstance(note, dict) for note in found):
        raise EnvelopeError(f"notes: expected a JSON array of objects and nulls, found {text[:80]!r}")
    return tuple(found)


def _dumped(notes: Sequence[Notes]) -> str:
    try:
        return json.dumps(list(notes), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as fault:
        raise EnvelopeError(f"notes: expected what JSON can hold, found {str(notes)[:80]}: {fault}") from fault
