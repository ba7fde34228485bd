"""The integer piece of the encoder: indices to a packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from latentwire.export.graph import (
    COST_UNITS,
    INT64,
    TOTAL,
    Op,
    Value,
    build_pack_piece,
    code_lengths,
    flat,
    little_endian,
    rans,
    table,
    tap,
    vector,
    wire,
)
from latentwire.export.indices.layout import Indexed
from latentwire.export.indices.model import Model
from latentwire.export.indices.tables import IndexTables, Whole
from latentwire.runtime.wire import MAX_LANES_LOG2

BYTES_PER_LANE = 400
"""What each lane but the first must have to code, as for items of a static model."""
START_AT, COST_AT, RARE_AT = 1 << 16, 1 << 32, 1 << 48
"""Where an interval's start, its code length and whether the index is rare begin in what is looked up."""
BEYOND = 1 << 40
"""Stands for an index that its codebook does not have; beyond the end of every table."""


def build_pack(layout: Indexed, tables: IndexTables, codec_id: bytes) -> onnx.ModelProto:
    """Indices as float32 [N, R, P...], quality uint8 [], size int64 [1] -> packet uint8 [n].

    An index that is not of its plane's codebook makes a look-up fail: ONNX Runtime ends the run with an error.
    """

    def trace(op: Op, latent: Value, quality: Value, size: Value) -> Sequence[Value]:
        level = op.Cast(quality, to=INT64)
        model = Model(op, tables, level)
        indices = op.Reshape(op.Cast(latent, to=INT64), vector(op, [-1, tables.sites]))
        tell(op, model, indices)
        ordered = op.Gather(indices, table(op, tables.order, "order"), axis=1)
        writer = Writer(op, model, checked(op, tables, ordered))
        coded = [writer.stage(number) for number in range(len(tables.stages))]
        parts = [part.packed for part in coded] + writer.rare(coded)
        return [write(op, codec_id, parts, level, size)]

    return build_pack_piece(trace, layout.latent_shape, 1)


def tell(op: Op, model: Model, indices: Value) -> None:
    """Name what is sent, as the unpack piece gives it: -1 where a plane is not."""
    sent = flat(op, op.Where(model.are_sent(), indices, -1))
    sent.name = f"{tap.SENT}0"
    op.GreaterOrEqual(sent, -1).name = f"{tap.CODED}0"


def checked(op: Op, tables: IndexTables, ordered: Value) -> Value:
    """Places int64 [N, T] of indices [N, T] in arrays of the codewords of all planes."""
    planes = tables.order // tables.positions
    sizes = np.asarray([alphabet.size for alphabet in tables.alphabets], np.int64)
    fits = op.And(op.GreaterOrEqual(ordered, 0), op.Less(ordered, table(op, sizes[planes], "sizes")))
    places = op.Add(ordered, table(op, tables.codebook_begins[planes], "codebooks"))
    return op.Where(fits, places, BEYOND)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Coded:
    """What is coded of one stage, [N * n] each: what is looked up, and places among the codewords of all planes."""

    packed: Value
    places: Value


