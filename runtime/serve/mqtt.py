"""MQTT 5: packets from a broker, answers back through it.

    latentwire/v1/DEVICE/packets    to the server, QoS 1: one packet; the envelope's fields are user properties
    latentwire/v1/DEVICE/answers    to the device, QoS 1: JSON with spool, sequence, and what `answers` says (id,
                                    status, error, message), or retry_after

The broker's message is acknowledged when its packet is on the disk, or when the device has been answered that it is not
taken: the answer, not the broker's acknowledgement, is what a device goes by.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from latentwire.runtime.errors import EnvelopeError, RemoteError, SettingError
from latentwire.runtime.serve.answers import refused, taken
from latentwire.runtime.serve.errors import BusyError, UnknownKeyError
from latentwire.runtime.serve.inbox import RETRY_SECONDS, Arrival
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.service import Service
from latentwire.runtime.wire import Envelope

PREFIX = "latentwire/v1/"
PACKETS, ANSWERS = "/packets", "/answers"
CLIENT_ID = "latentwire-server"
"""The broker keeps for it what comes while the server is away."""
SESSION_SECONDS = 7 * 24 * 3600
RECEIVE_MAXIMUM = 16
"""Messages that the broker sends before the first is acknowledged: with the longest packet, the memory that they
take."""
MESSAGE_OVERHEAD = 1 << 16
"""Bytes of a message beside its packet: topic and envelope."""
QUEUED_ANSWERS = 1 << 12
KEY_SECONDS = 300
"""After which a packet is sent again whose key the server does not have."""
SCHEMES = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and who we are there."""

    host: str
    port: int
    secure: bool
    user: str | None
    password: str | None

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """``mqtt://user:password@host:1883``, or ``mqtts://`` for TLS.

        Raises:
            SettingError: another kind of URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as fault:
            raise SettingError(f"expected mqtt://HOST:PORT or mqtts://HOST:PORT, found another URL: {fault}") from fault
        if parts.scheme not in SCHEMES or not parts.hostname or parts.path not in ("", "/"):
            raise SettingError("expected mqtt://HOST:PORT or mqtts://HOST:PORT, found another kind of URL")
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        return cls(parts.hostname, port or SCHEMES[parts.scheme], parts.scheme == "mqtts", user, password)


class Listener:
    """The server's client at the broker; it connects, and connects again, by itself.

    Args:
        service: that takes the packets.
        broker: where they come from.
    """

    def __init__(self, service: Service, broker: Broker) -> None:
        self._service, self._broker = service, broker
        client = Client(CallbackAPIVersion.VERSION2, CLIENT_ID, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.secure:
            client.tls_set_context(ssl.create_default_context())
        client.max_queued_messages_set(QUEUED_ANSWERS)
        client.reconnect_delay_set(1, 60)
        client.on_connect, client.on_disconnect, client.on_message = self._connected, self._disconnected, self._arrived
        self._client = client

    @property
    def obstacle(self) -> str | None:
        """Why no packets can come."""
        return None if self._client.is_connected() else f"mqtt: not connected to {self._broker.host}"

    def start(self) -> None:
        """Connect, in a thread of its own."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no type for it
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = self._service.settings.bounds.packet_bytes + MESSAGE_OVERHEAD
        self._client.connect_async(self._broker.host, self._broker.port, clean_start=False, properties=properties)
        self._client.loop_start()

    def close(self) -> None:
        """Take nothing more; what was not acknowledged comes again after the next start."""
        self._service.inbox.flush()
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            event("mqtt refused", logging.ERROR, host=self._broker.host, message=str(reason))
            return
        event("mqtt connected", host=self._broker.host, port=self._broker.port)
        client.subscribe(f"{PREFIX}+{PACKETS}", qos=1)

    def _disconnected(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        event("mqtt disconnected", logging.WARNING, host=self._broker.host, message=str(reason))

    def _arrived(self, client: Client, _: object, message: MQTTMessage) -> None:
        """One message; nothing that it holds may end the thread."""
        body = bytes(message.payload)
        device = message.topic[len(PREFIX) : -len(PACKETS)]
        fields: dict[str, str] = {}
        envelope: Envelope | None = None
        try:
            fields = _fields(message.properties)
            envelope = Envelope.from_fields(fields)
            if envelope.device != device:
                raise EnvelopeError(f"device: expected {device[:80]!r}, as in the topic, found {envelope.device!r}")
            arrival = self._service.intake.packet(body, envelope)
        except UnknownKeyError as fault:
            self._service.intake.count(fault, envelope)
            self._answer(message, device, fields, busy(str(fault), KEY_SECONDS))
            return
        except RemoteError as fault:
            self._service.intake.refuse(body, fault, envelope)
            self._answer(message, device, fields, refused(None if envelope is None else envelope.id, fault))
            return
        self._offer(message, device, fields, arrival)

    def _offer(self, message: MQTTMessage, device: str, fields: Mapping[str, str], arrival: Arrival) -> None:
        def stored(outcome: list[str] | Exception) -> None:
            if isinstance(outcome, Exception):
                self._answer(message, device, fields, busy(str(outcome), RETRY_SECONDS))
                return
            self._service.count([arrival], outcome)
            self._answer(message, device, fields, taken(arrival.name, outcome[0]))

        try:
            self._service.offer([arrival], stored)
        except BusyError as fault:
            self._service.intake.count(fault)
            self._answer(message, device, fields, busy(str(fault), fault.retry_after))

    def _answer(self, message: MQTTMessage, device: str, fields: Mapping[str, str], answer: Mapping[str, Any]) -> None:
        """Tell the device, then the broker."""
        sequence = fields.get("sequence", "")
        named = {"spool": fields.get("spool"), "sequence": int(sequence) if _is_number(sequence) else None}
        self._client.publish(f"{PREFIX}{device}{ANSWERS}", json.dumps(named | dict(answer)), qos=1)
        self._client.ack(message.mid, message.qos)


def listener_at(url: str, service: Service) -> Listener:
    """A listener at the broker of that URL.

    Raises:
        SettingError: no broker can be there.
    """
    return Listener(service, Broker.from_url(url))


def busy(message: str, seconds: int) -> dict[str, Any]:
    """The packet is to be sent again."""
    return {"status": "busy", "message": message, "retry_after": seconds}


def _fields(properties: Properties | None) -> dict[str, str]:
    """A message's user properties.

    Raises:
        EnvelopeError: one comes twice.
    """
    pairs: Sequence[tuple[str, str]] = getattr(properties, "UserProperty", ())
    if len(dict(pairs)) < len(pairs):
        raise EnvelopeError(f"expected each user property once, found {', '.join(name for name, _ in pairs)[:200]}")
    return dict(pairs)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
