"""MQTT 5: packets to a broker, the server's answers back through it.

    latentwire/v1/DEVICE/packets    QoS 1: one packet; the envelope's fields are user properties
    latentwire/v1/DEVICE/answers    QoS 1: JSON with spool, sequence, id, status, error, message, retry_after

The broker's acknowledgement says that the broker has a packet. Only the server's answer lets it leave the spool.
"""

from __future__ import annotations

import sys
import threading
from typing import Any
from urllib.parse import SplitResult, unquote

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from latentwire.runtime.errors import ManifestError
from latentwire.runtime.send.link import Access, Answer, Busy, Parcel, verdict_on
from latentwire.runtime.strictjson import parse
from latentwire.runtime.wire import Envelope

PREFIX = "latentwire/v1/"
PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE = 30
MAX_RETRY_AFTER = 3600.0
NO_SUBSCRIBER = 0x10
AGAIN_SECONDS = 1.0
"""To wait for a broker that could not be reached just now; the backoff waits longer."""


class _Ready:
    """Whether packets can be published, and if not, why; whoever waits hears of a new obstacle at once.

    Args:
        obstacle: before anything is known.
    """

    def __init__(self, obstacle: str) -> None:
        self._changed = threading.Condition()
        self._is_ready, self._tries = False, 0
        self.obstacle = obstacle

    def set(self) -> None:
        """They can."""
        with self._changed:
            self._is_ready = True
            self._changed.notify_all()

    def fail(self, obstacle: str) -> None:
        """They cannot; the client tries again by itself."""
        with self._changed:
            self._is_ready, self.obstacle = False, obstacle
            self._tries += 1
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until they can, or until something was tried in vain, at most so many seconds."""
        with self._changed:
            tries = self._tries
            longest = min(timeout, AGAIN_SECONDS) if tries else timeout
            self._changed.wait_for(lambda: self._is_ready or self._tries > tries, longest)
            return self._is_ready


class _Waiting:
    """A packet on its way; the first answer counts."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._arrived = threading.Event()
        self._answer: Answer = Busy("expected the server's answer through the broker in time, found none")

    def answer(self, answer: Answer) -> None:
        if not self._arrived.is_set():
            self._answer = answer
            self._arrived.set()

    def wait(self, timeout: float) -> Answer:
        self._arrived.wait(timeout)
        return self._answer


