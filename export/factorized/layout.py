"""How a kind of data and its latents are laid out for a codec of a static probability model, one small object each.

A layout says what the encoder takes and the decoder returns (contract), how that maps to the networks' floats, and
how latents are laid out as rows [P, C] of P positions and C channels. The latent stack, the packet and the assembly
never ask which one they serve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from latentwire.export.factorized.scaling import Scaling, Values, as_float, between
from latentwire.export.graph import Op, Value
from latentwire.runtime.contract import ItemContract, dtype_range
from latentwire.runtime.wire import Limits

MAX_ITEMS = 65535
MOST_VALUES = 1 << 28
"""Values that the items of a packet have in all, at most."""
RANGE_MARGIN = 0.05
"""Part of the span of calibration data that a range of floats is wider on each side: a sensor's next day is never quite
inside of its last one."""


class Family(Protocol):
    """The seam between a kind of data and the codec of a static probability model."""

    @property
    def name(self) -> str:
        """The family's name in manifests and metadata."""

    @property
    def contract(self) -> ItemContract:
        """dtype, shape and range of the encoder's input and the decoder's output."""

    @property
    def size_axes(self) -> tuple[int, ...]:
        """Axes of the input whose lengths the packet carries."""

    @property
    def limits(self) -> Limits:
        """Which lengths of those axes are accepted."""

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """Shape of the latents as the transforms see them."""

    def normalize(self, items: Values) -> Values:
        """Items as they arrive -> the analysis transform's float input; a torch tensor, as in `scale` and `rows`."""

    def scale(self, output: Values) -> Values:
        """The synthesis transform's float output -> the contract's units, clipped to its range, not yet rounded."""

    def rows(self, latents: Values) -> Values:
        """Latents -> [P, C]."""

    def to_rows(self, op: Op, latents: Value) -> Value:
        """Latents -> float32 [P, C] in the graph."""

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """The inverse of `to_rows`; ``size`` is int64 [d]."""

    def positions(self, op: Op, size: Value) -> Value:
        """P as an int64 scalar from ``size`` int64 [d]."""


def wanted(family: Family, items: Values) -> Values:
    """What a perfect decoder would return for items."""
    scaling = getattr(family, "scaling", None)
    return scaling.back.inverse()(as_float(items)) if scaling is not None else family.normalize(items)


