"""The service is killed, told to end, and flooded; what it answered 202 is in the sink once, and whole."""

import io
import random
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from services import BYTES, envelope, events, in_process, in_thread, until

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.serve.errors import InboxError
from latentwire.runtime.serve.settings import Bounds

KILLS = 10


class Sender(threading.Thread):
    """Sends packets in order, each until it is acknowledged, as a spool does."""

    def __init__(self, url: str, packets: list[bytes], first: int) -> None:
        super().__init__()
        self.url, self.packets, self.sequence = url, packets, first
        self.begun = first
        self.statuses: list[int] = []
        self.ends = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self.ends.is_set():
                packet, beside = self.packets[self.sequence % len(self.packets)], envelope(self.sequence)
                self.begun = self.sequence + 1
                try:
                    answer = client.post("/v1/packets", content=packet, headers=BYTES | beside.to_headers())
                except httpx.TransportError:
                    return
                self.statuses.append(answer.status_code)
                if answer.status_code != 202:
                    return
                self.sequence += 1


@pytest.fixture(scope="module")
def packets(mnist: Encoder, strokes: np.ndarray) -> list[bytes]:
    return [mnist.encode(strokes[number : number + 3], 4 * number) for number in range(32)]


@pytest.mark.slow
def test_what_was_answered_202_survives_any_number_of_kills(tmp_path: Path, packets: list[bytes]):
    acknowledged = begun = 0
    chance = random.Random(1)
    for _ in range(KILLS):
        with in_process(tmp_path) as running:
            sender = Sender(running.url, packets, acknowledged)
            sender.start()
            time.sleep(chance.uniform(0.02, 0.5))
            assert running.process is not None
            running.process.kill()
            sender.join()
            acknowledged, begun = sender.sequence, max(begun, sender.begun)
    assert acknowledged > KILLS
    with in_process(tmp_path) as running:
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        found = running.files(".npy")
        assert len(running.files(".json")) == len(found)
    numbers = {int(Path(name).stem.rpartition("-")[2]) for name in found}
    assert numbers >= set(range(acknowledged)) and numbers <= set(range(begun))
    decoder = Decoder("mnist")
    expected = [decoder.decode(packet) for packet in packets]
    for name, data in found.items():
        items = np.lib.format.read_array(io.BytesIO(data))
        assert np.array_equal(items, expected[int(Path(name).stem.rpartition("-")[2]) % len(packets)])
    assert not list((tmp_path / "sink").rglob("*.tmp"))
    assert not list((tmp_path / "inbox" / "quarantine").glob("*"))


def test_sigterm_finishes_what_is_in_work_and_keeps_what_waits(tmp_path: Path, packets: list[bytes]):
    with in_process(tmp_path) as running:
        senders = [Sender(running.url, packets, 1_000_000 * n) for n in range(4)]
        for sender in senders:
            sender.start()
        until(lambda: senders[0].sequence > 3)
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        for sender in senders:
            sender.join()
    # 503, or the connection went while nothing was being answered.
    assert {status for sender in senders for status in sender.statuses} <= {202, 503}
    accepted = sum(sender.sequence - 1_000_000 * n for n, sender in enumerate(senders))
    log = events(tmp_path / "log")
    drained = next(found for found in log if found["event"] == "drained")
    assert drained["finished"] == "true" and log[-1]["event"] == "ended"
    assert len(list((tmp_path / "sink").rglob("*.npy"))) + drained["waiting"] >= accepted
    with in_process(tmp_path) as running:
        until(lambda: len(running.files(".npy")) >= accepted)
        again = [running.post(packets[n % 32], envelope(n)) for n in range(senders[0].sequence)]
        assert {answer.json()["status"] for answer in again} == {"duplicate"}
        assert running.metric("latentwire_packets_duplicate_total") == senders[0].sequence


def test_one_service_has_an_inbox(tmp_path: Path):
    with in_thread(tmp_path) as running:
        assert running.client.get("/readyz").status_code == 200
        with pytest.raises(InboxError, match="nobody else"):
            from latentwire.runtime.serve.inbox import Inbox

            Inbox(tmp_path / "inbox", 10, 1 << 20, lambda entries: None)


def test_a_flood_is_answered_429_and_nothing_accepted_is_lost(tmp_path: Path, packets: list[bytes]):
    """The sink does not work, so the inbox fills up."""
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "gate-3").write_text("in the way")
    with in_thread(tmp_path, bounds=Bounds(inbox_packets=20)) as running:
        answers = [running.post(packets[n % 32], envelope(n)) for n in range(40)]
        assert [answer.status_code for answer in answers] == [202] * 20 + [429] * 20
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[20:])
        until(lambda: running.client.get("/readyz").status_code == 503)
        obstacles = " ".join(running.client.get("/readyz").json()["obstacles"])
        assert "inbox: full" in obstacles and "sink: " in obstacles
        assert running.post(packets[0], envelope(0)).status_code == 429
        (tmp_path / "sink" / "gate-3").unlink()
        until(lambda: len(running.files(".npy")) == 20)
        until(lambda: running.client.get("/readyz").json() == {"ready": True, "obstacles": []})
        assert running.post(packets[20], envelope(20)).json()["status"] == "accepted"


def test_bodies_that_memory_has_no_room_for_are_answered_429(tmp_path: Path):
    tight = Bounds(packet_bytes=1 << 16, body_bytes=1 << 16, memory_bytes=1 << 16, output_bytes=1 << 16)
    with in_thread(tmp_path, bounds=tight) as running:

        def slowly():
            yield bytes(40_000)
            answers.append(running.post(bytes(40_000)).status_code)
            yield b"x"

        answers: list[int] = []
        with httpx.Client(base_url=running.url) as other:
            assert other.post("/v1/packets", content=slowly(), headers=BYTES).status_code == 400
        assert answers == [429]
