"""How batches are made of what waits, and what a worker does with those that fail for a reason that is not theirs."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from services import envelope, in_thread, until

from latentwire.runtime import Decoder
from latentwire.runtime.errors import BundleError, ModelError, ProviderError, ResourceError
from latentwire.runtime.serve.errors import SinkError
from latentwire.runtime.serve.inbox import Entry, Inbox
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.trouble import Troubles
from latentwire.runtime.serve.waiting import Waiting
from latentwire.runtime.serve.worker import MAX_ATTEMPTS

ONE, OTHER = b"aaaa", b"bbbb"


def entries(count: int, codec: bytes = ONE, first: int = 0, work: int = 10) -> list[Entry]:
    return [Entry(number, codec, 100, work) for number in range(first, first + count)]


def waiting(workers: int = 2, most: int = 64, seconds: float = 1.0, work: int = 1000) -> Waiting:
    return Waiting(workers, most, seconds, work)


def paced(found: Waiting, seconds: float, codec: bytes = ONE) -> None:
    """Let it know what a packet takes."""
    found.add(entries(1, codec, 10_000))
    found.done(found.take(), seconds)


def ids(batch: list[Entry]) -> list[int]:
    return [entry.id for entry in batch]


def test_what_waits_alone_is_taken_at_once():
    found = waiting()
    found.add(entries(1))
    assert ids(found.take()) == [0] and not found.is_crowded
    found.add(entries(1, first=1))
    assert found.is_crowded


def test_every_worker_gets_a_share_in_the_order_of_arrival():
    found = waiting()
    paced(found, 0.001)
    found.add(entries(9))
    first, second = found.take(), found.take()
    assert (ids(first), ids(second)) == ([0, 1, 2, 3, 4], [5, 6, 7, 8])
    assert len(found) == 0


def test_a_batch_is_of_one_codec_the_one_that_waits_longest():
    found = waiting(workers=1)
    for codec in (ONE, OTHER):
        paced(found, 0.001, codec)
    found.add(entries(2, OTHER))
    found.add(entries(2, ONE, 2))
    found.add(entries(2, OTHER, 4))
    assert ids(found.take()) == [0, 1, 4, 5]


@pytest.mark.parametrize(("each", "most", "expected"), [(0.001, 64, 64), (0.1, 64, 10), (5.0, 64, 1), (0.001, 3, 3)])
def test_a_batch_takes_no_longer_than_allowed(each: float, most: int, expected: int):
    found = waiting(workers=1, most=most, work=10**9)
    paced(found, each)
    found.add(entries(100))
    assert len(found.take()) == expected


def test_no_more_is_worked_on_than_allowed():
    found = waiting(workers=2, work=100)
    paced(found, 0.001)
    found.add(entries(20, work=30))
    first = found.take()
    assert len(first) == 3
    taken: list[list[Entry]] = []
    thread = threading.Thread(target=lambda: taken.append(found.take()))
    thread.start()
    time.sleep(0.1)
    assert not taken
    found.done(first)
    thread.join()
    assert len(taken[0]) == 3
    found.done(taken[0])
    huge = waiting(work=100)
    huge.add(entries(1, work=5000))
    assert len(huge.take()) == 1  # alone it may


def test_what_failed_before_is_taken_alone():
    found = waiting(workers=1)
    paced(found, 0.001)
    found.add([*entries(2), replace(entries(1, first=2)[0], attempts=1), *entries(2, first=3)])
    batches = []
    for _ in range(3):
        batches.append(ids(found.take()))
        found.done(entries(1), 0.001)
    assert batches == [[0, 1], [2], [3, 4]]


def test_a_pause_and_an_end():
    found = waiting()
    found.add(entries(1))
    found.pause(0.2)
    began = time.monotonic()
    batch = found.take()
    assert time.monotonic() - began >= 0.2
    found.give_back(batch)
    found.close()
    assert found.take() == [] and len(found) == 1


def failing(monkeypatch: pytest.MonkeyPatch, poison: bytes, fault: Exception) -> None:
    """Let every decoder fail on one packet."""
    real = Decoder.decode_each

    def decode_each(self, packets):
        if poison in packets:
            raise fault
        return real(self, packets)

    monkeypatch.setattr(Decoder, "decode_each", decode_each)
    monkeypatch.setattr("latentwire.runtime.serve.trouble.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("latentwire.runtime.serve.trouble.LONGEST_PAUSE", 0.02)


@pytest.mark.parametrize("fault", [RuntimeError("nobody knows why"), ModelError("stops, or takes ten minutes")])
def test_a_packet_that_fails_the_decoder_takes_no_others_with_it(tmp_path: Path, mnist, strokes, monkeypatch, fault):
    packets = [mnist.encode(strokes[n : n + 2], 100) for n in range(8)]
    failing(monkeypatch, packets[3], fault)
    with in_thread(tmp_path) as running:
        for sequence, packet in enumerate(packets):
            assert running.post(packet, envelope(sequence)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        assert len(running.files(".npy")) == 7
        (kept,) = (tmp_path / "inbox" / "quarantine").glob("*.packet")
        assert kept.read_bytes() == packets[3]
        assert running.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError("not enough"),
        ResourceError("short of memory"),
        RuntimeError("can't start new thread"),
        ProviderError("the GPU is gone"),
        BundleError("gone"),
    ],
)
def test_what_this_machine_cannot_decode_waits_until_it_can(tmp_path: Path, mnist, strokes, monkeypatch, fault):
    """However often it fails: no packet is to blame; the others are not in its way, nor it in theirs."""
    packets = [mnist.encode(strokes[n : n + 2], 100) for n in range(8)]
    with in_thread(tmp_path) as running:
        with monkeypatch.context() as change:
            failing(change, packets[3], fault)
            for sequence, packet in enumerate(packets):
                assert running.post(packet, envelope(sequence)).status_code == 202
            until(lambda: running.metric("latentwire_decoder_failures_total") > 3 * MAX_ATTEMPTS)
            until(lambda: len(running.files(".npy")) == 7 and running.metric("latentwire_packets_waiting") == 1)
            answer = running.client.get("/readyz")
            (obstacle,) = answer.json()["obstacles"]
            assert answer.status_code == 503
            assert obstacle.startswith(f"decoder: mnist: {type(fault).__name__}: ") and "1 packets wait" in obstacle
        until(lambda: running.client.get("/readyz").status_code == 200)
        assert len(running.files(".npy")) == 8
        assert running.metric("latentwire_packets_undecodable_total") == 0


def test_nothing_is_put_aside_while_no_packet_decodes(tmp_path: Path, packet: bytes, monkeypatch: pytest.MonkeyPatch):
    """A decoder that fails on everything, whatever it says, is this machine's fault."""
    with in_thread(tmp_path) as running:
        with monkeypatch.context() as change:
            failing(change, packet, RuntimeError("CUDA error 700"))
            assert running.post(packet, envelope(0)).status_code == 202
            until(lambda: running.metric("latentwire_decoder_failures_total") > 3 * MAX_ATTEMPTS)
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        assert len(running.files(".npy")) == 1 and not list((tmp_path / "inbox" / "quarantine").glob("*"))


