import numpy as np
import numpy_codec
import pytest
from hypothesis import given
from hypothesis import strategies as st

COLUMNS = 9


def tables(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random frequencies: row 0 is certain, the others hold some zeros but always an escape."""
    counts = [np.bincount(rng.integers(0, COLUMNS, 4095) ** 2 // COLUMNS, minlength=COLUMNS) for _ in range(rows - 1)]
    frequency = np.array([np.zeros(COLUMNS, np.int64), *counts])
    frequency[1:, -1] += 1
    frequency[0, (COLUMNS - 1) // 2] = 4096
    return frequency


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.integers(1, 5),
    st.sampled_from([1, 2, 8, 64]),
    st.integers(1, 300),
)
def test_symbols_come_back(seed, positions, channels, lanes, spread):
    rng = np.random.default_rng(seed)
    frequency, index = tables(rng, 4), rng.integers(0, 4, (positions, channels))
    symbols = np.where(index == 0, 0, rng.integers(-spread, spread + 1, index.shape))
    packet = numpy_codec.encode_rows(
        symbols, index, frequency, size=(positions + 1,), quality=7, codec_id=bytes(32), lanes=lanes
    )
    assert np.array_equal(numpy_codec.decode_rows(packet, index, frequency), symbols)


def test_the_length_is_the_information(digits):
    frequency = tables(np.random.default_rng(0), 2)
    share = frequency[1] / 4096
    column = np.random.default_rng(1).choice(COLUMNS - 1, 20_000, p=share[:-1] / share[:-1].sum())
    symbols = (column - (COLUMNS - 1) // 2)[:, None]
    packet = numpy_codec.encode_rows(
        symbols, np.ones_like(symbols), frequency, size=(20_000,), quality=0, codec_id=bytes(32), lanes=1
    )
    ideal = -np.log2(share[column]).sum() / 8
    assert ideal < len(packet) < 1.002 * ideal + 32


@pytest.mark.parametrize("place", [0, 13, 20])
def test_a_forged_body_is_noticed(place):
    rng = np.random.default_rng(3)
    frequency, index = tables(rng, 3), np.full((50, 2), 2)
    symbols = rng.integers(-20, 20, index.shape)
    packet = numpy_codec.encode_rows(symbols, index, frequency, size=(50,), quality=0, codec_id=bytes(32), lanes=1)
    fields = numpy_codec.read_fields(packet)
    body = bytearray(fields.body)
    body[place] ^= 0x55
    forged = numpy_codec.write_fields(numpy_codec.Fields(fields.codec, 0, 1, fields.size, bytes(body)))
    with pytest.raises((ValueError, StopIteration)):
        numpy_codec.decode_rows(forged, index, frequency)
