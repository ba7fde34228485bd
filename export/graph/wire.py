"""The packet's bytes inside the graph: header, body and checksum, written and read.

The layout is `latentwire.runtime.packet`'s; this file is its counterpart in ONNX operators. All bytes travel as int64
between the parts and become uint8 once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentwire.runtime.packet import MAGIC, PACKET_VERSION, Status

from .builder import INT64, UINT8, Op, Value, count, flat, from_little_endian, little_endian, number, vector
from .rans import MAX_LANES_LOG2, MAX_STEPS, steps_for

PREFIX = 9
"""Magic, version, codec id, quality and layout byte: the header's part of fixed size."""
CHECKSUM = 4
WIDTHS = [1, 2, 4]
READ_AHEAD = PREFIX + 4 * 5 + (4 << MAX_LANES_LOG2)
"""Zeros kept behind the packet while it is parsed: the longest header and states fit, whatever the bytes claim."""


def adler32(op: Op, data: Value) -> Value:
    """Adler-32 (RFC 1950, section 8.2) of bytes int64 [n] as int64 [1], as two sums instead of a loop."""
    length = op.Shape(data)
    weights = op.Range(op.Squeeze(length, [0]), 0, -1)
    low = op.Mod(op.Add(op.ReduceSum(data, [0]), 1), 65521)
    high = op.Mod(op.Add(op.ReduceSum(op.Mul(data, weights), [0]), length), 65521)
    return op.Add(op.Mul(high, 65536), low)  # type: ignore[no-any-return]


def write_packet(
    op: Op, codec_id: bytes, dims: int, quality: Value, size: Value, lanes_log2: Value, body: Value
) -> Value:
    """Put header and checksum around ``body``.

    Args:
        op: op builder.
        codec_id: the codec's SHA-256; its first four bytes are sent.
        dims: number of entries of ``size``.
        quality: int64 scalar.
        size: int64 [dims].
        lanes_log2: int64 scalar.
        body: lane states, words and escapes as bytes int64 [n].

    Returns:
        uint8 [m].
    """
    lengths = op.Add(op.Shape(body), vector(op, [PREFIX + CHECKSUM + width * (dims + 1) for width in WIDTHS]))
    largest = op.Max(op.ReduceMax(size, [0]), op.Slice(lengths, [0], [2]))
    width_log2 = op.Squeeze(count(op, op.Greater(largest, vector(op, [255, 65535]))))
    fields = op.Concat(size, op.Gather(lengths, op.Unsqueeze(width_log2, [0])), axis=0)
    width = op.Gather(vector(op, WIDTHS), op.Unsqueeze(width_log2, [0]))
    field_bytes = flat(op, op.Slice(little_endian(op, fields, 4), [0], width, [1]))
    layout = op.Add(op.Add(lanes_log2, op.Mul(width_log2, 16)), 64 * (dims - 1))
    start = vector(op, [*MAGIC, PACKET_VERSION, *codec_id[:4]])
    settings = op.Concat(op.Unsqueeze(quality, [0]), op.Unsqueeze(layout, [0]), axis=0)
    unsigned = op.Concat(start, settings, field_bytes, body, axis=0)
    checksum = flat(op, little_endian(op, adler32(op, unsigned), CHECKSUM))
    return op.Cast(op.Concat(unsigned, checksum, axis=0), to=UINT8)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Parsed:
    """What the header says, safe to use: where ``status`` is not OK, ``size`` is all zero and there is one lane."""

    status: Value
    """int64 [1], a `Status`."""
    quality: Value
    """int64 scalar, 0..255."""
    size: Value
    """int64 [dims]."""
    lanes: Value
    """int64 scalar."""
    states: Value
    """int64 [lanes]."""
    body: Value
    """Bytes of words and escapes, int64 [n]."""


def first_failure(op: Op, checks: list[tuple[Value, Status]]) -> Value:
    """The status of the first check whose flag (bool [1]) is set, or OK; int64 [1]."""
    failed = op.Cast(op.Concat(*[flag for flag, _ in checks], axis=0), to=INT64)
    first = op.ArgMax(failed, axis=0, keepdims=1)
    return op.Mul(op.Gather(vector(op, [int(status) for _, status in checks]), first), op.Gather(failed, first))  # type: ignore[no-any-return]


def differs(op: Op, found: Value, wanted: bytes) -> Value:
    """Whether bytes int64 [k] are not ``wanted``; bool [1]."""
    return op.Greater(op.ReduceSum(op.Abs(op.Sub(found, vector(op, list(wanted)))), [0]), 0)  # type: ignore[no-any-return]


