"""Packets through a real broker, Mosquitto."""

import getpass
import json
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from services import SPOOL, Running, envelope, in_process, in_thread, until

from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve.mqtt import Broker
from latentwire.runtime.serve.settings import Bounds
from latentwire.runtime.wire.envelope import Envelope

MOSQUITTO = shutil.which("mosquitto") or next(iter(map(str, Path("/usr/sbin").glob("mosquitto"))), None)
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A broker with a password; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    passwords = folder / "passwords"
    tool = Path(str(MOSQUITTO)).parent.parent / "bin" / "mosquitto_passwd"
    subprocess.run([shutil.which("mosquitto_passwd") or tool, "-c", "-b", passwords, "us", "se/cret"], check=True)
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
    lines.append(f"user {getpass.getuser()}")  # root's broker would become another user, who cannot read the folder
    (folder / "conf").write_text("\n".join(lines) + "\n")
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([str(MOSQUITTO), "-c", folder / "conf"], stderr=log, stdout=log)
    try:
        until(lambda: _listens(port))
        yield f"mqtt://us:se%2Fcret@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Device:
    """A device that publishes and listens to its answers."""

    def __init__(self, url: str, name: str = "gate-3") -> None:
        self._name, place = name, Broker.from_url(url)
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(place.user, place.password)
        client.on_message = lambda client, data, message: self._answers.put(json.loads(message.payload))
        client.on_connect = lambda client, *_: client.subscribe(f"latentwire/v1/{name}/answers", qos=1)
        client.on_subscribe = lambda *_: self._ready.put(True)
        client.connect(place.host, place.port)
        client.loop_start()
        self._client = client
        assert self._ready.get(timeout=20)

    def send(self, packet: bytes, beside: Envelope | None, **more: str) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        fields = {} if beside is None else beside.to_fields()
        properties.UserProperty = list((fields | more).items())
        self._client.publish(f"latentwire/v1/{self._name}/packets", packet, qos=1, properties=properties)

    def answer(self) -> dict[str, Any]:
        return self._answers.get(timeout=20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def device(url: str) -> Iterator[Device]:
    found = Device(url)
    try:
        yield found
    finally:
        found.close()


def ready(running: Running) -> None:
    until(lambda: running.client.get("/readyz").status_code == 200)


@needs_mosquitto
def test_packets_are_answered_through_the_broker(tmp_path: Path, packet: bytes):
    with broker(tmp_path) as url, in_thread(tmp_path, mqtt=url) as running, device(url) as gate:
        ready(running)
        beside = envelope(5, times=(1, 2, 3, 4))
        named = {"spool": SPOOL, "sequence": 5}
        gate.send(packet, beside)
        assert gate.answer() == named | {"id": beside.id, "status": "accepted"}
        gate.send(packet, beside)
        assert gate.answer() == named | {"id": beside.id, "status": "duplicate"}
        gate.send(packet, envelope(5, times=(9, 9, 9, 9)))
        conflict = gate.answer()
        assert conflict.items() >= (named | {"id": beside.id, "status": "conflict", "error": "ConflictError"}).items()
        gate.send(packet[:-1], envelope(6))
        refusal = {"id": envelope(6).id, "sequence": 6, "status": "refused", "error": "TruncatedError"}
        assert gate.answer().items() >= refusal.items()
        gate.send(packet, envelope(7, device="gate-4"))
        assert gate.answer().items() >= {"sequence": 7, "status": "refused", "error": "EnvelopeError"}.items()
        gate.send(packet, None, device="gate-3", sequence="x")
        assert gate.answer().items() >= {"spool": None, "sequence": None, "status": "refused"}.items()
        gate.send(packet, envelope(8, seal="nobody-has-it"))
        assert gate.answer().items() >= {"sequence": 8, "status": "busy", "retry_after": 300}.items()
        until(lambda: f"gate-3/{SPOOL}-5.npy" in running.files(".npy"))
        assert len(running.files(".npy")) == 1


@needs_mosquitto
def test_a_full_inbox_says_busy(tmp_path: Path, packet: bytes):
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "gate-3").write_text("in the way")
    bounds = Bounds(inbox_packets=2)
    with broker(tmp_path) as url, in_thread(tmp_path, mqtt=url, bounds=bounds) as running, device(url) as gate:
        ready(running)
        for sequence in range(3):
            gate.send(packet, envelope(sequence))
        answers = [gate.answer() for _ in range(3)]
        assert sorted(found["status"] for found in answers) == ["accepted", "accepted", "busy"]
        assert next(found for found in answers if found["status"] == "busy")["retry_after"] > 0


@needs_mosquitto
def test_what_the_server_had_not_acknowledged_comes_again(tmp_path: Path, packet: bytes):
    """Killed while packets arrive, and away while others do: the broker keeps them for the next start."""
    with broker(tmp_path) as url, device(url) as gate:
        with in_process(tmp_path, "--mqtt", url) as running:
            ready(running)
            for sequence in range(20):
                gate.send(packet, envelope(sequence))
            time.sleep(0.1)
            assert running.process is not None
            running.process.kill()
            running.process.wait()
        for sequence in range(20, 30):
            gate.send(packet, envelope(sequence))
        with in_process(tmp_path, "--mqtt", url) as running:
            until(lambda: len(running.files(".npy")) == 30)
        answered: set[int] = set()
        while answered != set(range(30)):  # one may come twice: killed between the answer and the acknowledgement
            answered.add(gate.answer()["sequence"])
    assert "se/cret" not in (tmp_path / "log").read_text() and "se%2Fcret" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("url", ["http://host", "mqtt://", "host:1883", "mqtt://host:x", "mqtt://host/topic"])
def test_what_is_no_broker(url: str):
    with pytest.raises(SettingError):
        Broker.from_url(url)


def test_urls_of_brokers():
    assert Broker.from_url("mqtts://a:b%40c@host") == Broker("host", 8883, True, "a", "b@c")
    assert Broker.from_url("mqtt://host:77/") == Broker("host", 77, False, None, None)
