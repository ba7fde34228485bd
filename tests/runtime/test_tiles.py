import io
import tracemalloc
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.runtime import Damaged, Decoder, Encoder, Hole, Tile, errors, frame, parse_tile, read_stream
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire.mosaic import GREY, Mosaic, decode_tiles
from latentwire.runtime.wire.packet import check_packet, write_packet
from latentwire.runtime.wire.stream import Packet
from latentwire.runtime.wire.tiles import TILE_BYTES, encode_tiles, spans


class Store:
    """Both halves of a codec that keeps pixels as they are, or adds a level that differs from call to call."""

    def __init__(self, offset: int = 0) -> None:
        self._offset, self._calls = offset, 0

    def encode(self, items, quality=None):
        items = items[..., None] if items.ndim == 2 else items
        return write_packet(b"abcd", quality or 0, 1, items.shape, bytes(4) + items.tobytes())

    def decode(self, packet):
        header = check_packet(packet)
        self._calls += 1
        pixels = np.frombuffer(packet, np.uint8, offset=header.body_at)[:-4].reshape(header.size)
        return pixels + np.uint8(self._offset * (self._calls % 2))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(np.uint8)


def records_of(picture: np.ndarray, tile: int = 40, overlap: int = 8) -> list[bytes]:
    return list(encode_tiles(Store(), picture, 7, tile, overlap))


def record(tile: Tile, height: int, width: int, channels: int = 3, value: int = 9) -> bytes:
    return tile.to_bytes() + Store().encode(np.full((height, width, channels), value, np.uint8))


@given(st.integers(1, 5000), st.integers(1, 300), st.data())
def test_spans_cover_the_axis_and_share_what_they_should(length, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    found = spans(length, tile, overlap)
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(0 < stop - start <= tile for start, stop in found)
    assert all(left[1] - right[0] == overlap for left, right in pairwise(found))
    assert len(found) <= max(1, -(-(length - overlap) // (tile - overlap)))


def test_spans_are_of_like_lengths_and_whole_blocks():
    assert spans(1025, 1024, 16) == [(0, 576), (560, 1025)]
    assert [stop - start for start, stop in spans(10_000, 1024, 16)] == [1024] * 9 + [928]


@settings(deadline=None)  # a picture can be hundreds of tiles
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 3]), st.integers(1, 40), st.data())
def test_lossless_tiles_give_back_the_same_picture(height, width, channels, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    picture = noise(height, width, channels)
    records = records_of(picture, tile, overlap)
    assert records[0].startswith(b"LW") == (height <= tile and width <= tile)
    found = decode_tiles(Store(), records)
    assert np.array_equal(found.pixels, picture)
    assert found.intact
    found.raise_on_damage()


@settings(deadline=None)  # a picture can be hundreds of tiles
@given(st.integers(20, 70), st.integers(20, 70), st.integers(5, 30), st.data())
def test_a_lost_tile_is_a_named_grey_hole_and_nothing_else_changes(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    picture = noise(height, width, 3)
    records = records_of(picture, tile, overlap)
    lost = data.draw(st.integers(0, len(records) - 1))
    kept = records[:lost] + records[lost + 1 :]
    if not kept:
        return
    found = decode_tiles(Store(), kept)
    missing = np.zeros((height, width), bool)
    for hole in found.holes:
        area = missing[hole.top : hole.top + hole.height, hole.left : hole.left + hole.width]
        assert area.shape == (hole.height, hole.width) and not area.any()
        area[:] = True
    covered = np.zeros_like(missing)
    for kept_record in kept:
        place, (h, w, _) = parse_tile(kept_record), check_packet(kept_record[TILE_BYTES:]).size
        covered[place.top : place.top + h, place.left : place.left + w] = True
    assert np.array_equal(missing, ~covered)
    assert (found.pixels[missing] == GREY).all()
    assert np.array_equal(found.pixels[covered], picture[covered])
    assert found.intact == (not missing.any()), "neighbours can cover all of a lost tile"
    if missing.any():
        with pytest.raises(errors.TruncatedError, match="expected tiles for the whole picture"):
            found.raise_on_damage()


def test_every_tile_decodes_apart():
    picture = noise(100, 90, 3)
    for found in records_of(picture):
        tile, packet = parse_tile(found), found[TILE_BYTES:]
        pixels = Store().decode(packet)
        rows, columns = slice(tile.top, tile.top + len(pixels)), slice(tile.left, tile.left + pixels.shape[1])
        assert np.array_equal(pixels, picture[rows, columns])
        assert (tile.height, tile.width) == (100, 90)


def test_overlaps_are_blended_without_a_step():
    """Tiles that differ by 60 levels meet in slopes, corners included; without an overlap they meet in steps."""
    picture = np.full((200, 200, 1), 100, np.uint8)
    for overlap, steepest in ((0, 60), (16, 5), (32, 3)):
        found = decode_tiles(Store(60), records_of(picture, 64, overlap)).pixels[..., 0].astype(int)
        assert np.ptp(found) == 60
        assert max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1)) <= steepest, overlap


