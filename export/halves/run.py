"""A half under ONNX Runtime, whatever number of items its file was made for."""

from __future__ import annotations

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.errors import HalfError
from latentwire.export.halves.tensors import Tensor, inputs_of
from latentwire.runtime.contract import Array

GUESSED = 32
"""Length of an axis of which a model says nothing, in trial runs."""


class Network:
    """Runs a model of one input, and takes its first output.

    Args:
        model: the model.
        role: "encoder" or "decoder", for messages.

    Raises:
        HalfError: ONNX Runtime cannot load it.
    """

    def __init__(self, model: onnx.ModelProto, role: str) -> None:
        self.model, self.role, self.entry = model, role, inputs_of(model)[0]
        try:
            self._session = measure.session(model)
        except Exception as error:  # ONNX Runtime has a class for each of its status codes
            raise HalfError(role, f"ONNX Runtime cannot load the {role}: {reason(error)}") from error

    def __call__(self, values: Array) -> Array:
        """Of values [N, ...], cast to what the model takes.

        Raises:
            HalfError: it fails.
        """
        try:
            found = self._session.run(None, {self.entry.name: values.astype(self.entry.dtype)})[0]
        except Exception as error:  # as above
            raise HalfError(
                self.role, f"the {self.role} fails for {values.dtype} {list(values.shape)}: {reason(error)}"
            ) from error
        return np.asarray(found)

    def each(self, values: Array, count: int = 1) -> Array:
        """The same, so many items at a time, the last ones filled up with the first."""
        parts = [values[at : at + count] for at in range(0, len(values), count)]
        whole = [np.concatenate([part, values[: count - len(part)]]) for part in parts]
        return np.concatenate([self(part)[: len(kept)] for part, kept in zip(whole, parts, strict=True)])


def examples_for(entry: Tensor, count: int) -> Array:
    """Random float32 values [count, ...] for an input; lengths that it leaves open are guessed."""
    lengths = [axis if isinstance(axis, int) else GUESSED for axis in (entry.shape or ())[1:]]
    return np.random.default_rng(0).normal(0.5, 0.5, (count, *lengths)).astype(np.float32)


def reason(error: Exception) -> str:
    """ONNX Runtime's own words, without what it says of its source files."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.rpartition("Status Message: ")[2] or text