def read_packet(op: Op, codec_id: bytes, limits: tuple[int, ...], packet: Value) -> Parsed:
    """Parse and check everything that can be checked before decoding.

    Args:
        op: op builder.
        codec_id: the decoder's own id.
        limits: largest accepted value of each dimension.
        packet: uint8 [n], any bytes.
    """
    dims = len(limits)
    received = op.Cast(packet, to=INT64)
    total = op.Shape(received)
    padded = op.Pad(received, vector(op, [0, READ_AHEAD]), number(op, 0))
    layout = op.Slice(padded, [8], [9])
    width_log2 = op.BitwiseAnd(op.Div(layout, 16), 3)
    width = op.Gather(vector(op, [*WIDTHS, 1]), width_log2)
    places = op.Add(op.Mul(op.Unsqueeze(vector(op, list(range(dims + 1))), [1]), width), vector(op, [0, 1, 2, 3]))
    used = op.Cast(op.Less(vector(op, [0, 1, 2, 3]), width), to=INT64)
    raw = op.Mul(op.Gather(padded, op.Add(places, PREFIX)), used)
    fields = from_little_endian(op, op.Reshape(raw, [dims + 1, 4]))
    size, length = op.Slice(fields, [0], [dims]), op.Slice(fields, [dims], [dims + 1])
    lanes_log2 = op.BitwiseAnd(layout, 15)
    claimed_lanes = op.Gather(vector(op, [1 << min(k, MAX_LANES_LOG2) for k in range(16)]), lanes_log2)
    states_at = op.Add(op.Mul(width, dims + 1), PREFIX)
    body_at = op.Add(op.Mul(claimed_lanes, 4), states_at)
    shape_is_bad = op.Or(
        op.Or(op.Equal(width_log2, 3), op.Not(op.Equal(op.Div(layout, 64), dims - 1))),
        op.Or(op.Greater(lanes_log2, MAX_LANES_LOG2), op.Less(length, op.Add(body_at, CHECKSUM))),
    )
    signed_to = op.Sub(total, CHECKSUM)
    sent = from_little_endian(op, op.Reshape(op.Slice(op.Pad(received, [4, 0], 0), op.Neg([4]), [1 << 31]), [1, 4]))
    checksum_is_bad = op.Not(op.Equal(adler32(op, op.Slice(received, [0], op.Max(signed_to, 0))), sent))
    outside = op.Or(op.Less(size, 1), op.Greater(size, vector(op, list(limits))))
    checks = [
        (op.Less(total, PREFIX), Status.TRUNCATED),
        (differs(op, op.Slice(padded, [0], [2]), MAGIC), Status.MAGIC),
        (differs(op, op.Slice(padded, [2], [3]), bytes([PACKET_VERSION])), Status.VERSION),
        (differs(op, op.Slice(padded, [3], [7]), codec_id[:4]), Status.CODEC),
        (shape_is_bad, Status.LAYOUT),
        (op.Less(total, length), Status.TRUNCATED),
        (op.Greater(total, length), Status.TRAILING),
        (checksum_is_bad, Status.CHECKSUM),
        (op.Greater(op.ReduceSum(op.Cast(outside, to=INT64), [0]), 0), Status.LIMIT),
    ]
    status = first_failure(op, checks)
    good = op.Cast(op.Equal(status, int(Status.OK)), to=INT64)
    lanes = op.Add(op.Mul(op.Sub(claimed_lanes, 1), good), 1)
    state_bytes = op.Slice(padded, states_at, op.Add(states_at, op.Mul(lanes, 4)))
    return Parsed(
        status=status,
        quality=op.Squeeze(op.Slice(padded, [7], [8]), [0]),
        size=op.Mul(size, good),
        lanes=op.Squeeze(lanes, [0]),
        states=from_little_endian(op, op.Reshape(state_bytes, [-1, 4])),
        body=op.Slice(received, op.Mul(body_at, good), op.Mul(op.Max(signed_to, 0), good)),
    )


def too_many_steps(op: Op, coded: Value, lanes: Value) -> Value:
    """Whether decoding would take more than `MAX_STEPS` sequential steps; bool [1]."""
    return op.Unsqueeze(op.Greater(steps_for(op, coded, lanes), MAX_STEPS), [0])  # type: ignore[no-any-return]
