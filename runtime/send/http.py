"""HTTP: one POST a packet, connections kept alive, one for each packet on its way."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult

import httpx

from latentwire.runtime.errors import ManifestError
from latentwire.runtime.net import is_loopback
from latentwire.runtime.send.link import Access, Answer, Busy, Parcel, verdict_on
from latentwire.runtime.strictjson import parse

PATH = "/v1/packets"
NEED_HAND = (401, 403, 404, 405)
"""The token, or the URL, is at fault."""
NOT_NOW = (429, 503)
"""The server is at fault, for now; of other statuses nobody knows whether it is the packet."""
MAX_ANSWER = 1 << 16
MAX_RETRY_AFTER = 3600.0


class HttpLink:
    """Packets to ``URL/v1/packets``.

    Args:
        parts: of an http or https URL.
        access: token and certificates.
        timeout: seconds to wait for an answer.
        in_flight: connections at most.
    """

    def __init__(self, parts: SplitResult, access: Access, timeout: float, in_flight: int) -> None:
        self._url = parts._replace(path=parts.path.rstrip("/") + PATH).geturl()
        headers = {"Content-Type": "application/octet-stream", "Accept": "application/json"}
        if access.token is not None:
            headers["Authorization"] = f"Bearer {access.token}"
        self._client = httpx.Client(
            headers=headers,
            verify=access.context() if parts.scheme == "https" else False,
            timeout=timeout,
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
            trust_env=not is_loopback(parts.hostname or ""),  # a proxy has no business between a machine and itself
        )

    def deliver(self, parcel: Parcel) -> Answer:
        """POST one packet."""
        headers = parcel.envelope.to_headers()
        try:
            with self._client.stream("POST", self._url, content=parcel.body, headers=headers) as response:
                return _answer(response, _content(response), parcel.envelope.id)
        except httpx.TimeoutException as fault:
            return Busy(f"expected an answer in time, found {_said(fault)}", is_packets=True, kind="timeout")
        except (httpx.HTTPError, httpx.StreamError, RuntimeError) as fault:  # RuntimeError: closed in the meantime
            return Busy(f"expected a connection to the server, found {_said(fault)}", kind="no connection")

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}"


def _content(response: httpx.Response) -> bytes:
    """The answer's first bytes: whoever answers does not get to fill the memory."""
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER:
            break
    return content[:MAX_ANSWER]


def _answer(response: httpx.Response, content: bytes, name: str) -> Answer:
    told, status = _told(content), response.status_code
    # A hotel's login page is a success, and a proxy's 413 looks like a refusal: only an answer that names the packet
    # lets it leave the queue.
    verdict = verdict_on(name, told)
    if verdict is not None:
        return verdict
    if response.is_success:
        found = f"status {status} from something else"
        return Busy(f"expected the server's answer for {name}, found {found}", kind="something else")
    return Busy(
        f"{told.get('error', 'status')} {status}: {told.get('message', response.reason_phrase)}",
        retry_after=retry_after(response.headers.get("retry-after"), time.time()),
        needs_hand=status in NEED_HAND,
        is_packets=status not in (*NEED_HAND, *NOT_NOW),
        kind=f"status {status}",
    )


def _told(content: bytes) -> dict[str, object]:
    try:
        found = parse(content, "answer")
    except ManifestError:
        return {}
    return found if isinstance(found, dict) else {}


def retry_after(value: str | None, now: float) -> float:
    """Seconds that a Retry-After asks for (RFC 9110, section 10.2.3), at most an hour; 0 where it makes no sense.

    Args:
        value: whole seconds, or a date.
        now: seconds since 1970-01-01 UTC.
    """
    if value is None:
        return 0.0
    try:
        seconds = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
