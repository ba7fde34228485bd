import io
import os
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.errors import ChecksumError, LimitError, SettingError, TruncatedError
from latentwire.runtime.wire import stream
from latentwire.runtime.wire.packet import Header, check_checksum, width_for, write_packet
from latentwire.runtime.wire.stream import Damaged, Packet, frame, is_packet, read_stream, write_stream
from latentwire.runtime.wire.tiles import Tile


def make_packets(count: int, seed: int = 0) -> list[bytes]:
    """Packets of different lengths with random bodies."""
    rng = random.Random(seed)
    return [write_packet(b"abcd", q, 1, (3,), bytes(4) + rng.randbytes(rng.randrange(80))) for q in range(count)]


PACKETS = make_packets(6)
STREAM = b"".join(frame(packet) for packet in PACKETS)
STARTS = [sum(len(frame(packet)) for packet in PACKETS[:place]) for place in range(len(PACKETS))]


def read(data: bytes, **settings) -> list[Packet | Damaged]:
    records = list(read_stream(io.BytesIO(data), **settings))
    ends = [r.offset + (r.length if isinstance(r, Damaged) else 4 + len(r.data)) for r in records]
    assert [record.offset for record in records] == [0, *ends[:-1]][: len(records)], "a byte is lost or told twice"
    assert not records or ends[-1] == len(data)
    return records


def good(records: list[Packet | Damaged]) -> list[bytes]:
    return [record.data for record in records if isinstance(record, Packet)]


