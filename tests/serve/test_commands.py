"""The commands `serve` and `token`, as a user calls them."""

import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from certificates import certificate
from services import envelope, events, in_process, last_event, until

from latentwire.runtime.serve.tokenfile import digest_of


def latentwire(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    start = f"{code}\nimport sys\nfrom latentwire.runtime.cli import main\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_token_is_printed_once_and_kept_as_its_hash(tmp_path: Path):
    done = latentwire("token", "gate-3", "--tokens", tmp_path / "tokens")
    token = done.stdout.strip()
    assert done.returncode == 0 and len(token) == 43
    assert json.loads((tmp_path / "tokens").read_text()) == {"gate-3": digest_of(token)}
    assert latentwire("token", "../up", "--tokens", tmp_path / "tokens").returncode == 4
    (tmp_path / "tokens").write_text('{"gate-3": "short"}')
    assert latentwire("token", "gate-4", "--tokens", tmp_path / "tokens").returncode == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--no-auth", "--host", "0.0.0.0"], "loopback"),
        ([], "--no-auth"),
        (["--no-auth", "--mqtt", "http://x"], "mqtt://"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path, options: list[str], says: str):
    done = latentwire("serve", "mnist", "--sink", tmp_path / "sink", "--inbox", tmp_path / "inbox", *options)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_an_address_or_a_certificate_that_cannot_be_used_is_said_in_one_line(tmp_path: Path):
    serve = ["serve", "mnist", "--sink", tmp_path / "sink", "--inbox", tmp_path / "inbox", "--no-auth"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = latentwire(*serve, "--port", port)
        assert found.returncode == 2 and "Traceback" not in found.stderr
        assert f"SettingError: expected an address to listen at, found 127.0.0.1, port {port}: " in found.stderr
    chain, key = certificate(tmp_path)
    for wrong in ([tmp_path / "none", key], [key, key], [chain, chain]):
        found = latentwire(*serve, "--port", 0, "--certificate", wrong[0], "--key", wrong[1])
        assert found.returncode == 2 and "Traceback" not in found.stderr
        assert f"SettingError: expected a certificate in {wrong[0]} and its key in {wrong[1]}" in found.stderr


def test_without_the_extra_it_says_which_to_install(tmp_path: Path):
    code = "import sys\nsys.modules['starlette'] = None"
    done = latentwire("serve", "mnist", "--sink", tmp_path, "--no-auth", code=code)
    assert done.returncode == 2 and "pip install 'latentwire[serve]'" in done.stderr
    assert latentwire("token", "a", "--tokens", tmp_path / "tokens", code=code).returncode == 0
    assert "\n  serve " in latentwire("--help", code=code).stdout


def test_tls_and_tokens_in_a_process_whose_log_is_json(tmp_path: Path, packet: bytes):
    chain, key = certificate(tmp_path)
    token = latentwire("token", "gate-3", "--tokens", tmp_path / "tokens").stdout.strip()
    options = ["--certificate", str(chain), "--key", str(key), "--tokens", str(tmp_path / "tokens")]
    trusts = ssl.create_default_context(cafile=str(chain))
    with in_process(tmp_path, *options, verify=trusts) as running:
        assert running.url.startswith("https://")
        assert running.post(packet, envelope()).status_code == 401
        assert running.post(packet, envelope(), Authorization=f"Bearer {token}").status_code == 202
        until(lambda: last_event(tmp_path / "log", 0, "decoded"))
        assert len(running.files(".npy")) == 1
        with pytest.raises(httpx.TransportError):
            httpx.get(running.url.replace("https", "http"))
    names = [found["event"] for found in events(tmp_path / "log")]
    assert names[:2] == ["started", "listening"] and {"refused", "accepted", "decoded"} <= set(names)
    assert token not in (tmp_path / "log").read_text()
