"""A small codec's tables and integer pieces, made without any training."""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import pytest

from latentwire.export.factorized.fit import to_frequencies
from latentwire.export.factorized.layout import Dense
from latentwire.export.factorized.pack import build_pack, build_unpack
from latentwire.export.factorized.tables import CodecTables
from latentwire.export.measure import Coder, session
from latentwire.runtime.contract import ItemContract

CHANNELS, ROWS, COLUMNS = 12, 9, 33
QUALITY = 100


def laplacian_tables(seed: int = 0) -> CodecTables:
    """Eight Laplacian rows of growing scale behind the certain one, given to channels and qualities at random."""
    rng = np.random.default_rng(seed)
    values = np.arange(COLUMNS - 1) - (COLUMNS - 1) // 2
    mass = np.exp(-np.abs(values) / np.geomspace(0.2, 6, ROWS - 1)[:, None])
    shares = np.concatenate([0.995 * mass / mass.sum(1, keepdims=True), np.full((ROWS - 1, 1), 0.005)], axis=1)
    certain = np.zeros((1, COLUMNS), np.int64)
    certain[0, (COLUMNS - 1) // 2] = 4096
    index = rng.integers(1, ROWS, (256, CHANNELS)).astype(np.uint8)
    index[:, ::5] = 0
    return CodecTables(
        gain=rng.uniform(0.5, 3, (256, CHANNELS)).astype(np.float32),
        centre=rng.normal(size=CHANNELS).astype(np.float32),
        index=index,
        frequency=np.concatenate([certain, to_frequencies(shares)]).astype(np.uint16),
        rounding=np.full(256, 0.4, np.float32),
        shift=np.full((256, CHANNELS), 0.05, np.float32),
    )


@dataclass(frozen=True)
class Pieces:
    """Tables and both pieces of one codec."""

    tables: CodecTables
    family: Dense
    codec_id: bytes
    coder: Coder

    def latents(self, items: int, spread: float = 4.0, seed: int = 0) -> np.ndarray:
        """Laplacian latents; a large spread makes escapes."""
        noise = np.random.default_rng(seed).laplace(size=(items, self.tables.channels)) * spread
        return noise.astype(np.float32)

    def packet(self, latents: np.ndarray, quality: int = QUALITY) -> bytes:
        """One packet's bytes."""
        return self.coder.packet(latents, latents.shape, quality).tobytes()

    def restore(self, packet: bytes) -> dict[str, np.ndarray]:
        """What the unpack piece makes of any bytes."""
        return self.coder.restore(np.frombuffer(packet, np.uint8))


@pytest.fixture(scope="session")
def pieces() -> Pieces:
    tables = laplacian_tables()
    family = Dense(ItemContract("uint8", ("items", 64), (0, 255)), CHANNELS)
    codec_id = tables.codec_id(family.name)
    pack, unpack = (build(family, tables, codec_id) for build in (build_pack, build_unpack))
    return Pieces(tables, family, codec_id, Coder(session(pack), session(unpack), family.size_axes))


@pytest.fixture
def ort_levels() -> list[ort.GraphOptimizationLevel]:
    level = ort.GraphOptimizationLevel
    return [level.ORT_DISABLE_ALL, level.ORT_ENABLE_BASIC, level.ORT_ENABLE_EXTENDED, level.ORT_ENABLE_ALL]
