"""Thousands of damaged and forged packets: all are answered, none crashes the service, memory stays where it is."""

import http.client
import random
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from mutations import mutated
from services import Running, envelope, in_process, until

from latentwire.runtime import Encoder
from latentwire.runtime.serve.codecs import Codecs
from latentwire.runtime.serve.settings import Bounds

FORGED = 0.1
"""Share of mutations that get a checksum which holds, so that they reach the decoder."""
LARGEST = 1 << 18
"""Bytes that a packet may decode to: what one that claims more would need is not a leak, so none may."""
GROWTH = 64 << 20
"""Bytes that the process may grow by; what it needs to decode at all is there before."""


def damaged(packet: bytes, chance: random.Random) -> bytes:
    """A packet after some changes; sometimes with a new checksum."""
    data = bytearray(mutated(packet, chance))
    if chance.random() < FORGED and len(data) > 20:
        width = 1 << (data[8] >> 4 & 3)
        place = 9 + width * ((data[8] >> 6) + 1)
        data[place : place + width] = (len(data) % (1 << 8 * width)).to_bytes(width, "little")
        data[-4:] = zlib.adler32(data[:-4]).to_bytes(4, "little")
    return bytes(data)


def resident(running: Running) -> int:
    assert running.process is not None
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def flood(running: Running, packets: list[bytes], count: int, seed: int, statuses: list[int]) -> None:
    """Send mutations over one connection."""
    chance = random.Random(seed)
    parts = urlsplit(running.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    for _ in range(count):
        body = damaged(chance.choice(packets), chance)
        connection.request("POST", "/v1/packets", body, {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()


def floods(running: Running, small: list[bytes], pictures: list[bytes], seed: int, statuses: list[int]) -> None:
    """5000 mutations over five connections at once, and all that comes of them."""
    work = [(small, 1200, seed + part) for part in range(4)] + [(pictures, 200, seed + 4)]
    threads = [threading.Thread(target=flood, args=(running, *job, statuses)) for job in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: running.metric("latentwire_packets_waiting") == 0, 120)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_mutated_packets_do_no_harm(
    tmp_path: Path, mnist: Encoder, photo: Encoder, strokes: np.ndarray, scene: np.ndarray
):
    small = [mnist.encode(strokes[:count], quality) for count, quality in ((1, 10), (3, 100), (20, 255))]
    pictures = [photo.encode(scene[:height], quality) for height, quality in ((9, 0), (20, 100), (48, 250))]
    with in_process(tmp_path, "--max-output", str(LARGEST), codecs=("mnist", "photo")) as running:
        for packet in (*small, *pictures):
            assert running.post(packet).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        statuses: list[int] = []
        floods(running, small, pictures, 0, statuses)
        before = resident(running)  # as many connections as later have been busy at once
        floods(running, small, pictures, 10, statuses)
        assert resident(running) - before < GROWTH
        assert len(statuses) == 10_000
        assert set(statuses) <= {202, 400, 413, 422}
        assert running.metric("latentwire_packets_undecodable_total") > 20
        assert running.post(small[0]).json()["status"] == "duplicate"
        assert running.client.get("/readyz").status_code == 200
    assert "Traceback" not in (tmp_path / "log").read_text()


CLAIMS_A_LINE = bytes.fromhex("4c5701ca71586028900100ffff03001d00004c48940f5b59bc1608636a")
"""29 bytes that say they are a picture of 1 x 65535 pixels, which is worked on as 64 x 65536."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_what_claims_more_than_its_bytes_can_hold_costs_nothing(tmp_path: Path, photo: Encoder, scene: np.ndarray):
    with in_process(tmp_path, codecs=("photo",)) as running:
        assert running.post(photo.encode(scene, 100)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        before, began = resident(running), time.monotonic()
        for sequence in range(12):
            assert running.post(CLAIMS_A_LINE, envelope(sequence)).status_code == 413
            assert running.post(CLAIMS_A_LINE, Accept="image/png").status_code == 413
        assert time.monotonic() - began < 5 and resident(running) - before < 16 << 20
        assert running.metric("latentwire_packets_undecodable_total") == 0


def test_a_picture_of_one_line_is_charged_as_it_is_worked_on(photo: Encoder):
    codecs = Codecs(["photo"], Bounds())
    codec, header = codecs.check(photo.encode(np.zeros((1, 1000, 3), np.uint8), 100))
    assert codec.work_bytes(header) == 64 * 1024 * 3
    assert codec.work_bytes(replace(header, size=(65, 64, 1))) == 128 * 64 * 3
