"""Tokens: the file, the command, and a service whose file changes, ends or is damaged."""

import json
import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from services import Running, envelope, events, in_process, in_thread, last_event

from latentwire.runtime.errors import InputFileError, SettingError
from latentwire.runtime.serve import tokenfile
from latentwire.runtime.serve.commands import token
from latentwire.runtime.serve.errors import ExpiredTokenError, TokenError
from latentwire.runtime.serve.settings import Settings
from latentwire.runtime.serve.tokenfile import Grant, digest_of, draw, end_of
from latentwire.runtime.serve.tokens import Tokens

NOW = datetime(2026, 6, 1, 12, 30, 15, 99, timezone.utc)
needs_modes = pytest.mark.skipif(os.name == "nt", reason="files have no mode here")


def bearer(value: str) -> str:
    return f"Bearer {value}"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def called(*arguments: object) -> Result:
    return CliRunner().invoke(token, [str(argument) for argument in arguments])


def test_files_of_before_are_read_and_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "tokens"
    old = {"gate-3": digest_of("a"), "gate-4": digest_of("b")}
    path.write_text(json.dumps(old))
    end = datetime(2027, 3, 1, tzinfo=timezone.utc)
    new = draw(path, "gate-5", end)
    assert json.loads(path.read_text()) == old | {
        "gate-5": {"sha256": digest_of(new), "expires": "2027-03-01T00:00:00Z"}
    }
    assert tokenfile.read(path)["gate-5"] == Grant(digest_of(new), end)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[]",
        '{"a": "short"}',
        '{"a": 1}',
        '{"a": {"sha256": "%(d)s"}}',
        '{"a": {"sha256": "%(d)s", "expires": "2027-03-01"}}',
        '{"a": {"sha256": "%(d)s", "expires": 5}}',
        '{"a": {"sha256": "%(d)s", "expires": "2027-03-01T00:00:00Z", "until": 1}}',
        '{"a": {"expires": "2027-03-01T00:00:00Z"}}',
        '{"a": "%(d)s", "a": "%(d)s"}',
        '{"a": "%(d)s", "b": "%(d)s"}',
    ],
)
def test_what_is_no_file_of_tokens_is_refused_by_name(tmp_path: Path, damaged: str):
    path = tmp_path / "tokens"
    path.write_text(damaged.replace("%(d)s", digest_of("x")))
    before = path.read_bytes()
    for use in (tokenfile.read, Tokens, lambda path: draw(path, "gate-3"), lambda path: tokenfile.revoke(path, "a")):
        with pytest.raises(InputFileError, match=str(path)):
            use(path)
    assert path.read_bytes() == before


def test_ends_are_days_or_the_last_day():
    assert end_of("90d", NOW) == datetime(2026, 8, 30, 12, 30, 15, tzinfo=timezone.utc)
    assert end_of("2026-06-01", NOW) == datetime(2026, 6, 2, tzinfo=timezone.utc)  # today counts to its end
    for wrong in (
        "2026-05-31",
        "0d",
        "-1d",
        "90",
        "d",
        "99999999d",
        "2026-13-01",
        "20260901",
        "tomorrow",
        "9999-12-31",
    ):
        with pytest.raises(SettingError, match="expected days such as 90d"):
            end_of(wrong, NOW)


def test_a_token_counts_until_its_end_and_only_who_has_it_hears_of_that(tmp_path: Path):
    moment = NOW
    known = draw(tmp_path / "tokens", "gate-3", end_of("1d", NOW))
    tokens = Tokens(tmp_path / "tokens", lambda: moment)
    assert tokens.device_of(bearer(known)) == "gate-3"
    moment = NOW.replace(microsecond=0) + timedelta(days=1)
    with pytest.raises(ExpiredTokenError, match=r"gate-3, which ended 2026-06-02T12:30:15Z: ask for a new token"):
        tokens.device_of(bearer(known))
    with pytest.raises(TokenError, match="an unknown one") as stranger:
        tokens.device_of(bearer("guessed"))
    assert "gate-3" not in str(stranger.value) and not isinstance(stranger.value, ExpiredTokenError)


@needs_modes
def test_the_file_is_its_owners_whatever_it_was(tmp_path: Path):
    path = tmp_path / "tokens"
    first = called("gate-3", "--tokens", path)
    assert first.exit_code == 0 and mode(path) == 0o600 and "mode" not in first.stderr
    path.chmod(0o644)
    second = called("gate-4", "--tokens", path)
    assert len(second.stdout.strip()) == 43 and "others than its owner could read it" in second.stderr
    assert mode(path) == 0o600 and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_an_administrators_change_leaves_the_file_with_the_services_user(tmp_path: Path):
    path = tmp_path / "tokens"
    draw(path, "gate-3")
    os.chown(path, 1234, 1235)
    draw(path, "gate-4")
    tokenfile.revoke(path, "gate-3")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 1235, 0o600)


