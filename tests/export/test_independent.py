"""The ONNX pieces against an independent coder in NumPy: the same bytes from the same symbols, each reads the other."""

import numpy as np
import numpy_codec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.wire.packet import Status


def both(pieces, latents, quality):
    """(packet by the graph, packet by NumPy with the graph's lane count, index rows, symbols)."""
    packet = pieces.packet(latents, quality)
    symbols = pieces.tables.quantize(latents, quality)
    index = np.broadcast_to(pieces.tables.index[quality].astype(np.int64), symbols.shape)
    lanes = 1 << (packet[8] & 15)
    other = numpy_codec.encode_rows(
        symbols,
        index,
        pieces.tables.frequency.astype(np.int64),
        size=(len(latents),),
        quality=quality,
        codec_id=pieces.codec_id,
        lanes=lanes,
    )
    return packet, other, index, symbols


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(1, 200),
    spread=st.sampled_from([0.1, 1.0, 5.0, 80.0, 1e5]),
    quality=st.integers(0, 255),
    seed=st.integers(0, 99),
)
def test_the_same_bytes_and_each_reads_the_other(pieces, items, spread, quality, seed):
    packet, other, index, symbols = both(pieces, pieces.latents(items, spread, seed), quality)
    assert packet == other
    frequency = pieces.tables.frequency.astype(np.int64)
    np.testing.assert_array_equal(numpy_codec.decode_rows(packet, index, frequency), symbols)


@pytest.mark.parametrize("lanes", [1, 2, 32, 4096])
def test_a_decoder_reads_any_lane_count(pieces, lanes):
    """The encoder's choice of lanes is its own affair: packets of another choice decode to the same symbols."""
    _, _, index, symbols = both(pieces, pieces.latents(300), 100)
    frequency = pieces.tables.frequency.astype(np.int64)
    packet = numpy_codec.encode_rows(
        symbols, index, frequency, size=(300,), quality=100, codec_id=pieces.codec_id, lanes=lanes
    )
    found = pieces.restore(packet)
    assert found["status"] == Status.OK
    np.testing.assert_array_equal(found["symbols"], symbols)


def test_golden_packets_of_a_bundle_are_numpys_too(bundle):
    from latentwire.export.factorized.verify import read_tables
    from latentwire.export.verify import Subject

    opened = open_bundle(bundle)
    tables = read_tables(Subject(opened))
    assert len(opened.manifest.golden.cases) == 4
    for case in opened.manifest.golden.cases:
        symbols = opened.read_array(case.symbols)
        index = np.broadcast_to(tables.index[case.quality].astype(np.int64), symbols.shape)
        packet = opened.read_file(case.packet)
        decoded = numpy_codec.decode_rows(packet, index, tables.frequency.astype(np.int64))
        np.testing.assert_array_equal(decoded, symbols)
