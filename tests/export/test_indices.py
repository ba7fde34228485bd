"""Indices into codebooks: lossless, near their entropy, and nothing that a forged packet decodes to is out of range."""

import math
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from latentwire.export import measure
from latentwire.export.factorized import Tensors
from latentwire.export.indices import fit
from latentwire.export.indices.alphabet import fit_groups
from latentwire.export.indices.frequencies import LIKELIEST, frequencies
from latentwire.export.indices.layout import Indexed
from latentwire.export.indices.pack import build_pack
from latentwire.export.indices.plan import plans
from latentwire.export.indices.tables import planes_by_quality
from latentwire.export.indices.unpack import build_unpack
from latentwire.export.tap import Tap
from latentwire.runtime.bundle import check_model, read_cost
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import LimitError
from latentwire.runtime.wire import Status, check_packet, parse_header
from latentwire.runtime.wire.packet import write_packet

CONTRACT = ItemContract("float32", ("items", 4), (0.0, 1.0))


class Made:
    """Tables fitted to indices [N, R, P...], and the two pieces."""

    def __init__(self, indices, sizes, *, nested=True):
        self.indices, self.sizes, self.shape = indices, sizes, indices.shape[1:]
        planes = planes_by_quality(len(sizes), all_of_them=not nested)
        self.fit = fit.fit_tables(indices.reshape(*indices.shape[:2], -1), sizes, self.shape[1:], planes)
        self.tables = self.fit.tables
        self.layout = Indexed(Tensors(CONTRACT, (1,)), self.shape)
        self.id = self.tables.codec_id("indices", self.shape)
        self.pack, self.unpack = (build(self.layout, self.tables, self.id) for build in (build_pack, build_unpack))
        self.coder = measure.Coder(measure.session(self.pack), measure.session(self.unpack), (0,))

    def packet(self, indices, quality=255):
        return self.coder.packet(indices.astype(np.float32), (len(indices),), quality)

    def wanted(self, indices, quality):
        found = indices.copy()
        found[:, self.tables.quality_planes[quality] :] = -1
        return found

    def check(self, indices, quality=255):
        packet = self.packet(indices, quality)
        found = self.coder.restore(packet)
        assert found["status"] == Status.OK
        assert np.array_equal(found["symbols"], self.wanted(indices, quality))
        assert np.array_equal(found["latents"], self.wanted(indices, quality))
        assert found["size"].tolist() == [len(indices)]
        return packet


def skewed(size, count, shape, seed=0):
    """Indices whose frequencies fall like 1 / rank, in an order of their own, and their true distribution."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, size + 1) ** 1.2
    share /= share.sum()
    return rng.permutation(size)[rng.choice(size, (count, *shape), p=share)], share


def neighbours(count, side=4, size=12, seed=0):
    """Maps [N, 1, side, side] in which an index is mostly like one beside it."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, size, (count, side, side))
    for row in range(side):
        for column in range(side):
            if row or column:
                above = row > 0 and (column == 0 or rng.random() < 0.5)
                source = found[:, row - 1, column] if above else found[:, row, column - 1]
                keep = rng.random(count) < 0.9
                found[:, row, column] = np.where(keep, source, found[:, row, column])
    return found[:, None]


@cache
def small():
    """Three nested planes of different codebooks, the later ones by the earlier, with rare and unseen codewords."""
    rng = np.random.default_rng(1)
    first = neighbours(1200, 4, 12)
    second = (first * 3 + rng.integers(0, 2, first.shape)) % 40
    third = np.where(rng.random(first.shape) < 0.01, rng.integers(0, 300, first.shape), second % 7)
    return Made(np.concatenate([first, second, third], 1), (13, 40, 300))


@pytest.mark.parametrize(("size", "excess"), [(2, 0.02), (5, 0.02), (512, 0.02), (1000, 0.02)])
def test_packets_are_near_the_entropy(size, excess):
    indices, share = skewed(size, 16000, (1, 6))
    made = Made(indices[4000:], (size,))
    packet = made.check(indices[:4000])
    entropy = -float(np.log2(share[share > 0]) @ share[share > 0])
    assert 8 * (len(packet) - 64) / indices[:4000].size <= (1 + excess) * entropy


def test_the_largest_codebook_beats_raw_bits_and_lzma_and_holds_codewords_that_were_never_seen():
    import lzma

    indices, _ = skewed(65536, 2000, (1, 4, 8))
    made = Made(indices[400:], (65536,))
    assert made.tables.columns <= 1001
    packet = made.check(indices[:400])
    raw = indices[:400].astype(np.uint16).tobytes()
    assert len(packet) < 0.8 * len(raw)
    assert len(packet) < len(lzma.compress(raw))
    never = np.setdiff1d(np.arange(65536), indices[400:])[:32].reshape(1, 1, 4, 8)
    made.check(never)
    made.check(np.full((1, 1, 4, 8), 65535))


def test_neighbours_and_planes_before_save_bits():
    made = small()
    assert made.fit.plans[0] in ("halves", "quarters")
    assert made.fit.bits[0] < 0.96 * made.fit.alone[0]
    assert made.fit.plans[1:] == ("the plane before",) * 2
    assert made.fit.bits[1] < 0.5 * made.fit.alone[1]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), quality=st.integers(0, 255), count=st.integers(1, 9))
def test_any_indices_come_back(data, quality, count):
    made = small()
    planes = [
        data.draw(arrays.arrays(np.int64, (count, 1, 4, 4), elements=st.integers(0, size - 1))) for size in made.sizes
    ]
    made.check(np.concatenate(planes, 1), quality)


