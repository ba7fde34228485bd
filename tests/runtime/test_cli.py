import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwire.runtime import Decoder, Encoder, frame, read_stream
from latentwire.runtime.cli.group import main
from latentwire.runtime.wire.packet import write_packet


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def items(digits: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "digits.npy"
    np.save(path, digits[:100])
    return path


def decoded(bundle: Path, items: np.ndarray, quality: int, batch: int = 64) -> np.ndarray:
    decoder = Decoder(bundle)
    return np.concatenate(decoder.decode_many(Encoder(bundle).encode_stream(items, quality, batch=batch)))


def test_files_go_out_and_come_back(bundle, items, digits, tmp_path):
    stream, back = tmp_path / "digits.lw", tmp_path / "back.npy"
    sent = run("encode", bundle, items, "--out", stream, "--quality", 200, "--json")
    assert sent.exit_code == 0, sent.stderr
    told = json.loads(sent.stdout)["outputs"]
    assert [(t["items"], t["packets"]) for t in told] == [(100, 2)]
    assert told[0]["packet_bytes"] == stream.stat().st_size - 2 * 4
    received = run("decode", bundle, stream, "--out", back)
    assert received.exit_code == 0 and received.stdout == ""
    assert "100 items from 2 packets" in received.stderr
    assert np.array_equal(np.load(back), decoded(bundle, digits[:100], 200))


def test_pipes_carry_data_on_stdout_and_words_on_stderr(bundle, digits):
    sent = run("encode", bundle, "-", "--raw", "--batch", 10, stdin=digits[:25].tobytes())
    assert sent.exit_code == 0
    assert [len(r.data) > 0 for r in read_stream(io.BytesIO(sent.stdout_bytes))] == [True] * 3
    received = run("decode", bundle, "-", "--format", "raw", stdin=sent.stdout_bytes)
    assert received.exit_code == 0
    assert received.stdout_bytes == decoded(bundle, digits[:25], 128, 10).tobytes()
    as_npy = run("decode", bundle, "-", stdin=sent.stdout_bytes)
    assert np.load(io.BytesIO(as_npy.stdout_bytes)).shape == (25, 64)


def test_a_single_packet_without_a_frame(bundle, items, digits, tmp_path):
    packet = tmp_path / "digits.packet"
    assert run("encode", bundle, items, "--packet", "-o", packet).exit_code == 0
    assert packet.read_bytes() == Encoder(bundle).encode(digits[:100])
    received = run("decode", bundle, packet, "--format", "raw")
    assert received.stdout_bytes == Decoder(bundle).decode(packet.read_bytes()).tobytes()
    piped = run("decode", bundle, "-", "--packet", "--format", "raw", stdin=packet.read_bytes())
    assert piped.stdout_bytes == received.stdout_bytes


def test_folders_go_file_by_file(bundle, digits, tmp_path):
    source, sent, back = tmp_path / "in", tmp_path / "sent", tmp_path / "back"
    source.mkdir()
    for name, part in (("a", digits[:3]), ("b", digits[3:5])):
        np.save(source / f"{name}.npy", part)
    assert run("encode", bundle, source, "-o", sent).exit_code == 0
    assert run("decode", bundle, sent, "-o", back, "--format", "png").exit_code == 0
    assert sorted(path.name for path in sent.iterdir()) == ["a.lw", "b.lw"]
    assert sorted(path.name for path in back.iterdir()) == ["a.png", "b.png"]
    assert run("encode", bundle, source).exit_code == 2, "a folder cannot go to stdout"


def test_max_bytes_holds_for_every_packet(bundle, items, tmp_path):
    stream = tmp_path / "small.lw"
    assert run("encode", bundle, items, "--batch", 20, "--max-bytes", 60, "-o", stream).exit_code == 0
    with stream.open("rb") as file:
        lengths = [len(record.data) for record in read_stream(file)]
    assert len(lengths) == 5 and 50 < max(lengths) <= 60
    assert run("encode", bundle, items, "--max-bytes", 10, "-o", stream).exit_code == 3


def test_a_damaged_packet_is_reported_and_its_neighbours_are_kept(bundle, items, digits, tmp_path):
    stream, back = tmp_path / "digits.lw", tmp_path / "back.npy"
    run("encode", bundle, items, "-o", stream, "--batch", 25, "-q", 200)
    data = bytearray(stream.read_bytes())
    data[30] ^= 1
    stream.write_bytes(data)
    received = run("decode", bundle, stream, "-o", back, "--json")
    assert received.exit_code == 4
    assert "ChecksumError" in received.stderr
    told = json.loads(received.stdout)["outputs"][0]
    assert (told["items"], told["packets"], told["damaged"][0]["offset"]) == (75, 3, 0)
    assert np.array_equal(np.load(back), decoded(bundle, digits[25:100], 200, 25))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["encode", "BUNDLE", "no-such-file"], 2),
        (["encode", "BUNDLE", "ITEMS", "--quality", "256"], 2),
        (["encode", "BUNDLE", "ITEMS", "--json"], 2),
        (["encode", "BUNDLE", "ITEMS", "--variant", "int4"], 2),
        (["encode", "no-such-codec", "ITEMS"], 2),
        (["no-such-command"], 2),
        (["encode", "BUNDLE", "WIDE"], 3),
        (["encode", "BUNDLE", "TEXT"], 3),
        (["decode", "BUNDLE", "TEXT"], 4),
        (["decode", "BUNDLE", "FOREIGN"], 5),
        (["encode", "BUNDLE", "ITEMS", "--provider", "cuda"], 7),
        (["inspect", "TAMPERED"], 1),
    ],
)
def test_exit_codes(bundle, items, tmp_path, arguments, code):
    np.save(tmp_path / "wide.npy", np.zeros((2, 65), np.uint8))
    (tmp_path / "text").write_text("this is neither items nor packets")
    (tmp_path / "foreign").write_bytes(frame(write_packet(b"\0\0\0\0", 1, 1, (1,), bytes(4))))
    tampered = tmp_path / "tampered"
    tampered.mkdir()
    (tampered / "manifest.json").write_text("{}")
    places = {
        "BUNDLE": bundle,
        "ITEMS": items,
        "WIDE": tmp_path / "wide.npy",
        "TEXT": tmp_path / "text",
        "FOREIGN": tmp_path / "foreign",
        "TAMPERED": tampered,
    }
    result = run(*(places.get(argument, argument) for argument in arguments))
    assert result.exit_code == code, result.output
    assert result.stdout == "" or json.loads(result.stdout)["error"]["exit_code"] == code
    assert result.stderr


