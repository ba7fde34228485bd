"""`latentwire quarantine`: what was refused is listed, exported, taken in again, beside a service or without one."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from services import SPOOL, envelope, in_thread, until

from latentwire.runtime import Encoder, frame
from latentwire.runtime.errors import ChecksumError, ResourceError
from latentwire.runtime.serve.commands import quarantine
from latentwire.runtime.serve.quarantine import Quarantine, ask, read_kept
from latentwire.runtime.wire.seal import Keys, draw_key


def asked(inbox: Path, *options: str) -> Result:
    done = CliRunner().invoke(quarantine, [str(inbox), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done


def listed(inbox: Path, *options: str) -> list[dict]:
    return json.loads(asked(inbox, "--json", *options).stdout)["packets"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("latentwire.runtime.serve.again.SECONDS", 0.05)


def test_what_was_refused_is_listed_with_its_reason(tmp_path: Path, packet: bytes):
    inbox, began = tmp_path / "inbox", int(time.time())
    with in_thread(tmp_path) as running:
        assert running.post(packet[:-1], envelope(3)).status_code == 400
        assert running.post(packet[:-2] + b"xx").status_code == 400
        first, second = listed(inbox)
    assert first.items() >= {"id": envelope(3).id, "bytes": len(packet) - 1, "error": "TruncatedError"}.items()
    assert first["envelope"] == envelope(3).to_fields() and first["accepted"] is False
    assert second["id"] == hashlib.sha256(packet[:-2] + b"xx").hexdigest() and second["error"] == "ChecksumError"
    assert began <= time.mktime(time.strptime(first["time"] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z")) - time.timezone
    assert listed(inbox, "--reason", "ChecksumError") == [second] and listed(inbox, "--id", first["id"]) == [first]
    shown = asked(inbox)
    assert f"{first['id']}  {first['time']}  {len(packet) - 1} bytes  refused: TruncatedError: " in shown.stdout
    assert CliRunner().invoke(quarantine, [str(inbox), "--id", "nobody"]).exception is not None


def test_packets_are_exported_with_their_reasons(tmp_path: Path):
    held = Quarantine(tmp_path / "quarantine", 10, 1 << 20)
    for data in (b"one", b"two"):
        held.add(data, ChecksumError("changed"), envelope(1))
    asked(tmp_path, "--export", str(tmp_path / "out"))
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    name = envelope(1).id
    assert found.keys() == {f"{name}.packet", f"{name}.json", f"{name}-2.packet", f"{name}-2.json"}
    assert (found[f"{name}.packet"], found[f"{name}-2.packet"]) == (b"one", b"two")
    assert json.loads(found[f"{name}.json"])["error"] == "ChecksumError" and len(held) == 2


@pytest.mark.parametrize("beside", [True, False])
def test_a_codec_that_is_served_now_gets_its_packets(tmp_path: Path, packet: bytes, picture: bytes, beside: bool):
    """Refused with 422 yesterday: today the codec is served. Single, without an envelope, and in a stream."""
    inbox = tmp_path / "inbox"
    with in_thread(tmp_path, ("photo",)) as running:
        assert running.post(packet, envelope(1)).status_code == 422
        assert running.post(packet).status_code == 422
        stream = running.post(frame(picture) + frame(packet), envelope(10)).json()["packets"]
        assert [found["status"] for found in stream] == ["accepted", "refused"]
        assert running.post(picture[:-1], envelope(2)).status_code == 400
    assert len(listed(inbox)) == 4
    if not beside:
        assert "3 to be taken in again" in asked(inbox, "--reason", "CodecError", "--again").stderr
    with in_thread(tmp_path, ("mnist", "photo")) as running:
        if beside:
            asked(inbox, "--reason", "CodecError", "--again")
        until(lambda: len(running.files(".npy")) == 3)
        assert {f"gate-3/{SPOOL}-1.npy", f"gate-3/{SPOOL}-11.npy"} < running.files(".npy").keys()
        assert [kept["error"] for kept in listed(inbox)] == ["TruncatedError"]
        asked(inbox, "--again")  # what is as bad as before comes back
        until(lambda: not list((inbox / "again").iterdir()) and listed(inbox))
        assert [kept["error"] for kept in listed(inbox)] == ["TruncatedError"]
        assert running.client.get("/readyz").status_code == 200


def test_what_had_been_accepted_is_no_duplicate_when_it_comes_again(tmp_path: Path, packet: bytes):
    inbox = tmp_path / "inbox"
    with in_thread(tmp_path) as running:
        assert running.post(packet, envelope(5)).status_code == 202
        until(lambda: len(running.files(".npy")) == 1)
        for path in running.sink.rglob("*.npy"):
            path.unlink()
        quarantined = running.server.config.app.state.service._quarantine
        quarantined.add(packet, ResourceError("put aside too early"), envelope(5), accepted=True)
        (kept,) = listed(inbox)
        assert kept["accepted"] is True
        asked(inbox, "--id", kept["id"], "--again")
        until(lambda: len(running.files(".npy")) == 1)
        until(lambda: len(quarantined) == 0)
        assert listed(inbox) == [] and running.post(packet, envelope(5)).json()["status"] == "duplicate"


def test_another_packet_has_the_name_by_now(tmp_path: Path, mnist: Encoder, strokes: np.ndarray, packet: bytes):
    inbox, other = tmp_path / "inbox", mnist.encode(strokes[9:12], 100)
    with in_thread(tmp_path, ("photo",)) as running:
        assert running.post(packet, envelope(1)).status_code == 422
    with in_thread(tmp_path) as running:
        assert running.post(other, envelope(1)).status_code == 202
        asked(inbox, "--again")
        until(lambda: [kept["error"] for kept in listed(inbox)] == ["ConflictError"])
        assert [path.read_bytes() for path in (inbox / "quarantine").glob("*.packet")] == [packet]


def test_sealed_packets_are_opened_when_the_key_is_right(tmp_path: Path, packet: bytes):
    draw_key(tmp_path / "keys", "field")
    beside = envelope(1, seal="field")
    body = Keys.load(tmp_path / "keys").seal(packet, beside)
    with in_thread(tmp_path, ("photo",), keys=tmp_path / "keys") as running:
        assert running.post(body, beside).status_code == 422
    (kept,) = (tmp_path / "inbox" / "quarantine").glob("*.packet")
    assert kept.read_bytes() == body
    with in_thread(tmp_path, keys=tmp_path / "keys") as running:
        asked(tmp_path / "inbox", "--again")
        until(lambda: len(running.files(".npy")) == 1)


def test_asking_survives_kills_and_what_goes_in_the_meantime(tmp_path: Path):
    held = Quarantine(tmp_path / "quarantine", 10, 1 << 20)
    held.add(b"one", ChecksumError("changed"), envelope(1))
    held.add(b"two", ChecksumError("changed"))
    first, second = read_kept(tmp_path / "quarantine")
    second.path.with_suffix(".json").unlink()  # killed between the two
    assert [(kept.error, kept.id) for kept in read_kept(tmp_path / "quarantine")][1] == ("", second.id)
    assert ask(tmp_path, first) and not ask(tmp_path, first)
    (waiting,) = (tmp_path / "again").iterdir()
    assert waiting.read_bytes().partition(b"\n")[2] == b"one"
