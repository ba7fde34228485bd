"""Errors under --json are JSON, with class, exit code, file and place; and no bytes go to a terminal."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwire.runtime import Decoder, Encoder, frame
from latentwire.runtime.cli import main


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def items(digits: np.ndarray, tmp_path: Path) -> Path:
    """A file of items of which the seventh is out of the range 0..16, at its third value."""
    path, found = tmp_path / "items.npy", digits[:90].copy()
    found[70, 2] = 200
    np.save(path, found)
    return path


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["encode", "BUNDLE", "ITEMS", "-o", "OUT"], ("InputRangeError", 3, "ITEMS", {"item": 70, "index": [2]})),
        (["encode", "BUNDLE", "TEXT", "-o", "OUT"], ("InputFileError", 3, "TEXT", {"offset": 0})),
        (["encode", "BUNDLE", "ITEMS"], ("SettingError", 2, None, None)),
        (["encode", "BUNDLE", "ITEMS", "-o", "OUT", "--quality", "256"], ("BadParameter", 2, None, None)),
        (["encode", "BUNDLE", "ITEMS", "-o", "OUT", "--tile", "64"], ("SettingError", 2, None, None)),
        (["encode", "BUNDLE"], ("MissingParameter", 2, None, None)),
        (["encode", "no-such-codec", "ITEMS", "-o", "OUT"], ("BundleNotFoundError", 2, "no-such-codec", None)),
        (["encode", "BUNDLE", "ITEMS", "-o", "OUT", "--provider", "cuda"], ("ProviderError", 7, "BUNDLE", None)),
        (["decode", "BUNDLE", "TEXT", "-o", "OUT"], ("MagicError", 4, "TEXT", {"offset": 0})),
        (["decode", "BUNDLE", "HURT", "-o", "OUT"], ("ChecksumError", 4, "HURT", {"offset": 19})),
        (["decode", "BUNDLE", "no-such-file", "-o", "OUT"], ("BadParameter", 2, None, None)),
        (["inspect", "HURT"], ("ChecksumError", 4, "HURT", {"offset": 19})),
        (["inspect", "EMPTY"], ("InputFileError", 3, "EMPTY", None)),
        (["selftest", "EMPTY"], ("ManifestError", 1, "EMPTY", None)),
        (["doctor", "no-such-codec"], ("BundleNotFoundError", 2, "no-such-codec", None)),
        (["no-such-command"], ("NoSuchCommand", 2, None, None)),
    ],
)
def test_an_error_stands_in_the_document(bundle, digits, items, tmp_path, arguments, wanted):
    (tmp_path / "text").write_text("this is neither items nor packets\n")
    (tmp_path / "empty").write_bytes(b"")
    good = frame(Encoder(bundle).encode(digits[:2], 0))
    hurt = good[:-1] + bytes([good[-1] ^ 1])
    (tmp_path / "hurt").write_bytes(good + hurt)
    places = {
        "BUNDLE": bundle,
        "ITEMS": items,
        "OUT": tmp_path / "out",
        "TEXT": tmp_path / "text",
        "EMPTY": tmp_path / "empty",
        "HURT": tmp_path / "hurt",
    }
    result = run(*(places.get(argument, argument) for argument in arguments), "--json")
    error = json.loads(result.stdout)["error"]
    kind, code, file, place = wanted
    place = {"offset": len(good)} if place == {"offset": 19} else place
    assert (error["class"], error["exit_code"], error["place"]) == (kind, code, place)
    assert error["file"] == (None if file is None else str(places.get(file, file)))
    assert result.exit_code == code and error["message"]
    assert set(error) == {"class", "exit_code", "message", "file", "place"}


def test_what_was_told_before_stays_in_the_document(bundle, digits, tmp_path):
    packets = [frame(packet) for packet in Encoder(bundle).encode_stream(digits[:4], batch=2)]
    (tmp_path / "a.lw").write_bytes(packets[0] + packets[1][:-1])
    told = json.loads(run("decode", bundle, tmp_path / "a.lw", "-o", tmp_path / "a.npy", "--json").stdout)
    assert (told["outputs"][0]["items"], told["error"]["class"]) == (2, "TruncatedError")
    assert told["error"]["place"] == {"offset": len(packets[0])}


def test_without_json_stdout_stays_empty_and_after_two_dashes_it_is_a_name(bundle, tmp_path):
    assert run("encode", bundle, tmp_path / "none").stdout == ""
    assert run("inspect", "--", "--json").stdout == ""


def test_a_fault_of_ours_is_in_the_document_too(bundle, digits, tmp_path, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(Encoder, "encode", fails)
    np.save(tmp_path / "a.npy", digits[:2])
    result = run("encode", bundle, tmp_path / "a.npy", "-o", tmp_path / "a.lw", "--json")
    assert isinstance(result.exception, ZeroDivisionError)
    assert json.loads(result.stdout)["error"]["class"] == "ZeroDivisionError"


def on_terminal(*arguments: object) -> tuple[int, bytes, bytes]:
    """Exit code, what a terminal as stdout shows, and stderr, of a command in a process of its own."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "latentwire.runtime", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # what a closed terminal says on Linux
            while part := os.read(terminal, 1 << 16):
                shown += part
        _, said = process.communicate()
    os.close(terminal)
    return process.returncode, shown, said


