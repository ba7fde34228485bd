import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.errors import (
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
    SpoolInUseError,
    SpoolMismatchError,
)
from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.spool import Bounds, Mark, Spool, Tally
from latentwire.runtime.send.view import Totals, read_refused, read_totals
from latentwire.runtime.wire.envelope import Envelope

CODEC, OTHER = "c0" * 32, "c1" * 32


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, CODEC, "gate-3")
    yield made
    made.close()


def put(spool: Spool, size: int = 100, marks: tuple[Mark, ...] = ()) -> int | None:
    return spool.add(lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), bytes(size)), marks)


def sequences(spool: Spool) -> list[int]:
    return [parcel.envelope.sequence for parcel in spool.waiting(-1, 1000)]


def test_packets_wait_until_they_are_removed(spool):
    assert [put(spool, n) for n in range(5)] == [0, 1, 2, 3, 4]
    assert spool.waiting(2, 1) == [Parcel(Envelope("gate-3", spool.id, 3), bytes(3))]
    spool.remove([1, 3, 77])
    spool.refuse(2, "CodecError", "of another codec")
    assert sequences(spool) == [0, 4]
    totals = spool.totals()
    assert (totals.waiting, totals.refused, totals.sent, totals.dropped) == (2, 1, 2, 0)
    (refused,) = read_refused(spool.path)
    assert (refused.parcel.envelope.sequence, refused.error, refused.message) == (2, "CodecError", "of another codec")
    assert read_totals(spool.path) == (spool.id, "gate-3", totals)


def test_numbers_go_on_after_a_new_start_and_are_never_used_twice(spool, path):
    for _ in range(3):
        put(spool)
    spool.remove([0, 1, 2])
    name = spool.id
    spool.close()
    again = Spool(path, CODEC, "gate-3")
    assert again.id == name and put(again) == 3
    assert again.totals().sent == 3
    again.close()


def test_a_spool_has_one_sender_and_belongs_to_one_codec_and_device(spool, path):
    with pytest.raises(SpoolInUseError):
        Spool(path, CODEC, "gate-3")
    code = f"from latentwire.runtime.send.spool import Spool; Spool({str(path)!r}, {CODEC!r}, 'gate-3')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SpoolInUseError" in other.stderr
    spool.close()
    for codec, device in ((OTHER, "gate-3"), (CODEC, "gate-4")):
        with pytest.raises(SpoolMismatchError):
            Spool(path, codec, device)
    Spool(path, CODEC, "gate-3").close()


@pytest.mark.parametrize(
    ("policy", "kept"), [("oldest", list(range(20 - 4, 20))), ("newest", [0, 1, 2, 3])], ids=("oldest", "newest")
)
def test_the_bound_lets_packets_go_by_policy_and_counts_them(path, policy, kept):
    spool = Spool(path, CODEC, "gate-3", Bounds(1000, policy=policy))
    for _ in range(20):
        put(spool, 120)
    assert sequences(spool) == kept
    totals = spool.totals()
    assert totals.dropped == 16 and totals.bytes <= 1000
    assert put(spool, 2000) is None and sequences(spool) == kept, "one that never fits moves nothing"
    spool.close()


def test_refused_packets_go_before_any_that_wait(path):
    spool = Spool(path, CODEC, "gate-3", Bounds(1000, policy="newest"))
    for _ in range(4):
        put(spool, 120)
    spool.refuse(2, "CodecError", "")
    assert put(spool, 120) == 4 and sequences(spool) == [0, 1, 3, 4]
    assert spool.totals().refused == 0 and spool.totals().dropped == 1
    spool.close()


def test_stop_makes_a_full_spool_an_error(path):
    spool = Spool(path, CODEC, "gate-3", Bounds(300, policy="stop"))
    put(spool, 100)
    with pytest.raises(SpoolFullError):
        put(spool, 200)
    spool.remove([0])
    assert put(spool, 100) == 1 and spool.totals().dropped == 0
    spool.close()


