"""The packet's bytes inside the graph: header, body and checksum, written and read.

The layout is `latentwire.runtime.wire.packet`'s; this file is its counterpart in ONNX operators. All bytes travel as
int64 between the parts and become uint8 once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latentwire.export.graph.builder import (
    INT64,
    UINT8,
    Op,
    Value,
    count,
    flat,
    from_little_endian,
    little_endian,
    number,
    table,
    vector,
)
from latentwire.runtime.wire import (
    BYTE_UNITS,
    CHECKSUM_BYTES,
    CODEC_BYTES,
    LANE_ELEMENTS,
    LANE_UNITS,
    LEAST_LANE_BYTES,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_LANES_LOG2,
    MAX_STEPS,
    MOST_LANES,
    PACKET_VERSION,
    PREFIX_BYTES,
    STATE_BYTES,
    WIDTHS,
    Cost,
    Limits,
    Status,
)

READ_AHEAD = MAX_HEADER_BYTES + (STATE_BYTES << MAX_LANES_LOG2)
"""Zeros kept behind the packet while it is parsed: the longest header and states fit, whatever the bytes claim."""


def adler32(op: Op, data: Value) -> Value:
    """Adler-32 (RFC 1950, section 8.2) of bytes int64 [n] as int64 [1], as two sums instead of a loop.

    The sums over 64 bytes each are products with a matrix of small numbers, which are much faster than sums of int64.
    """
    length = op.Shape(data)
    missing = op.Sub(64, op.Mod(length, 64))
    filled = op.Pad(op.Cast(data, to=UINT8), op.Concat(vector(op, [0]), missing, axis=0))
    rows = op.Reshape(filled, vector(op, [-1, 64]))
    columns = table(op, np.stack([np.ones(64), np.arange(64)], 1).astype(np.int8), "checksum")
    sums = op.Cast(op.MatMulInteger(rows, columns), to=INT64)
    each, inside = op.Split(sums, axis=1, num_outputs=2, _outputs=2)
    begins = op.Mul(op.Range(number(op, 0), op.Squeeze(op.Shape(sums, end=1), [0]), number(op, 1)), 64)
    weighted = op.Sub(op.Mul(flat(op, each), op.Sub(length, begins)), flat(op, inside))
    low = op.Mod(op.Add(op.ReduceSum(flat(op, each), [0]), 1), 65521)
    high = op.Mod(op.Add(op.ReduceSum(weighted, [0]), length), 65521)
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
    lengths = op.Add(
        op.Shape(body), vector(op, [PREFIX_BYTES + CHECKSUM_BYTES + width * (dims + 1) for width in WIDTHS])
    )
    largest = op.Max(op.ReduceMax(size, [0]), op.Slice(lengths, [0], [2]))
    width_log2 = op.Squeeze(count(op, op.Greater(largest, vector(op, [255, 65535]))))
    fields = op.Concat(size, op.Gather(lengths, op.Unsqueeze(width_log2, [0])), axis=0)
    width = op.Gather(vector(op, WIDTHS), op.Unsqueeze(width_log2, [0]))
    field_bytes = flat(op, op.Slice(little_endian(op, fields, 4), [0], width, [1]))
    layout = op.Add(op.Add(lanes_log2, op.Mul(width_log2, 16)), 64 * (dims - 1))
    start = vector(op, [*MAGIC, PACKET_VERSION, *codec_id[:CODEC_BYTES]])
    settings = op.Concat(op.Unsqueeze(quality, [0]), op.Unsqueeze(layout, [0]), axis=0)
    unsigned = op.Concat(start, settings, field_bytes, body, axis=0)
    checksum = flat(op, little_endian(op, adler32(op, unsigned), CHECKSUM_BYTES))
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


def beyond(op: Op, size: Value, limits: Limits) -> Value:
    """Whether a size int64 [d] is not within the limits; bool [1]."""
    largest = [max(entry) if isinstance(entry, tuple) else entry for entry in limits.size]
    outside = [op.Or(op.Less(size, 1), op.Greater(size, vector(op, largest)))]
    for axis, entry in enumerate(limits.size):
        if isinstance(entry, tuple):
            length = op.Slice(size, [axis], [axis + 1])
            known = op.ReduceSum(op.Cast(op.Equal(length, vector(op, list(entry))), to=INT64), [0])
            outside.append(op.Equal(known, 0))
    if limits.area is not None:
        # Bounded first, so that the product cannot overflow; a larger length is outside anyway.
        area = op.ReduceProd(op.Min(size, vector(op, largest)), [0])
        outside.append(op.Greater(area, limits.area))
    return op.Greater(op.ReduceSum(op.Cast(op.Concat(*outside, axis=0), to=INT64), [0]), 0)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Claims:
    """What a header says of a packet's body, int64 [1] each; any number may stand there."""

    positions: Value
    quality: Value
    lanes: Value
    behind: Value
    """Bytes between lane states and checksum."""


