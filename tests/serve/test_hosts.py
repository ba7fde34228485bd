"""A service without tokens and the pages of a browser on the same machine."""

from pathlib import Path

import pytest
from services import Running, envelope, in_thread

from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve.hosts import name_in
from latentwire.runtime.serve.settings import Settings
from latentwire.runtime.serve.tokenfile import draw


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    with in_thread(tmp_path_factory.mktemp("hosts"), allowed_hosts=("Gate.Example",)) as found:
        yield found


OWN = ["localhost", "LOCALHOST:8470", "127.0.0.1:1", "127.1.2.3", "[::1]:8470", "gate.example", "gate.example.:443"]
OTHERS = [
    "evil.test",
    "evil.test:8470",
    "127.0.0.1.evil.test",
    "192.0.2.1",
    "0.0.0.0",
    "localhost@evil.test",
    "a/b",
    "",
]


@pytest.mark.parametrize("host", OWN)
def test_own_names_are_answered(running: Running, packet: bytes, host: str):
    assert running.client.get("/metrics", headers={"Host": host}).status_code == 200
    assert running.post(packet, envelope(), Host=host).status_code == 202


@pytest.mark.parametrize("host", OTHERS)
def test_other_names_are_refused_on_every_path(running: Running, packet: bytes, host: str):
    refused = running.metric("latentwire_packets_refused_total")
    for path in ("/v1/codecs", "/metrics", "/readyz", "/healthz", "/openapi.json", "/nothing"):
        answer = running.client.get(path, headers={"Host": host})
        assert answer.status_code == 421 and answer.json()["error"] == "HostError"
        assert "--allowed-host" in answer.json()["message"]
    assert running.post(packet, envelope(9), Host=host).status_code == 421
    assert running.metric("latentwire_packets_refused_total") == refused + 7


def test_packets_of_other_pages_are_refused(running: Running, packet: bytes):
    own = running.url.removeprefix("http://")
    for origin in (f"http://{own}", f"https://{own}", "https://gate.example"):  # TLS may end in front of it
        assert running.post(packet, envelope(), Origin=origin).status_code == 202
    for origin in (
        "https://evil.test",
        "null",
        "",
        "http://127.0.0.1:1",
        "http://localhost",
        "https://gate.example@evil.test",
    ):
        answer = running.post(packet, envelope(10), Origin=origin)
        assert (answer.status_code, answer.json()["error"]) == (403, "OriginError")
    assert running.client.get("/healthz", headers={"Origin": "https://evil.test"}).status_code == 200


def test_where_devices_have_tokens_any_name_will_do_unless_some_are_named(tmp_path: Path, packet: bytes):
    known = {"Authorization": f"Bearer {draw(tmp_path / 'tokens', 'gate-3')}"}
    away = {"Host": "any.test", "Origin": "https://page.test"} | known
    with in_thread(tmp_path / "any", tokens=tmp_path / "tokens") as running:
        assert running.post(packet, envelope(), **away).status_code == 202
    with in_thread(tmp_path / "named", tokens=tmp_path / "tokens", allowed_hosts=("gate.example",)) as running:
        assert running.post(packet, envelope(), **away).status_code == 421
        assert running.post(packet, envelope(), **(away | {"Host": "gate.example"})).status_code == 202


@pytest.mark.parametrize("name", ["https://gate.example", "gate.example:8470", "[::1]", "*", ""])
def test_names_that_are_none(name: str):
    with pytest.raises(SettingError, match="without a port"):
        Settings(("mnist",), "sink", open_to_all=True, allowed_hosts=(name,))


def test_names_are_found_before_the_port():
    assert name_in("Gate.Example.:1") == "gate.example" and name_in("[2001:DB8::1]:1") == "2001:db8::1"
    assert [name_in(text) for text in ("", ":1", "a:b", "a b", "[::1", "a:123456", "a\n")] == [None] * 7
