import io
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from latentwire.runtime import Damaged, Decoder, Encoder, Limits, check_packet, errors, open_bundle, write_stream
from latentwire.runtime.budget import highest_quality
from latentwire.runtime.bundle import Bundle
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.session.providers import ON_CPU, Chosen
from latentwire.runtime.session.session import Session
from latentwire.runtime.wire.packet import parse_header, write_packet


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> Encoder:
    return Encoder(bundle)


@pytest.fixture(scope="module")
def decoder(bundle: Path) -> Decoder:
    return Decoder(bundle)


def mean_squared_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean((found.astype(float) - wanted) ** 2))


@pytest.mark.parametrize("count", [1, 2, 64, 500])
def test_items_come_back_near_what_they_were(encoder, decoder, digits, count):
    packet = encoder.encode(digits[:count], 255)
    found = decoder.decode(packet)
    assert found.shape == (count, 64) and found.dtype == np.uint8
    assert mean_squared_error(found, digits[:count]) < 0.3 * digits.var()
    header = check_packet(packet)
    assert header.size == (count,) and header.quality == 255


def test_higher_quality_costs_more_and_is_nearer(encoder, decoder, digits):
    items = digits[:200]
    packets = [encoder.encode(items, quality) for quality in (0, 64, 128, 192, 255)]
    distortions = [mean_squared_error(decoder.decode(packet), items) for packet in packets]
    assert [len(packet) for packet in packets] == sorted(len(packet) for packet in packets)
    assert distortions == sorted(distortions, reverse=True)
    assert len(packets[-1]) > 2 * len(packets[0])


def test_one_item_needs_no_batch_axis(encoder, digits):
    assert encoder.encode(digits[0]) == encoder.encode(digits[:1])


def test_the_default_quality_is_the_codecs(encoder, digits):
    assert parse_header(encoder.encode(digits[:2])).quality == encoder.default_quality


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (np.zeros((2, 64)), errors.InputTypeError),
        (np.zeros((2, 63), np.uint8), errors.InputShapeError),
        (np.zeros((0, 64), np.uint8), errors.InputShapeError),
        (np.full((2, 64), 17, np.uint8), errors.InputRangeError),
        (np.zeros((65536, 64), np.uint8), errors.InputLimitError),
    ],
)
def test_bad_items_are_refused(encoder, items, error):
    with pytest.raises(error):
        encoder.encode(items)


@pytest.mark.parametrize("quality", [-1, 256, 1.0, True, "high"])
def test_bad_qualities_are_refused(encoder, digits, quality):
    with pytest.raises(errors.SettingError):
        encoder.encode(digits[:1], quality)


def test_all_variants_understand_each_other(bundle, digits):
    packets = {name: Encoder(bundle, variant=name).encode(digits[:50], 128) for name in ("fp32", "int8")}
    for packet in packets.values():
        outputs = [Decoder(bundle, variant=name).decode(packet) for name in ("fp32", "int8")]
        assert np.abs(outputs[0].astype(int) - outputs[1]).max() <= 1


def test_max_bytes_takes_the_highest_quality_that_fits(encoder, digits):
    items = digits[:20]
    lengths = [len(encoder.encode(items, quality)) for quality in range(256)]
    for allowed in range(min(lengths), max(lengths) + 3, 3):
        packet = encoder.encode(items, max_bytes=allowed)
        assert len(packet) <= allowed
        assert parse_header(packet).quality == max(q for q in range(256) if lengths[q] <= allowed)
    assert parse_header(encoder.encode(items, 77, max_bytes=10_000)).quality == 77
    with pytest.raises(errors.BudgetError, match=str(lengths[0])):
        encoder.encode(items, max_bytes=lengths[0] - 1)
    with pytest.raises(errors.SettingError):
        encoder.encode(items, max_bytes=0)


def test_the_search_steps_over_small_dips():
    lengths = [20 + quality + (5 if quality % 7 == 3 else 0) for quality in range(256)]
    for allowed in range(20, 290):
        found, packet = highest_quality(lambda quality: bytes(lengths[quality]), allowed, 255)
        assert found == max(q for q in range(256) if lengths[q] <= allowed)
        assert len(packet) == lengths[found]