def test_age_is_time_that_the_spool_was_open_and_no_clock_can_make_it_jump(path):
    clock = Clock()
    spool = Spool(path, CODEC, "gate-3", Bounds(seconds=100), clock)
    put(spool)
    clock.now += 60
    put(spool)
    assert spool.expire() == 0
    spool.close()
    clock.now = 5.0  # another boot: the clock begins anew
    spool = Spool(path, CODEC, "gate-3", Bounds(seconds=100), clock)
    clock.now += 39
    assert spool.expire() == 0
    clock.now += 2
    assert spool.expire() == 1 and sequences(spool) == [1]
    assert spool.totals().dropped == 1
    clock.now += 60
    assert spool.expire() == 1
    spool.close()


@pytest.mark.parametrize("bounds", [(0, None, "oldest"), (1, 0, "oldest"), (1, None, "random")])
def test_bounds_that_make_no_sense_are_refused(bounds):
    with pytest.raises(SettingError):
        Bounds(*bounds)


def test_marks_are_stored_with_their_packet_or_not_at_all(path):
    spool = Spool(path, CODEC, "gate-3", Bounds(300, policy="stop"))
    assert spool.progress("a") is None
    put(spool, 100, (Mark("a", "1:1", 2, False),))
    with pytest.raises(SpoolFullError):
        put(spool, 200, (Mark("a", "1:1", 3, True),))
    assert spool.progress("a") == Mark("a", "1:1", 2, False)
    spool.close()


def test_writers_that_come_together_share_a_transaction(spool):
    together = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: [(together.wait(), put(spool)) for _ in range(25)]) for _ in range(8)]
    commits = []
    spool._database.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sequences(spool) == list(range(200))
    assert len(commits) < 100


def test_one_writers_fault_is_not_the_others(spool):
    def fail(name: str, sequence: int) -> Parcel:
        raise ValueError("no packet")

    faults: list[Exception] = []

    def failing() -> None:
        try:
            spool.add(fail)
        except ValueError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=failing if n % 2 else lambda: put(spool)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(faults) == 5 and sequences(spool) == [0, 1, 2, 3, 4]


def filled(path: Path) -> bytes:
    spool = Spool(path, CODEC, "gate-3")
    for _ in range(200):
        put(spool, 3000)
    spool.close()
    return path.read_bytes()


def test_a_damaged_spool_is_named_and_left_as_it_is(path):
    whole = filled(path)
    page, middle = 4096, len(whole) // 2 // 4096 * 4096
    damages = {
        "empty": b"",
        "text": b"this is not a spool\n" * 100,
        "truncated": whole[: len(whole) // 2],
        "beginning": bytes(100) + whole[100:],
        "page": whole[: 2 * page] + os.urandom(page) + whole[3 * page :],
        "middle": whole[:middle] + bytes(page) + whole[middle + page :],
    }
    for name, data in damages.items():
        path.write_bytes(data)
        with pytest.raises(SpoolDamagedError, match="move it"):
            Spool(path, CODEC, "gate-3")
        assert path.read_bytes() == data, name
    other = sqlite3.connect(path.with_name("other"))
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(SpoolDamagedError):
        Spool(path.with_name("other"), CODEC, "gate-3")


def test_a_log_without_its_spool_is_not_taken_for_a_new_spool(path):
    path.with_name("spool-wal").write_bytes(b"rest of an older one")
    with pytest.raises(SpoolDamagedError):
        Spool(path, CODEC, "gate-3")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpoolError, match="nowhere"):
        Spool(tmp_path / "nowhere" / "spool", CODEC, "gate-3")
    with pytest.raises(SpoolError):
        read_totals(tmp_path / "absent")


LIMITED = textwrap.dedent("""
    import resource, signal, sys
    from latentwire.runtime.wire import Envelope
    from latentwire.runtime.send.errors import SpoolError
    from latentwire.runtime.send.link import Parcel
    from latentwire.runtime.send.spool import Bounds, Spool
    path, policy = sys.argv[1:]
    spool = Spool(path, "c0" * 32, "gate-3", Bounds(policy=policy))
    make = lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), bytes(5000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    stored, failed = [], 0
    for _ in range(200):
        try:
            sequence = spool.add(make)
        except SpoolError as fault:
            failed += 1
            sequence = None
        if sequence is not None:
            stored.append(sequence)
    assert [p.envelope.sequence for p in spool.waiting(-1, 1000)] == stored
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sequence = spool.add(make)
    totals = spool.totals()
    print(len(stored), failed, sequence, totals.waiting, totals.dropped)
    spool.close()
""")