class MqttLink:
    """Packets through a broker; it connects, and connects again, by itself.

    Args:
        parts: of an mqtt or mqtts URL.
        device: name of this sender, part of the topics.
        access: certificates.
        timeout: seconds to wait for a first connection, and for an answer.
        in_flight: packets on their way at once.
    """

    def __init__(self, parts: SplitResult, device: str, access: Access, timeout: float, in_flight: int) -> None:
        self._packets, self._answers = f"{PREFIX}{device}/packets", f"{PREFIX}{device}/answers"
        self._timeout, self._device = timeout, device
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._messages: dict[int, _Waiting] = {}
        self._verdicts: dict[int, Busy] = {}
        """The broker's, that came before `publish` had told the message's number."""
        self._ready = _Ready(f"no connection to {parts.hostname}")
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if parts.username is not None:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set_context(access.context())
        client.max_queued_messages_set(2 * in_flight)
        client.max_inflight_messages_set(in_flight)
        client.reconnect_delay_set(1, 60)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail = self._not_connected
        client.on_subscribe, client.on_publish, client.on_message = self._subscribed, self._published, self._told
        client.connect_async(parts.hostname or "", parts.port or PORTS[parts.scheme], KEEPALIVE)
        self._client = client
        client.loop_start()

    def deliver(self, parcel: Parcel) -> Answer:
        """Publish one packet and wait for the server's answer."""
        if not self._ready.wait(self._timeout):
            return Busy(f"expected a broker, found {self._ready.obstacle}", kind="no broker")
        envelope = parcel.envelope
        key, waiting = (envelope.spool, envelope.sequence), _Waiting(envelope)
        with self._lock:
            self._waiting[key] = waiting
        try:
            return self._answer_to(parcel, waiting)
        finally:
            with self._lock:
                del self._waiting[key]

    def close(self) -> None:
        """Leave the broker; packets on their way are not waited for."""
        self._ready.set()
        with self._lock:
            for waiting in self._waiting.values():
                waiting.answer(Busy("closed"))
        self._client.disconnect()
        self._client.loop_stop()

    def _answer_to(self, parcel: Parcel, waiting: _Waiting) -> Answer:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no type for it
        properties.UserProperty = list(parcel.envelope.to_fields().items())
        # No lock here: paho holds one of its own while it publishes, and while it calls `_published`.
        sent = self._client.publish(self._packets, parcel.body, qos=1, properties=properties)
        if sent.rc != MQTT_ERR_SUCCESS:
            return Busy(
                f"expected the broker to take a packet, found {self._ready.obstacle} (MQTT error {int(sent.rc)})"
            )
        with self._lock:
            verdict = self._verdicts.pop(sent.mid, None)
            self._messages[sent.mid] = waiting
        try:
            return verdict or waiting.wait(self._timeout)
        finally:
            with self._lock:
                del self._messages[sent.mid]
                self._verdicts.pop(sent.mid, None)

    def _not_connected(self, client: Client, _: object) -> None:
        """Nobody listens there, or the certificate is another's: paho calls this while it handles the error."""
        fault = sys.exc_info()[1]
        self._ready.fail("no connection" if fault is None else f"{type(fault).__name__}: {fault}")

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._ready.fail(f"that it refuses {self._device}: {reason}")
            return
        client.subscribe(self._answers, qos=1)

    def _subscribed(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        """Nothing is sent before this: an answer that nobody hears would be waited for in vain."""
        if any(reason.is_failure for reason in reasons):
            self._ready.fail(f"that it does not let {self._device} hear answers: {reasons[0]}")
            return
        self._ready.set()

    def _disconnected(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._ready.fail(f"that it ended the connection: {reason}")

    def _published(
        self, client: Client, _: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        """The broker's acknowledgement: what matters is only whether it is one of failure."""
        if reason.is_failure:
            verdict = Busy(f"expected the broker to take a packet, found {reason}", is_packets=True)
        elif reason.value == NO_SUBSCRIBER:
            verdict = Busy("expected a server behind the broker, found no subscriber: start the server")
        else:
            return
        with self._lock:
            waiting = self._messages.get(mid)
            if waiting is None:
                self._verdicts[mid] = verdict
            else:
                waiting.answer(verdict)

    def _told(self, client: Client, _: object, message: MQTTMessage) -> None:
        """An answer of the server; anybody may publish here, so nothing that it holds may end the thread."""
        try:
            found: Any = parse(bytes(message.payload), "answer")
        except ManifestError:
            return
        if not isinstance(found, dict):
            return
        spool, sequence = found.get("spool"), found.get("sequence")
        if not isinstance(spool, str) or not isinstance(sequence, int) or isinstance(sequence, bool):
            return
        with self._lock:
            waiting = self._waiting.get((spool, sequence))
        answer = None if waiting is None else _answer(found, waiting.envelope)
        if waiting is not None and answer is not None:
            waiting.answer(answer)


def _answer(told: dict[str, Any], envelope: Envelope) -> Answer | None:
    """What an answer for that packet's spool and sequence says; None where it says nothing that is known.

    The topic names the device: an answer that has no id of its own names its packet by these three.
    """
    verdict = verdict_on(envelope.id, {"id": envelope.id} | told)
    if verdict is None and told.get("status") == "busy":
        asked = told.get("retry_after")
        seconds = min(max(asked, 0), MAX_RETRY_AFTER) if isinstance(asked, int | float) else 0
        message = str(told.get("message", ""))
        return Busy(message, retry_after=float(seconds), kind="busy")
    return verdict