def test_the_search_tries_few_qualities():
    tried = []

    def encode(quality: int) -> bytes:
        tried.append(quality)
        return bytes(100 + 20 * quality)

    assert highest_quality(encode, 1111, 255)[0] == 50
    assert len(tried) <= 2 + math.log2(256) + 2


def test_streams_batch_items_and_keep_their_order(encoder, decoder, digits):
    packets = list(encoder.encode_stream(iter(digits[:150]), 255, batch=64))
    assert [check_packet(packet).size for packet in packets] == [(64,), (64,), (22,)]
    whole = decoder.decode(encoder.encode(digits[:150], 255))
    assert np.abs(np.concatenate(decoder.decode_many(packets)).astype(int) - whole).max() <= 1
    with pytest.raises(errors.SettingError):
        next(encoder.encode_stream(digits, batch=0))


@pytest.mark.parametrize("profile", ["device", "server"])
def test_decoding_many_is_decoding_each(bundle, encoder, digits, profile):
    decoder = Decoder(bundle, profile=profile)
    packets = [encoder.encode(digits[start : start + 1 + start % 3], 200) for start in range(0, 40, 4)]
    for found, packet in zip(decoder.decode_many(packets), packets, strict=True):
        wanted = decoder.decode(packet)
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= 1
    assert decoder.decode_many([]) == []


def test_a_bad_packet_does_not_lose_its_neighbours(decoder, encoder, digits):
    packets = [encoder.encode(digits[place], 200) for place in range(4)]
    packets[1] = packets[1][:-1] + bytes([packets[1][-1] ^ 1])
    results = decoder.decode_each(packets)
    assert isinstance(results[1], errors.ChecksumError)
    for place in (0, 2, 3):
        assert np.abs(results[place].astype(int) - decoder.decode(packets[place])).max() <= 1
    with pytest.raises(errors.ChecksumError):
        decoder.decode_many(packets)
    assert [type(fault) for fault in decoder.decode_each([b"", b"x"])] == [errors.TruncatedError] * 2


def test_a_damaged_stream_gives_items_and_damages_in_order(decoder, encoder, digits):
    packets = list(encoder.encode_stream(digits[:40], 200, batch=10))
    foreign = write_packet(b"\0\0\0\0", 1, 1, (1,), bytes(4))
    sink = io.BytesIO()
    write_stream(sink, [packets[0], foreign, packets[1], packets[2], packets[3]])
    data = bytearray(sink.getvalue())
    data[-2] ^= 1
    for batch in (1, 2, 64):
        results = list(decoder.decode_stream(io.BytesIO(data), batch=batch))
        kinds = [type(r.error) if isinstance(r, Damaged) else len(r) for r in results]
        assert kinds == [10, errors.CodecError, 10, 10, errors.ChecksumError]
        assert results[1].offset == 4 + len(packets[0])


def test_latents_and_symbols_without_synthesis(bundle, decoder, encoder, digits):
    opened = open_bundle(bundle)
    case = opened.manifest.golden.cases[-1]
    packet = opened.read_file(case.packet)
    assert np.array_equal(decoder.symbols(packet), opened.read_array(case.symbols))
    latents = decoder.latents(packet)
    assert latents.dtype == np.float32 and latents.shape == (16, 10)
    exact = opened.read_array(case.latents)
    assert mean_squared_error(latents, exact) < 0.05 * exact.var()


def test_each_model_is_read_and_judged_once(bundle, encoder, digits, monkeypatch):
    """A decoder looks at its tables first, and makes its session later."""
    asked = []
    read = Bundle.read_model
    monkeypatch.setattr(Bundle, "read_model", lambda self, *model: asked.append(model) or read(self, *model))
    decoder = Decoder(bundle)
    for packet in (encoder.encode(digits[:1]), encoder.encode(digits[:2])):
        decoder.decode(packet)
        decoder.symbols(packet)
    assert sorted(asked) == [("decoder", decoder.variant), ("unpack", "exact")]


