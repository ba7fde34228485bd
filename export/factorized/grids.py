"""Items whose sizes vary, for networks that take any: the packet carries the size.

Networks take whole blocks of so many values each way and make so many cells of latents of each. Items are filled up to
whole blocks with their last values, inside of the encoder's file, and cut to their size again inside of the decoder's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.errors import ExportError
from latentwire.export.factorized.layout import MAX_ITEMS, Family, Tensors
from latentwire.export.factorized.scaling import Values
from latentwire.export.graph import Op, Value, duplicate, vector
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.wire import Limits

LONGEST = 1 << 14
"""Of an axis that varies, but for a single one."""
MOST_PLACES = 1 << 24
"""Items times lengths, in a packet."""
BLOCKS = (1, 2, 4, 8, 16, 32, 64, 3, 6, 12, 24, 48)
"""Lengths of a block that are tried."""
COMMON_BLOCK = 192
"""Of which all of them are parts."""
TRIED = (1, 2, 3, 5)
"""Blocks each way that networks are tried on."""
NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Grids(Tensors):
    """Items [N, ...] of lengths that vary along some axes.

    Attributes:
        axes: of items that vary, in order.
        block: values of an item along each of them that go together.
        cells: positions of latents that a block has along each.
    """

    axes: tuple[int, ...] = ()
    block: int = 1
    cells: tuple[int, ...] = ()

    @property
    def limits(self) -> Limits:
        """So that the values of a packet stay bounded."""
        longest = MAX_ITEMS if len(self.axes) == 1 else LONGEST
        return Limits((MAX_ITEMS, *[longest] * len(self.axes)), area=MOST_PLACES)

    @property
    def channels_axis(self) -> int:
        """Of latents [N, ...]."""
        return len(self.axes) + 1 if self.channels_last else 1

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """[items, C, rows, ...] or the channels last."""
        free = [f"latent_{name}" for name in NAMES[len(self.axes)]]
        free.insert(self.channels_axis - 1, self.channels)  # type: ignore[arg-type]
        return ("items", *free)

    @property
    def layout(self) -> dict[str, Any]:
        """What both sides must agree on beside the tables."""
        return {"block": self.block, "cells": list(self.cells), "channels_last": self.channels_last}

    def rows(self, latents: Values) -> Values:
        """[N, C, ...] or [N, ..., C] -> [positions, C]."""
        if self.channels_last:
            return latents.reshape(-1, self.channels)
        return latents.reshape(len(latents), self.channels, -1).swapaxes(1, 2).reshape(-1, self.channels)

    def to_rows(self, op: Op, latents: Value) -> Value:
        """[N, C, ...] or [N, ..., C] -> [positions, C]."""
        if not self.channels_last:
            latents = op.Transpose(op.Reshape(latents, [0, self.channels, -1]), perm=[0, 2, 1])
        return op.Reshape(latents, [-1, self.channels])  # type: ignore[no-any-return]

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """[positions, C] -> [N, C, ...] or [N, ..., C]; no items where the size is zero."""
        lengths = self._lengths(op, size)
        items, channels = op.Slice(size, [0], [1]), vector(op, [self.channels])
        last = op.Reshape(rows, op.Concat(items, lengths, channels, axis=0), allowzero=1)
        if self.channels_last:
            return last  # type: ignore[no-any-return]
        return op.Transpose(last, perm=[0, len(self.axes) + 1, *range(1, len(self.axes) + 1)])  # type: ignore[no-any-return]

    def positions(self, op: Op, size: Value) -> Value:
        """Of a size int64 [d]."""
        items = op.Squeeze(op.Slice(size, [0], [1]), [0])
        return op.Mul(items, op.ReduceProd(self._lengths(op, size), [0], keepdims=0))  # type: ignore[no-any-return]

    def _lengths(self, op: Op, size: Value) -> Value:
        """Of latents along the axes that vary, int64 [axes]."""
        blocks = op.Div(op.Add(op.Slice(size, [1], [1 << 31]), self.block - 1), self.block)
        return op.Mul(blocks, vector(op, self.cells))  # type: ignore[no-any-return]

    def padded(self, items: Array) -> Array:
        """Items with their last values repeated up to whole blocks."""
        return filled(items, self.axes, self.block)

    def cropped(self, output: Array, shape: Sequence[int]) -> Array:
        """What a decoder made of whole blocks, cut to the shape of the items."""
        return output[tuple(slice(shape[at]) if at in self.axes else slice(None) for at in range(output.ndim))]

    def finished(self, model: onnx.ModelProto, role: str) -> onnx.ModelProto:
        """A transform of whole blocks as one of any size."""
        return self._filling(model) if role == "analysis" else self._cutting(model)

    def _filling(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Analysis: input -> whole blocks -> latents. By index: ONNX Runtime's Pad lacks some dtypes."""
        model = duplicate(model)
        graph, value = model.graph, "input"
        for node in graph.node:
            node.input[:] = ["whole" if name == "input" else name for name in node.input]
        nodes = []
        for at in self.axes:
            end = "whole" if at == self.axes[-1] else f"whole_{at}"
            nodes += _filled(value, end, at, self.block)
            value = end
        nodes += graph.node
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(_numbers({"one": 1, "zero": 0, "block": self.block, "short": self.block - 1}))
        declare(graph.input[0], self.contract.shape)
        return model

    def _cutting(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Synthesis: latents, size -> whole blocks -> output."""
        model = duplicate(model)
        graph = model.graph
        for node in graph.node:
            node.output[:] = ["whole" if name == "output" else name for name in node.output]
        count = len(self.axes) + 1
        graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, [count]))
        for name, numbers in (("starts", [0] * len(self.axes)), ("axes", self.axes), ("from", [1]), ("to", [count])):
            graph.initializer.append(numpy_helper.from_array(np.asarray(numbers, np.int64), f"cut_{name}"))
        graph.node.append(helper.make_node("Slice", ["size", "cut_from", "cut_to"], ["cut_ends"], "cut_ends"))
        inputs = ["whole", "cut_starts", "cut_ends", "cut_axes"]
        graph.node.append(helper.make_node("Slice", inputs, ["output"], "cut"))
        declare(graph.output[0], self.contract.shape)
        return model


def _filled(source: str, target: str, axis: int, block: int) -> list[onnx.NodeProto]:
    """Nodes that repeat the last value along an axis up to whole blocks of a tensor."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], f"fill_{output}", **attributes)

    length, whole = f"length_{axis}", f"whole_length_{axis}"
    return [
        node("Shape", [source], f"{length}_1d", start=axis, end=axis + 1),
        node("Squeeze", [f"{length}_1d"], length),
        node("Add", [length, "fill_short"], f"{whole}_over"),
        node("Div", [f"{whole}_over", "fill_block"], f"{whole}_blocks"),
        node("Mul", [f"{whole}_blocks", "fill_block"], whole),
        node("Range", ["fill_zero", whole, "fill_one"], f"{whole}_places"),
        node("Sub", [length, "fill_one"], f"{length}_last"),
        node("Min", [f"{whole}_places", f"{length}_last"], f"{whole}_from"),
        node("Gather", [source, f"{whole}_from"], target, axis=axis),
    ]


def _numbers(numbers: dict[str, int]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(number, np.int64), f"fill_{name}") for name, number in numbers.items()]


