"""What the service answers over HTTP, and what is then in the sink."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_codecs import register, write_windows
from services import BYTES, SMALL, SPOOL, Running, envelope, in_thread, until
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from latentwire.runtime import Decoder, Encoder, frame
from latentwire.runtime.errors import KeyFileError, SettingError
from latentwire.runtime.serve.codecs import Codecs
from latentwire.runtime.serve.settings import Bounds, Settings
from latentwire.runtime.serve.tokenfile import draw
from latentwire.runtime.wire.packet import write_packet
from latentwire.runtime.wire.seal import Keys, draw_key


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory):
    """One service of two codecs, everything of it small."""
    folder = tmp_path_factory.mktemp("both")
    draw_key(folder / "keys", "field")
    with in_thread(folder, ("mnist", "photo"), bounds=SMALL, keys=folder / "keys") as running:
        yield running


def test_a_packet_is_decoded_into_the_sink_with_what_came_beside_it(both: Running, packet: bytes):
    beside = envelope(7, times=(1000, 2000), notes=({"where": "gate"}, None))
    answer = both.post(packet, beside)
    assert (answer.status_code, answer.json()) == (202, {"id": f"gate-3.{SPOOL}.7", "status": "accepted"})
    name = f"gate-3/{SPOOL}-7"
    until(lambda: f"{name}.npy" in both.files(".npy"))
    items = np.load(io.BytesIO(both.files(".npy")[f"{name}.npy"]))
    assert np.array_equal(items, Decoder("mnist").decode(packet))
    notes = json.loads(both.files(".json")[f"{name}.json"])
    assert notes == {
        "file": f"{SPOOL}-7.npy",
        "device": "gate-3",
        "spool": SPOOL,
        "sequence": 7,
        "times": [1000, 2000],
        "notes": [{"where": "gate"}, None],
        "codec": Decoder("mnist").codec_id,
        "quality": 100,
        "size": [4],
        "packet_bytes": len(packet),
    }
    assert both.post(packet, beside).json() == {"id": beside.id, "status": "duplicate"}


@pytest.mark.parametrize("registered", [False, True])
def test_windows_of_somebody_elses_family_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: bool):
    codec = write_windows(tmp_path)
    if registered:
        code = """
from latentwire.runtime.families import Items

class Waves(Items):
    def sink_form(self, wanted):
        return "raw"