def test_what_is_put_aside_at_last_leaves_no_obstacle(tmp_path: Path, mnist, strokes, monkeypatch):
    """Putting aside failed, as on a full disk; then it worked, and nothing else waits whose success would say so."""
    packets = [mnist.encode(strokes[n : n + 2], 100) for n in range(2)]
    failing(monkeypatch, packets[0], RuntimeError("nobody knows why"))
    real, faults = Quarantine.add, [OSError("no space left"), OSError("no space left")]

    def add(self, *arguments, **named):
        if faults:
            raise faults.pop()
        real(self, *arguments, **named)

    monkeypatch.setattr(Quarantine, "add", add)
    with in_thread(tmp_path) as running:
        for sequence, packet in enumerate(packets):
            assert running.post(packet, envelope(sequence)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        until(lambda: running.client.get("/readyz").status_code == 200)
    assert not faults and len(list((tmp_path / "inbox" / "quarantine").glob("*-accepted.packet"))) == 1


def test_what_is_held_waits_for_its_pause_and_is_taken_alone():
    found = waiting(workers=1)
    paced(found, 0.001)
    found.add(entries(3))
    found.hold(found.take(), 0.2)
    found.done(entries(1), 0.001)
    found.add(entries(2, first=3))
    began = time.monotonic()
    batches = []
    for _ in range(4):
        batches.append(ids(found.take()))
        found.done(entries(1), 0.001)
    assert batches == [[0], [1], [2], [3, 4]] and time.monotonic() - began >= 0.2
    found.add(entries(2))
    found.hold(found.take(), 60)
    found.resume(ONE)
    assert ids(found.take()) == [0]


def test_new_packets_do_not_wait_for_what_is_held():
    found = waiting(workers=1)
    held = [replace(entry, held=True) for entry in entries(1)]
    found.hold(held, 60)
    found.add(entries(2, first=1))
    assert ids(found.take()) == [1]


def test_pauses_grow_for_each_kind_by_itself_and_end_when_it_works():
    troubles = Troubles()
    fresh, held = entries(1), [replace(entry, held=True) for entry in entries(1, first=1)]
    pauses = [troubles.failed(held, "mnist", MemoryError("x")) for _ in range(8)]
    assert 0.25 <= pauses[0] <= 0.5 and 30 <= pauses[-1] <= 60
    troubles.worked(fresh)
    assert troubles.failed(held, "mnist", MemoryError("x")) >= 30  # that a small one works says nothing of a large one
    assert troubles.failed(fresh, "mnist", MemoryError("x")) <= 0.5
    (text,) = troubles.texts
    assert text == "decoder: mnist: MemoryError: x (2 packets wait for it)"
    troubles.worked(held)
    assert troubles.failed(held, "mnist", MemoryError("x")) <= 0.5
    troubles.worked([*fresh, *held])
    assert troubles.texts == []
    troubles.all_failed(SinkError("full"))
    assert troubles.texts == ["sink: full"]
    troubles.worked(fresh)
    assert troubles.texts == []


@pytest.mark.parametrize(("attempts", "decoded"), [(MAX_ATTEMPTS, ["1.npy", "2.npy"]), (2 * MAX_ATTEMPTS, ["2.npy"])])
def test_a_packet_that_was_there_when_services_ended_is_tried_apart(
    tmp_path: Path, packet: bytes, attempts: int, decoded: list[str]
):
    """Services were killed while it was decoded. It is no reason by itself, unless it goes on and on."""
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "gate-3").write_text("in the way")
    with in_thread(tmp_path) as running:
        for sequence in (1, 2):
            assert running.post(packet, envelope(sequence)).status_code == 202
    found: list[Entry] = []
    inbox = Inbox(tmp_path / "inbox", 100, 1 << 20, found.extend)
    assert [entry.attempts for entry in found] == [0, 0] and all(entry.leftover for entry in found)
    inbox.begin(found[:1], attempts)
    inbox.close()
    (tmp_path / "sink" / "gate-3").unlink()
    with in_thread(tmp_path) as running:
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        assert sorted(name.rpartition("-")[2] for name in running.files(".npy")) == decoded
    assert len(list((tmp_path / "inbox" / "quarantine").glob("*-accepted.packet"))) == 2 - len(decoded)


def test_packets_of_a_codec_that_is_no_longer_served_stay(tmp_path: Path, packet: bytes):
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "gate-3").write_text("in the way")
    with in_thread(tmp_path) as running:
        assert running.post(packet, envelope(0)).status_code == 202
    (tmp_path / "sink" / "gate-3").unlink()
    with in_thread(tmp_path, ("photo",)) as running:
        assert running.metric("latentwire_packets_waiting") == 1
    with in_thread(tmp_path) as running:
        until(lambda: len(running.files(".npy")) == 1)
