"""What the head of a request may be, beyond what the parser refuses by itself.

Everything here is something that two servers behind each other could read in two ways: then one takes for a request
what is the body of another. Refused, whoever is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

HEADER_BYTES = 1 << 16
"""Of one request, its first line included. An envelope's largest fields have 16 KiB each."""
HEADERS = 128
"""Of one request."""
ONCE = (b"authorization", b"content-length", b"content-type", b"host", b"transfer-encoding")

Headers = Sequence[tuple[bytes, bytes]]


class HeadError(ValueError):
    """A head that is refused; never leaves the connection."""


def check_size(size: int, count: int) -> None:
    """So many bytes, so many headers.

    Raises:
        HeadError: they are too many.
    """
    if size > HEADER_BYTES:
        raise HeadError(f"expected headers of at most {HEADER_BYTES >> 10} KiB, found more")
    if count > HEADERS:
        raise HeadError(f"expected at most {HEADERS} headers, found more")


def check_head(version: str, url: bytes, headers: Headers, *, upgrades: bool) -> None:
    """A head is to be read in one way.

    Args:
        version: of HTTP, such as "1.1".
        url: as in the first line.
        headers: with names in small letters.
        upgrades: the request asks for another protocol.

    Raises:
        HeadError: it is not.
    """
    names = Counter(name for name, _ in headers)
    twice = [name.decode("latin-1") for name in ONCE if names[name] > 1]
    if twice:
        raise HeadError(f"expected {twice[0]} once, found it {names[twice[0].encode()]} times")
    found = dict(headers)
    _check_version(version, found)
    _check_length(version, found, upgrades)
    authority = urlsplit(url).netloc
    if authority and authority.lower() != found.get(b"host", b"").lower():
        raise HeadError("expected the path alone in the first line, found another host than in Host")


def _check_version(version: str, found: dict[bytes, bytes]) -> None:
    if version not in ("1.0", "1.1"):
        raise HeadError(f"expected HTTP/1.1, found HTTP/{version}")
    if version == "1.1" and b"host" not in found:
        raise HeadError("expected a header Host, found none")


def _check_length(version: str, found: dict[bytes, bytes], upgrades: bool) -> None:
    coding, length = found.get(b"transfer-encoding"), found.get(b"content-length")
    if coding is not None:
        if version == "1.0" or length is not None:
            raise HeadError("expected Content-Length alone, found Transfer-Encoding")
        if coding.strip().lower() != b"chunked":
            raise HeadError("expected no Transfer-Encoding but chunked, found another")
    if length is not None and not length.isdigit():
        raise HeadError("expected decimal digits in Content-Length, found others")
    if upgrades and (coding is not None or (length or b"0").strip(b"0")):
        raise HeadError("expected a body or a request for another protocol, found both")