FAMILY = Waves()
"""
        group = {"latentwire.families.runtime": {"wave": "stored_family:FAMILY"}}
        monkeypatch.syspath_prepend(register(tmp_path, "stored_family", group, code))
    windows = np.random.default_rng(5).integers(-9, 9, (3, 8, 2)).astype(np.int16)
    packet = Encoder(codec / "encoder.onnx").encode(windows)
    name = f"gate-3/{SPOOL}-0.{'raw' if registered else 'npy'}"
    with in_thread(tmp_path, (str(codec / "decoder.onnx"),), bounds=SMALL) as running:
        assert running.post(packet, envelope()).status_code == 202
        until(lambda: running.files(f".{name[-3:]}"))
        assert np.array_equal(np.load(io.BytesIO(running.post(packet, Accept="application/x-npy").content)), windows)
        assert running.post(packet, Accept="image/png").status_code == 406
    content = running.files(f".{name[-3:]}")[name]
    found = np.frombuffer(content, "<i2").reshape(-1, 8, 2) if registered else np.load(io.BytesIO(content))
    assert np.array_equal(found, windows)


def test_without_an_envelope_a_packet_has_the_name_of_its_hash(both: Running, picture: bytes):
    name = hashlib.sha256(picture).hexdigest()
    assert both.post(picture).json() == {"id": name, "status": "accepted"}
    assert both.post(picture).json() == {"id": name, "status": "duplicate"}
    until(lambda: f"_sha256/{name}.png" in both.files(".png"))
    with Image.open(io.BytesIO(both.files(".png")[f"_sha256/{name}.png"])) as image:
        assert np.array_equal(np.asarray(image), Decoder("photo").decode(picture))


def test_a_stream_of_two_codecs_is_answered_packet_by_packet(both: Running, packet: bytes, picture: bytes):
    changed = bytearray(frame(packet))
    changed[-6] ^= 1
    answer = both.post(frame(packet) + bytes(changed) + frame(picture), envelope(20))
    assert answer.status_code == 202
    first, second, third = answer.json()["packets"]
    assert first == {"id": envelope(20).id, "status": "accepted"}
    assert second.items() >= {"id": envelope(21).id, "status": "refused", "error": "ChecksumError"}.items()
    assert third == {"id": envelope(22).id, "status": "accepted"}
    until(lambda: f"gate-3/{SPOOL}-22.png" in both.files(".png") and f"gate-3/{SPOOL}-20.npy" in both.files(".npy"))


def test_a_stream_in_which_sequences_cannot_be_told_is_refused_whole(both: Running, packet: bytes):
    torn = frame(packet)[:30] + frame(packet)
    answer = both.post(frame(packet) + torn, envelope(40))
    assert answer.status_code == 400 and answer.json().keys() == {"error", "message"}  # of no one packet
    assert answer.json()["error"] == "LayoutError"
    assert both.post(packet, envelope(40)).json()["status"] == "accepted"
    assert both.post(frame(packet) + torn).json()["packets"][-1]["status"] == "duplicate"  # named by hash: no sequences


@pytest.mark.parametrize("accept", ["image/png", "application/x-npy"])
def test_a_picture_can_be_asked_for_at_once(both: Running, picture: bytes, accept: str):
    sequence = 1000 + len(accept)
    answer = both.post(picture, envelope(sequence), Accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, accept)
    data = io.BytesIO(answer.content)
    pixels = np.load(data) if accept.endswith("npy") else np.asarray(Image.open(data))
    assert np.array_equal(pixels, Decoder("photo").decode(picture))
    assert both.post(picture, envelope(sequence)).json()["status"] == "accepted"  # it was not stored


def test_a_stream_of_one_is_decoded_at_once_as_its_packet_is(both: Running, picture: bytes, packet: bytes):
    """What `latentwire encode` writes."""
    answer = both.post(frame(picture), Accept="application/x-npy")
    assert np.array_equal(np.load(io.BytesIO(answer.content)), Decoder("photo").decode(picture))
    for body in (frame(picture) + frame(packet), frame(picture)[:-1], frame(picture) + b"x"):
        assert both.post(body, Accept="application/x-npy").status_code == 400


def test_items_that_are_no_pictures_are_not_answered_as_png(tmp_path: Path, bundle: Path, digits: np.ndarray):
    with in_thread(tmp_path, (str(bundle),)) as running:
        packet = Encoder(bundle).encode(digits[:2], 100)
        assert running.post(packet, Accept="image/png").status_code == 200  # 64 values are 8 x 8
        answer = running.post(packet, Accept="application/x-npy")
        assert np.load(io.BytesIO(answer.content)).shape == (2, 64)


def foreign(packet: bytes) -> bytes:
    return write_packet(b"\1\2\3\4", 100, 1, (1,), packet[12:-4])


def claims_much(packet: bytes) -> bytes:
    return write_packet(packet[3:7], 100, 1, (65535,), packet[12:-4])


@pytest.mark.parametrize(
    ("change", "headers", "status", "error"),
    [
        (lambda p: p[:-1], {}, 400, "TruncatedError"),
        (lambda p: p + b"x", {}, 400, "TrailingError"),
        (lambda p: p[:-1] + bytes([p[-1] ^ 1]), {}, 400, "ChecksumError"),
        (lambda p: b"", {}, 400, "TruncatedError"),
        (lambda p: b"not a packet at all, nor a stream", {}, 400, "MagicError"),
        (lambda p: p[:2] + b"\2" + p[3:], {}, 422, "VersionError"),
        (foreign, {}, 422, "CodecError"),
        (claims_much, {}, 413, "LimitError"),
        (lambda p: p, {"Latentwire-Device": "gate-3"}, 400, "EnvelopeError"),
        (lambda p: p, {"Content-Type": "text/plain"}, 415, "MediaTypeError"),
        (lambda p: p, {"Content-Encoding": "gzip"}, 415, "MediaTypeError"),
    ],
)
def test_what_is_refused_says_why_and_is_counted(both: Running, packet: bytes, change, headers, status, error):
    before = both.metric("latentwire_packets_refused_total")
    answer = both.post(change(packet), **headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert both.metric("latentwire_packets_refused_total") == before + 1
    name = {} if status == 415 else {"id": hashlib.sha256(change(packet)).hexdigest(), "status": "refused"}
    assert answer.json().keys() - name.keys() == {"error", "message"} and answer.json().items() >= name.items()
    kept = [path.read_bytes() for path in sorted((both.folder / "inbox" / "quarantine").glob("*.packet"))]
    assert status == 415 or kept[-1] == change(packet)


@pytest.mark.parametrize(
    ("change", "headers", "status"),
    [
        (lambda p: p[:-1], {}, 400),
        (lambda p: p[:-1], {"Accept": "application/x-npy"}, 400),
        (lambda p: p[:2] + b"\2" + p[3:], {}, 422),
        (foreign, {}, 422),
        (claims_much, {}, 413),
        (lambda p: bytes(SMALL.body_bytes + 1), {}, 413),
        (lambda p: p, {"Content-Type": "text/plain"}, 415),
    ],
)
def test_a_refusal_names_its_packet_as_an_acceptance_does(both: Running, packet: bytes, change, headers, status):
    """Otherwise it could be anybody's on the way, and a sender would have to believe it."""
    beside = envelope(900)
    answer = both.post(change(packet), beside, **headers)
    assert answer.status_code == status and answer.json().keys() == {"id", "status", "error", "message"}
    assert answer.json().items() >= {"id": beside.id, "status": "refused"}.items()


