"""Files that appear whole, in folders and stores; what happens while a sink fails; what is not decoded."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from services import SPOOL, envelope, in_thread, until

from latentwire.runtime import Encoder
from latentwire.runtime.errors import ChecksumError, SettingError
from latentwire.runtime.serve.errors import SinkError
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.sinks import File, FolderSink, StoreSink, open_sink
from latentwire.runtime.wire.packet import parse_header, write_packet

FILES = [File("a", "1.json", b"{}"), File("a", "1.png", b"picture"), File("b", "1.json", b"[]")]


class Moving(MemoryFileSystem):
    """A store whose moves are its own, and do not replace what is there."""

    protocol = "moving"
    store: dict = {}  # noqa: RUF012 - fsspec's own keeps it in the class too
    pseudo_dirs = [""]  # noqa: RUF012
    moves: list[tuple[str, str]] = []  # noqa: RUF012

    def mv(self, path1: str, path2: str, **_: object) -> None:
        assert not self.exists(path2)
        self.moves.append((path1, path2))
        self.store[path2] = self.store.pop(path1)


def test_a_folder_holds_whole_files_and_no_others(tmp_path: Path):
    sink = open_sink(str(tmp_path / "new" / "sink"))
    sink.put(FILES)
    sink.put(FILES)
    sink.close()
    found = {path.relative_to(tmp_path / "new/sink").as_posix(): path for path in tmp_path.rglob("*.*")}
    assert {name: path.read_bytes() for name, path in found.items()} == {f"{f.folder}/{f.name}": f.data for f in FILES}
    assert isinstance(open_sink(f"file://{tmp_path}/other"), FolderSink)


def test_a_folder_that_fails_leaves_nothing_in_part(tmp_path: Path):
    sink = FolderSink(tmp_path)
    (tmp_path / "b").write_text("in the way")
    with pytest.raises(SinkError):
        sink.put(FILES)
    (tmp_path / "a" / "1.png").mkdir(parents=True)
    with pytest.raises(SinkError):
        sink.put(FILES[:2])
    assert not list(tmp_path.rglob(".*"))
    sink.close()
    with pytest.raises(SettingError):
        open_sink(str(tmp_path / "b" / "below a file"))
    with pytest.raises(SettingError):
        open_sink("nothing-knows-this://place")


def test_a_store_that_moves_gets_a_temporary_name_first():
    sink = StoreSink(Moving(), "/place")
    sink.put(FILES[:1])
    sink.put(FILES[:1])
    assert Moving.moves == [("/place/a/.1.json.tmp", "/place/a/1.json")] * 2
    assert Moving().find("/place") == ["/place/a/1.json"]


def test_a_store_of_objects_gets_one_put(tmp_path: Path, packet: bytes):
    with in_thread(tmp_path, sink="memory://bucket/decoded") as running:
        store = fsspec.filesystem("memory")
        assert running.post(packet, envelope(1)).status_code == 202
        until(lambda: store.exists(f"/bucket/decoded/gate-3/{SPOOL}-1.npy"))
        files = [f"gate-3/{SPOOL}-1.json", f"gate-3/{SPOOL}-1.npy"]
        assert store.find("/bucket") == [f"/bucket/decoded/{name}" for name in ("_inbox/id", *files)]


def test_a_sink_that_fails_is_tried_again_and_loses_nothing(tmp_path: Path, packet: bytes):
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "gate-3").write_text("in the way")
    with in_thread(tmp_path) as running:
        for sequence in range(5):
            assert running.post(packet, envelope(sequence)).status_code == 202
        until(lambda: running.client.get("/readyz").status_code == 503)
        assert "sink: " in running.client.get("/readyz").json()["obstacles"][0]
        assert running.metric("latentwire_packets_waiting") == 5
        (tmp_path / "sink" / "gate-3").unlink()
        until(lambda: len(running.files(".npy")) == 5)
        until(lambda: running.client.get("/readyz").status_code == 200)
        assert running.metric("latentwire_sink_failures_total") >= 1
        assert running.metric("latentwire_packets_decoded_total") == 5


def forged(packet: bytes) -> bytes:
    """A packet whose checks hold and whose words are nonsense."""
    header = parse_header(packet)
    body = bytearray(packet[header.states_at : -4])
    body[-8:] = bytes(8)
    return write_packet(header.codec, header.quality, header.lanes, header.size, bytes(body))


def test_what_does_not_decode_goes_to_quarantine_and_is_in_nobodys_way(
    tmp_path: Path, mnist: Encoder, strokes: np.ndarray
):
    packets = [mnist.encode(strokes[n : n + 4], 200) for n in range(6)]
    with in_thread(tmp_path) as running:
        for sequence, packet in enumerate(packets):
            body = forged(packet) if sequence in (0, 3) else packet
            assert running.post(body, envelope(sequence)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        assert sorted(running.files(".npy")) == [f"gate-3/{SPOOL}-{n}.npy" for n in (1, 2, 4, 5)]
        reasons = [json.loads(path.read_text()) for path in (tmp_path / "inbox" / "quarantine").glob("*.json")]
        assert {reason["envelope"]["sequence"] for reason in reasons} == {"0", "3"}
        assert {reason["error"] for reason in reasons} <= {"LanesError", "BodyError"}
        assert running.post(forged(packets[0]), envelope(0)).json()["status"] == "duplicate"


def test_quarantine_is_bounded_in_count_and_bytes(tmp_path: Path):
    fault = ChecksumError("expected, found")
    held = Quarantine(tmp_path, 5, 1 << 20)
    for number in range(9):
        held.add(bytes([number]), fault)
    assert len(held) == 5
    assert [path.read_bytes()[0] for path in sorted(tmp_path.glob("*.packet"))] == [4, 5, 6, 7, 8]
    again = Quarantine(tmp_path, 5, 1 << 20)
    assert (len(again), again.byte_count) == (5, held.byte_count)
    again.add(b"x", fault, envelope(3), accepted=True)
    assert len(list(tmp_path.glob("*.json"))) == 5
    for number in range(9):
        again.add(bytes([number]), fault)
    assert len(again) == 5 and len(list(tmp_path.glob("*-accepted.packet"))) == 1  # what was refused goes first
    for number in range(9):
        again.add(bytes([number]), fault, accepted=True)
    assert [path.read_bytes()[0] for path in sorted(tmp_path.glob("*.packet"))] == [4, 5, 6, 7, 8]
    again.add(b"x", fault)
    assert len(list(tmp_path.glob("*-accepted.packet"))) == 5  # and pushes out nothing that was accepted
    assert len(again) == 5 and again.byte_count == sum(path.stat().st_size for path in tmp_path.iterdir())
    for path in tmp_path.iterdir():
        path.unlink()
    tight = Quarantine(tmp_path, 100, 3000)
    tight.add(bytes(2000), fault)
    tight.add(bytes(4000), fault)
    assert tight.byte_count <= 3000 and not [path for path in tmp_path.iterdir() if path.stat().st_size == 4000]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == tight.byte_count
