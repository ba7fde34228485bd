"""The probability model of indices in the graph: integer look-ups, the same for pack and unpack.

A *slot* is plane * S + column, a place in [R, S] flattened. `seen` holds the slots of what earlier stages coded, int64
[N, 1 + sites], in the order in which they were; its first column stands for a source that is not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import INT64, Op, Value, table, vector
from latentwire.export.graph import number as scalar
from latentwire.export.indices.tables import IndexTables, Whole


class Model:
    """Writes look-ups into one graph, each table once."""

    def __init__(self, op: Op, tables: IndexTables, quality: Value) -> None:
        """Takes the quality, int64 []."""
        self.op, self.tables = op, tables
        self._known: dict[str, Value] = {}
        self.planes = op.Gather(self.table(tables.quality_planes, "index_planes"), quality)
        numbers = op.Gather(self.table(tables.sent, "sites_sent"), op.Unsqueeze(quality, [0]))
        self.sent = [op.Squeeze(op.Slice(numbers, [k], [k + 1], [1]), [0]) for k in range(len(tables.stages))]
        """How many sites of each stage are sent, int64 [1] each; ``planes`` is int64 []."""

    def table(self, array: npt.NDArray[Any], name: str) -> Value:
        """An initializer, the one that is there where the name is known."""
        if name not in self._known:
            self._known[name] = table(self.op, array, name)
        return self._known[name]

    def nothing_seen(self, items: Value) -> Value:
        """What is seen before the first stage; ``items`` is int64 [1]."""
        op, none = self.op, self.tables.planes * self.tables.columns
        return op.Expand(vector(op, [none]), op.Concat(items, vector(op, [1]), axis=0))  # type: ignore[no-any-return]

    def rows(self, number: int, seen: Value) -> Value:
        """Table rows int64 [N, n] of the sites of a stage that are sent."""
        op, stage, sent = self.op, self.tables.stages[number], self.sent[number]
        place = op.Slice(self.table(stage.base, f"stage{number}/base"), [0], sent)
        if len(stage.sources):
            names = self.table(source_columns(self.tables, number), f"stage{number}/sources")
            sources = op.Gather(seen, op.Slice(names, [0], sent, [1]), axis=1)
            classes = np.concatenate([stage.classes.reshape(-1).astype(np.int64), [0]])
            found = op.Gather(self.table(classes, f"stage{number}/classes"), sources)
            weights = op.Unsqueeze(vector(op, stage.weights.tolist()), [1])
            place = op.Add(op.ReduceSum(op.Mul(found, weights), [1], keepdims=0), place)
        else:
            place = op.Expand(place, op.Concat(op.Shape(seen, end=1), sent, axis=0))
        return op.Cast(op.Gather(self.table(self.tables.rows, "rows"), place), to=INT64)  # type: ignore[no-any-return]

    def slot_begins(self, number: int) -> Value:
        """Slot of column 0 of those sites, int64 [n]."""
        planes = self.tables.stages[number].places // self.tables.positions
        begins = self.table(planes * self.tables.columns, f"stage{number}/slots")
        return self.op.Slice(begins, [0], self.sent[number])  # type: ignore[no-any-return]

    def widened(self, values: Value, number: int) -> Value:
        """[N, n] of those sites, with 0 for the others of the stage behind them."""
        op = self.op
        missing = op.Sub(self.tables.stages[number].sites, self.sent[number])
        return op.Pad(values, op.Concat(vector(op, [0, 0, 0]), missing, axis=0), scalar(op, 0))  # type: ignore[no-any-return]

    def are_sent(self) -> Value:
        """Which indices [R * P] of an item are sent, bool."""
        sites = np.arange(self.tables.sites) // self.tables.positions
        return self.op.Less(self.table(sites, "planes"), self.planes)  # type: ignore[no-any-return]


def source_columns(tables: IndexTables, number: int) -> Whole:
    """The sources of a stage as columns of `seen`, int64 [M, n]."""
    column = np.zeros(tables.sites + 1, np.int64)
    column[tables.order] = 1 + np.arange(tables.sites)
    column[-1] = 0
    return column[tables.stages[number].sources]
