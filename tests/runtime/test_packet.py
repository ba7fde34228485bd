import zlib

import numpy_codec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime import errors
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire import Header, Limits, Status, check_packet, parse_header, verdict
from latentwire.runtime.wire.packet import width_for, write_packet

CODEC = bytes(range(100, 132))
PACKET = write_packet(CODEC[:4], 128, 2, (3,), bytes.fromhex("0000010000000200") + b"words!")


def resealed(packet: bytes) -> bytes:
    """The packet with a checksum that fits."""
    return packet[:-4] + zlib.adler32(packet[:-4]).to_bytes(4, "little")


def changed(offset: int, value: int) -> bytes:
    """The packet with one byte replaced and a checksum that fits."""
    return resealed(PACKET[:offset] + bytes([value]) + PACKET[offset + 1 :])


headers = st.builds(
    lambda codec, quality, lanes_log2, size, body: (codec, quality, 1 << lanes_log2, tuple(size), body),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.integers(0, 4),
    st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=4),
    st.binary(max_size=300),
)


@given(headers)
def test_what_is_written_is_read_back_and_agrees_with_the_independent_writer(fields):
    codec, quality, lanes, size, rest = fields
    body = bytes(4 * lanes) + rest
    packet = write_packet(codec, quality, lanes, size, body)
    assert packet == numpy_codec.write_fields(numpy_codec.Fields(codec, quality, lanes, size, body))
    header = check_packet(packet)
    assert header == Header(codec, quality, lanes, size, len(packet), width_for(max(*size, len(packet))))
    assert packet[header.states_at : -4] == body
    assert header.to_bytes() == packet[: header.states_at]


def test_one_vector_costs_fifteen_bytes_and_its_lane():
    assert len(write_packet(CODEC[:4], 0, 1, (1,), bytes(4))) == 15 + 4


@pytest.mark.parametrize("cut", range(len(PACKET)))
def test_every_prefix_is_truncated(cut):
    with pytest.raises(errors.TruncatedError):
        check_packet(PACKET[:cut])


@pytest.mark.parametrize("offset", range(len(PACKET)))
def test_every_changed_byte_is_noticed(offset):
    with pytest.raises(RemoteError):
        check_packet(PACKET[:offset] + bytes([PACKET[offset] ^ 1]) + PACKET[offset + 1 :])


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (changed(0, 0), errors.MagicError),
        (changed(2, 2), errors.VersionError),
        (changed(3, 0), errors.CodecError),
        (changed(8, 0x0D), errors.LayoutError),  # 2^13 lanes
        (changed(8, 0x31), errors.LayoutError),  # width 8
        (changed(8, 0x41), errors.LayoutError),  # two dimensions
        (changed(8, 0x08), errors.LayoutError),  # more lanes than the length has room for
        (changed(10, len(PACKET) + 1), errors.TruncatedError),
        (changed(10, len(PACKET) - 1), errors.TrailingError),
        (PACKET + b"\0", errors.TrailingError),
        (PACKET[:-1] + bytes([PACKET[-1] ^ 128]), errors.ChecksumError),
        (changed(9, 0), errors.LimitError),
        (changed(9, 101), errors.LimitError),
    ],
)
def test_each_failure_has_its_error(packet, error):
    with pytest.raises(error):
        check_packet(packet, CODEC, Limits((100,)))


@pytest.mark.parametrize("wider", [2, 4])
@pytest.mark.parametrize("size", [(3,), (1, 2, 3, 255)])
def test_fields_wider_than_their_numbers_need_are_refused(wider, size):
    """Or one content would have several packets, and several hashes."""
    packet = write_packet(CODEC[:4], 128, 1, size, bytes(4))
    length = len(packet) + (wider - 1) * (len(size) + 1)
    header = Header(CODEC[:4], 128, 1, size, length, wider)
    hostile = resealed(header.to_bytes() + bytes(8))
    with pytest.raises(errors.LayoutError, match=f"expected fields of 1 bytes .*, found {wider}"):
        check_packet(hostile)
    assert check_packet(packet).width == 1


@pytest.mark.parametrize(("size", "width"), [((255,), 1), ((256,), 2), ((65535,), 2), ((65536,), 4)])
def test_the_narrowest_fields_are_the_only_ones(size, width):
    assert check_packet(write_packet(CODEC[:4], 0, 1, size, bytes(4))).width == width


def test_the_untouched_packet_passes_the_same_checks():
    assert check_packet(PACKET, CODEC, Limits((100,))).size == (3,)


def test_a_longer_packet_than_allowed_is_refused():
    with pytest.raises(errors.LimitError):
        check_packet(PACKET, CODEC, Limits((100,), packet_bytes=len(PACKET) - 1))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_header_or_a_remote_error(data):
    try:
        header = parse_header(b"LW\x01" + data)
    except RemoteError:
        return
    assert header.states_at <= 3 + len(data)
    assert header.length >= header.body_at + 4


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_each_status_of_the_graph_has_an_error_of_its_own(status):
    error = verdict(int(status))
    assert type(error).__name__.lower() == f"{status.name.lower()}error"
    assert isinstance(error, RemoteError)
    assert "expected" in str(error)


def test_limits_are_lowered_never_raised():
    assert Limits((10, 20), 300).lowered_to(Limits((15, 5), 100)) == Limits((10, 5), 100)
    with pytest.raises(errors.SettingError):
        Limits((10,)).lowered_to(Limits((1, 1)))
    with pytest.raises(errors.SettingError):
        Limits((10, (3,))).lowered_to(Limits((10, 2)))


def test_listed_lengths_and_areas_are_lowered_too():
    limits = Limits((100, 100, (1, 3)), area=1000)
    assert limits.lowered_to(Limits((50, 200, 3))) == Limits((50, 100, (1, 3)), area=1000)
    assert limits.lowered_to(Limits((100, 100, 2), area=500)) == Limits((100, 100, (1,)), area=500)
    assert limits.lowered_to(Limits((100, 100, (3, 4)), area=2000)) == Limits((100, 100, (3,)), area=1000)
    assert Limits((100, 100, 4)).lowered_to(limits) == limits


@pytest.mark.parametrize("bad", [{"size": ()}, {"size": ((),)}, {"size": ((0, 3),)}, {"size": (1,), "area": 0}])
def test_limits_below_one_are_refused(bad):
    with pytest.raises(errors.SettingError):
        Limits(**bad)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((65535, 65535, 3), r"product up to 100663296, found \[65535, 65535, 3\]"),
        ((2**32 - 1, 2**32 - 1, 3), "found"),
        ((65536, 1, 1), "expected a size of 1..65535 x 1..65535 x 1 or 3"),
        ((8, 8, 2), "1 or 3"),
        ((8, 0, 3), r"\[8, 0, 3\]"),
    ],
)
def test_a_picture_that_is_too_large_is_the_last_thing_noticed(size, said):
    limits = Limits((65535, 65535, (1, 3)), area=3 << 25)
    packet = write_packet(CODEC[:4], 1, 1, size, bytes(4))
    with pytest.raises(errors.LimitError, match=said):
        check_packet(packet, CODEC, limits)
    with pytest.raises(errors.ChecksumError):
        check_packet(packet[:-1] + bytes([packet[-1] ^ 1]), CODEC, limits)
    assert check_packet(write_packet(CODEC[:4], 1, 1, (5793, 5792, 3), bytes(4)), CODEC, limits).size[0] == 5793
