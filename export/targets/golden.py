"""Items, packets and outputs that an app tests itself with: plain bytes, for languages without NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.export.targets.chain import Chain
from latentwire.runtime.bundle import Bundle
from latentwire.runtime.contract import Array

MAX_CALIBRATION = 16
"""Inputs to quantize with, at most; each is sent at every golden quality."""


def golden_items(bundle: Bundle, shape: tuple[int, ...] | None) -> Array:
    """The bundle's golden input, brought to a shape if one is wanted."""
    items = bundle.read_array(bundle.manifest.golden.input)
    return items if shape is None else shaped(items, shape)


def shaped(items: Array, shape: tuple[int, ...]) -> Array:
    """Items repeated and cut to a shape; a grey picture becomes three equal channels."""
    repeats = [-(-wanted // length) for wanted, length in zip(shape, items.shape, strict=True)]
    cut = np.tile(items, repeats)[tuple(slice(length) for length in shape)]
    return np.ascontiguousarray(cut)


def calibration_of(parts: Sequence[Array], shape: tuple[int, ...]) -> list[Array]:
    """Inputs of one shape, spread over what packets would take."""
    chosen = parts[:: max(1, len(parts) // MAX_CALIBRATION)][:MAX_CALIBRATION]
    return [shaped(part, shape) for part in chosen]


def write_golden(
    folder: Path, chain: Chain, items: Array, qualities: Sequence[int], default: int, size_axes: Sequence[int]
) -> dict[str, Any]:
    """Write ``input.bin``, a packet for each quality and what the default one decodes to; returns their description.

    Args:
        folder: where to; it is made.
        chain: what makes packets and outputs.
        items: the input.
        qualities: of the packets.
        default: the quality of the output.
        size_axes: of the codec.
    """
    folder.mkdir()
    (folder / "input.bin").write_bytes(little_endian(items))
    packets = {}
    for quality in sorted({*qualities, default}):
        packet = chain.packet(items, quality, size_axes)
        name = f"q{quality:03d}.packet"
        (folder / name).write_bytes(packet.tobytes())
        packets[str(quality)] = f"golden/{name}"
        if quality == default:
            output, _ = chain.output(packet)
            (folder / "output.bin").write_bytes(little_endian(output))
    return {
        "input": {"file": "golden/input.bin", "dtype": items.dtype.name, "shape": list(items.shape)},
        "packets": packets,
        "output": {"file": "golden/output.bin", "quality": default, "of": packets[str(default)]},
    }


def little_endian(array: Array) -> bytes:
    """Values without a header."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
