"""What packets take by their tables: no symbol is cheaper than is said, and every header is judged by it."""

import numpy as np
import numpy_codec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.runtime.errors import LimitError, ManifestError, SettingError
from latentwire.runtime.wire import MAX_STEPS, Cost, Limits, check_packet, cost_of_items, cost_of_pictures
from latentwire.runtime.wire.cost import (
    ITEMS_LOW,
    LANE_UNITS,
    LEAST_LANE_BYTES,
    PICTURES_LOW,
    UNITS,
    least_units,
    most_lane_bytes,
)
from latentwire.runtime.wire.packet import write_packet

CODEC = bytes(range(32))
SHARP = Cost(blocks=(64, 64, 0), coded=(2,) * 256, least=(512,) * 256, elements=4160, lane_bytes=100)
LIMITS = Limits((65535, 65535, (1, 3)), area=3 << 25, cost=SHARP)


def claim(size: tuple[int, ...], lanes: int = 1, behind: int = 0) -> bytes:
    return write_packet(CODEC[:4], 7, lanes, size, bytes(4 * lanes + behind))


@pytest.mark.parametrize(
    ("size", "lanes", "behind", "said"),
    [
        ((1, 65535, 3), 1, 0, "about 256 bytes for .*, found 0 and 1 lanes"),
        ((64 * 9, 64, 3), 1, 0, "about 2 bytes"),  # 18 bits; a lane has room for 17
        ((65535, 64 * 17, 1), 1, 90, f"at most {MAX_STEPS} steps, found 34816 of 1 lanes"),
        ((64, 64, 1), 4096, 4095 * LEAST_LANE_BYTES - 1, f"{LEAST_LANE_BYTES} bytes for each lane but the first"),
        ((64, 64, 1), 2, 201, "at most 100 bytes for each lane, found 201 and 2 lanes"),
    ],
)
def test_claims_that_so_many_bytes_cannot_hold_are_refused(size, lanes, behind, said):
    with pytest.raises(LimitError, match=said):
        check_packet(claim(size, lanes, behind), CODEC, LIMITS)


@pytest.mark.parametrize(
    ("size", "lanes", "behind"),
    [
        ((64 * 8, 64, 3), 1, 0),  # 16 bits
        ((64 * 9, 64, 3), 1, 1),
        ((64, 64, 1), 4096, 4095 * LEAST_LANE_BYTES),
        ((4096, 8191, 3), 1024, 800),  # so many elements that an encoder adds lanes whatever they cost
        ((64, 64, 1), 2, 200),
        ((64, 64, 1), 4096, 4096 * 101),  # there are no more lanes
    ],
)
def test_the_last_ones_that_may_be_pass(size, lanes, behind):
    assert check_packet(claim(size, lanes, behind), CODEC, LIMITS).size == size


def test_limits_keep_the_cost_when_they_are_lowered():
    lowered = LIMITS.lowered_to(Limits((100, 100, 3)))
    assert lowered.cost is SHARP
    assert Limits((100, 100, 3)).lowered_to(LIMITS).cost is SHARP
    with pytest.raises(SettingError):
        LIMITS.lowered_to(Limits((1,)))


def test_work_is_whole_blocks_in_all_channels():
    assert LIMITS.work((1, 65535, 1)) == 64 * 65536 * 3
    assert LIMITS.work((64, 128, 3)) == 64 * 128 * 3
    assert Limits((65535, 65535, (1, 3))).work((1, 65535, 1)) == 65535
    assert Limits((100,), cost=cost_of_items(np.ones((256, 4), int), np.full((2, 4), 1024))).work((7,)) == 7


@settings(max_examples=300)
@given(
    low=st.sampled_from([ITEMS_LOW, PICTURES_LOW]),
    likeliest=st.integers(2048, 4095),
    less=st.integers(0, 4094),
    place=st.floats(0, 1),
)
def test_no_state_grows_by_less_than_a_symbol_takes_at_least(low, likeliest, less, place):
    """Any symbol of a row, from the lowest state that takes it to the highest, at the worst start of its interval."""
    units = least_units(np.array([[4096, 0], [likeliest, 4096 - likeliest]]), low)[1]
    for frequency in (likeliest, max(1, likeliest - less)):
        lowest, highest = frequency * low // 4096, frequency * low * 16 - 1
        whole = round(lowest + place * (highest - lowest)) // frequency * frequency
        for state in {lowest, lowest + frequency - 1, highest, whole, whole + frequency - 1}:
            if lowest <= state <= highest:
                grown = state // frequency * 4096 + state % frequency
                assert np.log2(grown / state) * UNITS >= units


