"""Bundles on a hub: real `huggingface_hub` in processes of their own, against a hub on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from certificates import elliptic_keys
from hypothesis import given
from hypothesis import strategies as st
from modelhub import TOKEN, Hub, Repo

from latentwire.runtime import Decoder, Encoder, open_bundle
from latentwire.runtime.errors import MissingExtraError, ModelError, SettingError
from latentwire.runtime.hub import HubAddress, is_hub
from latentwire.runtime.trust import sign_bundle

LISTENER = """
import json, sys, traceback
from pathlib import Path
from latentwire.runtime import Bundle, Decoder, Encoder, Trust, open_bundle
from latentwire.runtime.errors import LatentwireError
assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    place = dict(globals())
    try:
        exec(json.loads(line), place)
        answer = {"found": place.get("found")}
    except LatentwireError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except Exception:
        answer = {"error": "none of ours", "message": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
"""


class Process:
    """Python that reads the settings of this hub when it imports the library, and then runs what it is sent."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.running = subprocess.Popen(
            [sys.executable, "-c", LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def run(self, code: str) -> Any:
        """What ``found`` is at the end of the code, or a pair: the name of the error and what it says."""
        assert self.running.stdin is not None and self.running.stdout is not None
        print(json.dumps(code), file=self.running.stdin, flush=True)
        answer = json.loads(self.running.stdout.readline())
        return answer["found"] if "found" in answer else (answer["error"], answer["message"])

    def command(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """`latentwire`, there."""
        command = [sys.executable, "-m", "latentwire.runtime", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def end(self) -> None:
        self.running.communicate()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(large=20000) as running:
        yield running


@pytest.fixture(scope="module")
def online(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(hub.environment(tmp_path_factory.mktemp("home")))
    yield process
    process.end()


@pytest.fixture(scope="module")
def pushed(hub: Hub, online: Process, bundle: Path) -> str:
    """Commit of a repository me/digits."""
    found = online.run(f"found = str(open_bundle({str(bundle)!r}).push_to_hub('me/digits').address)")
    return found.removeprefix("hub:me/digits@")


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "digits"))


def files_of(bundle: Path) -> dict[str, bytes]:
    manifest = json.loads((bundle / "manifest.json").read_text())
    golden = manifest["golden"]
    listed = [entry["file"] for entry in manifest["files"]] + [golden["input"]["file"]]
    listed += [case[key]["file"] for case in golden["cases"] for key in ("latents", "packet", "symbols", "output")]
    return {name: (bundle / name).read_bytes() for name in ["manifest.json", "CARD.md", *listed]}


def test_the_command_pushes_the_bundle_and_nothing_else_in_one_commit(hub, online, copied):
    (copied / "notes.txt").write_text("not for others")
    (copied / "targets").mkdir()
    (copied / "targets" / "report.md").write_text("made here")
    done = online.command("push", copied, "me/alone", "--private", "--license", "apache-2.0", "--json")
    assert done.returncode == 0, done.stderr
    told, repo = json.loads(done.stdout), hub.repos["me/alone"]
    commit = repo.branches["main"]
    assert told["address"] == f"hub:me/alone@{commit}"
    assert repo.private and len(repo.messages) == 2  # the first is the hub's own
    there = dict(repo.commits[commit])
    assert there.pop(".gitattributes")
    card = there.pop("README.md").decode()
    assert there == files_of(copied)
    assert told["files"] == len(there) + 1
    assert 0 < len(hub.objects) < len(there)  # large files by way of the object store, small ones in the commit
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["library_name"] == "latentwire" and metadata["license"] == "apache-2.0"
    assert {"onnx", "dense", "fp32", "int8"} <= set(metadata["tags"])
    assert (copied / "CARD.md").read_text().split("\n## ")[1] in card and 'from_pretrained("me/alone")' in card


def test_loading_fetches_what_is_needed_and_tells_the_commit(hub, online, pushed, bundle, digits):
    hub.asked.clear()
    load = f"""
import numpy as np
encoder = Encoder.from_pretrained("me/digits", variant="int8")
items = np.load({str(bundle / "golden" / "input.npy")!r})
found = [encoder.origin, encoder.variant, encoder.encode(items, 200).hex()]
"""
    origin, variant, packet = online.run(load)
    items = np.load(bundle / "golden" / "input.npy")
    assert (origin, variant) == (f"hub:me/digits@{pushed}", "int8")
    assert bytes.fromhex(packet) == Encoder(bundle, variant="int8").encode(items, 200)
    base = "/me/digits/resolve"
    assert hub.paths("GET") == [f"{base}/main/manifest.json", f"{base}/{pushed}/encoder.int8.onnx"]
    assert {asked.token for asked in hub.asked} == {TOKEN}
    assert not any(word in asked.agent for asked in hub.asked for word in ("torch", "agent"))
    hub.asked.clear()
    assert (
        online.run(f'found = Encoder.from_pretrained("me/digits", revision={pushed!r}, variant="int8").origin')
        == origin
    )
    assert online.run(f'found = open_bundle("hub:me/digits@{pushed}").origin') == origin
    assert hub.asked == []  # a commit's files never change


def test_commands_take_an_address_in_a_bundles_place(hub, online, pushed, bundle, tmp_path):
    source, packets, back = bundle / "golden" / "input.npy", tmp_path / "items.lw", tmp_path / "items.npy"
    done = online.command("encode", "hub:me/digits", source, "--out", packets)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(pushed) == 1  # a branch is resolved once, and told
    done = online.command("decode", f"hub:me/digits@{pushed}", packets, "--out", back)
    assert done.returncode == 0, done.stderr
    assert pushed not in done.stderr
    items = np.load(source)
    assert np.array_equal(np.load(back), Decoder(bundle).decode(Encoder(bundle).encode(items)))
    done = online.command("inspect", f"hub:me/digits@{pushed}")
    assert done.returncode == 0 and "files_intact" in done.stdout


def test_what_was_loaded_once_loads_without_a_network(hub, online, pushed, bundle, tmp_path):
    online.run(f'Decoder.from_pretrained("me/digits"); Encoder.from_pretrained("me/digits", revision={pushed!r})')
    away = Process(online.environment | {"HF_HUB_OFFLINE": "1"})
    hub.asked.clear()
    for revision in (None, "main", pushed):
        assert away.run(f'found = Decoder.from_pretrained("me/digits", revision={revision!r}).origin').endswith(pushed)
    error, message = away.run('Encoder.from_pretrained("me/digits", variant="fp16")')
    assert error == "VariantError"
    error, message = away.run('open_bundle("hub:me/never")')
    assert error == "HubError" and "neither" in message and "load it once" in message
    assert hub.asked == []
    away.end()
    # The same without being told: nobody answers on the port.
    deaf = Process(online.environment | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert deaf.run('found = Decoder.from_pretrained("me/digits").origin').endswith(pushed)
    assert deaf.run('found = Decoder.from_pretrained("me/digits", local_files_only=True).origin').endswith(pushed)
    deaf.end()


def test_a_branch_moves_and_a_commit_stays(hub, online, pushed, bundle):
    hub.repos["me/moves"] = repo = Repo()
    first = repo.commit(dict(hub.repos["me/digits"].commits[pushed]), "first")
    load = 'found = Encoder.from_pretrained("me/moves", revision={!r}).origin'
    assert online.run(load.format(None)).endswith(first)
    second = repo.commit(dict(hub.repos["me/digits"].commits[pushed]), "second")
    repo.commit(dict(hub.repos["me/digits"].commits[pushed]), "elsewhere", branch="trial")
    assert online.run(load.format(None)).endswith(second)
    assert online.run(load.format(first)).endswith(first)
    assert online.run(load.format("trial")).endswith(repo.branches["trial"])


def test_bytes_that_are_not_the_manifests_are_refused(hub, online, pushed):
    files = dict(hub.repos["me/digits"].commits[pushed])
    files["encoder.fp32.onnx"] = files["encoder.fp32.onnx"][:-1] + b"\0"
    hub.repos["me/changed"] = repo = Repo()
    repo.commit(files, "changed")
    error, message = online.run('Encoder.from_pretrained("me/changed")')
    assert error == "TamperedError" and "SHA-256" in message
    assert online.run('found = Encoder.from_pretrained("me/changed", variant="int8").variant') == "int8"
    del files["decoder.fp32.onnx"]
    repo.commit(files, "less")
    assert online.run('Decoder.from_pretrained("me/changed")')[0] == "TamperedError"


def test_a_file_that_is_too_long_is_not_downloaded(hub, online, pushed):
    hub.repos["me/long"] = repo = Repo()
    commit = repo.commit(hub.repos["me/digits"].commits[pushed], "long")
    hub.claims["encoder.fp32.onnx"] = 1 << 40
    try:
        error, message = online.run('Encoder.from_pretrained("me/long")')
    finally:
        hub.claims.clear()
    assert error == "TamperedError" and "not downloaded" in message
    assert f"/me/long/resolve/{commit}/encoder.fp32.onnx" not in hub.paths("GET")


def test_pins_hold_for_the_hub_too(online, pushed, bundle):
    address = f"hub:me/digits@{pushed}"
    pin = online.run(f"found = open_bundle({address!r}).pin")
    codec = online.run(f"found = open_bundle({address!r}).manifest.codec_id")
    assert online.run(f'found = Encoder("{address}@{pin}@codec:{codec}").codec_id') == codec
    assert online.run(f'found = Encoder("hub:me/digits@{pin}").codec_id') == codec
    for wrong in (f"sha256:{'0' * 64}", f"codec:{'0' * 64}"):
        assert online.run(f'Encoder("{address}@{wrong}")')[0] == "TrustError"
        assert online.run(f'Encoder.from_pretrained("me/digits", trust=Trust(pins=("{wrong}",)))')[0] == "TrustError"


def test_a_signed_bundle_stays_signed(hub, online, copied, tmp_path):
    private, public = elliptic_keys(tmp_path / "keys")
    (copied / "targets").mkdir()
    (copied / "targets" / "notes.md").write_text("signed, so it is part of the bundle")
    sign_bundle(copied, private)
    address = online.run(f"found = str(open_bundle({str(copied)!r}).push_to_hub('me/signed').address)")
    load = f"found = Encoder({{!r}}, trust=Trust(signed_by=Path({str(public)!r}))).origin"
    assert online.run(load.format(address)) == address
    repo = hub.repos["me/signed"]
    files = dict(repo.commits[repo.branches["main"]])
    assert "targets/notes.md" in files
    for name, data in {"CARD.md": b"# other", "more.onnx": b"unsigned"}.items():
        repo.commit(files | {name: data}, f"with {name}")
        error, message = online.run(load.format("hub:me/signed"))
        assert error == "TrustError", (name, message)
    assert online.run(load.format("hub:me/digits"))[0] == "TrustError"
    with pytest.raises(SettingError, match="sign the folder"):
        sign_bundle(address, private)


def test_a_second_push_leaves_what_is_not_the_bundles(hub, online, copied):
    repo = hub.repos["me/again"] = Repo()
    before = hub.repos["me/digits"].commits[hub.repos["me/digits"].branches["main"]]
    manifest = json.loads(before["manifest.json"])
    extra = manifest["files"][-1] | {"variant": "older", "file": "decoder.older.onnx"}
    manifest["files"].append(extra)
    files = before | {"LICENSE": b"theirs", "decoder.older.onnx": b"old", "model.sig": b"{}"}
    repo.commit(files | {"manifest.json": json.dumps(manifest).encode()}, "older")
    push = f"found = str(open_bundle({str(copied)!r}).push_to_hub('me/again', message='newer').address)"
    address = online.run(push)
    there = repo.commits[repo.branches["main"]]
    assert there["LICENSE"] == b"theirs" and not {"decoder.older.onnx", "model.sig"} & set(there)
    assert repo.messages == ["older", "newer"] and address.endswith(repo.branches["main"])
    hub.between = lambda: repo.commit(dict(there), "meanwhile")
    try:
        (copied / "CARD.md").write_text("# changed\n")
        error, message = online.run(push)
    finally:
        hub.between = lambda: None
    assert error == "HubError" and "commit has happened" in message
    repo.commit({"manifest.json": b'{"of": "something else"}'}, "not ours")
    assert online.run(push)[0] == "ManifestError"


def test_faults_are_named(hub, online, pushed, bundle, tmp_path):
    hub.repos["me/hidden"], hub.repos["me/asking"] = Repo(private=True), Repo(gated=True)
    hub.repos["me/other"] = Repo()
    hub.repos["me/other"].commit({"config.json": b"{}"}, "no bundle")
    for address, kind, said in (
        ("hub:me/none", "BundleNotFoundError", "expected a repository"),
        ("hub:me/digits@never", "BundleNotFoundError", "commit, branch or tag"),
        (f"hub:me/digits@{'0' * 40}", "BundleNotFoundError", "commit, branch or tag"),
        ("hub:me/other", "BundleNotFoundError", "manifest.json"),
        ("hub:me/asking", "HubError", "gated"),
        ("hub:digits", "SettingError", "owner/name"),
        ("hub:me/digits@", "SettingError", "behind the @"),
        ("hub:../../etc", "SettingError", "owner/name"),
    ):
        error, message = online.run(f"open_bundle({address!r})")
        assert (error, said in message) == (kind, True), message
    stranger = Process(hub.environment(tmp_path, HF_TOKEN="hf_wrong"))
    assert "log in" in stranger.run('open_bundle("hub:me/hidden")')[1]
    error, message = stranger.run(f"open_bundle({str(bundle)!r}).push_to_hub('me/new')")
    assert error == "HubError" and "me/new" not in hub.repos
    stranger.end()


def test_a_bundle_that_did_not_pass_is_not_pushed(copied):
    file = copied / "manifest.json"
    manifest = json.loads(file.read_text())
    for parity in (None, manifest["parity"] | {"passed": False}):
        file.write_text(json.dumps(manifest | {"parity": parity}))
        with pytest.raises(ModelError, match="verification that passed"):
            open_bundle(copied).push_to_hub("me/bad")


def test_without_the_extra_one_sentence_says_which(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for wanted in (lambda: open_bundle(bundle).push_to_hub("me/x"), lambda: Encoder("hub:me/x")):
        with pytest.raises(MissingExtraError, match=re.escape("pip install 'latentwire[hub]'")):
            wanted()


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: ".." not in name)


@given(NAMES, NAMES, st.none() | NAMES)
def test_an_address_is_read_as_it_is_written(owner, name, revision):
    address = HubAddress(f"{owner}/{name}", revision)
    assert is_hub(str(address)) and HubAddress.parse(str(address)) == address


@given(st.text(max_size=20))
def test_no_other_text_is_an_address(text):
    try:
        address = HubAddress.parse(f"hub:{text}")
    except SettingError:
        return
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", address.repo, re.ASCII) and ".." not in str(address.revision)
