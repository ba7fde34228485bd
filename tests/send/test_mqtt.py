"""Against a real Mosquitto; the server behind it is a few lines of paho."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from latentwire.runtime.send.link import Busy
from latentwire.runtime.send.mqtt import _answer
from latentwire.runtime.wire.envelope import Envelope

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """A Mosquitto on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
        self.start()

    def start(self) -> None:
        command = [str(MOSQUITTO), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("mosquitto does not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    started = Broker(tmp_path)
    yield started
    started.stop()


class Service:
    """Takes packets and answers; ``script`` holds other answers for the next ones, None for none at all."""

    def __init__(self, broker: Broker) -> None:
        self.packets: dict[int, bytes] = {}
        self.script: deque[dict[str, object] | None] = deque()
        self.extra: list[bytes] = []
        subscribed = threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda client, *_: client.subscribe("latentwire/v1/+/packets", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._arrived
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert subscribed.wait(5)
        self._client = client

    def _arrived(self, client: Client, _: object, message: object) -> None:
        envelope = Envelope.from_fields(dict(message.properties.UserProperty))
        assert message.topic == f"latentwire/v1/{envelope.device}/packets" and message.qos == 1
        answer = self.script.popleft() if self.script else {"status": "accepted"}
        topic = f"latentwire/v1/{envelope.device}/answers"
        for extra in self.extra:
            client.publish(topic, extra, qos=1)
        if answer is None:
            return
        if answer["status"] == "accepted":
            status = "duplicate" if envelope.sequence in self.packets else "accepted"
            self.packets[envelope.sequence] = bytes(message.payload)
            answer = {"status": status}
        named = {"spool": envelope.spool, "sequence": envelope.sequence}
        client.publish(topic, json.dumps(named | answer), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def service(broker: Broker) -> Iterator[Service]:
    started = Service(broker)
    yield started
    started.close()


def test_packets_go_through_a_broker_and_leave_when_the_server_answers(make, broker, service, items):
    service.script.extend([None, {"status": "busy", "message": "full", "retry_after": 0.1}])
    service.script.append({"status": "refused", "error": "CodecError", "message": "of another codec"})
    service.extra = [b"{", b"[]", b'{"status": "accepted"}', b'{"status": "accepted", "spool": [], "sequence": {}}']
    sender = make(broker.url, timeout=0.5, in_flight=4)
    stray = {"spool": sender.status().spool, "sequence": 0, "status": "refused", "error": "CodecError", "message": ""}
    for change in ({"id": "gate-4.x.0"}, {"sequence": False}, {"status": "conflicted"}):
        service.extra.append(json.dumps(stray | change).encode())
    for item in items[:30]:
        sender.put(item, {"lane": 1})
    assert sender.flush(20)
    status = sender.status()
    assert (status.sent, status.refused, status.waiting) == (29, 1, 0)
    assert len(service.packets) == 29


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(10**400, 3600.0), (-5, 0.0), ("9", 0.0), (1.5, 1.5)],
    ids=["endless", "negative", "text", "seconds"],
)
def test_a_pause_that_makes_no_sense_ends_nothing(asked, seconds):
    """Anybody whom the broker lets may publish answers."""
    told = {"status": "busy", "retry_after": asked}
    assert _answer(told, Envelope("gate-3", "0" * 32, 0)) == Busy("", retry_after=seconds, kind="busy")


def test_a_brokers_acknowledgement_is_none_of_the_servers(make, broker, items):
    sender = make(broker.url, timeout=0.3)
    sender.put(items[0])
    assert not sender.flush(0.5)
    assert sender.status().waiting == 1 and "no subscriber" in sender.status().last_error
    server = Service(broker)
    try:
        assert sender.flush(10) and list(server.packets) == [0]
    finally:
        server.close()


def test_a_broker_that_comes_back_is_found(make, broker, items):
    broker.stop()
    sender = make(broker.url, timeout=0.3)
    sender.put(items[0])
    assert not sender.flush(0.5) and "broker" in sender.status().last_error
    broker.start()
    server = Service(broker)
    try:
        assert sender.flush(20) and list(server.packets) == [0]
    finally:
        server.close()
