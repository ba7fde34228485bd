"""The image family's pack and unpack: lossless for every picture, the same as torch, strict with every byte."""

import sys
from dataclasses import replace

import numpy as np
import numpy_codec
import numpy_image
import pytest
from hostile import any_header, packet_of
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import spent_on
from small_images import picture, small_network

from latentwire.export.image import reference
from latentwire.export.image.fit import MAGNITUDES, fit_tables
from latentwire.export.image.pack import build_pack
from latentwire.export.image.tables import HYPER_PATCH, ImageTables
from latentwire.export.image.unpack import build_unpack
from latentwire.export.measure import session
from latentwire.export.pictures import LIMITS
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire import MAX_STEPS, cost_of_pictures
from latentwire.runtime.wire.packet import Limits, Status, check_packet, verdict, write_packet
from latentwire.train.image.network import GROUPS, ImageNetwork

QUALITIES = (0, 100, 255)


class Small:
    """A small codec."""

    def __init__(self, network: ImageNetwork, tables: ImageTables, pack: object, unpack: object) -> None:
        self.network, self.tables, self.pack, self.unpack = network, tables, pack, unpack

    def latents(self, image: np.ndarray) -> np.ndarray:
        return reference.latents_of(self.network, image, 128).numpy()

    def packet(self, latents: np.ndarray, size: tuple[int, ...], quality: int) -> bytes:
        feed = {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": np.asarray(size, np.int64)}
        return self.pack.run(["packet"], feed)[0].tobytes()

    def restore(self, packet: bytes) -> dict[str, np.ndarray]:
        names = [output.name for output in self.unpack.get_outputs()]
        return dict(zip(names, self.unpack.run(names, {"packet": np.frombuffer(packet, np.uint8)}), strict=True))

    @property
    def limits(self) -> Limits:
        t = self.tables
        cost = cost_of_pictures(t.hyper_curve, t.hyper_index, t.hyper_frequency, t.frequency, t.latents)
        return replace(LIMITS, cost=cost)

    def fault(self, packet: bytes) -> RemoteError | None:
        """What Python says of the header."""
        try:
            check_packet(packet, self.tables.codec_id(), self.limits)
        except RemoteError as fault:
            return fault
        return None

    def reference(self, latents: np.ndarray, quality: int) -> reference.Pass:
        import torch

        tables = self.tables
        coded, rows = tables.hyper_rows(quality) > 0, range(1, tables.latent_rows)
        gain, base = tables.knobs.gain_at(quality), tables.knobs.base_at(quality)
        return reference.run(self.network, gain, base, torch.tensor(latents), tables.rounding, rows, coded)


@pytest.fixture(scope="module")
def small() -> Small:
    network = small_network()
    tables = fit_tables(network, [picture(128, 192, seed=50 + k) for k in range(3)])
    codec_id = tables.codec_id()
    pack, unpack = build_pack(tables, codec_id), build_unpack(tables, codec_id, LIMITS)
    return Small(network, tables, session(pack), session(unpack))


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_symbols_are_torchs_and_come_back(small, quality, spread):
    """A spread of 300 makes every latent an escape and contexts saturate."""
    latents = small.latents(picture(128, 192)) * np.float32(spread)
    found, wanted = small.restore(small.packet(latents, (128, 192, 3), quality)), small.reference(latents, quality)
    assert found["status"] == Status.OK
    assert found["size"].tolist() == [128, 192, 3]
    np.testing.assert_array_equal(found["hyper_symbols"], wanted.hyper)
    np.testing.assert_array_equal(found["symbols"], wanted.symbols)
    if spread > 1:
        assert (np.abs(found["symbols"]) >= MAGNITUDES).mean() > 0.03


def test_the_network_matters(small):
    """Rows differ between positions of one channel, and means are not all zero: the tests above test something."""
    wanted = small.reference(small.latents(picture(128, 192)), 200)
    assert (wanted.rows.std((0, 1)) > 0).mean() > 0.35
    assert len(np.unique(wanted.rows)) > 20
    assert np.abs(wanted.hyper).max() > 0


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("spread", [1.0, 20.0])
def test_the_bytes_are_those_of_an_independent_coder(small, quality, spread):
    latents = small.latents(picture(64, 128)) * np.float32(spread)
    packet, wanted = small.packet(latents, (64, 128, 3), quality), small.reference(latents, quality)
    rows, symbols = wanted.rows, wanted.symbols
    index = np.broadcast_to(small.tables.hyper_rows(quality).astype(np.int64), wanted.hyper.shape)
    stages = [(wanted.hyper[index > 0], index[index > 0])]
    for start, size in zip(np.cumsum([0, *GROUPS]), GROUPS, strict=False):
        part = rows[..., start : start + size]
        coded = part > 0
        stages.append((symbols[..., start : start + size][coded], part[coded]))
    lanes = 1 << (packet[8] & 15)
    frequencies = small.tables.hyper_frequency.astype(np.int64), small.tables.frequency.astype(np.int64)
    body = numpy_image.encode_stages(stages, *frequencies, lanes)
    fields = numpy_codec.Fields(small.tables.codec_id()[:4], quality, lanes, (64, 128, 3), body)
    assert packet == numpy_codec.write_fields(fields)


@pytest.mark.parametrize("size", [(1, 1, 3), (17, 33, 1), (1, 400, 3), (130, 66, 3)])
def test_positions_of_padding_only_are_not_coded(small, size):
    latents = small.latents(picture(*size[:2]))
    found = small.restore(small.packet(latents, size, 128))
    grid = found["symbols"]
    assert grid.shape[:2] == tuple(-(-length // HYPER_PATCH) * 4 for length in size[:2])
    used = [-(-length // 16) for length in size[:2]]
    assert found["status"] == Status.OK
    assert not grid[used[0] :].any()
    assert not grid[:, used[1] :].any()


def test_the_widest_row_has_a_column_for_every_magnitude(small):
    assert small.tables.magnitudes == MAGNITUDES
    assert (small.tables.frequency[-1] > 0).all()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999), scale=st.sampled_from([0.0, 1.0, 1e3, 1e30, np.inf, np.nan]), quality=st.integers(0, 255)
)
def test_any_float_is_sent_as_some_symbol(small, seed, scale, quality):
    noise = np.random.default_rng(seed).normal(size=(1, 256, 4, 4)).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        latents = noise * np.float32(scale)
    assert small.restore(small.packet(latents, (64, 64, 3), quality))["status"] == Status.OK


def resigned(packet: bytes) -> bytes:
    return packet[:-4] + numpy_codec.adler32(packet[:-4]).to_bytes(4, "little")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_bytes_are_refused_alike_and_decode_to_nothing(small, data):
    """Flipped, cut and lengthened packets, with the checksum made right again or not."""
    packet = bytearray(PACKETS.setdefault("one", small.packet(small.latents(picture(64, 64)), (64, 64, 3), 128)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packet) - 1))
        packet[place] ^= data.draw(st.integers(1, 255))
    hostile = bytes(packet[: data.draw(st.integers(0, len(packet)))]) if data.draw(st.booleans()) else bytes(packet)
    if data.draw(st.booleans()) and len(hostile) > 4:
        hostile = resigned(hostile)
    check_alike(small, hostile)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_graph_and_python_judge_any_header_alike(small, data):
    """Whatever size, lanes and width it claims; the checksum is right."""
    packet = PACKETS.setdefault("one", small.packet(small.latents(picture(64, 64)), (64, 64, 3), 128))
    check_alike(
        small, packet_of(data.draw(any_header(small.tables.codec_id(), numpy_codec.read_fields(packet).body, 3)))
    )


def check_alike(small: Small, hostile: bytes) -> None:
    found = small.restore(hostile)
    fault = small.fault(hostile)
    if fault is not None:
        assert type(verdict(int(found["status"]))) is type(fault)
    else:
        assert found["status"] in (Status.OK, Status.LANES, Status.BODY, Status.LIMIT)
    if found["status"] != Status.OK:
        assert found["size"].tolist() == [0, 0, 0]
        assert found["symbols"].size == found["hyper_symbols"].size == 0
        assert found["latents"].shape[2:] == (4, 4), "something large is made of what is refused"


PACKETS: dict[str, bytes] = {}


@pytest.mark.parametrize("size", [(65535, 65535, 3), (64, 64, 2), (64, 64, 4), (0, 64, 3), (16384, 16384, 3)])
def test_a_claim_beyond_the_limits_costs_nothing(small, size):
    packet = small.packet(small.latents(picture(64, 64)), (64, 64, 3), 128)
    fields = numpy_codec.read_fields(packet)
    forged = numpy_codec.write_fields(numpy_codec.Fields(fields.codec, 128, fields.lanes, size, fields.body))
    assert small.restore(forged)["status"] == Status.LIMIT
    with pytest.raises(RemoteError):
        check_packet(forged, small.tables.codec_id(), LIMITS)


def test_a_large_claim_that_the_header_allows_is_refused_when_the_words_run_out(small):
    """Zero symbols everywhere would be cheap; the lanes' states give a forged claim away."""
    fields = numpy_codec.read_fields(small.packet(small.latents(picture(64, 64)), (64, 64, 3), 128))
    forged = write_packet(fields.codec, 128, fields.lanes, (512, 512, 3), fields.body)
    assert small.fault(forged) is None
    assert small.restore(forged)["status"] in (Status.LANES, Status.BODY, Status.LIMIT)


@pytest.mark.parametrize("size", [(1, 65535, 3), (65535, 16, 3), (4096, 4096, 1)])
def test_a_large_claim_within_the_limits_is_refused_by_its_header(small, size):
    fields = numpy_codec.read_fields(small.packet(small.latents(picture(64, 64)), (64, 64, 3), 128))
    forged = write_packet(fields.codec, 128, fields.lanes, size, fields.body)
    assert small.restore(forged)["status"] == Status.LIMIT
    assert type(small.fault(forged)).__name__ == "LimitError"
    if sys.platform.startswith("linux"):
        spent = spent_on(lambda: small.restore(forged))
        print(f"{size}: {spent.ms} ms, {spent.MiB} MiB")
        assert spent.MiB < 8


@pytest.mark.parametrize(("lanes", "behind"), [(1, 40_000), (4096, 0), (4096, 4095 * 16 - 1)])
def test_lanes_that_no_encoder_takes_are_refused_by_the_header(small, lanes, behind):
    forged = write_packet(small.tables.codec_id()[:4], 0, lanes, (64, 64, 3), bytes(4 * lanes + behind))
    assert small.restore(forged)["status"] == Status.LIMIT
    assert type(small.fault(forged)).__name__ == "LimitError"


def test_steps_are_counted_over_all_stages(small):
    """In one lane; no stage has more elements than there may be steps, all together have twice as many."""
    size = (64 * 16, 64, 3)
    assert size[0] // 16 * size[1] // 16 * max(GROUPS) <= MAX_STEPS
    latents = np.random.default_rng(1).normal(size=(1, 256, 64, 4)).astype(np.float32) * 3
    fields = numpy_codec.read_fields(small.packet(latents, size, 255))
    assert fields.lanes > 1
    words = fields.body[4 * fields.lanes :][: 2 * (small.limits.cost.lane_bytes // 2 - 1)]
    no_escapes = b"\0"
    forged = write_packet(fields.codec, 255, 1, size, (1 << 20).to_bytes(4, "little") + no_escapes + words)
    assert small.fault(forged) is None
    assert small.restore(forged)["status"] == Status.LIMIT


@pytest.mark.parametrize("size", [(1, 1, 3), (64, 64, 1), (1, 900, 3), (130, 260, 3)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 50.0, 1e7])
@pytest.mark.parametrize("quality", QUALITIES)
def test_no_packet_that_is_written_is_taken_for_a_claim(small, size, spread, quality):
    """The shortest packets that there can be, and the longest."""
    cells = [-(-length // HYPER_PATCH) * 4 for length in size[:2]]
    latents = np.random.default_rng(3).normal(size=(1, 256, *cells)).astype(np.float32) * np.float32(spread)
    packet = small.packet(latents, size, quality)
    assert small.fault(packet) is None
    assert small.restore(packet)["status"] == Status.OK


def test_limits_are_the_same_on_both_sides():
    assert LIMITS.allow((4096, 8192, 3))
    assert not LIMITS.allow((8192, 8192, 3))
    assert not Limits((10, (1, 3))).allow((10, 2))