def test_what_is_not_for_good_or_of_no_packet_names_none(both: Running, packet: bytes):
    sealed = both.post(packet, envelope(901, seal="nobody-has-it"))
    many = both.post(frame(packet) * (both.server.config.app.state.service.settings.bounds.body_packets + 1))
    no_picture = both.post(packet, envelope(901), Accept="image/png")
    assert [found.status_code for found in (sealed, many, no_picture)] == [403, 413, 200]
    assert all(found.json().keys() == {"error", "message"} for found in (sealed, many))


def test_another_packet_under_a_known_name_is_a_conflict(both: Running, packet: bytes, mnist: Encoder, strokes):
    """A spool that was cloned, or put back from a snapshot, counts anew: nothing of it may be called a duplicate."""
    other, beside = mnist.encode(strokes[5:9], 100), envelope(910, times=(1,))
    assert both.post(packet, beside).json()["status"] == "accepted"
    answer = both.post(other, beside)
    assert answer.status_code == 409 and answer.json().keys() == {"id", "status", "error", "message"}
    assert answer.json().items() >= {"id": beside.id, "status": "conflict", "error": "ConflictError"}.items()
    assert both.post(packet, envelope(910, times=(2,))).status_code == 409  # taken at another time: another one
    assert both.post(packet, beside).json()["status"] == "duplicate"
    assert both.metric("latentwire_packets_conflict_total") == 2
    stream = both.post(frame(packet) + frame(other) + frame(other), envelope(909)).json()["packets"]
    assert [found["status"] for found in stream] == ["accepted", "conflict", "accepted"]
    until(lambda: f"gate-3/{SPOOL}-910.npy" in both.files(".npy"))
    items = np.load(io.BytesIO(both.files(".npy")[f"gate-3/{SPOOL}-910.npy"]))
    assert np.array_equal(items, Decoder("mnist").decode(packet))


def test_other_paths_and_methods_are_refused_in_the_same_form(both: Running):
    assert both.client.get("/nowhere").status_code == 404
    answer = both.client.get("/v1/packets")
    assert (
        answer.status_code == 405 and answer.headers["allow"] == "POST" and set(answer.json()) == {"error", "message"}
    )


def test_codecs_are_listed(both: Running):
    found = both.client.get("/v1/codecs").json()["codecs"]
    assert [(entry["name"], entry["family"]) for entry in found] == [("mnist", "dense"), ("photo", "image")]
    assert found[0]["id"] == Decoder("mnist").codec_id
    assert found[1]["contract"] == Decoder("photo").contract.to_json()