def excessive(op: Op, cost: Cost, claims: Claims) -> Value:
    """Whether a packet cannot hold what its header claims; bool [1]. The counterpart of `Cost.excess`."""
    lanes, behind = claims.lanes, claims.behind
    positions = op.Min(claims.positions, 1 << 40)  # products stay within int64; no codec has so many
    coded = table(op, np.asarray(cost.coded, np.int64), "certain_elements")
    least = table(op, np.asarray(cost.least, np.int64), "least_bits")
    room = op.Add(op.Mul(lanes, LANE_UNITS), op.Mul(behind, BYTE_UNITS))
    failed = [
        op.Greater(op.Mul(positions, op.Gather(coded, claims.quality)), op.Mul(lanes, MAX_STEPS)),
        op.Greater(op.Mul(positions, op.Gather(least, claims.quality)), room),
        op.And(op.Less(lanes, MOST_LANES), op.Greater(behind, op.Mul(lanes, cost.lane_bytes))),
    ]
    if cost.elements is not None:
        few = op.LessOrEqual(op.Mul(positions, cost.elements), op.Mul(lanes, LANE_ELEMENTS))
        failed.append(op.And(few, op.Less(behind, op.Mul(op.Sub(lanes, 1), LEAST_LANE_BYTES))))
    return op.Greater(op.ReduceSum(op.Cast(op.Concat(*failed, axis=0), to=INT64), [0]), 0)  # type: ignore[no-any-return]


def read_packet(
    op: Op, codec_id: bytes, limits: Limits, cost: Cost, positions: Callable[[Value], Value], packet: Value
) -> Parsed:
    """Parse and check everything that can be checked before decoding, in the order of `check_packet` in the runtime.

    Args:
        op: op builder.
        codec_id: the decoder's own id.
        limits: what is accepted.
        cost: what packets of this codec take.
        positions: makes the number of positions, int64 [1], of a size int64 [d] that is not beyond the limits.
        packet: uint8 [n], any bytes.
    """
    dims = len(limits.size)
    received = op.Cast(packet, to=INT64)
    total = op.Shape(received)
    padded = op.Pad(received, vector(op, [0, READ_AHEAD]), number(op, 0))
    layout = op.Slice(padded, [8], [9])
    lanes_log2 = op.BitwiseAnd(layout, 15)
    width_log2 = op.BitwiseAnd(op.Div(layout, 16), 3)
    claimed_dims = op.Add(op.Div(layout, 64), 1)
    width = op.Gather(vector(op, [*WIDTHS, 1]), width_log2)
    places = op.Add(op.Mul(vector(op, list(range(MAX_DIMENSIONS + 1))), width), PREFIX_BYTES)
    used = op.Cast(op.Less(vector(op, [0, 1, 2, 3]), width), to=INT64)
    raw = op.Mul(op.Gather(padded, op.Add(op.Unsqueeze(places, [1]), vector(op, [0, 1, 2, 3]))), used)
    numbers = from_little_endian(op, op.Reshape(raw, [MAX_DIMENSIONS + 1, 4]))
    fields = op.Slice(numbers, [0], op.Add(claimed_dims, 1))
    size, length = op.Slice(numbers, [0], [dims]), op.Slice(fields, [-1], [1 << 31])
    needed = count(op, op.Greater(op.ReduceMax(fields, [0]), vector(op, [255, 65535])))
    claimed_lanes = op.Gather(vector(op, [1 << min(k, MAX_LANES_LOG2) for k in range(16)]), lanes_log2)
    states_at = op.Add(op.Mul(width, op.Add(claimed_dims, 1)), PREFIX_BYTES)
    body_at = op.Add(op.Mul(claimed_lanes, STATE_BYTES), states_at)
    signed_to = op.Sub(total, CHECKSUM_BYTES)
    sent = from_little_endian(op, op.Reshape(op.Slice(op.Pad(received, [4, 0], 0), [-4], [1 << 31]), [1, 4]))
    checksum_is_bad = op.Not(op.Equal(adler32(op, op.Slice(received, [0], op.Max(signed_to, 0))), sent))
    quality = op.Slice(padded, [7], [8])
    largest = vector(op, [max(entry) if isinstance(entry, tuple) else entry for entry in limits.size])
    behind = op.Sub(op.Sub(length, body_at), CHECKSUM_BYTES)
    claims = Claims(positions(op.Min(size, largest)), quality, claimed_lanes, behind)
    checks = [
        (op.Less(total, PREFIX_BYTES), Status.TRUNCATED),
        (differs(op, op.Slice(padded, [0], [2]), MAGIC), Status.MAGIC),
        (differs(op, op.Slice(padded, [2], [3]), bytes([PACKET_VERSION])), Status.VERSION),
        (op.Or(op.Greater(lanes_log2, MAX_LANES_LOG2), op.Equal(width_log2, 3)), Status.LAYOUT),
        (op.Less(total, states_at), Status.TRUNCATED),
        (op.Less(length, op.Add(body_at, CHECKSUM_BYTES)), Status.LAYOUT),
        (op.Not(op.Equal(width_log2, needed)), Status.LAYOUT),
        (differs(op, op.Slice(padded, [3], [7]), codec_id[:CODEC_BYTES]), Status.CODEC),
        (op.Not(op.Equal(claimed_dims, dims)), Status.LAYOUT),
        (op.Less(total, length), Status.TRUNCATED),
        (op.Greater(total, length), Status.TRAILING),
        (checksum_is_bad, Status.CHECKSUM),
        (beyond(op, size, limits), Status.LIMIT),
        (excessive(op, cost, claims), Status.LIMIT),
    ]
    status = first_failure(op, checks)
    good = op.Cast(op.Equal(status, int(Status.OK)), to=INT64)
    lanes = op.Add(op.Mul(op.Sub(claimed_lanes, 1), good), 1)
    state_bytes = op.Slice(padded, states_at, op.Add(states_at, op.Mul(lanes, 4)))
    return Parsed(
        status=status,
        quality=op.Squeeze(quality, [0]),
        size=op.Mul(size, good),
        lanes=op.Squeeze(lanes, [0]),
        states=from_little_endian(op, op.Reshape(state_bytes, [-1, 4])),
        body=op.Slice(received, op.Mul(body_at, good), op.Mul(op.Max(signed_to, 0), good)),
    )