def test_fewer_planes_at_lower_qualities():
    made, indices = small(), small().indices[:64]
    lengths = [len(made.check(indices, quality)) for quality in range(0, 256, 17)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3
    planes = made.tables.quality_planes
    assert (planes[0], planes[255]) == (1, 3)
    assert (np.diff(planes) >= 0).all()
    everything = planes_by_quality(3, all_of_them=True)
    assert (everything == 3).all()


def test_the_pack_piece_tells_what_it_sends():
    made, indices = small(), small().indices[:50]
    tap = Tap(made.pack.SerializeToString(), (0,))
    for quality in (0, 255):
        sent = tap.send(indices.astype(np.float32), (50,), quality)
        assert sent.lost(made.coder.restore(sent.packet)) == 0
        assert sent.ideal_bits / 8 < len(sent.packet) < sent.ideal_bits / 8 * 1.02 + 40


@pytest.mark.parametrize("wrong", [-1, 13, 1 << 20])
def test_an_index_that_no_codebook_has_is_not_encoded(wrong):
    made = small()
    indices = made.indices[:2].copy()
    indices[1, 0, 2, 2] = wrong
    with pytest.raises(Exception, match=r"out of|bounds"):
        made.packet(indices)


def sealed(body):
    """Bytes with the checksum that fits."""
    return np.frombuffer(body + zlib.adler32(body).to_bytes(4, "little"), np.uint8)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), quality=st.integers(0, 255))
def test_forged_bodies_are_refused_or_decode_to_codewords(data, quality):
    made = small()
    packet = bytearray(made.packet(made.indices[:20], quality)[:-4].tobytes())
    header = parse_header(bytes(packet) + bytes(4))
    for _ in range(data.draw(st.integers(1, 6))):
        packet[data.draw(st.integers(header.states_at, len(packet) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        packet[7] = data.draw(st.integers(0, 255))
    found = made.coder.restore(sealed(bytes(packet)))
    assert int(found["status"]) in {Status.OK, Status.LANES, Status.BODY, Status.LIMIT}
    count = 20 if found["status"] == 0 else 0
    assert found["symbols"].shape == (count, *made.shape)
    for plane, size in enumerate(made.sizes):
        assert ((found["symbols"][:, plane] >= -1) & (found["symbols"][:, plane] < size)).all()


@settings(max_examples=50, deadline=None)
@given(
    size=st.one_of(st.integers(1, 70000), st.integers(1, 2**32 - 1)),
    quality=st.integers(0, 255),
    lanes_log2=st.integers(0, 12),
    length=st.integers(0, 400),
    seed=st.integers(0, 99),
)
def test_claims_are_judged_alike_by_graph_and_runtime(size, quality, lanes_log2, length, seed):
    made = small()
    body = np.random.default_rng(seed).integers(0, 256, (4 << lanes_log2) + length, np.uint8).tobytes()
    packet = write_packet(made.id[:4], quality, 1 << lanes_log2, (size,), body)
    cost = read_cost(made.unpack.SerializeToString(), "unpack.onnx", 1)
    try:
        check_packet(packet, made.id, replace(made.layout.limits, cost=cost))
        refused = False
    except LimitError:
        refused = True
    status = int(made.coder.restore(np.frombuffer(packet, np.uint8))["status"])
    assert refused <= (status == Status.LIMIT)
    assert refused or status != Status.OK or size <= 65535


def test_the_runtime_reads_what_packets_take():
    made = small()
    model = made.unpack.SerializeToString()
    check_model(model, "unpack.onnx")
    check_model(made.pack.SerializeToString(), "pack.onnx")
    cost = read_cost(model, "unpack.onnx", 1)
    assert cost.coded[0], cost.coded[255] == (16, 48)
    assert cost.elements == 3 * 48
    assert all(cost.least[255] >= cost.least[quality] > 0 for quality in range(256))
    huge = write_packet(made.id[:4], 255, 1, (60000,), bytes(4 + 30))
    assert made.coder.restore(np.frombuffer(huge, np.uint8))["status"] == Status.LIMIT


@pytest.mark.parametrize("shape", [(), (1,), (2,), (9,), (4, 4), (1, 7), (5, 6), (2, 3, 4), (3, 5, 4)])
@pytest.mark.parametrize("first", [True, False])
def test_plans_code_every_position_once_with_sources_from_before(shape, first):
    for plan in plans(shape, first=first):
        seen = {-1}
        for step in plan.steps:
            assert set(step.sources.ravel().tolist()) <= seen
            assert not seen & set(step.positions.tolist())
            seen |= set(step.positions.tolist())
        assert seen == {-1, *range(math.prod(shape))}
        assert not (first and any(step.above for step in plan.steps))


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, st.integers(2, 300), elements=st.floats(1e-6, 1e6)), st.sampled_from([0.0, 0.5]))
def test_frequencies_sum_to_4096(values, rarest):
    found = frequencies((values / values.sum())[None], rarest)
    assert found.sum() == 4096
    assert found.min() >= 0
    assert found.max() <= LIKELIEST
    assert found[0, -1] >= 1


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, st.integers(2, 1000), elements=st.floats(1e-3, 1e4)))
def test_groups_hold_every_codeword_once(counts):
    codewords, bits = fit_groups(counts)
    assert sorted(codewords.tolist()) == list(range(len(counts)))
    assert (1 << bits).sum() == len(counts)
    assert (np.diff(counts[codewords]) <= 0).all()