def test_sealed_packets_are_opened(both: Running, packet: bytes, tmp_path: Path):
    keys = Keys.load(both.folder / "keys")
    sealed = envelope(100, device="sealed", times=(5,), seal="field")
    body = keys.seal(packet, sealed)
    assert both.post(body, sealed).json() == {"id": sealed.id, "status": "accepted"}
    until(lambda: f"sealed/{SPOOL}-100.npy" in both.files(".npy"))
    assert both.post(keys.seal(packet, sealed), sealed).json()["status"] == "duplicate"  # sealed anew, the same within
    moved = both.post(body, envelope(101, device="sealed", times=(5,), seal="field"))
    assert (moved.status_code, moved.json()["error"]) == (400, "SealError")
    draw_key(tmp_path / "others", "unknown")
    other = envelope(102, device="sealed", seal="unknown")
    later = both.post(Keys.load(tmp_path / "others").seal(packet, other), other)
    assert (later.status_code, later.json()["error"]) == (403, "UnknownKeyError")  # the sender keeps it


def test_tokens_are_of_devices(tmp_path: Path, packet: bytes):
    tokens = tmp_path / "tokens"
    ours, theirs = draw(tokens, "gate-3"), draw(tokens, "gate-4")
    assert tokens.stat().st_mode & 0o777 == 0o600
    assert ours not in tokens.read_text()
    with in_thread(tmp_path, tokens=tokens) as running:

        def status(token: str | None, sequence: int = 0) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return running.post(packet, envelope(sequence), **headers).status_code

        assert [status(None), status("wrong"), status(theirs), status(ours)] == [401, 401, 403, 202]
        assert running.post(packet, envelope()).headers["www-authenticate"] == "Bearer"
        assert running.client.post("/v1/packets", headers=BYTES | {"Authorization": "Basic YTpi"}).status_code == 401
        assert running.post(packet, Authorization=f"Bearer {theirs}").status_code == 202  # without an envelope
        renewed = draw(tokens, "gate-3")
        assert [status(ours, 1), status(renewed, 1)] == [401, 202]  # without a restart
        assert ours not in running.client.get("/metrics").text


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(both: Running):
    large = bytes(SMALL.body_bytes + 1)
    assert both.post(large).status_code == 413
    pieces = (large[:5000] for _ in range(40))
    answer = both.client.post("/v1/packets", content=pieces, headers=BYTES)
    assert (answer.status_code, answer.json()["error"]) == (413, "BodySizeError")
    assert both.post(frame(b"x" * 40)).status_code == 400  # and the connection goes on


def test_more_packets_than_a_body_may_have(tmp_path: Path, packet: bytes):
    with in_thread(tmp_path, bounds=Bounds(body_packets=3)) as running:
        assert running.post(frame(packet) * 3).status_code == 202
        assert running.post(frame(packet) * 4).status_code == 413


def test_settings_that_cannot_be_used(tmp_path: Path, packet: bytes):
    for wrong in (
        {"host": "0.0.0.0", "open_to_all": True},
        {},
        {"open_to_all": True, "tokens": tmp_path},
        {"open_to_all": True, "certificate": tmp_path},
        {"open_to_all": True, "form": "jpg"},
        {"open_to_all": True, "bundles": ()},
    ):
        with pytest.raises(SettingError):
            Settings(**({"bundles": ("mnist",), "sink": "sink"} | wrong))
    with pytest.raises(SettingError):
        Bounds(batch_packets=0)
    with pytest.raises(SettingError):
        Bounds(packet_bytes=1 << 30)
    with pytest.raises(SettingError):
        Bounds(output_bytes=1 << 30)
    with pytest.raises(SettingError, match="differ in the first 4 bytes"):
        Codecs(["mnist", "mnist"], Bounds())
    with pytest.raises(KeyFileError), in_thread(tmp_path, keys=tmp_path / "none"):
        pass


def test_readiness_and_metrics(both: Running, packet: bytes):
    assert both.client.get("/healthz").json() == {"alive": True}
    assert both.client.get("/readyz").json() == {"ready": True, "obstacles": []}
    both.post(packet, envelope(500))
    until(lambda: both.metric("latentwire_packets_waiting") == 0)
    text = both.client.get("/metrics").text
    assert 'latentwire_packets_decoded_total{codec="mnist"}' in text
    assert both.metric("latentwire_inbox_bytes") == 0
    assert both.metric("latentwire_delivery_seconds_count") == both.metric("latentwire_packets_decoded_total")


def test_more_routes_can_be_mounted(tmp_path: Path):
    page = Route("/page", lambda request: PlainTextResponse("a page"))
    with in_thread(tmp_path, routes=[page]) as running:
        assert running.client.get("/page").text == "a page"
        assert running.client.get("/healthz").status_code == 200
