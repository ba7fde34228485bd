"""Packets of one number of items: only the first axis varies, so nothing but its length is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from latentwire.export.measure import batches
from latentwire.export.static import Shapes, check_limits, fixed
from latentwire.export.verify import Items
from latentwire.runtime.bundle import Identity
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError


@dataclass(frozen=True)
class ItemForm:
    """Several items [N, ...] a packet."""

    option: str = "--batch N"
    blocks: bool = False
    """Several items at a time would not fit."""

    def fixes(self, shapes: Shapes) -> bool:
        """By their number."""
        return shapes.batch is not None

    def input_shape(self, shapes: Shapes, identity: Identity) -> tuple[int, ...] | None:
        """[N, ...]."""
        contract = identity.input
        if shapes.size is not None:
            height, width = shapes.size
            raise SettingError(f"expected --batch for items {contract.describe_shape()}, found --size {height}x{width}")
        if shapes.batch is None:
            return None
        lengths = [axis for axis in contract.shape[1:] if isinstance(axis, int)]
        if len(lengths) < len(contract.shape) - 1:
            raise SettingError(f"expected items whose number alone varies, found {contract.describe_shape()}")
        shape = (shapes.batch, *lengths)
        check_limits(shape, identity)
        return shape

    def analysis(self, model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
        """As it is, for that number."""
        return fixed(model, {"input": shape})

    def synthesis(self, model: onnx.ModelProto, latents: Sequence[int], shape: Sequence[int]) -> onnx.ModelProto:
        """As it is, for that number."""
        return fixed(model, {"latents": latents})

    def inputs(self, items: Items, shape: Sequence[int]) -> list[Array]:
        """As many items each as the shape says."""
        return list(batches(np.asarray(items), shape[0]))