@settings(max_examples=40, deadline=None)
@given(items=st.integers(1, 400), scale=st.sampled_from([0.0, 0.3, 3.0]), seed=st.integers(0, 99), data=st.data())
def test_packets_of_an_independent_coder_pass_the_first_two(items, scale, seed, data):
    """In any number of lanes, likely symbols or not: what decodes is not taken for a claim."""
    rng = np.random.default_rng(seed)
    rows = np.array(
        [[0, 4096, 0, 0, 0], *(rng.multinomial(4091 - 5, [0.05, 0.8, 0.1, 0.04, 0.01], 3) + [[2, 2, 2, 2, 2]] * 3)]
    )
    rows[:, 1] += 4096 - rows.sum(1)
    index = np.broadcast_to(rng.integers(0, 4, 12), (items, 12))
    symbols = np.where(index > 0, np.rint(rng.normal(size=(items, 12)) * scale).astype(int), 0)
    frequency = np.roll(rows, 1, axis=1)  # the likeliest column is that of symbol 0
    frequency[:, [-1, 0]] = frequency[:, [0, -1]]
    lanes = data.draw(st.sampled_from([1, 4, 64]))
    packet = numpy_codec.encode_rows(symbols, index, frequency, size=(items,), quality=3, codec_id=CODEC, lanes=lanes)
    cost = cost_of_items(np.broadcast_to(index[0], (256, 12)), frequency)
    header = check_packet(packet, CODEC, Limits((65535,)))
    assert cost.positions(header.size) * cost.least[3] <= LANE_UNITS * (lanes + header.behind / 2)
    assert cost.coded[3] == (index[0] > 0).sum()


def test_a_lane_that_only_escapes_has_more_bytes():
    calm = np.array([[0, 4096, 0], [1, 4094, 1]])
    wild = np.array([[0, 4096, 0], [1, 2047, 2048]])
    assert most_lane_bytes(calm, 480, 4) < 2000 < most_lane_bytes(wild, 480, 4) <= 480 * 8 * 4 + 600


def test_pictures_count_their_hyper_latents_for_certain():
    index = np.array([[0, 1, 1], [1, 1, 1]])
    curve = np.repeat([0, 1], 128)
    table = np.array([[0, 4096, 0], [1024, 2048, 1024]])
    cost = cost_of_pictures(curve, index, table, table, 256)
    assert (cost.coded[127], cost.coded[128], cost.elements) == (2, 3, 16 * 256 + 3)
    assert cost.least[128] == 3 * cost.least[0] // 2 and 2 * 200 < cost.least[0] < 2 * 256
    assert cost.positions((1, 65, 3)) == 2 and cost.padded((1, 65, 3)) == (64, 128, 3)


def test_tables_are_read_off_a_decoder(bundle):
    from latentwire.runtime import Decoder
    from latentwire.runtime.bundle import open_bundle, read_cost

    opened = open_bundle(bundle)
    found = read_cost(opened.read_model("unpack", "exact"), "unpack", 1)
    assert found is not None and found.blocks == (1,) and max(found.coded) <= 10 and max(found.least) > 10 * 256
    for variant in opened.manifest.variants("decoder"):
        assert read_cost(opened.read_model("decoder", variant), "decoder", 1) == found
        assert Decoder(bundle, variant=variant).limits.cost == found
    assert read_cost(opened.read_model("unpack", "exact"), "unpack", 2) is None
    assert read_cost(opened.read_model("encoder", "fp32"), "encoder", 3) is None


def test_a_decoder_without_tables_has_no_known_cost(store):
    from latentwire.runtime import Decoder

    assert Decoder(store / "decoder.onnx").limits.cost is None


@pytest.mark.parametrize(
    "tables",
    [
        {"index": np.zeros((255, 3), np.uint8), "frequency": np.full((2, 4), 1024, np.int64)},
        {"index": np.full((256, 3), 2, np.uint8), "frequency": np.full((2, 4), 1024, np.int64)},
        {"index": np.zeros((256, 3), np.uint8), "frequency": np.full((2, 4), 5000, np.int64)},
        {"index": np.zeros((256, 3), np.uint8), "frequency": np.full((2, 4), -1, np.int64)},
        {"index": np.zeros((256, 3), np.uint8), "frequency": np.full((2,), 4096, np.int64)},
        {"index": np.zeros((256, 3), np.uint8), "frequency": np.full((2, 4), 1024, np.float64)},
    ],
)
def test_tables_that_are_none_are_refused(tables):
    import onnx

    from latentwire.runtime.bundle import read_cost

    entries = [onnx.numpy_helper.from_array(array, name) for name, array in tables.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], entries))
    with pytest.raises(ManifestError, match="expected"):
        read_cost(model.SerializeToString(), "unpack.onnx", 1)
