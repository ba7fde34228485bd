"""Folders: what fails is listed and the rest is done; names of results; a second run; whole files only."""

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
from PIL import Image

from latentwire.runtime import Encoder, frame
from latentwire.runtime.cli import main
from latentwire.runtime.families.folders import result_names
from latentwire.runtime.wire.packet import write_packet


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (9, 7, 3)).astype(np.uint8)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, of which two are called alike, and two files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "a.tif", "b.png")):
        Image.fromarray(picture(seed)).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "notes.txt").write_text("what is to be seen in the pictures\n")
    return folder


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (["a.jpg", "b.png"], ["a.lw", "b.lw"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg.lw", "a.png.lw", "b.lw"]),
        (["a.jpg", "A.png"], ["a.jpg.lw", "A.png.lw"]),
        # The third one's short name is what the first one's long name would be.
        (["a.jpg", "a.png", "a.jpg.tif"], ["a.jpg.lw", "a.png.lw", "a.jpg.tif.lw"]),
        (["a", "a.png"], ["a.lw", "a.png.lw"]),
        (["a.png", "A.png"], ["a.png.lw", "A.png.lw"]),
    ],
)
def test_results_have_names_of_their_own_that_depend_on_the_folder_only(there, wanted):
    assert result_names(there, ".lw") == wanted
    assert result_names(there[::-1], ".lw") == wanted[::-1]


def test_a_bad_file_does_not_end_encode_and_pictures_called_alike_go_out_and_come_back(store, photos, tmp_path):
    sent, back = tmp_path / "sent", tmp_path / "back"
    said = run("encode", store / "encoder.onnx", photos, "-o", sent, code=3).stderr
    assert names(sent) == ["a.png.lw", "a.tif.lw", "b.lw"]
    for name in ("broken.png", "notes.txt"):
        assert f"InputFileError: {photos / name}" in said
    assert said.splitlines()[-1].startswith("latentwire: FolderError: ") and "5 files" in said.splitlines()[-1]
    run("decode", store / "decoder.onnx", sent, "-o", back)
    assert names(back) == ["a.png.png", "a.tif.png", "b.png"]
    for seed, name in enumerate(names(back)):
        assert np.array_equal(opened(back / name), picture(seed))


def test_json_tells_what_was_done_what_failed_and_what_was_left_out(store, photos, tmp_path):
    (photos / "old.lw").write_bytes(b"")
    told = json.loads(run("encode", store / "encoder.onnx", photos, "-o", tmp_path / "sent", "--json", code=3).stdout)
    assert [Path(entry["source"]).name for entry in told["outputs"]] == ["a.png", "a.tif", "b.png"]
    assert [Path(entry["source"]).name for entry in told["failed"]] == ["broken.png", "notes.txt"]
    assert told["failed"][0]["error"]["class"] == "InputFileError"
    assert told["failed"][0]["error"]["file"] == str(photos / "broken.png")
    assert told["failed"][0]["error"]["place"] == {"offset": 0}
    assert told["left_out"] == [{"source": str(photos / "old.lw"), "reason": "packets"}]
    assert (told["error"]["class"], told["error"]["exit_code"], told["error"]["file"]) == (
        "FolderError",
        3,
        str(photos),
    )


def test_a_second_run_over_the_same_folders_does_the_same_again(store, photos, tmp_path):
    for out in (tmp_path / "sent", photos):
        first = run("encode", store / "encoder.onnx", photos, "-o", out, "--json", code=3).stdout
        before = {path.name: path.read_bytes() for path in out.glob("*.lw")}
        second = run("encode", store / "encoder.onnx", photos, "-o", out, "--json", code=3).stdout
        assert {path.name: path.read_bytes() for path in out.glob("*.lw")} == before
        assert json.loads(second)["outputs"] == json.loads(first)["outputs"]


def test_decoding_in_the_folder_of_the_pictures_replaces_none_of_them(store, photos):
    for name in ("broken.png", "notes.txt"):
        (photos / name).unlink()
    run("encode", store / "encoder.onnx", photos, "-o", photos)
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    assert set(before) == {"a.png", "a.png.lw", "a.tif", "a.tif.lw", "b.png", "b.lw"}
    said = run("decode", store / "decoder.onnx", photos, "-o", photos).stderr
    assert "left out, its result is there already: b.lw" in said
    assert "left out, no packets: a.png, a.tif, b.png" in said
    assert set(names(photos)) - set(before) == {"a.png.png", "a.tif.png"}
    again = run("decode", store / "decoder.onnx", photos, "-o", photos).stderr
    assert "a.png.lw, a.tif.lw, b.lw" in again
    assert all((photos / name).read_bytes() == content for name, content in before.items())


