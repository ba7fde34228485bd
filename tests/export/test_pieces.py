"""Pack and unpack: lossless for every symbol, strict with every byte."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hostile import any_header, packet_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire import cost_of_items
from latentwire.runtime.wire.packet import Status, check_packet, verdict, write_packet

QUALITY = 100


def resigned(packet: bytes) -> bytes:
    return packet[:-4] + zlib.adler32(packet[:-4]).to_bytes(4, "little")


def python_verdict(pieces, packet: bytes) -> type[RemoteError] | None:
    limits = replace(pieces.family.limits, cost=cost_of_items(pieces.tables.index, pieces.tables.frequency))
    try:
        check_packet(packet, pieces.codec_id, limits)
    except RemoteError as error:
        return type(error)
    return None


@pytest.mark.parametrize("items", [1, 2, 63, 700, 5000])
@pytest.mark.parametrize("spread", [0.0, 0.5, 4.0, 200.0])
def test_symbols_and_latents_come_back(pieces, items, spread):
    latents = pieces.latents(items, spread)
    found = pieces.restore(pieces.packet(latents))
    wanted = pieces.tables.quantize(latents, QUALITY)
    assert found["status"] == Status.OK
    assert found["size"].tolist() == [items]
    np.testing.assert_array_equal(found["symbols"], wanted)
    np.testing.assert_array_equal(found["latents"], pieces.tables.dequantize(wanted, QUALITY))


@settings(max_examples=60, deadline=None)
@given(
    latents=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.just(12)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    quality=st.integers(0, 255),
)
def test_any_float_survives_as_the_symbol_it_was_rounded_to(pieces, latents, quality):
    found = pieces.restore(pieces.packet(latents, quality))
    assert found["status"] == Status.OK
    numbers = np.isfinite(latents)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = pieces.tables.quantize(np.where(numbers, latents, 0), quality)
    np.testing.assert_array_equal(found["symbols"][numbers], wanted[numbers])
    assert np.abs(found["symbols"].astype(np.int64)).max() <= 2**30


@pytest.mark.parametrize(("items", "lanes"), [(1, 1), (60, 1), (1000, 16), (5000, 64)])
def test_overhead_over_the_ideal_code_length(pieces, items, lanes):
    latents = pieces.latents(items, 1.0)
    packet = pieces.packet(latents)
    assert 1 << (packet[8] & 15) <= lanes
    payload = len(packet) - 9 - 2 * (1 << (packet[8] >> 4 & 3)) - 4
    ideal = pieces.tables.bits(pieces.tables.quantize(latents, QUALITY), QUALITY).sum() / 8
    assert ideal < payload <= ideal + (0.01 * ideal if ideal > 8192 else 4 + 0.01 * ideal)


def test_every_prefix_is_truncated_and_every_suffix_trailing(pieces):
    packet = pieces.packet(pieces.latents(3))
    for length in range(len(packet)):
        assert pieces.restore(packet[:length])["status"] == Status.TRUNCATED
    for extra in (b"\0", b"LW", packet):
        assert pieces.restore(packet + extra)["status"] == Status.TRAILING


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_graph_and_python_judge_hostile_bytes_alike(pieces, data):
    packet = bytearray(pieces.packet(pieces.latents(3, 50.0)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 14) | st.integers(0, len(packet) - 1))
        packet[at] = data.draw(st.integers(0, 255))
    check_alike(pieces, resigned(bytes(packet)) if data.draw(st.booleans()) else bytes(packet))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_graph_and_python_judge_any_header_alike(pieces, data):
    """Whatever size, lanes and width it claims; the checksum is right."""
    body = pieces.packet(pieces.latents(3, 50.0))[11:-4]
    check_alike(pieces, packet_of(data.draw(any_header(pieces.codec_id, body, 1))))


def check_alike(pieces, packet: bytes) -> None:
    found = pieces.restore(packet)
    status = Status(int(found["status"]))
    expected = python_verdict(pieces, packet)
    if expected is not None:
        assert type(verdict(status)) is expected
    else:  # the header is in order: only decoding can tell
        assert status in (Status.OK, Status.LANES, Status.BODY)
    if status is not Status.OK:
        assert found["symbols"].shape[0] == found["latents"].shape[0] == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(pieces, noise):
    assert pieces.restore(noise)["status"] != Status.OK
    assert pieces.restore(b"LW\x01" + pieces.codec_id[:4] + noise)["status"] != Status.OK


def test_a_forged_body_is_caught_by_the_coder_itself(pieces):
    packet = pieces.packet(pieces.latents(40, 0.3))
    caught = 0
    for at in range(15, len(packet) - 4):
        forged = bytearray(packet)
        forged[at] ^= 0x41
        found = pieces.restore(resigned(bytes(forged)))
        caught += found["status"] in (Status.LANES, Status.BODY)
    # Not all: another last word can be a valid end of other symbols. That is what the checksum is for.
    assert caught >= 0.95 * (len(packet) - 19)


@pytest.mark.parametrize("lanes", [1, 64, 4096])
@pytest.mark.parametrize("items", [400, 65535, 65536])
def test_a_claim_of_many_items_in_few_bytes_is_refused_by_its_header(pieces, items, lanes):
    body = bytes(4 * lanes) + pieces.packet(pieces.latents(1))[15:-4]
    claim = write_packet(pieces.codec_id[:4], QUALITY, lanes, (items,), body)
    if items == 400 and lanes == 4096:  # its lanes could hold as much: decoding tells
        assert pieces.restore(claim)["status"] in (Status.LANES, Status.BODY)
    else:
        assert pieces.restore(claim)["status"] == Status.LIMIT
        assert python_verdict(pieces, claim).__name__ == "LimitError"


@pytest.mark.parametrize("wider", [2, 4])
def test_fields_that_are_wider_than_their_numbers_need_are_refused(pieces, wider):
    """One content has one packet, and one hash."""
    packet = pieces.packet(pieces.latents(3))
    layout, body = packet[8], packet[11:-4]
    assert layout >> 4 & 3 == 0
    length = len(packet) + 2 * (wider - 1)
    fields = b"".join(number.to_bytes(wider, "little") for number in (3, length))
    hostile = resigned(packet[:8] + bytes([layout | (wider // 2) << 4]) + fields + body + bytes(4))
    assert pieces.restore(packet)["status"] == Status.OK
    assert pieces.restore(hostile)["status"] == Status.LAYOUT
    assert python_verdict(pieces, hostile).__name__ == "LayoutError"


@pytest.mark.parametrize("quality", [0, QUALITY, 255])
@pytest.mark.parametrize("items", [1, 2, 9, 300, 20000])
@pytest.mark.parametrize("kind", ["likeliest", "noise", "escapes"])
def test_no_packet_that_is_written_is_taken_for_a_claim(pieces, items, quality, kind):
    """The shortest packets that there can be, and the longest."""
    latents = pieces.latents(items, {"likeliest": 0.0, "noise": 3.0, "escapes": 1e6}[kind])
    packet = pieces.packet(latents + pieces.tables.centre * (kind == "likeliest"), quality)
    assert python_verdict(pieces, packet) is None
    assert pieces.restore(packet)["status"] == Status.OK


def test_unfinished_and_superfluous_escapes_are_refused(pieces):
    latents = pieces.latents(2)
    latents[1, 6] = 1e6
    packet = pieces.packet(latents)
    assert pieces.restore(packet)["status"] == Status.OK
    length = packet[10]
    for tail in (packet[11:-5], packet[11:-4] + b"\x01", packet[11:-5] + b"\x80"):
        changed = packet[:10] + bytes([length + len(tail) - len(packet[11:-4])]) + tail + bytes(4)
        assert pieces.restore(resigned(changed))["status"] == Status.BODY


def test_packets_do_not_depend_on_optimisation_or_threads(pieces, ort_levels):
    from latentwire.export.factorized.pack import build_pack, build_unpack
    from latentwire.export.measure import Coder, session

    models = [build(pieces.family, pieces.tables, pieces.codec_id) for build in (build_pack, build_unpack)]
    latents = pieces.latents(300, 20.0)
    wanted = pieces.packet(latents)
    for level in ort_levels:
        for threads in (1, 2):
            pack, unpack = (session(model, threads, level) for model in models)
            coder = Coder(pack, unpack, (0,))
            assert coder.packet(latents, latents.shape, QUALITY).tobytes() == wanted
            np.testing.assert_array_equal(
                coder.restore(np.frombuffer(wanted, np.uint8))["symbols"], pieces.tables.quantize(latents, QUALITY)
            )
