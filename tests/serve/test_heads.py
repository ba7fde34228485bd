"""Heads that two servers could read in two ways, or that are too large, as raw bytes: refused, and the rest unheard."""

import json
import socket
import time
from urllib.parse import urlsplit

import pytest
from services import SMALL, Running, answer, in_thread

from latentwire.runtime.serve.heads import HEADER_BYTES, HEADERS, HeadError, check_head

POST = b"POST /v1/packets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
SECOND = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST = SECOND[:-2] + b"Connection: close\r\n\r\n"
AS_CHUNKS = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    with in_thread(tmp_path_factory.mktemp("heads"), bounds=SMALL) as found:
        yield found


def answers(running: Running, *parts: bytes) -> list[tuple[int, dict[str, object]]]:
    """Every answer until the server closes, status and body; each part is a read of its own."""
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port), 20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05 if len(parts) > 1 else 0)
        return list(parsed(answer(connection)))


def parsed(data: bytes):
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
        )
        yield int(head.split()[1]), json.loads(rest[:length])
        data = rest[length:]


SMUGGLED = {
    "length and chunks": POST + b"Content-Length: 4\r\n" + AS_CHUNKS + b"\r\n0\r\n\r\n",
    "chunks and length": POST + AS_CHUNKS + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n",
    "a signed length": POST + b"Content-Length: +0\r\n\r\n",
    "a folded header": POST + b"X-Long: a\r\n b\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding twice": POST + AS_CHUNKS + AS_CHUNKS + b"\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "a bare line feed": POST + b"X: a\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": POST + b"X: a\rContent-Length: 0\r\n\r\n",
    "a zero byte": POST + b"X: a\0b\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + AS_CHUNKS + b"\r\n0\r\n\r\n",
    "chunks with bare line feeds": POST + AS_CHUNKS + b"\r\n1\na\n0\n\n",
    "a chunk of negative size": POST + AS_CHUNKS + b"\r\n-1\r\na\r\n0\r\n\r\n",
    "headers behind the body": POST + AS_CHUNKS + b"\r\n1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: other\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "another host in the first line": b"GET http://other/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two tokens": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
    "another version": b"GET /healthz HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "a body and another protocol": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    "a tunnel": b"CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("kind", SMUGGLED)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered(running: Running, kind: str):
    found = answers(running, SMUGGLED[kind] + SECOND)
    assert [status for status, _ in found] == [400]
    assert found[0][1]["error"] == "RequestError" and str(found[0][1]["message"]).startswith("expected ")


def test_requests_in_one_read_are_answered_in_their_order(running: Running):
    assert answers(running, SECOND * 2 + LAST) == [(200, {"alive": True})] * 3


def test_a_fault_behind_a_request_is_not_answered_in_its_place(running: Running, packet: bytes):
    """A 400 there would be read as what became of the packet, which may well be on the disk."""
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(packet) + packet
    assert 400 not in [status for status, _ in answers(running, whole + b"\0\0\0\0")]
    assert 400 not in [status for status, _ in answers(running, whole + SMUGGLED["two lengths"])]


@pytest.mark.parametrize("rest", [LAST, b""])
def test_headers_beyond_the_bound_are_refused_though_they_come_at_once(running: Running, rest: bytes):
    line = b"X-%d: %s\r\n"
    for lines in (
        b"".join(line % (number, b"y" * 1000) for number in range(HEADER_BYTES // 1000 + 1)),  # all of them together
        line % (0, b"y" * HEADER_BYTES),  # one of them
        b"".join(line % (number, b"") for number in range(HEADERS)),  # their number
    ):
        found = answers(running, SECOND[:-2] + lines + b"\r\n" + rest)
        assert [status for status, _ in found] in ([400], [])  # it may be gone before it is read
    found = answers(running, b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (b"y" * HEADER_BYTES) + rest)
    assert [status for status, _ in found] in ([400], [])


def test_the_bound_counts_from_where_a_head_begins(running: Running, packet: bytes):
    """Bodies, and the heads before, are not part of it."""
    large = b"X: " + b"y" * (HEADER_BYTES - 1000) + b"\r\n"
    whole = POST + large + b"Content-Length: %d\r\n\r\n" % len(packet) + packet
    found = answers(running, whole[:-9], whole[-9:] + whole + whole + LAST)
    assert [status for status, _ in found] == [202, 202, 202, 200]


def test_heads_are_judged_whatever_the_parser_lets_through():
    host = (b"host", b"a")
    length, chunks = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
    check_head("1.1", b"/", [host, length], upgrades=False)
    check_head("1.1", b"http://A/", [host, chunks], upgrades=False)
    check_head("1.0", b"/", [], upgrades=False)
    check_head("1.1", b"/", [host, (b"content-length", b"00")], upgrades=True)
    for version, url, headers, upgrades in (
        ("1.1", b"/", [host, length, length], False),
        ("1.1", b"/", [host, length, chunks], False),
        ("1.1", b"/", [host, (b"content-length", b"\xb2")], False),
        ("1.1", b"/", [host, (b"transfer-encoding", b"identity")], False),
        ("1.0", b"/", [chunks], False),
        ("1.1", b"/", [], False),
        ("1.1", b"/", [host, length], True),
        ("0.9", b"/", [host], False),
    ):
        with pytest.raises(HeadError):
            check_head(version, url, headers, upgrades=upgrades)
