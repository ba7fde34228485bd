"""The transport that a server's URL names; its library, which comes with the extra `send`, is imported then."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from latentwire.runtime.errors import MissingExtraError, SettingError
from latentwire.runtime.net import is_loopback
from latentwire.runtime.send.link import IN_FLIGHT, TIMEOUT, Access, Link

SCHEMES = ("http", "https", "mqtt", "mqtts")


def link_to(url: str, device: str, access: Access, timeout: float = TIMEOUT, in_flight: int = IN_FLIGHT) -> Link:
    """The transport that a URL names.

    Args:
        url: ``https://host:port``, ``http://``, ``mqtts://user:password@host:port`` or ``mqtt://``.
        device: name of this sender.
        access: token and certificates.
        timeout: seconds to wait for an answer.
        in_flight: packets on their way at once.

    Raises:
        SettingError: another kind of URL, or a token would go over plain http:// to another machine.
        MissingExtraError: the extra `send` is not installed.
    """
    parts = _parts(url)
    try:
        if parts.scheme in ("mqtt", "mqtts"):
            from latentwire.runtime.send.mqtt import MqttLink

            return MqttLink(parts, device, access, timeout, in_flight)
        from latentwire.runtime.send.http import HttpLink
    except ModuleNotFoundError as fault:
        raise MissingExtraError("sending needs the send extra: pip install 'latentwire[send]'") from fault
    if access.token and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not access.insecure_http:
        raise SettingError(
            "expected https:// for a token, found http:// to another machine, where anybody on the way can read it: "
            "use https://, or allow it (--insecure-http)"
        )
    return HttpLink(parts, access, timeout, in_flight)


def _parts(url: str) -> SplitResult:
    """A URL's parts; messages leave out the URL, which may hold a password."""
    expected = "expected https://HOST:PORT, http://, mqtts:// or mqtt:// for the server"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as fault:
        raise SettingError(f"{expected}, found a URL that is none: {fault}") from fault
    if parts.scheme not in SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise SettingError(f"{expected}, found another kind of URL")
    return parts