def item_limits(contract: ItemContract) -> Limits:
    """As many items a packet as its header can say, and fewer of large ones."""
    return Limits((max(1, min(MAX_ITEMS, MOST_VALUES * contract.numpy_dtype.itemsize // contract.item_bytes)),))


def wider(contract: ItemContract, margin: float = RANGE_MARGIN) -> ItemContract:
    """The contract with a range of floats that is wider on each side by a part of its span; integers stay as they are.

    Values that were inside mean the same to the networks. What is outside of what they were trained on is taken, and
    comes back as well as they can make it.
    """
    low, high = contract.range
    if contract.dtype != "float32" or not margin:
        return contract
    least, most = dtype_range(contract.dtype)
    span = margin * (high - low)
    return replace(contract, range=(max(low - span, least), min(high + span, most)))


@dataclass(frozen=True)
class Dense:
    """Vectors [N, D]; latents [N, C] are rows already."""

    contract: ItemContract
    channels: int
    network_range: tuple[float, float] | None = (0.0, 1.0)
    """Where the contract's range is mapped for the networks; None hands the values over as they are."""
    name: str = "dense"
    size_axes: tuple[int, ...] = (0,)

    @property
    def limits(self) -> Limits:
        """By the size of an item."""
        return item_limits(self.contract)

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """[items, C]."""
        return ("items", self.channels)

    @property
    def scaling(self) -> Scaling:
        """By the two ranges."""
        if self.network_range is None:
            return Scaling()
        into = between(self.contract.range, self.network_range)
        low, high = self.network_range
        return Scaling(into, between(self.network_range, self.contract.range), f"[{low:g}, {high:g}]")

    def widened(self, margin: float = RANGE_MARGIN) -> Dense:
        """The same with a contract that is `wider`."""
        contract, seen = wider(self.contract, margin), self.network_range
        if contract is self.contract:
            return self
        if seen is not None:
            (low, high), wide = self.contract.range, contract.range
            scale = (seen[1] - seen[0]) / (high - low)
            seen = seen[0] - (low - wide[0]) * scale, seen[1] + (wide[1] - high) * scale
        return replace(self, contract=contract, network_range=seen)

    def normalize(self, items: Values) -> Values:
        """[N, D] of the contract's dtype -> float32 [N, D]."""
        return self.scaling.into(as_float(items))

    def scale(self, output: Values) -> Values:
        """The networks' float32 output -> the contract's units, clipped to its range."""
        return self.scaling.back(output).clip(*self.contract.range)

    def rows(self, latents: Values) -> Values:
        """[N, C] -> [N, C]."""
        return latents

    def to_rows(self, op: Op, latents: Value) -> Value:
        """[N, C] -> [N, C]."""
        return latents

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """[N, C] -> [N, C]."""
        return rows

    def positions(self, op: Op, size: Value) -> Value:
        """N."""
        return op.Squeeze(size, [0])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Tensors:
    """Items [N, ...] of any shape; latents [N, C, ...] or [N, ..., C], whose positions share one table a channel.

    Attributes:
        contract: of the items.
        latents: shape of one item's latents.
        channels_last: whether the last axis of latents is the channels, not the first after the items.
        scaling: between the contract's values and those of the networks.
    """

    contract: ItemContract
    latents: tuple[int, ...]
    channels_last: bool = False
    scaling: Scaling = field(default_factory=Scaling)
    name: str = "tensors"
    size_axes: tuple[int, ...] = (0,)

    @property
    def limits(self) -> Limits:
        """By the size of an item."""
        return item_limits(self.contract)

    @property
    def channels(self) -> int:
        """C."""
        return self.latents[-1 if self.channels_last else 0]

    @property
    def places(self) -> int:
        """Positions of an item."""
        return math.prod(self.latents) // self.channels

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """[items, ...]."""
        return ("items", *self.latents)

    @property
    def layout(self) -> dict[str, Any]:
        """What both sides must agree on beside the tables."""
        if len(self.latents) == 1:
            return {}
        return {"latents": list(self.latents), "channels_last": self.channels_last}

    def normalize(self, items: Values) -> Values:
        """[N, ...] of the contract's dtype -> float32 [N, ...]."""
        return self.scaling.into(as_float(items))

    def scale(self, output: Values) -> Values:
        """The networks' float32 output -> the contract's units, clipped to its range."""
        return self.scaling.back(output).clip(*self.contract.range)

    def rows(self, latents: Values) -> Values:
        """[N, C, ...] or [N, ..., C] -> [N * places, C]."""
        if self.channels_last or self.places == 1:
            return latents.reshape(-1, self.channels)
        return latents.reshape(-1, self.channels, self.places).swapaxes(1, 2).reshape(-1, self.channels)

    def to_rows(self, op: Op, latents: Value) -> Value:
        """[N, C, ...] or [N, ..., C] -> [N * places, C]."""
        if not self.channels_last and self.places > 1:
            latents = op.Transpose(op.Reshape(latents, [-1, self.channels, self.places]), perm=[0, 2, 1])
        return op.Reshape(latents, [-1, self.channels])  # type: ignore[no-any-return]

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """[N * places, C] -> [N, C, ...] or [N, ..., C]."""
        if not self.channels_last and self.places > 1:
            rows = op.Transpose(op.Reshape(rows, [-1, self.places, self.channels]), perm=[0, 2, 1])
        return op.Reshape(rows, [-1, *self.latents])  # type: ignore[no-any-return]

    def positions(self, op: Op, size: Value) -> Value:
        """N * places."""
        return op.Mul(op.Squeeze(size, [0]), self.places)  # type: ignore[no-any-return]
