"""What whole numbers cost: packets and errors of quantized static pieces beside those of the bundle's float ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentwire.export.errors import ParityError
from latentwire.export.targets.chain import Chain
from latentwire.runtime.contract import Array
from latentwire.runtime.strictjson import Facts


@dataclass(frozen=True)
class Cost(Facts):
    """The golden items at one quality.

    Attributes:
        models: which quantized ones.
        quality: 0..255.
        bytes: of the packet.
        float_bytes: of the float pieces' packet.
        mse: mean squared error of what comes back, in the items' units.
        float_mse: that of the float pieces.
    """

    models: str
    quality: int
    bytes: int
    float_bytes: int
    mse: float
    float_mse: float


def costs_of(
    models: str, found: Chain, plain: Chain, items: Array, qualities: Sequence[int], size_axes: Sequence[int]
) -> list[Cost]:
    """Measure quantized pieces.

    Args:
        models: their name.
        found: the quantized pieces.
        plain: the float pieces.
        items: golden items.
        qualities: where to measure.
        size_axes: of the codec.

    Raises:
        ParityError: the float pieces do not decode a packet of the quantized ones.
    """
    costs = []
    for quality in qualities:
        packet, plain_packet = (chain.packet(items, quality, size_axes) for chain in (found, plain))
        _, status = plain.output(packet)
        if status:
            raise ParityError(
                f"{models}: expected packets that every decoder reads, found status {status}: report this"
            )
        errors = [error_of(chain.output(own)[0], items) for chain, own in ((found, packet), (plain, plain_packet))]
        costs.append(Cost(models, quality, len(packet), len(plain_packet), *errors))
    return costs


def error_of(output: Array, items: Array) -> float:
    """Mean squared error."""
    return float(np.square(output.astype(np.float64) - items.astype(np.float64)).mean())


def as_markdown(costs: Sequence[Cost]) -> str:
    """A table for people."""
    lines = ["", "## What whole numbers cost", "", "The golden items, beside the bundle's float models.", ""]
    lines += ["| models | quality | bytes | float | MSE | float |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {c.models} | {c.quality} | {c.bytes} | {c.float_bytes} | {c.mse:.4g} | {c.float_mse:.4g} |" for c in costs
    ]
    return "\n".join([*lines, ""])