def filled(items: Array, axes: tuple[int, ...], block: int) -> Array:
    """Items with their last values repeated along some axes, up to whole blocks."""
    missing = [(0, -length % block if at in axes else 0) for at, length in enumerate(items.shape)]
    return np.pad(items, missing, mode="edge") if any(after for _, after in missing) else items


def declare(entry: onnx.ValueInfoProto, shape: Sequence[int | str | tuple[int, ...]]) -> None:
    """Name the dimensions of an input or output."""
    dims = entry.type.tensor_type.shape.dim
    del dims[:]
    for axis in shape:
        dim = dims.add()
        if isinstance(axis, int):
            dim.dim_value = axis
        else:
            dim.dim_param = str(axis)


def varying(axes: bool | Sequence[int], rank: int) -> tuple[int, ...]:
    """The axes of items that vary, of those that are told; all behind the channels for `True`.

    Raises:
        ExportError: items have no such axes.
    """
    found = tuple(range(2, rank)) if axes is True else tuple(sorted({int(axis) % rank for axis in axes or ()}))
    if not found or 0 in found or len(found) not in NAMES:
        raise ExportError(
            f"expected one to {len(NAMES)} axes that vary, from 1 on, found {list(found)} for items of {rank} axes: "
            "name them, dynamic=(1,) for windows [N, T, C]"
        )
    return found