@pytest.mark.parametrize("out", [[], ["-o", "-"], ["-o", "/dev/stdout"]], ids=["none", "dash", "device"])
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_no_bytes_go_to_a_terminal(bundle, digits, tmp_path, command, out):
    np.save(tmp_path / "a.npy", digits[:2])
    (tmp_path / "a.lw").write_bytes(frame(Encoder(bundle).encode(digits[:2])))
    source = tmp_path / ("a.npy" if command == "encode" else "a.lw")
    code, shown, said = on_terminal(command, bundle, source, *out)
    assert (code, shown) == (2, b"")
    assert b"SettingError: expected a file or a pipe for the result, found a terminal" in said


def test_words_go_to_a_terminal_and_files_are_written_from_one(bundle, digits, tmp_path):
    np.save(tmp_path / "a.npy", digits[:2])
    code, shown, _ = on_terminal("encode", bundle, tmp_path / "a.npy", "-o", tmp_path / "a.lw", "--json")
    assert code == 0 and b'"outputs"' in shown and (tmp_path / "a.lw").stat().st_size > 0
    code, shown, _ = on_terminal("inspect", tmp_path / "a.lw")
    assert code == 0 and b"stream" in shown


def test_items_out_of_range_are_refused_clipped_or_left_out(bundle, digits, items, tmp_path):
    stream, back = tmp_path / "a.lw", tmp_path / "back.npy"
    refused = run("encode", bundle, items, "-o", stream)
    assert refused.exit_code == 3 and "found 200 in item 70 at [2]" in refused.stderr and not stream.exists()
    for policy, count, wanted in (("clip", 90, (1, 0)), ("skip", 89, (0, 1))):
        told = json.loads(run("encode", bundle, items, "-o", stream, "--out-of-range", policy, "--json").stdout)
        (found,) = told["outputs"]
        assert (found["items"], found["clipped"], found["skipped"]) == (count, *wanted)
        assert f"out of range: 1 {policy}ped" in (
            run("encode", bundle, items, "-o", stream, "--out-of-range", policy).stderr
        )
        assert run("decode", bundle, stream, "-o", back).exit_code == 0
        kept = digits[:90].copy()
        kept[70, 2] = 16
        expected = kept if policy == "clip" else np.delete(kept, 70, axis=0)
        packets = Encoder(bundle).encode_stream(expected, batch=64)
        assert np.array_equal(np.load(back), np.concatenate(Decoder(bundle).decode_many(packets)))


def test_where_every_item_is_out_of_range_nothing_is_written(bundle, tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 64), 99, np.uint8))
    result = run("encode", bundle, tmp_path / "a.npy", "-o", tmp_path / "a.lw", "--out-of-range", "skip")
    assert result.exit_code == 3 and "none is left" in result.stderr and not (tmp_path / "a.lw").exists()