class Writer:
    """Looks up what is coded of places int64 [N, T] in coding order."""

    def __init__(self, op: Op, model: Model, places: Value) -> None:
        self.op, self.model, self.tables, self.places = op, model, model.tables, places
        self.slots = op.Gather(table(op, slot_of(self.tables), "slot_of"), places)
        self.seen = model.nothing_seen(op.Shape(places, end=1))
        self.entries = flat(op, table(op, encoder_entries(self.tables), "entries"))

    def stage(self, number: int) -> Coded:
        """One element for each of its sites that are sent. Later stages see what a decoder does: no rare ones."""
        op, model, width = self.op, self.model, self.tables.columns
        begin = self.tables.begins[number]
        end = op.Add(model.sent[number], begin)
        slots, first = op.Slice(self.slots, [begin], end, [1]), model.slot_begins(number)
        place = op.Add(op.Mul(model.rows(number, self.seen), width), op.Sub(slots, first))
        packed = op.Gather(self.entries, place)
        seen = op.Where(op.GreaterOrEqual(packed, RARE_AT), op.Add(first, width - 1), slots)
        self.seen = op.Concat(self.seen, model.widened(seen, number), axis=1)
        return Coded(flat(op, packed), flat(op, op.Slice(self.places, [begin], end, [1])))

    def rare(self, stages: Sequence[Coded]) -> list[Value]:
        """The groups of rare indices of all stages, one stage's after the other's, and their members."""
        op, tables = self.op, self.tables
        escaped = [op.GreaterOrEqual(part.packed, RARE_AT) for part in stages]
        found = [op.Compress(part.places, mask) for part, mask in zip(stages, escaped, strict=True)]
        places = op.Concat(*found, axis=0)
        entry = op.Gather(table(op, rare_entry_of(tables), "rare_entry_of"), places)
        parts = [op.Gather(self.entries, entry)]
        if tables.longest:
            packed = op.Gather(table(op, member_entries(tables), "members"), places)
            parts.append(op.Compress(packed, op.GreaterOrEqual(packed, COST_AT)))
        return parts


def slot_of(tables: IndexTables) -> Whole:
    """Slot of each codeword of all planes, int64 [sum of K]."""
    found = [book.column_of(tables.columns - 1) for book in tables.alphabets]
    return np.concatenate([plane * tables.columns + columns for plane, columns in enumerate(found)])


def rare_entry_of(tables: IndexTables) -> Whole:
    """Where in the entries the group of each codeword is, int64 [sum of K]: in row 1 + its plane."""
    return np.concatenate([(1 + plane) * tables.columns + book.group_of for plane, book in enumerate(tables.alphabets)])


def member_entries(tables: IndexTables) -> Whole:
    """What is coded of each codeword as a member, int64 [sum of K]; of a group of one nothing, with code length 0."""
    bits = np.concatenate([book.bits[book.group_of] for book in tables.alphabets])
    frequency = TOTAL >> bits
    found: Whole = frequency + tables.joined("member_of") * frequency * START_AT + bits * COST_UNITS * COST_AT
    return found


def encoder_entries(tables: IndexTables) -> Whole:
    """What is looked up for each (row, column), int64 [D, S]; what a row does not have is its last column, and rare."""
    frequency = tables.frequency.astype(np.int64)
    start = np.cumsum(frequency, 1) - frequency
    packed = frequency + start * START_AT + code_lengths(tables.frequency) * COST_AT
    rare = packed[:, -1:] + RARE_AT
    found = np.where(frequency > 0, packed, rare)
    found[:, -1:] = rare
    found[: 1 + tables.planes] %= RARE_AT  # rows of groups have no rare column
    return found


def write(op: Op, codec_id: bytes, packed: list[Value], level: Value, size: Value) -> Value:
    """The packet of all parts, each of which fills whole steps of the lanes."""
    everything = op.Concat(*packed, axis=0)
    cost = op.ReduceSum(op.BitwiseAnd(op.Div(everything, COST_AT), 0xFFFF), keepdims=0)
    cost.name = tap.COST
    worthwhile = vector(op, [BYTES_PER_LANE * (lanes - 1) for lanes in rans.DOUBLINGS])
    lanes_log2 = rans.lanes_log2(op, cost, op.Size(everything), worthwhile)
    lanes = op.Gather(vector(op, [1 << k for k in range(MAX_LANES_LOG2 + 1)]), lanes_log2)
    grids = [rans.grid(op, part, op.Size(part), lanes, filler=rans.NOTHING) for part in packed]
    gridded = op.Concat(*grids, axis=0)
    frequency, start = (op.BitwiseAnd(op.Div(gridded, at), START_AT - 1) for at in (1, START_AT))
    states, words = rans.encode(op, rans.WIDE, frequency, start)
    body = op.Concat(flat(op, little_endian(op, states, 4)), flat(op, little_endian(op, words, 2)), axis=0)
    return wire.write_packet(op, codec_id, 1, level, size, lanes_log2, body)