class Trickle(io.RawIOBase):
    """A source that returns one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._left.read(min(size, 1) if size >= 0 else 1)


def test_written_packets_are_read_back():
    sink = io.BytesIO()
    assert write_stream(sink, PACKETS) == len(PACKETS)
    assert good(read(sink.getvalue())) == PACKETS
    assert read(b"") == []


def test_short_reads_are_fine():
    assert good(list(read_stream(Trickle(STREAM)))) == PACKETS


def test_a_live_pipe_hands_a_packet_out_before_the_next_arrives():
    read_end, write_end = os.pipe()
    arrived = threading.Event()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb", buffering=0) as sink:

        def send() -> None:
            sink.write(frame(PACKETS[0]))
            assert arrived.wait(10), "the reader waited for more than one packet"
            sink.write(frame(PACKETS[1]))
            sink.close()

        sender = threading.Thread(target=send)
        sender.start()
        records = read_stream(source)
        first = next(records)
        arrived.set()
        assert [first, *records] == [Packet(0, PACKETS[0]), Packet(STARTS[1], PACKETS[1])]
        sender.join()


@pytest.mark.parametrize("offset", range(len(STREAM)))
def test_a_changed_byte_loses_one_packet_at_most(offset):
    data = bytearray(STREAM)
    data[offset] ^= 0xFF
    records = read(bytes(data))
    hit = sum(start <= offset for start in STARTS) - 1
    assert good(records) == PACKETS[:hit] + PACKETS[hit + 1 :]
    assert len(records) == len(PACKETS)


@pytest.mark.parametrize("offset", range(0, len(STREAM), 3))
def test_a_lost_or_added_byte_loses_one_packet_at_most(offset):
    hit = sum(start <= offset for start in STARTS) - 1
    others = PACKETS[:hit] + PACKETS[hit + 1 :]
    assert good(read(STREAM[:offset] + STREAM[offset + 1 :])) == others
    # A byte added right before a frame belongs to none.
    assert good(read(STREAM[:offset] + b"\x99" + STREAM[offset:])) == (PACKETS if offset in STARTS else others)


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_every_prefix_keeps_its_whole_packets(cut):
    records = read(STREAM[:cut])
    whole = sum(start + len(frame(packet)) <= cut for start, packet in zip(STARTS, PACKETS, strict=True))
    assert good(records) == PACKETS[:whole]
    damaged = [record for record in records if isinstance(record, Damaged)]
    assert len(damaged) == (cut not in STARTS and cut != 0)
    assert all(isinstance(record.error, TruncatedError) for record in damaged)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_noise_around_a_packet_does_not_hide_it(before, after):
    assert PACKETS[3] in good(read(before + frame(PACKETS[3]) + after))


def test_a_damaged_packet_cannot_smuggle_in_another():
    inner = frame(PACKETS[0])
    outer = bytearray(frame(write_packet(b"abcd", 1, 1, (1,), bytes(4) + inner)))
    outer[15] ^= 1
    records = read(bytes(outer) + frame(PACKETS[1]))
    assert good(records) == [PACKETS[1]]
    assert isinstance(records[0].error, ChecksumError)


TAILS = [[0], [1], [0, 1], [2, 3, 4], [5] * 7]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("behind", [b"", frame(PACKETS[5])])
@pytest.mark.parametrize("lost", [24, 25, 60, 200])
def test_intact_frames_in_the_place_of_a_damaged_ones_tail_are_found(tail, behind, lost):
    """Whether written over it or moved up: they end where it does, and the next frame is in its place."""
    kept = b"".join(frame(PACKETS[place]) for place in tail)
    whole = frame(write_packet(b"abcd", 9, 1, (1,), bytes(lost + len(kept) - 19)))
    data = whole[: len(whole) - len(kept)] + kept + behind
    records = read(frame(PACKETS[2]) + data)
    assert good(records)[1:] == [PACKETS[place] for place in tail] + ([PACKETS[5]] if behind else [])
    damaged = [record for record in records if isinstance(record, Damaged)]
    assert [(type(record.error), record.length) for record in damaged] == [(ChecksumError, len(whole) - len(kept))]


def test_a_tile_in_the_place_of_a_tail_is_found_too():
    tile = Tile(300, 200, 100, 40).to_bytes() + write_packet(b"abcd", 0, 1, (50, 60, 3), bytes(40))
    whole = frame(Tile(300, 200, 0, 40).to_bytes() + write_packet(b"abcd", 0, 1, (50, 60, 3), bytes(300)))
    records = read(whole[: len(whole) - len(frame(tile))] + frame(tile) + frame(PACKETS[1]))
    assert good(records) == [tile, PACKETS[1]]


def test_a_tail_longer_than_a_part_that_is_searched_at_once_is_found(monkeypatch):
    for chunk in range(1, 40):
        monkeypatch.setattr(stream, "CHUNK", chunk)
        tail = frame(PACKETS[0]) + frame(PACKETS[1])
        whole = frame(write_packet(b"abcd", 9, 1, (1,), bytes(100 + len(tail))))
        assert good(read(whole[: len(whole) - len(tail)] + tail)) == PACKETS[:2]


def test_tails_do_not_take_quadratic_time(monkeypatch):
    """A damaged frame full of claims that all end where it does, and headers that agree with them."""
    summed = []
    data = bytearray(frame(write_packet(b"abcd", 0, 1, (1,), bytes(1 << 16))))
    for start in range(64, len(data) - 300, 32):
        length = len(data) - start - 4
        claim = Header(b"aaaa", 0, 1, (1,), length, width_for(length))
        data[start : start + 4] = length.to_bytes(4, "little")
        data[start + 4 : start + 4 + claim.states_at] = claim.to_bytes()

    def check_and_count(packet: bytes) -> None:
        summed.append(len(packet))
        check_checksum(packet)

    monkeypatch.setattr(stream, "check_checksum", check_and_count)
    records = read(data * 5)
    assert good(records) == []
    assert len(summed) > 20, "no candidate was checked at all"
    assert sum(summed) < 6 * 5 * len(data)


def test_a_hostile_length_is_refused_without_reading_it():
    class Endless(io.RawIOBase):
        handed_out = 0

        def read(self, size: int = -1) -> bytes:
            if self.handed_out > 1 << 20:
                return b""
            self.handed_out += size
            return b"\xff" * size

    source = Endless()
    records = list(read_stream(source))
    assert [type(record.error) for record in records] == [LimitError]


def test_overlapping_claims_do_not_take_quadratic_time(monkeypatch):
    length = 1 << 20
    claim = length.to_bytes(4, "little") + Header(b"aaaa", 0, 1, (1,), length, 4).to_bytes()
    data, summed = claim * 100_000, []

    def check_and_count(packet: bytes) -> None:
        summed.append(len(packet))
        check_checksum(packet)

    monkeypatch.setattr(stream, "check_checksum", check_and_count)
    records = read(data, max_packet=length)
    assert good(records) == []
    assert summed, "no candidate was checked at all"
    assert sum(summed) < 10 * len(data) + 5 * length


def test_the_longest_packet_can_be_lowered():
    records = read(STREAM, max_packet=30)
    assert good(records) == [packet for packet in PACKETS if len(packet) <= 30]
    with pytest.raises(SettingError):
        read(STREAM, max_packet=3)


def test_a_source_that_does_not_block_is_refused():
    class Impatient(io.RawIOBase):
        def read(self, size: int = -1) -> None:
            return None

    with pytest.raises(BlockingIOError):
        list(read_stream(Impatient()))


def test_a_packet_is_told_from_a_stream():
    assert is_packet(PACKETS[0])
    assert is_packet(PACKETS[0][:20])
    assert not is_packet(STREAM)
    # A stream whose first length spells the magic.
    length = 0x01_574C
    assert not is_packet(frame(write_packet(b"abcd", 0, 1, (1,), bytes(length - 9 - 8 - 4))))
