"""Halves for any number of items: the first axis of input and output varies, and items do not see one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from latentwire.export.errors import HalfError
from latentwire.export.graph import OPSET, duplicate
from latentwire.export.halves.run import Network
from latentwire.export.halves.tensors import inputs_of
from latentwire.runtime.contract import Array

ITEMS = "items"
CLOSE, CLOSE_IN_HALF = 1e-4, 2e-2
"""Largest difference between runs of the same items, as a share of the largest value: sums are ordered differently."""


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """How many items a model takes, where that is fixed."""
    shape = inputs_of(model)[0].shape
    return shape[0] if shape and isinstance(shape[0], int) else None


def for_any_number(model: onnx.ModelProto, role: str, values: Array, wanted: Array) -> onnx.ModelProto:
    """The model with a first axis that varies.

    Where it had been made for one number of items, lengths of the first axis in its reshapes are left open too.

    Args:
        model: of one input and one output, float32.
        role: for messages.
        values: what it is tried with, [n, ...]: all at once, two, and one by one.
        wanted: what each of them must become, [n, ...].

    Raises:
        HalfError: it works for one number of items only, or items change one another's results.
    """
    count = fixed_batch(model)
    free = opened(model, wanted.shape)
    attempts = [free, with_open_reshapes(free, count or 1)]
    faults = [trouble(attempt, role, values, wanted) for attempt in attempts]
    for attempt, fault in zip(attempts, faults, strict=True):
        if fault is None:
            return attempt
    raise HalfError(
        role,
        f"expected the {role} to take any number of items and treat each by itself, found that {faults[0]}; "
        "export it with a first axis that varies (dynamic_shapes in torch, an input of shape (None, ...) in Keras)",
    )


def opened(model: onnx.ModelProto, returned: Sequence[int]) -> onnx.ModelProto:
    """A copy whose first axis varies; ``returned`` is a shape of its output. Nothing is said of tensors inside."""
    result = duplicate(model)
    del result.graph.value_info[:]
    dims = result.graph.input[0].type.tensor_type.shape.dim
    if dims:
        dims[0].dim_param = ITEMS
    lengths = inputs_of(result)[0].shape or (None,)
    known = all(isinstance(axis, int) for axis in lengths[1:])  # then those of the output are
    dense = result.graph.output[0].type.tensor_type
    dense.shape.CopyFrom(onnx.TensorShapeProto())
    for at, length in enumerate(returned):
        dense.shape.dim.add(**({"dim_param": ITEMS} if at == 0 else {"dim_value": length} if known else {}))
    return result


def with_open_reshapes(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """A copy in which reshapes to [count, ...] are ones to as many items as there are."""
    result = duplicate(model)
    shapes = {entry.name: numpy_helper.to_array(entry) for entry in result.graph.initializer if len(entry.dims) == 1}
    for node in result.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and len(shape) and shape[0] == count:
            free = shape.copy()
            free[0] = 0 if -1 in shape[1:] else -1  # 0 is "as in the input"
            node.input[1] = f"{node.output[0]}/any_number"
            result.graph.initializer.append(numpy_helper.from_array(free, node.input[1]))
    return result


def trouble(model: onnx.ModelProto, role: str, values: Array, wanted: Array) -> str | None:
    """What is wrong with a model, in words that follow "found that"; None if nothing is."""
    try:
        trial = Network(model, role)
        results = {count: trial.each(values, count) for count in (1, 2, len(values))}
    except (HalfError, ValueError) as error:
        return str(error)
    half = any(entry.data_type == onnx.TensorProto.FLOAT16 for entry in model.graph.initializer)
    for count, found in results.items():
        if found.shape != wanted.shape:
            return f"{len(values)} items, {count} at a time, become {list(found.shape)}, not {list(wanted.shape)}"
        difference = gap(found, wanted)
        if difference > (CLOSE_IN_HALF if half else CLOSE):
            alone = f"{count} items at a time become something else than each alone"
            changed = f"in opset {OPSET} each becomes something else than in its own"
            return f"{alone if count > 1 else changed} (by {difference:.2g} of the largest value)"
    return None


def gap(found: Array, wanted: Array) -> float:
    """Largest difference as a share of the largest value; infinite where one of them is not finite and differs."""
    if not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
        return np.inf
    finite = np.isfinite(wanted)
    difference = np.abs(found[finite].astype(np.float64) - wanted[finite]).max(initial=0)
    return float(difference / max(np.abs(wanted[finite]).max(initial=0), 1e-30)) if difference else 0.0
