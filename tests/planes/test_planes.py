"""Pack and unpack of any model that follows the protocol: a small one, against NumPy, and whatever bytes come in."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_codec import Fields, read_fields, write_fields

from latentwire.export import ExportError
from latentwire.export.graph import FLOAT, INT32, rans, table
from latentwire.export.measure import Coder, session
from latentwire.export.pictures import LIMITS
from latentwire.export.planes import (
    TOTAL,
    Book,
    Plane,
    Prediction,
    Row,
    build_pack,
    build_unpack,
    codec_id,
    cost_of,
    round_to_symbols,
)
from latentwire.runtime.wire import Status

CHANNELS, BLOCK = 3, 8


def row_of(rng: np.random.Generator, columns: int, offset: int) -> Row:
    shares = rng.dirichlet(np.full(columns, 0.3))
    frequency = np.maximum(np.floor(shares * (TOTAL - columns)), 0).astype(np.int64) + 1
    frequency[frequency.argmax()] += TOTAL - frequency.sum()
    return Row(frequency, offset)


@dataclass(frozen=True)
class Small:
    """A coarse plane, and a fine one whose rows go by it; a third of the fine rows is the certain one."""

    seed: int = 0
    family: str = "planes"
    block: int = BLOCK
    latents: int = CHANNELS
    planes: tuple[Plane, ...] = (Plane("coarse", 2, BLOCK), Plane("fine", CHANNELS, BLOCK // 2, always=False))

    @property
    def book(self) -> Book:
        rng = np.random.default_rng(self.seed)
        return Book.of([row_of(rng, n, -(n // 2)) for n in (2, 9, 40)], [row_of(rng, 700, -350)])

    def predict(self, op, at, known):
        if at == 0:
            rows = op.Expand(table(op, np.array([1, 2], np.int32), "rows"), known.shape(op, self.planes[0]))
            return Prediction(rows)
        coarse = op.Slice(op.Abs(known.symbols[0]), [0], [1], [3])
        wide = op.Resize(op.Transpose(op.Cast(coarse, to=FLOAT), perm=[0, 3, 1, 2]), None, [1.0, 1.0, 2.0, 2.0])
        rows = op.Cast(op.Transpose(op.Mod(wide, 5.0, fmod=1), perm=[0, 2, 3, 1]), to=INT32)
        return Prediction(op.Expand(rows, known.shape(op, self.planes[1])))

    def quantize(self, op, at, latent, found, known):
        return round_to_symbols(op, latent, found)

    def restore(self, op, known):
        return op.Cast(known.symbols[1], to=FLOAT)

    def least_rows(self, quality):
        return (1, 2), ()

    def contract(self):
        return {"seed": np.array([self.seed])}


MODEL = Small()
CODEC = codec_id(MODEL)


@pytest.fixture(scope="module")
def coder() -> Coder:
    models = (build_pack(MODEL, CODEC), build_unpack(MODEL, CODEC, LIMITS))
    return Coder(*(session(model) for model in models), (0, 1, 2))


def latents_of(seed: int, rows: int, columns: int, spread: float) -> np.ndarray:
    """Of both planes, folded: 2 coarse channels and 4 times 3 fine ones."""
    noise = np.random.default_rng(seed).laplace(size=(1, 2 + 4 * CHANNELS, rows, columns)) * spread
    return noise.astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.6, 3.0, 40.0, 1e5]))
def test_symbols_come_back_whatever_they_are(coder, seed, rows, columns, spread):
    latents = latents_of(seed, rows, columns, spread)
    packet = coder.packet(latents, (rows * BLOCK, columns * BLOCK, 3), 7)
    found = coder.restore(packet)
    assert found["status"] == 0 and found["quality"] == [7]
    coarse = np.rint(latents[0, :2]).transpose(1, 2, 0)
    assert np.array_equal(found["symbols"][: coarse.size].reshape(coarse.shape), coarse)
    fine = (
        latents[0, 2:].reshape(2, 2, CHANNELS, rows, columns).transpose(3, 0, 4, 1, 2).reshape(2 * rows, -1, CHANNELS)
    )
    chosen = np.repeat(np.repeat(np.abs(coarse[..., :1]) % 5, 2, 0), 2, 1)
    wanted = np.where(chosen > 0, np.rint(fine), 0)
    assert np.array_equal(found["symbols"][coarse.size :].reshape(wanted.shape), wanted)
    assert np.array_equal(found["latents"][0].transpose(1, 2, 0), wanted)


def decoded(fields: Fields, rows: list[np.ndarray]) -> tuple[list[int], bool]:
    """(Symbols of elements with those rows, plane by plane; whether all was used), in plain Python."""
    book, lanes, body = MODEL.book, fields.lanes, fields.body
    states = [int.from_bytes(body[4 * lane : 4 * lane + 4], "little") for lane in range(lanes)]
    length, at = read_number(body, 4 * lanes)
    end, listed = at + length, []
    while at < end:
        number, at = read_number(body, at)
        listed.append(number)
    words = np.frombuffer(body[end:], "<u2").tolist()
    symbols: list[int] = []
    for plane in rows:
        for begin in range(0, len(plane), lanes):
            step = plane[begin : begin + lanes]
            for lane, row in enumerate(step):
                low = states[lane] % TOTAL
                first, length = book.first[row], book.lengths[row]
                column = int(np.searchsorted(book.start[first : first + length], low, side="right")) - 1
                frequency, start = int(book.frequency[first + column]), int(book.start[first + column])
                states[lane] = frequency * (states[lane] // TOTAL) + low - start
                symbols.append(listed.pop(0) if column == length - 1 else int(book.offsets[row]) + column)
            for lane in range(len(step)):
                if states[lane] < rans.FINE.low:
                    states[lane] = states[lane] << 16 | words.pop(0)
    return symbols, not words and not listed and states == [rans.FINE.low] * lanes


def read_number(body: bytes, at: int) -> tuple[int, int]:
    """A zigzag LEB128 number at a place, and the place behind it."""
    value = shift = 0
    while True:
        value |= (body[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if body[at - 1] < 128:
            return (-(value + 1) // 2 if value & 1 else value // 2), at


@pytest.mark.parametrize(("rows", "columns", "spread"), [(1, 1, 0.4), (5, 7, 2.0), (40, 50, 3.0), (4, 4, 900.0)])
def test_packets_are_what_the_description_says(coder, rows, columns, spread):
    latents = latents_of(1, rows, columns, spread)
    packet = coder.packet(latents, (rows * BLOCK, columns * BLOCK, 3), 0).tobytes()
    found, fields = coder.restore(np.frombuffer(packet, np.uint8))["symbols"], read_fields(packet)
    assert write_fields(fields) == packet
    coarse = np.broadcast_to([1, 2], (rows * columns, 2)).ravel()
    first = np.abs(found[: coarse.size].reshape(rows, columns, 2)[..., :1]) % 5
    fine = np.repeat(np.repeat(first, 2, 0), 2, 1).repeat(CHANNELS, 2).ravel()
    symbols, used = decoded(fields, [coarse, fine[fine > 0]])
    assert used
    assert symbols == [*found[: coarse.size], *found[coarse.size :][fine > 0]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_bytes_come_in_the_answer_is_a_status(coder, data):
    packet = bytearray(coder.packet(latents_of(3, 6, 6, 2.0), (48, 48, 3), 0).tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(9, len(packet) - 5))] = data.draw(st.integers(0, 255))
    packet[-4:] = zlib.adler32(bytes(packet[:-4])).to_bytes(4, "little")
    found = coder.restore(np.frombuffer(bytes(packet), np.uint8))
    assert int(found["status"]) in list(Status)
    if found["status"] != 0:
        assert not found["symbols"].size and not found["size"].any()


def test_a_small_packet_that_claims_a_large_picture_is_refused(coder):
    fields = read_fields(coder.packet(latents_of(3, 2, 2, 2.0), (16, 16, 3), 0).tobytes())
    forged = write_fields(Fields(fields.codec, 0, fields.lanes, (5000, 5000, 3), fields.body))
    assert coder.restore(np.frombuffer(forged, np.uint8))["status"] == Status.LIMIT


@given(st.integers(0, 99), st.lists(st.integers(2, 900), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_pages_find_the_symbol_of_each_slot(seed, lengths):
    rng = np.random.default_rng(seed)
    book = Book(tuple(row_of(rng, length, -3) for length in lengths))
    begins, pages = book.pages()
    slots = np.arange(TOTAL)
    for row, (first, length) in enumerate(zip(book.first, book.lengths, strict=True)):
        place = pages[begins[row * (TOTAL // 16) + slots // 16] + slots % 16]
        assert np.array_equal(place - first, np.searchsorted(book.start[first : first + length], slots, "right") - 1)


def test_packets_of_real_claims_are_within_their_cost(coder):
    cost = cost_of(MODEL)
    for spread in (0.0, 1.0, 300.0):
        fields = read_fields(coder.packet(latents_of(2, 30, 30, spread), (240, 240, 3), 9).tobytes())
        assert cost.excess((240, 240, 3), 9, fields.lanes, len(fields.body) - 4 * fields.lanes) is None


def test_a_row_must_be_one_of_16_bits():
    with pytest.raises(ExportError, match="sum to 65536"):
        Row(np.array([1, 2, 3]), 0)
    with pytest.raises(ExportError, match="at least 1"):
        Row(np.array([TOTAL, 0]), 0)


def test_whatever_decoding_goes_by_is_in_the_codec_id():
    assert codec_id(Small(1)) != CODEC == codec_id(Small(0))