def test_a_further_picture_of_a_stream_does_not_take_the_name_of_another_result(store, tmp_path):
    sent, encoder = tmp_path / "sent", Encoder(store / "encoder.onnx")
    sent.mkdir()
    (sent / "a.lw").write_bytes(b"".join(frame(encoder.encode(picture(seed))) for seed in (0, 1)))
    (sent / "a-2.lw").write_bytes(frame(encoder.encode(picture(2))))
    run("decode", store / "decoder.onnx", sent, "-o", tmp_path / "back")
    assert names(tmp_path / "back") == ["a-2.png", "a-3.png", "a.png"]
    for seed, name in ((0, "a.png"), (1, "a-3.png"), (2, "a-2.png")):
        assert np.array_equal(opened(tmp_path / "back" / name), picture(seed))


FOREIGN = frame(write_packet(b"\0\0\0\0", 1, 1, (1,), bytes(4)))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"b.lw": b"no packets at all, but words"}, 4),
        ({"b.lw": FOREIGN}, 5),
        ({"b.lw": b"no packets at all, but words", "c.lw": FOREIGN}, 3),
        ({"b.lw": b""}, 3),
    ],
)
def test_decodes_exit_code_is_that_of_what_failed_or_3_where_that_differs(bundle, digits, tmp_path, bad, code):
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.mkdir()
    for name in ("a.lw", "z.lw"):
        (sent / name).write_bytes(frame(Encoder(bundle).encode(digits[:3])))
    for name, content in bad.items():
        (sent / name).write_bytes(content)
    told = json.loads(run("decode", bundle, sent, "-o", back, "--json", code=code).stdout)
    assert [Path(entry["source"]).name for entry in told["failed"]] == sorted(bad)
    assert told["error"]["exit_code"] == code
    assert names(back) == ["a.npy", "z.npy"]


def test_damage_within_a_stream_counts_too(bundle, digits, tmp_path):
    sent = tmp_path / "sent"
    sent.mkdir()
    packets = [frame(packet) for packet in Encoder(bundle).encode_stream(digits[:4], batch=2)]
    (sent / "a.lw").write_bytes(packets[0][:-1] + b"\xff" + packets[1])
    (sent / "b.lw").write_bytes(b"".join(packets))
    told = json.loads(run("decode", bundle, sent, "-o", tmp_path / "back", "--json", code=4).stdout)
    assert [(entry["items"], len(entry["damaged"])) for entry in told["outputs"]] == [(2, 1), (4, 0)]
    assert (told["failed"], told["error"]["class"]) == ([], "FolderError")


def test_what_the_codec_is_to_blame_for_ends_the_run_at_once(bundle, tmp_path, digits, monkeypatch):
    from latentwire.runtime.errors import ProviderError

    calls = []

    def fails(self, *_: object, **__: object) -> None:
        calls.append(self)
        raise ProviderError("expected a device, found it gone")

    monkeypatch.setattr(Encoder, "encode", fails)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", digits[:1])
    run("encode", bundle, tmp_path, "-o", tmp_path / "sent", code=7)
    assert len(calls) == 1


def test_short_memory_for_one_file_does_not_end_the_others(bundle, tmp_path, digits, monkeypatch):
    encode = Encoder.encode

    def short(self, items: np.ndarray, *arguments: object, **settings: object) -> bytes:
        if len(items) == 3:
            raise MemoryError("40 MiB")
        return encode(self, items, *arguments, **settings)

    monkeypatch.setattr(Encoder, "encode", short)
    (tmp_path / "in").mkdir()
    for name, count in (("a", 2), ("b", 3), ("c", 4)):
        np.save(tmp_path / "in" / f"{name}.npy", digits[:count])
    said = run("encode", bundle, tmp_path / "in", "-o", tmp_path / "sent", code=8).stderr
    assert "ResourceError" in said and names(tmp_path / "sent") == ["a.lw", "c.lw"]


def test_a_folder_with_nothing_to_do_or_no_place_for_results_is_refused(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    assert "found none" in run("encode", store / "encoder.onnx", folder, "-o", tmp_path / "out", code=3).stderr
    (folder / "a.lw").write_bytes(b"x")
    assert "only packets" in run("encode", store / "encoder.onnx", folder, "-o", tmp_path / "out", code=3).stderr
    (tmp_path / "file").write_bytes(b"")
    Image.fromarray(picture(0)).save(folder / "a.png")
    assert "found the file" in run("encode", store / "encoder.onnx", folder, "-o", tmp_path / "file", code=2).stderr


def test_ctrl_c_leaves_whole_files_only(store, tmp_path):
    """A run that is interrupted while it writes leaves no half of a file, and none of its temporary ones."""
    folder, sent = tmp_path / "in", tmp_path / "sent"
    folder.mkdir()
    large = np.random.default_rng(0).integers(0, 256, (900, 1000, 3)).astype(np.uint8)
    for number in range(40):
        np.save(folder / f"{number:02d}.npy", large)
    command = [sys.executable, "-m", "latentwire.runtime", "encode", store / "encoder.onnx", folder, "-o", sent]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while len(list(sent.glob("*.lw"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        process.communicate()
    assert process.returncode == 1
    done = sorted(sent.iterdir())
    assert 2 <= len(done) < 40 and {path.suffix for path in done} == {".lw"}
    whole = len(frame(Encoder(store / "encoder.onnx").encode(large)))
    assert {path.stat().st_size for path in done} == {whole}
