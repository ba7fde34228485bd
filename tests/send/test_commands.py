import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from plain_codecs import register, write_windows

from latentwire.runtime import Decoder
from latentwire.runtime.cli.group import main
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.send.sources import Settling, is_candidate, npy_frames, raw_frames


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def send(receiver, tmp_path):
    def call(source: object, *options: object, stdin: bytes | None = None) -> Result:
        spool = ["--spool", tmp_path / "spool", "--device", "gate-3"]
        return run("send", "mnist", source, "--to", receiver.url, *spool, "--wait", 10, *options, stdin=stdin)

    return call


def count(receiver) -> int:
    return sum(len(envelope.times) for envelope in receiver.envelopes.values())


def test_a_file_is_sent_once(send, receiver, items, tmp_path):
    np.save(tmp_path / "a.npy", items)
    first = send(tmp_path / "a.npy", "--batch", 10, "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout.splitlines()[-1])["sent"] == 7 and count(receiver) == 64
    mtime = (tmp_path / "a.npy").stat().st_mtime_ns // 1_000_000
    assert all(set(envelope.times) == {mtime} for envelope in receiver.envelopes.values())
    assert all({note["file"] for note in e.notes} == {"a.npy"} for e in receiver.envelopes.values())
    second = send(tmp_path / "a.npy")
    assert second.exit_code == 0 and "taken before" in second.stderr and count(receiver) == 64


def test_a_folder_is_taken_file_by_file_and_remembered(send, receiver, items, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"{number}.npy", items[number])
    np.save(folder / ".hidden.npy", items[4])
    (folder / "half.part").write_bytes(b"x")
    options = ["--once", "--settle", 0.1, "--batch", 2]
    assert send(folder, *options).exit_code == 0
    assert count(receiver) == 3 and len(receiver.packets) == 2, "files share packets"
    np.save(folder / "3.npy", items[3])
    assert send(folder, *options).exit_code == 0 and count(receiver) == 4
    assert len(list(folder.iterdir())) == 6, "nothing of the user's is removed"
    assert send(folder, *options, "--delete").exit_code == 0
    assert count(receiver) == 4
    assert sorted(path.name for path in folder.iterdir()) == [".hidden.npy", "half.part"]


def test_a_file_that_is_no_array_does_not_stop_the_others(send, receiver, items, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.npy").write_bytes(b"\x93NUMPY half")
    np.save(folder / "b.npy", items[:2])
    result = send(folder, "--once", "--settle", 0.1, "--delete")
    assert result.exit_code == 3 and "a.npy left out" in result.stderr
    assert count(receiver) == 2 and [path.name for path in folder.iterdir()] == ["a.npy"]


def test_stdin_takes_arrays_one_behind_the_other_or_records(send, receiver, items):
    stream = io.BytesIO()
    for part in (items[0], items[1:4], items[4]):
        np.save(stream, part)
    assert send("-", stdin=stream.getvalue()).exit_code == 0 and count(receiver) == 5
    assert send("-", "--raw", stdin=items[:3].tobytes()).exit_code == 0 and count(receiver) == 8
    half = send("-", "--raw", stdin=items[:3].tobytes()[:-1])
    assert half.exit_code == 3 and count(receiver) == 10, "the whole ones before it are sent"


def test_exit_codes_say_what_became_of_the_packets(send, receiver, items, tmp_path):
    np.save(tmp_path / "a.npy", items[:3])
    receiver.refused = {0}
    refused = send(tmp_path / "a.npy", "--batch", 1)
    assert refused.exit_code == 1 and "RefusedError" in refused.stderr
    listed = run("spool", tmp_path / "spool", "--json", "--export", tmp_path / "out")
    told = json.loads(listed.stdout)
    assert (told["sent"], told["refused"], told["packets"][0]["error"]) == (2, 1, "CodecError")
    (exported,) = (tmp_path / "out").iterdir()
    assert run("inspect", exported).exit_code == 0
    shown = run("spool", tmp_path / "spool").stdout
    assert f"refused gate-3.{told['spool']}.0" in shown and "expected another codec" in shown
    np.save(tmp_path / "b.npy", items[:3])
    receiver.token = "secret"
    waiting = send(tmp_path / "b.npy", "--wait", 0.2)
    assert waiting.exit_code == 1 and "UndeliveredError" in waiting.stderr
    assert run("send", "photo", "-", "--to", receiver.url, "--spool", tmp_path / "spool", stdin=b"").exit_code == 2


def test_refused_packets_are_put_back_under_their_names(send, receiver, items, tmp_path):
    np.save(tmp_path / "a.npy", items[:4])
    receiver.refused = {0, 1, 3}
    assert send(tmp_path / "a.npy", "--batch", 1).exit_code == 1
    spool = tmp_path / "spool"
    (name,) = {envelope.spool for envelope in receiver.envelopes.values()}
    for wrong in (["--retry"], ["--all"], ["--retry", "0", "--all"], ["--retry", "2"], ["--retry", "gate-3.x.0"]):
        assert run("spool", spool, *wrong).exit_code == 2, wrong
    assert json.loads(run("spool", spool, "--json").stdout)["refused"] == 3
    one = run("spool", spool, "--retry", f"gate-3.{name}.3", "--json")
    assert one.exit_code == 0 and json.loads(one.stdout)["retried"] == [f"gate-3.{name}.3"]
    assert [json.loads(one.stdout)[state] for state in ("waiting", "refused", "sent")] == [1, 2, 1]
    again = run("spool", spool, "--retry", "--all")
    assert again.exit_code == 0 and again.stdout.count("put back") == 2
    receiver.refused = {1}
    assert send("-", "--raw", stdin=b"").exit_code == 1
    assert sorted(receiver.packets) == [(name, 0), (name, 2), (name, 3)]
    receiver.refused = set()
    assert run("spool", spool, "--retry", "1").exit_code == 0
    status = json.loads(send("-", "--raw", "--json", stdin=b"").stdout.splitlines()[-1])
    assert (status["sent"], status["refused"], status["waiting"]) == (4, 0, 0)
    assert sorted(receiver.packets) == [(name, number) for number in range(4)] and set(receiver.times.values()) == {1}


def test_nothing_is_put_back_while_a_sender_has_the_spool(make, send, receiver, items, tmp_path):
    receiver.refused = {0}
    sender = make()
    sender.put(items[0])
    assert sender.flush(10)
    inside = run("spool", tmp_path / "spool", "--retry", "--all")
    assert inside.exit_code == 2 and "SpoolInUseError" in inside.stderr
    assert sender.status().refused == 1
    sender.close()
    assert run("spool", tmp_path / "spool", "--retry", "--all").exit_code == 0
    (tmp_path / "text").write_text("no spool", encoding="ascii")
    assert run("spool", tmp_path / "text", "--retry", "--all").exit_code == 1
    assert sorted(path.name for path in tmp_path.glob("text*")) == ["text"]


def test_the_token_comes_from_a_file_or_the_environment(send, receiver, items, tmp_path, monkeypatch):
    receiver.token = "secret"
    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    assert send("-", "--raw", "--token-file", tmp_path / "token", stdin=items[0].tobytes()).exit_code == 0
    monkeypatch.setenv("LATENTWIRE_TOKEN", "secret")
    assert send("-", "--raw", stdin=items[0].tobytes()).exit_code == 0 and count(receiver) == 2
    assert run("send", "mnist", "-", "--to", "http://192.0.2.1", stdin=b"").exit_code == 2
    assert send("-", "--token-file", tmp_path / "none", stdin=b"").exit_code == 2


def test_options_of_another_kind_of_codec_are_refused_by_its_name(send, receiver, tmp_path):
    for option in (["--depth", 8], ["--background", "white"]):
        refused = send("-", *option, stdin=b"")
        assert refused.exit_code == 2 and f"a codec of items, found {option[0]}: it is for" in refused.stderr
    spool = ["--spool", tmp_path / "spool", "--to", receiver.url]
    refused = run("send", "photo", "-", "--raw", *spool, stdin=bytes(12))
    assert refused.exit_code == 2 and "a codec of pictures, found --raw: values without a size" in refused.stderr
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("registered", [False, True])
def test_windows_of_somebody_elses_family_are_sent(receiver, tmp_path, monkeypatch, registered):
    codec = write_windows(tmp_path)
    if registered:
        code = "from latentwire.runtime.families import Items\nFAMILY = type('Waves', (Items,), {'kind': 'waves'})()"
        group = {"latentwire.families.runtime": {"wave": "sent_family:FAMILY"}}
        monkeypatch.syspath_prepend(register(tmp_path, "sent_family", group, code))
    windows = np.random.default_rng(5).integers(-9, 9, (70, 8, 2)).astype(np.int16)
    np.save(tmp_path / "a.npy", windows[:66])
    options = ["--spool", tmp_path / "spool", "--device", "gate-3", "--to", receiver.url, "--wait", 10]
    assert run("send", codec / "encoder.onnx", tmp_path / "a.npy", *options).exit_code == 0
    raw = windows[66:].astype("<i2").tobytes()
    assert run("send", codec / "encoder.onnx", "-", "--raw", *options, stdin=raw).exit_code == 0
    decoder = Decoder(codec / "decoder.onnx")
    received = [decoder.decode(receiver.packets[key]) for key in sorted(receiver.packets)]
    assert [len(items) for items in received] == [64, 2, 4]
    assert np.array_equal(np.concatenate(received), windows)
    refused = run("send", codec / "encoder.onnx", "-", "--depth", 8, *options, stdin=b"")
    assert (
        refused.exit_code == 2 and f"a codec of {'waves' if registered else 'items'}, found --depth" in refused.stderr
    )


@pytest.mark.parametrize("library", ["httpx", "paho", "watchfiles"])
def test_a_library_that_is_missing_is_named_with_its_extra(library, tmp_path):
    code = f"""
import sys
sys.modules[{library!r}] = None
import latentwire.runtime.send
from latentwire.runtime.cli import main
main({["send", "mnist", ".", "--to", "mqtt://127.0.0.1" if library == "paho" else "http://127.0.0.1"]})
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert result.returncode == 2 and "pip install 'latentwire[send]'" in result.stderr, result.stderr


def test_keys_are_drawn_for_sealing(send, receiver, items, tmp_path):
    assert run("key", "gate-3", "--keys", tmp_path / "keys").exit_code == 0
    assert run("key", "gate-3", "--keys", tmp_path / "keys").exit_code == 2
    assert send("-", "--raw", "--keys", tmp_path / "keys", stdin=items[0].tobytes()).exit_code == 0
    assert [envelope.seal for envelope in receiver.envelopes.values()] == ["gate-3"]


def eventually(held, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_a_watched_folder_survives_the_process(receiver, items, tmp_path, kill):
    folder = tmp_path / "in"
    folder.mkdir()
    command = [sys.executable, "-m", "latentwire.runtime", "send", "mnist", str(folder), "--to", receiver.url]
    command += ["--spool", str(tmp_path / "spool"), "--device", "gate-3", "--settle", "0.2", "--batch-seconds", "0.1"]
    for start in range(2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        np.save(tmp_path / f"{start}.npy", items[:5])
        os.replace(tmp_path / f"{start}.npy", folder / f"{start}.npy")
        eventually(lambda expected=5 * (start + 1): count(receiver) == expected)
        if start == 0:
            with (folder / "slow.npy").open("wb") as slow:  # half a file is not taken
                buffer = io.BytesIO()
                np.save(buffer, items[:2])
                for byte in range(0, 1600, 400):
                    slow.write(buffer.getvalue()[byte : byte + 400])
                    slow.flush()
                    time.sleep(0.1)
                assert count(receiver) == 5
            (folder / "slow.npy").unlink()
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        _, told = process.communicate(timeout=20)
        assert process.returncode == (-signal.SIGKILL if kill else 0), told
    assert count(receiver) == 10


def test_sigterm_ends_a_sender_that_waits_for_stdin(receiver, items, tmp_path):
    command = [sys.executable, "-m", "latentwire.runtime", "send", "mnist", "-", "--raw", "--to", receiver.url]
    command += ["--spool", str(tmp_path / "spool"), "--device", "gate-3"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(items[:2].tobytes())
    process.stdin.flush()
    eventually(lambda: count(receiver) == 2)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0 and b"1 packets sent" in told


def test_a_file_is_finished_when_nothing_has_changed_for_a_while(tmp_path: Path):
    path, settling = tmp_path / "a", Settling(1.0)
    path.write_bytes(b"1")
    settling.add(path)
    assert settling.finished(0.0) == [] and settling.finished(0.9) == []
    path.write_bytes(b"12")
    assert settling.finished(1.1) == [] and settling.finished(2.0) == []
    assert settling.finished(2.2) == [path] and len(settling) == 0
    settling.add(path)
    path.unlink()
    assert settling.finished(3.0) == [] and len(settling) == 0
    assert not is_candidate(tmp_path)


CONTRACT = ItemContract("uint8", ("items", 4), (0, 255))


@pytest.mark.parametrize(
    "data",
    [
        b"text",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x09\x00\x10\x00",
        b"\x93NUMPY\x01\x00\x04\x00{}  ",
    ],
    ids=range(5),
)
def test_other_bytes_on_stdin_are_an_error_with_a_place(data):
    good = io.BytesIO()
    np.save(good, np.zeros(4, np.uint8))
    frames = npy_frames(io.BytesIO(good.getvalue() + data).read)
    assert len(next(frames)) == 4
    with pytest.raises(InputFileError, match=f"offset {len(good.getvalue())}"):
        next(frames)


def test_a_header_that_lies_allocates_nothing():
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    with pytest.raises(InputFileError, match="at most"):
        next(npy_frames(io.BytesIO(buffer.getvalue()).read))
    with pytest.raises(InputFileError):
        list(raw_frames(io.BytesIO(bytes(9)).read, CONTRACT))
