"""The codec's tables: everything that both sides must agree on bit for bit, and its hash, the codec id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import PRECISION
from latentwire.runtime.wire import PACKET_VERSION


@dataclass(frozen=True)
class CodecTables:
    """Quantization and probabilities of a codec with C channels, D table rows and S columns.

    Attributes:
        gain: float32 [256, C], symbols per latent unit at each quality.
        centre: float32 [C], latent that symbol 0 stands for.
        index: uint8 [256, C], table row of each (quality, channel); row 0 is never coded.
        frequency: uint16 [D, S], each row sums to 4096; the last column is the escape, column k stands for symbol
            k - zero_column.
        rounding: float32 [256], added to |v| before floor (0.5 is plain rounding; less makes a dead zone). The
            encoder's own affair, not part of the codec id.
        shift: float32 [256, C], how far from a nonzero symbol, away from zero, its latents lie on average. The
            decoder's own affair, not part of the codec id.
    """

    gain: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    index: npt.NDArray[np.uint8]
    frequency: npt.NDArray[np.uint16]
    rounding: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]

    @property
    def channels(self) -> int:
        """C."""
        return int(self.gain.shape[1])

    @property
    def zero_column(self) -> int:
        """Column of symbol 0."""
        return (int(self.frequency.shape[1]) - 1) // 2

    def codec_id(self, family: str, layout: Mapping[str, Any] | None = None) -> bytes:
        """SHA-256 over the contract; floats enter by their bytes, so nothing is ever recomputed.

        Args:
            family: its name.
            layout: of latents, where it does not follow from the tables.
        """
        parts: dict[str, npt.NDArray[Any]] = {
            "gain": self.gain,
            "centre": self.centre,
            "index": self.index,
            "frequency": self.frequency,
        }
        head = {
            "packet_version": PACKET_VERSION,
            "family": family,
            "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in parts.items()},
            **(layout or {}),
        }
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name in sorted(parts):
            digest.update(np.ascontiguousarray(parts[name]).tobytes())
        return digest.digest()

    def quantize(self, rows: npt.NDArray[np.float32], quality: int) -> npt.NDArray[np.int64]:
        """Symbols int64 [P, C] of latents [P, C], in the same float32 arithmetic as the graph; not coded ones are 0."""
        scaled = (rows - self.centre) * self.gain[quality]
        magnitude = np.minimum(np.floor(np.abs(scaled) + self.rounding[quality]), np.float32(2**30)).astype(np.int64)
        signed = np.where(scaled < 0, -magnitude, magnitude)
        return np.where(self.index[quality] > 0, signed, 0)

    def dequantize(self, symbols: npt.NDArray[np.int64], quality: int) -> npt.NDArray[np.float32]:
        """Latents float32 [P, C] of symbols [P, C]."""
        values = symbols.astype(np.float32)
        moved: npt.NDArray[np.float32] = values + np.sign(values) * self.shift[quality]
        restored: npt.NDArray[np.float32] = moved / self.gain[quality] + self.centre
        return restored

    def bits(self, symbols: npt.NDArray[np.int64], quality: int) -> npt.NDArray[np.float64]:
        """Ideal code length in bits of each symbol [P, C]: -log2 of its frequency, plus 8 a byte of its escape."""
        rows = self.index[quality].astype(np.int64)
        columns = symbols + self.zero_column
        escape = self.frequency.shape[1] - 1
        inside = (columns >= 0) & (columns < escape)
        found = self.frequency[rows, np.where(inside, columns, escape)]
        escaped = ~inside | (found == 0)
        frequency = np.where(escaped, self.frequency[rows, escape], found).astype(np.float64)
        lengths = PRECISION - np.log2(np.maximum(frequency, 1)) + escaped * escape_bits(symbols)
        return np.where(rows > 0, lengths, 0.0)


def escape_bits(symbols: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bits that the escape list spends on each value: 8 for every 7 bits of its zigzag code."""
    zigzag = np.where(symbols < 0, -2 * symbols - 1, 2 * symbols)
    longer = zigzag[..., None] >= 128 ** np.arange(1, 5)
    bits: npt.NDArray[np.int64] = 8 + 8 * longer.sum(-1)
    return bits