def test_a_smooth_gradient_comes_back_within_a_level():
    y, x = np.mgrid[:300, :411]
    picture = np.rint((x + y) * 255 / 709).astype(np.uint8)
    found = decode_tiles(Store(), records_of(picture, 64, 16)).pixels[..., 0]
    assert np.abs(found.astype(int) - picture).max() <= 1


def test_a_stream_of_tiles_survives_damage(store):
    picture = noise(150, 140, 3)
    records = list(Encoder(store / "encoder.onnx").encode_tiles(picture, tile=64, overlap=8))
    frames = [frame(found) for found in records]
    decoder = Decoder(store / "decoder.onnx")
    found = list(read_stream(io.BytesIO(b"".join(frames))))
    assert [entry.data for entry in found] == records and all(entry.is_tile for entry in found)
    assert np.array_equal(decoder.decode_tiles(found).pixels, picture)
    at = sum(map(len, frames[:4]))
    for place in (5, 4 + 1, 4 + 3, 4 + 12, 4 + 20, 4 + TILE_BYTES, 4 + TILE_BYTES + 12, 200, len(frames[4]) - 1):
        data = bytearray(b"".join(frames))
        data[at + place] ^= 0x10
        result = decoder.decode_tiles(read_stream(io.BytesIO(data)))
        assert [(d.offset, d.length) for d in result.damaged] == [(at, len(frames[4]))], place
        assert len(result.holes) == 1
        hole = result.holes[0]
        intact = np.ones(picture.shape[:2], bool)
        intact[hole.top : hole.top + hole.height, hole.left : hole.left + hole.width] = False
        assert np.array_equal(result.pixels[intact], picture[intact])
        assert not result.intact
        with pytest.raises(RemoteError):
            result.raise_on_damage()


@pytest.mark.parametrize("offset", range(TILE_BYTES))
def test_every_changed_bit_of_a_tile_header_is_noticed(offset):
    header = Tile(300, 200, 100, 40).to_bytes()
    assert parse_tile(header) == Tile(300, 200, 100, 40)
    for bit in range(8):
        with pytest.raises(RemoteError):
            parse_tile(header[:offset] + bytes([header[offset] ^ 1 << bit]) + header[offset + 1 :])
    with pytest.raises(errors.TruncatedError):
        parse_tile(header[:offset])


def test_the_header_is_what_the_documentation_says():
    header = Tile(300, 200, 100, 40).to_bytes()
    fields = b"LT\x01" + b"".join(value.to_bytes(4, "little") for value in (300, 200, 100, 40))
    assert header == fields + zlib.crc32(fields).to_bytes(4, "little")


FIRST = record(Tile(100, 100, 0, 0), 50, 60)


@pytest.mark.parametrize(
    ("hostile", "error"),
    [
        (record(Tile(100, 100, 0, 50), 50, 51), errors.LayoutError),  # over the right edge
        (record(Tile(100, 100, 60, 0), 41, 60), errors.LayoutError),  # over the bottom
        (record(Tile(100, 100, 0, 50), 49, 50), errors.LayoutError),  # lower than its row
        (record(Tile(100, 100, 0, 0), 50, 60), errors.LayoutError),  # again
        (record(Tile(100, 100, 0, 10), 50, 50), errors.LayoutError),  # nothing new
        (record(Tile(100, 100, 10, 0), 40, 60), errors.LayoutError),  # a row inside the row before
        (record(Tile(100, 101, 0, 50), 50, 50), errors.LayoutError),  # another picture
        (record(Tile(100, 100, 0, 50), 50, 50, channels=1), errors.LayoutError),
        (record(Tile(1 << 14, (1 << 14) + 1, 0, 0), 50, 50), errors.LimitError),
        (record(Tile(2**32 - 1, 2**32 - 1, 0, 0), 50, 50), errors.LimitError),
        (Store().encode(np.zeros((100, 100, 3), np.uint8)), errors.LayoutError),  # an ordinary packet
        (Tile(100, 100, 0, 50).to_bytes() + write_packet(b"abcd", 0, 1, (50,), bytes(9)), errors.LayoutError),
        (Tile(100, 100, 0, 50).to_bytes() + write_packet(b"abcd", 0, 1, (50, 0, 3), bytes(9)), errors.LayoutError),
        (Tile(100, 100, 0, 50).to_bytes()[:-1], errors.TruncatedError),
        (Tile(100, 100, 0, 50).to_bytes() + b"LX", errors.TruncatedError),
        (Tile(100, 100, 0, 50).to_bytes() + record(Tile(100, 100, 0, 50), 50, 50), errors.MagicError),
        (Tile(100, 100, 100, 0).to_bytes(), errors.LayoutError),
        (Tile(0, 0, 0, 0).to_bytes(), errors.LayoutError),
        (b"", errors.TruncatedError),
    ],
)
def test_a_hostile_tile_is_refused_and_the_others_are_kept(hostile, error):
    last = record(Tile(100, 100, 40, 40), 60, 60, value=30)
    found = decode_tiles(Store(), [FIRST, hostile, last])
    assert [type(damaged.error) for damaged in found.damaged] == [error]
    assert found.damaged[0].offset == 4 + len(FIRST)
    assert found.pixels[0, 0, 0] == 9 and found.pixels[99, 99, 0] == 30
    assert found.holes == (Hole(0, 60, 40, 40), Hole(50, 0, 50, 40))