def limited(path: Path, policy: str) -> list[int]:
    command = [sys.executable, "-c", LIMITED, str(path), policy]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [int(word) for word in result.stdout.split()]


def test_a_file_that_may_not_grow_stops_puts_or_lets_packets_go(tmp_path):
    stored, failed, sequence, waiting, dropped = limited(tmp_path / "a", "stop")
    assert 10 < stored < 100 and (stored + failed, sequence, waiting, dropped) == (200, stored, stored + 1, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name == "nt" or not shutil.which("mount"):
        pytest.skip("there is no mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("policy", ["stop", "oldest", "newest"])
def test_a_full_disk_loses_nothing_that_was_stored_and_drains(small_disk, policy):
    spool = Spool(small_disk / "spool", CODEC, "gate-3", Bounds(policy=policy))
    stored, failed = [], 0
    for _ in range(600):
        try:
            sequence = put(spool, 5000)
        except SpoolFullError:
            sequence = None
        stored += [] if sequence is None else [sequence]
        failed += sequence is None
    assert len(stored) > 200 and failed > 50
    assert sequences(spool) == stored
    for sequence in stored:
        spool.remove([sequence])  # a disk that is full must not keep the spool from becoming empty
    assert put(spool, 5000) is not None
    totals = spool.totals()
    assert (totals.waiting, totals.sent) == (1, len(stored))
    assert totals.dropped == (0 if policy == "stop" else failed)
    spool.close()


@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_drops_on_a_full_disk_survive_a_kill_and_a_restart(small_disk, policy):
    """The disk is full to the last byte, and nothing of the process's memory is left: the count is still there."""
    code = LOST.format(path=str(small_disk / "spool"), policy=policy)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == -9, told.stderr
    stored, dropped = map(int, told.stdout.split())
    assert stored > 200 and dropped > 50
    for _ in range(2):  # not counted twice either
        spool = Spool(small_disk / "spool", CODEC, "gate-3", Bounds(policy=policy))
        assert (spool.totals().waiting, spool.totals().dropped) == (stored, dropped)
        spool.close()
    spool = Spool(small_disk / "spool", CODEC, "gate-3", Bounds(policy=policy))
    spool.remove(sequences(spool)[:100])
    assert spool.totals().dropped == dropped
    assert put(spool, 100) == stored + dropped, "each of them has used up a number"
    spool.close()
    assert read_totals(small_disk / "spool")[2].dropped == dropped


LOST = textwrap.dedent("""
    import os
    from latentwire.runtime.send.link import Parcel
    from latentwire.runtime.send.spool import Bounds, Spool
    from latentwire.runtime.wire import Envelope
    spool = Spool({path!r}, "c0" * 32, "gate-3", Bounds(policy={policy!r}))
    make = lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), bytes(5000))
    found = [spool.add(make) for _ in range(600)]
    print(len([one for one in found if one is not None]), found.count(None), flush=True)
    assert spool.totals().dropped == found.count(None)
    os.kill(os.getpid(), 9)
""")


def test_every_total_survives_a_restart(spool, path):
    for size in (1, 2, 3, 4):
        put(spool, size)
    spool.remove([0])
    spool.refuse(1, "CodecError", "")
    spool.rename(2, lambda parcel, _: parcel.body)
    spool.drop()
    spool.note((Mark("a", "1:1", 3, False, 2),), Tally(clipped=5, skipped=7))
    spool.note((Mark("a", "1:1", 4, True, 1),), Tally(skipped=1))
    before = spool.totals()
    assert replace(before, waiting_bytes=0, refused_bytes=0) == Totals(2, 0, 1, 0, 1, 1, 1, 5, 8)
    spool.close()
    again = Spool(path, CODEC, "gate-3")
    assert again.totals() == before and read_totals(path)[2] == before
    assert again.progress("a") == Mark("a", "1:1", 4, True, 3), "those left out add up"
    again.note((Mark("a", "2:2", 1, False),), Tally())
    assert again.progress("a") == Mark("a", "2:2", 1, False), "another file"
    again.close()