def free(contract: ItemContract, axes: tuple[int, ...]) -> ItemContract:
    """The contract with names for the lengths of those axes."""
    names = dict(zip(axes, NAMES[len(axes)], strict=True))
    return replace(contract, shape=tuple(names.get(at, length) for at, length in enumerate(contract.shape)))


def grids_of(
    layout: Tensors, axes: tuple[int, ...], shapes: Callable[[tuple[int, ...]], tuple[Sequence[int], Sequence[int]]]
) -> Grids:
    """The layout with lengths that vary, once blocks and cells are found by trying.

    Args:
        layout: for one size.
        axes: that vary.
        shapes: (of latents, of output) that the networks make of two items of a shape; raises where they do not.

    Raises:
        ExportError: there are no blocks of which every number works.
    """
    shape: list[Any] = [2, *layout.contract.shape[1:]]
    channels = len(layout.latents) if layout.channels_last else 1
    places = [at for at in range(1, len(layout.latents) + 1) if at != channels]
    if len(places) != len(axes):
        raise ExportError(
            f"expected latents of channels and {len(axes)} axes that vary, found {list(layout.latents)}: name the axes "
            "of items with dynamic=(...), or leave it out"
        )
    for block in BLOCKS:
        cells = _cells(block, shape, axes, places, shapes)
        if cells is not None:
            fields = {name: getattr(layout, name) for name in ("latents", "channels_last", "scaling", "name")}
            contract = free(layout.contract, axes)
            return Grids(contract, **fields, size_axes=(0, *axes), axes=axes, block=block, cells=cells)
    raise ExportError(
        f"expected networks that give back items of any whole number of blocks along the axes {list(axes)}, found none "
        f"of up to {max(BLOCKS)} values: a layer is made for one size; leave dynamic= out"
    )


def _cells(
    block: int,
    shape: Sequence[int],
    axes: tuple[int, ...],
    places: Sequence[int],
    shapes: Callable[[tuple[int, ...]], tuple[Sequence[int], Sequence[int]]],
) -> tuple[int, ...] | None:
    """Cells of a block along each axis, if every number of blocks is given back as it was."""
    found = set()
    for count in TRIED:
        size = tuple(block * count if at in axes else length for at, length in enumerate(shape))
        try:
            latents, output = shapes(size)
        except Exception:  # whatever a layer does with a size that it was not made for
            return None
        lengths = [latents[at] for at in places]
        if tuple(output) != size or any(length % count for length in lengths):
            return None
        found.add(tuple(length // count for length in lengths))
    return found.pop() if len(found) == 1 and all(next(iter(found))) else None


def finished(family: Family, model: onnx.ModelProto, role: str) -> onnx.ModelProto:
    """A transform as its file has it."""
    return family.finished(model, role) if isinstance(family, Grids) else model


def whole(family: Family, items: Array) -> Array:
    """Items as networks take them, of whole blocks."""
    return family.padded(items) if isinstance(family, Grids) else items


def cut(family: Family, output: Array, shape: Sequence[int]) -> Array:
    """A decoder's output in the shape of its items."""
    return family.cropped(output, shape) if isinstance(family, Grids) else output


def positions_of(size: Sequence[int], family: Grids) -> int:
    """Positions of a size, as its packet has them."""
    cells = [-(-length // family.block) * count for length, count in zip(size[1:], family.cells, strict=True)]
    return size[0] * math.prod(cells)