def test_changes_at_the_same_time_lose_nothing(tmp_path: Path):
    path = tmp_path / "tokens"
    work = [threading.Thread(target=draw, args=(path, f"gate-{number}")) for number in range(16)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(tokenfile.read(path)) == 16


def test_the_command_lists_and_revokes(tmp_path: Path):
    path = tmp_path / "tokens"
    path.write_text(json.dumps({"old": {"sha256": digest_of("x"), "expires": "2020-01-01T00:00:00Z"}}))
    for arguments in (["gate-4", "--expires", "2999-12-31"], ["gate-3"]):
        assert called(*arguments, "--tokens", path).exit_code == 0
    found = called("--list", "--tokens", path)
    assert found.stdout.splitlines() == [
        "gate-3\tdoes not end",
        "gate-4\tuntil 3000-01-01T00:00:00Z",
        "old\tended 2020-01-01T00:00:00Z",
    ]
    assert called("--revoke", "gate-4", "--tokens", path).exit_code == 0
    assert set(tokenfile.read(path)) == {"gate-3", "old"}
    assert isinstance(called("--revoke", "gate-4", "--tokens", path).exception, SettingError)
    for wrong in ([], ["gate-3", "--list"], ["--list", "--revoke", "old"], ["--list", "--expires", "9d"]):
        assert called(*wrong, "--tokens", path).exit_code == 2
    assert set(tokenfile.read(path)) == {"gate-3", "old"}


def status(running: Running, packet: bytes, known: str, sequence: int) -> int:
    return running.post(packet, envelope(sequence), Authorization=bearer(known)).status_code


def test_a_file_that_is_gone_or_damaged_revokes_all_and_says_so(tmp_path: Path, packet: bytes):
    path = tmp_path / "tokens"
    known = draw(path, "gate-3")
    whole = path.read_bytes()
    with in_process(tmp_path, "--tokens", str(path)) as running:

        def ready() -> tuple[int, list[str]]:
            answer = running.client.get("/readyz")
            return answer.status_code, answer.json()["obstacles"]

        assert status(running, packet, known, 0) == 202 and ready() == (200, [])
        for number, damage in enumerate(
            (path.unlink, lambda: path.write_bytes(whole[:-9]), lambda: path.write_text("{}"))
        ):
            damage()
            assert [status(running, packet, known, number) for _ in range(3)] == [401] * 3
            wanted = (503, ["tokens: their file is gone or damaged, no token counts"]) if number < 2 else (200, [])
            assert ready() == wanted
            said = last_event(tmp_path / "log", 0, "tokens")
            assert ("no token counts" in said.get("message", "")) is (number < 2) and ("devices" in said) is (
                number == 2
            )
        path.write_bytes(whole)
        assert status(running, packet, known, 1) == 202 and ready() == (200, [])
    said = [found for found in events(tmp_path / "log") if found["event"] == "tokens"]
    assert [found["level"] for found in said] == ["error", "error", "info", "info"]  # not once a request


@needs_modes
def test_a_service_says_that_others_may_read_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    draw(tmp_path / "tokens", "gate-3")
    Tokens(tmp_path / "tokens")
    assert not caplog.records
    (tmp_path / "tokens").chmod(0o640)
    Tokens(tmp_path / "tokens")
    assert "others may read it" in caplog.records[0].facts["message"]


def test_readers_have_tokens_of_their_own(tmp_path: Path, packet: bytes):
    device, reader = draw(tmp_path / "tokens", "gate-3"), draw(tmp_path / "readers", "prometheus")
    with in_thread(tmp_path, tokens=tmp_path / "tokens", readers=tmp_path / "readers") as running:

        def reading(path: str, known: str | None) -> int:
            headers = {} if known is None else {"Authorization": bearer(known)}
            return running.client.get(path, headers=headers).status_code

        for path in ("/metrics", "/v1/codecs"):
            assert [reading(path, known) for known in (None, "guessed", device, reader)] == [401, 401, 401, 200]
        assert [reading(path, None) for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3
        assert [status(running, packet, known, 0) for known in (reader, device)] == [401, 202]
        (tmp_path / "tokens").unlink()
        hidden, shown = (
            running.client.get("/readyz", headers=headers) for headers in ({}, {"Authorization": bearer(reader)})
        )
        assert (hidden.status_code, hidden.json()) == (503, {"ready": False, "obstacles": []})
        assert shown.status_code == 503 and "tokens" in shown.json()["obstacles"][0]


def test_readers_may_be_asked_for_where_devices_are_not(tmp_path: Path):
    Settings(("mnist",), "sink", open_to_all=True, readers=tmp_path)