def test_lowered_limits_hold_on_both_sides(bundle, encoder, digits):
    limits = Limits((8,), packet_bytes=64)
    small_encoder, small_decoder = Encoder(bundle, limits=limits), Decoder(bundle, limits=limits)
    assert len(small_decoder.decode(small_encoder.encode(digits[:8], 0))) == 8
    with pytest.raises(errors.InputLimitError):
        small_encoder.encode(digits[:9], 0)
    with pytest.raises(errors.LimitError):
        small_decoder.decode(encoder.encode(digits[:9], 0))
    packet = encoder.encode(digits[:8], 255)
    assert len(packet) > 64
    with pytest.raises(errors.LimitError):
        small_decoder.decode(packet)
    with pytest.raises(errors.InputLimitError):
        small_encoder.encode(digits[:8], 255)


def test_hostile_bodies_are_remote_errors(decoder, encoder, digits):
    rng = np.random.default_rng(0)
    codec = bytes.fromhex(decoder.codec_id)[:4]
    for _ in range(200):
        body = rng.bytes(int(rng.integers(4, 80)))
        packet = write_packet(codec, int(rng.integers(256)), 1, (int(rng.integers(1, 9)),), body)
        for attempt in (decoder.decode, decoder.latents):
            with pytest.raises(RemoteError):
                attempt(packet)


def test_every_error_of_the_wire_reaches_the_caller(decoder, encoder, digits):
    packet = encoder.encode(digits[:3], 200)
    for cut in range(len(packet)):
        with pytest.raises(errors.TruncatedError):
            decoder.decode(packet[:cut])
    with pytest.raises(errors.TrailingError):
        decoder.decode(packet + b"\0")
    header = parse_header(packet)
    body = packet[header.states_at : -4]
    with pytest.raises(errors.CodecError):
        decoder.decode(write_packet(b"\1\2\3\4", 200, 1, (3,), body))
    with pytest.raises(errors.BodyError):
        decoder.decode(write_packet(header.codec, 200, 1, (3,), body + b"\0"))
    with pytest.raises(errors.LanesError):
        decoder.decode(write_packet(header.codec, 200, 1, (3,), bytes([body[0] ^ 1]) + body[1:]))
    with pytest.raises(errors.InputTypeError):
        decoder.decode("packet")


def test_bytes_like_packets_are_accepted(decoder, encoder, digits):
    packet = encoder.encode(digits[:3])
    wanted = decoder.decode(packet)
    for other in (bytearray(packet), memoryview(packet)):
        assert np.array_equal(decoder.decode(other), wanted)


def test_one_encoder_serves_many_threads(bundle, digits):
    encoder, decoder = Encoder(bundle), Decoder(bundle)
    wanted = [encoder.encode(digits[place : place + 4], place) for place in range(32)]
    ready = threading.Barrier(4)

    def work(worker: int) -> bool:
        ready.wait(10)
        found = [encoder.encode(digits[place : place + 4], place) for place in range(32)]
        return found == wanted and all(len(decoder.latents(packet)) == 4 for packet in found)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4


def test_with_an_accelerator_the_coder_stays_on_the_cpu(bundle, digits, monkeypatch):
    from latentwire.runtime import codec, source

    asked = {}

    class Recorded(Session):
        def __init__(self, model, where, providers, profile):
            asked[where] = providers
            super().__init__(model, where, ON_CPU, profile)

    accelerated = (Chosen("FastExecutionProvider"), *ON_CPU)
    monkeypatch.setattr(source, "Session", Recorded)
    monkeypatch.setattr(codec, "alternatives", lambda asked: (accelerated,))
    packet = Encoder(bundle).encode(digits[:9])
    found = Decoder(bundle).decode(packet)
    assert asked == {
        "analysis.fp32": accelerated, "pack.exact": ON_CPU, "synthesis.fp32": accelerated, "unpack.exact": ON_CPU
    }  # fmt: skip
    monkeypatch.undo()
    assert packet == Encoder(bundle).encode(digits[:9])
    assert np.array_equal(found, Decoder(bundle).decode(packet))


def test_unknown_variants_and_profiles_are_errors(bundle):
    with pytest.raises(errors.VariantError, match="int4"):
        Encoder(bundle, variant="int4")
    with pytest.raises(errors.SettingError, match="device, server"):
        Encoder(bundle, profile="laptop")
