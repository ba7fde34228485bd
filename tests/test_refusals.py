"""Packets and streams that once cost much, or too little: what each is today, and what the ready codecs spend on it."""

import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from refusals import measure, narrowed

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire import MAX_LANES_LOG2, check_packet, parse_header
from latentwire.runtime.wire.packet import write_packet
from latentwire.runtime.wire.stream import LENGTH, Damaged, Packet, read_stream

CORPUS = Path(__file__).parent / "corpus"
PACKETS = {
    "bomb_flat_4096x4096_l4096.packet": ("photo", "LayoutError", "LimitError"),
    "mnist.10001.noncanonical-width.46ffc2fec8.packet": ("mnist", "LayoutError", "decoded"),
    "mnist.10001.noncanonical-width.54b132c36b.packet": ("mnist", "LayoutError", "decoded"),
    "slow_1x65535.packet": ("photo", "LimitError", "LimitError"),
    "slow_65535x16.packet": ("photo", "LayoutError", "LimitError"),
    "slow_mnist_400_l1_q255.packet": ("mnist", "LayoutError", "LimitError"),
    "slow_mnist_65535_l1_q255.packet": ("mnist", "LayoutError", "LimitError"),
    "slow_mnist_65535_l4096_q255.packet": ("mnist", "LayoutError", "LimitError"),
    "slow_photo_352x352x3_l1_q255.packet": ("photo", "LayoutError", "LimitError"),
    "slow_photo_512x512x3_l1_q255.packet": ("photo", "LayoutError", "LimitError"),
}
"""By file: the ready codec that it is of, what it is as it stands, and with fields as narrow as they can be."""
STREAMS = {
    "stream.lost.101719.bin": [141],
    "stream.lost.19442.bin": [103],
    "stream.lost.2207.bin": [0, 111, 142],
    "stream.lost.29251.bin": [0, 64, 220, 251],
    "stream.lost.49920.bin": [0, 243, 274, 359, 409],
}
"""By file: where its intact frames begin."""
MOST_MIB = 8
EVERY = pytest.mark.parametrize("name", ["mnist", "photo", "photo-ms-ssim"])


@pytest.fixture(scope="module")
def decoders() -> dict[str, Decoder]:
    return {name: Decoder(name) for name in ("mnist", "photo", "photo-ms-ssim")}


def test_every_file_has_its_outcome() -> None:
    assert {path.name for path in (CORPUS / "packets").iterdir()} >= PACKETS.keys()
    assert {path.name for path in (CORPUS / "streams").iterdir()} >= STREAMS.keys()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", PACKETS)
def test_packets_are_refused_by_their_headers(name: str, decoders: dict[str, Decoder]) -> None:
    """By the codec's tables; ONNX Runtime, which would allocate what is claimed, is not asked."""
    codec, wanted, wanted_narrow = PACKETS[name]
    packet = (CORPUS / "packets" / name).read_bytes()
    for data, outcome in ((packet, wanted), (narrowed(packet), wanted_narrow)):
        found, spent = measure(decoders[codec], data)
        print(f"{name}: {found}, {spent.ms} ms, {spent.MiB} MiB")
        assert found == outcome
        assert outcome == "decoded" or spent.MiB < MOST_MIB


@pytest.mark.parametrize("name", STREAMS)
def test_every_intact_frame_of_a_damaged_stream_is_found(name: str) -> None:
    data = (CORPUS / "streams" / name).read_bytes()
    records = list(read_stream(io.BytesIO(data)))
    assert [record.offset for record in records if isinstance(record, Packet)] == STREAMS[name]
    lengths = [r.length if isinstance(r, Damaged) else LENGTH.size + len(r.data) for r in records]
    assert sum(lengths) == len(data)


@EVERY
def test_what_a_few_bytes_may_stand_for_is_bounded(name: str, decoders: dict[str, Decoder]) -> None:
    """Of any claim that passes: no more positions than so many bytes and lanes can hold, whatever the quality."""
    decoder, rng = decoders[name], random.Random(1)
    limits, digest = decoder.limits, decoder.identity.codec_digest
    passed = 0
    for _ in range(4000):
        lanes = 1 << rng.choice([0, 0, 1, 3, 6, MAX_LANES_LOG2])
        sides = [int(65535 ** rng.random()) for _ in limits.size]
        size = (*sides[:2], rng.choice([1, 3])) if len(sides) == 3 else tuple(sides)
        packet = write_packet(digest[:4], rng.randrange(256), lanes, size, bytes(4 * lanes + int(4000 ** rng.random())))
        try:
            header = check_packet(packet, digest, limits)
        except RemoteError:
            continue
        passed += 1
        bits = 17 * lanes + 8.5 * header.behind
        assert limits.cost is not None
        assert limits.cost.positions(size) <= bits / 9, "the cheapest position of all three takes 9 bits"
    assert passed > 40, "the test says nothing"


@EVERY
def test_golden_packets_pass(name: str, decoders: dict[str, Decoder]) -> None:
    decoder = decoders[name]
    golden = Path(sys.modules["latentwire.artifacts"].__file__ or "").resolve().parent / name / "golden"
    packets = [path.read_bytes() for path in golden.iterdir() if path.read_bytes().startswith(b"LW")]
    assert len(packets) >= 3
    for packet in packets:
        assert check_packet(packet, decoder.identity.codec_digest, decoder.limits) == parse_header(packet)


def test_items_of_many_packets_are_unpacked_no_more_at_once_than_a_synthesis_takes(
    monkeypatch: pytest.MonkeyPatch, decoders: dict[str, Decoder]
) -> None:
    """By whole packets, each in its place; one that is refused takes no room."""
    encoder, decoder = Encoder("mnist"), decoders["mnist"]
    numbers = (30, 50, 20, 90, 1)
    packets = [encoder.encode(np.full((number, 784), number, np.uint8), 0) for number in numbers]
    packets.insert(1, b"no packet")
    session, runs = decoder._sessions["synthesis"], []
    synthesis = session.run

    def counted(outputs: Sequence[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        runs.append(len(feed["latents"]))
        return synthesis(outputs, feed)

    monkeypatch.setattr(session, "run", counted)
    monkeypatch.setattr("latentwire.runtime.decoder.BATCH_BYTES", 80 * 784)
    results = decoder.decode_each(packets)
    assert runs == [80, 20, 90, 1]
    assert isinstance(results.pop(1), RemoteError)
    assert [result.shape for result in results if not isinstance(result, RemoteError)] == [(n, 784) for n in numbers]