@given(st.data())
def test_any_order_of_any_tiles_is_a_picture_with_named_holes(data):
    length = st.integers(1, 12)
    records = [
        record(
            Tile(12, 10, data.draw(st.integers(0, 11)), data.draw(st.integers(0, 9))),
            data.draw(length),
            data.draw(length),
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    try:
        found = decode_tiles(Store(), records)
    except RemoteError:
        return
    missing = np.zeros((12, 10), bool)
    for hole in found.holes:
        missing[hole.top : hole.top + hole.height, hole.left : hole.left + hole.width] = True
    assert np.array_equal(found.pixels, np.where(missing[..., None], GREY, 9) + np.zeros(3, np.uint8))
    assert len(found.damaged) < len(records)


def test_a_claim_is_refused_before_anything_is_allocated():
    claims = [record(Tile(2**32 - 1, 2**32 - 1, 0, 0), 1, 1)]
    claims.append(Tile(9, 9, 0, 0).to_bytes() + write_packet(b"abcd", 0, 1, (2**31, 2**31, 3), bytes(4)))
    tracemalloc.start()
    for claim in claims:
        with pytest.raises(RemoteError):
            decode_tiles(Store(), [claim])
    assert tracemalloc.get_traced_memory()[1] < 1 << 16
    tracemalloc.stop()


def test_no_tile_at_all_is_the_first_ones_error():
    with pytest.raises(errors.TruncatedError, match="found none"):
        decode_tiles(Store(), [])
    broken = errors.ChecksumError("broken")
    with pytest.raises(errors.ChecksumError, match="broken"):
        decode_tiles(Store(), [Damaged(0, 9, broken)])


def test_more_pixels_are_allowed_when_asked_for():
    records = records_of(noise(50, 60, 1))
    with pytest.raises(errors.LimitError, match="at most 2999 pixels, found 50 x 60: allow more"):
        decode_tiles(Store(), records, max_pixels=2999)
    assert decode_tiles(Store(), records, max_pixels=3000).intact


def test_pixels_go_where_they_are_wanted():
    picture, out = noise(50, 60, 3), np.zeros((50, 60, 3), np.uint8)
    assert decode_tiles(Store(), records_of(picture), out).pixels is out
    assert np.array_equal(out, picture)
    with pytest.raises(errors.SettingError, match=r"expected out as uint8 \[50, 60, 3\]"):
        decode_tiles(Store(), records_of(picture), out[1:])


def test_only_two_rows_of_tiles_are_in_memory():
    picture = np.broadcast_to(np.uint8(7), (3000, 400, 3))
    records = (Packet(0, found) for found in encode_tiles(Store(), picture, 0, 100, 10))
    mosaic = Mosaic(Store(), records)
    tracemalloc.start()
    assert sum(len(rows) for rows in mosaic.rows()) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * 400 * 3, "the whole picture has 3.6 MB"


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 5), (8, -1), (1 << 32, 0)])
def test_tiles_that_cannot_be_cut_are_refused_at_once(store, tile, overlap):
    with pytest.raises(errors.SettingError):
        Encoder(store / "encoder.onnx").encode_tiles(noise(9, 9, 1), tile=tile, overlap=overlap)


def test_codecs_of_vectors_have_no_tiles(bundle, digits):
    with pytest.raises(errors.SettingError, match="codec of pictures"):
        Encoder(bundle).encode_tiles(digits)
    with pytest.raises(errors.SettingError, match="codec of pictures"):
        Decoder(bundle).decode_tiles([FIRST])
    with pytest.raises(errors.MagicError, match="found a tile of a larger picture"):
        Decoder(bundle).decode(FIRST)
