"""A packet that really ends the process which decodes it, by a signal, and what the service makes of that."""

import json
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from services import Running, envelope, events, in_process, until

from latentwire.runtime.bundle import Trust
from latentwire.runtime.errors import LocalError
from latentwire.runtime.serve.codecs import Codecs
from latentwire.runtime.serve.settings import Bounds
from latentwire.runtime.serve.trial import ends_its_process
from latentwire.runtime.serve.worker import MAX_ATTEMPTS

CODE = """
import os
from pathlib import Path
from latentwire.runtime import Decoder

poison, real = Path(__file__).with_name("poison"), Decoder._checked


def checked(self, packet):
    if poison.exists() and bytes(packet) == poison.read_bytes():
        os.kill(os.getpid(), int(os.environ["POISON_SIGNAL"]))
    return real(self, packet)


Decoder._checked = checked
"""
"""For every Python of the service, its trials included: as if ONNX Runtime had a fault."""


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packet: bytes) -> Path:
    """The file that says which packet it is; without it there is none."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    (tmp_path / "site" / "poison").write_bytes(packet)
    return tmp_path / "site" / "poison"


def ended(running: Running) -> None:
    assert running.process is not None
    running.process.wait(60)


def end_services(folder: Path, packet: bytes) -> None:
    """As many as it takes."""
    with in_process(folder) as running:
        with suppress(httpx.TransportError):  # it may end before it answers
            running.post(packet, envelope(1))
        ended(running)
    for _ in range(MAX_ATTEMPTS):
        with suppress(KeyError), in_process(folder) as running:  # or before it listens
            ended(running)


def test_a_trial_asks_for_the_signature_that_the_service_asked_for(tmp_path: Path, packet: bytes):
    """The bundle may have been exchanged since the service loaded it."""
    (codec,) = Codecs(["mnist"], Bounds())
    assert not ends_its_process(codec, packet)
    with pytest.raises(LocalError, match="TrustError"):
        ends_its_process(replace(codec, trust=Trust(signed_by=tmp_path / "key.pem")), packet)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_packet_that_crashes_its_decoder_is_put_aside(
    tmp_path: Path, packet: bytes, poison: Path, monkeypatch, number
):
    monkeypatch.setenv("POISON_SIGNAL", str(int(number)))
    end_services(tmp_path, packet)
    with in_process(tmp_path) as running:
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        assert running.client.get("/readyz").status_code == 200
        assert running.metric("latentwire_packets_undecodable_total") == 1
    (reason,) = (tmp_path / "inbox" / "quarantine").glob("*-accepted.json")
    assert "ends each process" in json.loads(reason.read_text())["message"]


@pytest.mark.slow
def test_a_process_that_the_system_kills_says_nothing_of_its_packet(
    tmp_path: Path, packet: bytes, poison: Path, monkeypatch: pytest.MonkeyPatch
):
    """SIGKILL is what a system sends that has no memory left."""
    monkeypatch.setenv("POISON_SIGNAL", str(int(signal.SIGKILL)))
    end_services(tmp_path, packet)
    with in_process(tmp_path) as running:
        until(lambda: running.client.get("/readyz").status_code == 503)
        assert "decoder: mnist: ResourceError: " in running.client.get("/readyz").text
        poison.unlink()
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        until(lambda: running.client.get("/readyz").status_code == 200)
        assert len(running.files(".npy")) == 1
    assert not list((tmp_path / "inbox" / "quarantine").glob("*"))
    (tried,) = [found for found in events(tmp_path / "log") if found["event"] == "tried apart"]
    assert tried["ended"] == "false"