def test_inspect_shows_every_byte_of_a_packet(bundle, digits, tmp_path):
    packet = Encoder(bundle).encode(digits[:3], 200)
    (tmp_path / "one.packet").write_bytes(packet)
    shown = json.loads(run("inspect", tmp_path / "one.packet", "--json").stdout)
    assert (shown["kind"], shown["quality"], shown["size"], shown["fault"]) == ("packet", 200, [3], None)
    assert sum(part["length"] for part in shown["parts"]) == len(packet)
    assert b"".join(bytes.fromhex(part["hex"].rstrip(".")) for part in shown["parts"])[:15] == packet[:15]
    text = run("inspect", "-", stdin=packet).stdout
    assert "magic" in text and "checksum" in text and "200" in text
    cut = run("inspect", "-", "--json", stdin=packet[:-1])
    assert cut.exit_code == 4 and json.loads(cut.stdout)["fault"]["error"] == "TruncatedError"


def test_inspect_shows_streams_files_and_bundles(bundle, digits):
    packet = Encoder(bundle).encode(digits[:3], 200)
    stream = json.loads(run("inspect", "-", "--json", stdin=frame(packet) + b"\0" + frame(packet)).stdout)
    assert (stream["packets"], stream["damaged"]) == (2, 1)
    model = json.loads(run("inspect", bundle / "encoder.int8.onnx", "--json").stdout)
    assert (model["role"], model["variant"]) == ("encoder", "int8")
    assert sum(part["length"] for part in model["parts"]) == model["bytes"]
    assert "opset_import" in [part["field"] for part in model["parts"]]
    whole = json.loads(run("inspect", bundle, "--json").stdout)
    assert whole["codec_id"] == model["codec_id"] and whole["parity_passed"] is True


def test_selftest_runs_every_golden_case(bundle):
    result = run("selftest", bundle, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] and len(report["checks"]) == 1 + 4 * (2 + 2 + 2)
    assert "ok" in run("selftest", bundle).stdout


def test_a_real_process_ends_with_our_exit_code_and_one_line(bundle, tmp_path):
    (tmp_path / "bad").write_bytes(b"LW")
    command = [sys.executable, "-m", "latentwire.runtime", "decode", str(bundle), str(tmp_path / "bad")]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == 4 and result.stdout == b""
    assert result.stderr.splitlines()[-1].startswith(b"latentwire: TruncatedError: ")
    assert b"Traceback" not in result.stderr
