"""Pins and signatures: no byte of a bundle may change unseen."""

import base64
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from certificates import elliptic_keys as keys
from click.testing import CliRunner

from latentwire.runtime import Encoder, open_bundle
from latentwire.runtime.bundle import SIGNATURE, Trust
from latentwire.runtime.cli import main
from latentwire.runtime.errors import (
    BundleError,
    KeyFileError,
    MissingExtraError,
    SettingError,
    TamperedError,
    TrustError,
)
from latentwire.runtime.source import open_source
from latentwire.runtime.trust import sign_bundle


@pytest.fixture(scope="module")
def released(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle and the public key."""
    folder = tmp_path_factory.mktemp("released")
    private, public = keys(folder / "keys")
    signed = Path(shutil.copytree(bundle, folder / "digits"))
    sign_bundle(signed, private)
    return signed, public


@pytest.fixture
def copied(released: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(released[0], tmp_path / "digits"))


def changed(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_signed_bundle_loads_as_folder_and_zip(released, tmp_path, digits, bundle):
    signed, public = released
    packed = Path(shutil.make_archive(str(tmp_path / "digits"), "zip", signed.parent, signed.name))
    for place in (signed, packed):
        for codec in (place, open_bundle(place)):
            assert Encoder(codec, trust=Trust(signed_by=public)).encode(digits[:2]) == Encoder(bundle).encode(
                digits[:2]
            )


def test_a_changed_byte_anywhere_is_refused(released, copied):
    """First, middle and last of each file: models, golden cases, manifest, card, signature."""
    trust = Trust(signed_by=released[1])
    files = [file for file in sorted(copied.rglob("*")) if file.is_file()]
    assert {"manifest.json", SIGNATURE, "CARD.md", "encoder.fp32.onnx"} <= {file.name for file in files}
    for file in files:
        intact = file.read_bytes()
        for at in (0, len(intact) // 2, len(intact) - 1):
            if file.name == SIGNATURE and intact[at : at + 1].isspace():
                continue
            changed(file, at)
            with pytest.raises(BundleError):
                open_bundle(copied, trust)
            file.write_bytes(intact)
    open_bundle(copied, trust)


def test_a_file_more_or_less_is_refused(released, copied):
    trust = Trust(signed_by=released[1])
    (copied / "more.txt").write_text("more")
    with pytest.raises(TrustError, match=r"more\.txt"):
        open_bundle(copied, trust)
    (copied / "more.txt").unlink()
    (copied / ".gitignore").write_text("what signatures often leave out")
    with pytest.raises(TrustError, match=r"\.gitignore"):
        open_bundle(copied, trust)
    (copied / ".gitignore").unlink()
    (copied / "CARD.md").unlink()
    with pytest.raises(TrustError, match=r"CARD\.md"):
        open_bundle(copied, trust)


def test_a_bundle_without_a_signature_or_with_anothers_is_refused(released, copied, bundle, tmp_path):
    trust = Trust(signed_by=released[1])
    with pytest.raises(TrustError, match="found none"):
        Encoder(bundle, trust=trust)
    sign_bundle(copied, keys(tmp_path / "others")[0])
    with pytest.raises(TrustError, match="signed with"):
        Encoder(copied, trust=trust)
    with pytest.raises(TrustError, match="lone ONNX file"):
        Encoder(copied / "encoder.fp32.onnx", trust=trust)


def test_a_signature_that_leaves_files_out_is_none(released, copied, tmp_path):
    """Whoever holds the key can sign less; that is no signature of the bundle."""
    import model_signing

    private, public = keys(tmp_path / "own")
    for left_out in ("manifest.json", "encoder.fp32.onnx"):
        (copied / SIGNATURE).unlink()
        hashing = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE, left_out], ignore_git_paths=False)
        signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private)
        signer.set_hashing_config(hashing).sign(copied, copied / SIGNATURE)
        with pytest.raises(TrustError, match=left_out):
            open_bundle(copied, Trust(signed_by=public))


def test_a_payload_that_was_exchanged_is_refused(released, copied):
    document = json.loads((copied / SIGNATURE).read_text())
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"].pop()
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (copied / SIGNATURE).write_text(json.dumps(document))
    with pytest.raises(TrustError, match="signed with"):
        open_bundle(copied, Trust(signed_by=released[1]))


def test_files_that_change_after_the_check_are_refused(released, copied, digits):
    opened = open_bundle(copied, Trust(signed_by=released[1]))
    changed(copied / "encoder.fp32.onnx", 1000)
    with pytest.raises(TamperedError):
        Encoder(opened)
    (copied / "manifest.json").write_text("{}")
    assert opened.manifest.name  # what was checked is what is used


def test_the_signature_is_one_that_model_signing_itself_verifies(released):
    import model_signing

    signed, public = released
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(signed, signed / SIGNATURE)


@pytest.mark.parametrize("curve", ["SECP384R1", "SECP521R1"])
def test_other_curves_work_and_keys_that_are_none_are_told(copied, tmp_path, curve):
    private, public = keys(tmp_path / "keys", curve)
    sign_bundle(copied, private)
    open_bundle(copied, Trust(signed_by=public))
    for wrong in (private, tmp_path / "nowhere.pub", copied / "manifest.json"):
        with pytest.raises(KeyFileError, match=r"expected a"):
            open_bundle(copied, Trust(signed_by=wrong))
    with pytest.raises(KeyFileError, match="private key"):
        sign_bundle(copied, public)


def test_only_an_intact_folder_is_signed(copied, tmp_path):
    private, _ = keys(tmp_path / "keys")
    changed(copied / "decoder.fp32.onnx", 1000)
    with pytest.raises(TamperedError):
        sign_bundle(copied, private)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(SettingError, match="folder"):
        sign_bundle(tmp_path / "packed.zip", private)


def test_without_the_extra_it_is_named(released, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtraError, match=r"latentwire\[sign\]"):
        open_bundle(released[0], Trust(signed_by=released[1]))


def test_a_pin_holds_the_very_bundle_and_a_codec_id_any_of_it(bundle, copied, digits):
    opened = open_bundle(bundle)
    exact, kind = f"{bundle}@{opened.pin}", f"{bundle}@codec:{opened.manifest.codec_id}"
    for codec in (exact, kind, f"{exact}@codec:{opened.manifest.codec_id}"):
        assert Encoder(codec).encode(digits[:2]) == Encoder(bundle).encode(digits[:2])
    assert Encoder(bundle, trust=Trust((opened.pin,))).codec_id == opened.manifest.codec_id
    document = json.loads((copied / "manifest.json").read_text())
    document["name"] += "x"
    (copied / "manifest.json").write_text(json.dumps(document))
    open_bundle(f"{copied}@codec:{opened.manifest.codec_id}")
    for wrong in (f"{copied}@{opened.pin}", f"{bundle}@codec:{'0' * 64}", f"{kind}@sha256:{'0' * 64}"):
        with pytest.raises(TrustError, match="pinned"):
            open_source(wrong)
    with pytest.raises(TrustError, match="pinned"):
        Encoder(open_bundle(copied), trust=Trust((opened.pin,)))


def test_a_pinned_manifest_is_checked_before_it_is_read(copied):
    (copied / "manifest.json").write_text("not even JSON")
    with pytest.raises(TrustError, match="pinned"):
        open_bundle(f"{copied}@sha256:{'0' * 64}")


def test_a_lone_file_is_pinned_by_its_own_hash(bundle, tmp_path):
    from latentwire.runtime.bundle.trust import pin_of

    place = Path(shutil.copy(bundle / "encoder.fp32.onnx", tmp_path))
    assert Encoder(f"{place}@{pin_of(place.read_bytes())}").variant == "fp32"
    with pytest.raises(TrustError, match="pinned"):
        Encoder(f"{place}@sha256:{'0' * 64}")


@pytest.mark.parametrize("pin", ["sha256:abc", "codec:" + "F" * 64, "sha256:" + "0" * 65])
def test_a_pin_of_another_form_is_refused(bundle, pin):
    with pytest.raises(SettingError, match="pin"):
        Encoder(f"{bundle}@{pin}")


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_sign_verify_and_pin(bundle, tmp_path, digits, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    private, public = keys(tmp_path / "keys")
    place = Path(shutil.copytree(bundle, tmp_path / "digits"))
    assert str(place / SIGNATURE) in run("sign", place, "--key", private)
    assert json.loads(run("trust", "verify", place, "--require-signature", public, "--json"))["signed"] is True
    pinned = run("trust", "pin", place).strip()
    assert pinned == f"{place}@{open_bundle(place).pin}"
    np.save(tmp_path / "items.npy", digits[:3])
    for name in ("encode", "selftest", "doctor"):
        rest = [tmp_path / "items.npy", "--out", tmp_path / "out.lw"] if name == "encode" else []
        run(name, pinned, *rest, "--require-signature", public)
        changed(place / "CARD.md", 0)
        done = CliRunner().invoke(main, [name, str(place), *map(str, rest), "--require-signature", str(public)])
        assert done.exit_code == 1 and "TrustError" in done.output, done.output
        changed(place / "CARD.md", 0)
    for name, rest in {
        "serve": ["--sink", "sink", "--no-auth"],
        "send": ["items.npy", "--to", "http://127.0.0.1:1"],
    }.items():
        done = CliRunner().invoke(main, [name, str(bundle), *rest, "--require-signature", str(public)])
        assert done.exit_code == 1 and "TrustError" in done.output, done.output
    done = CliRunner().invoke(main, ["trust", "verify", f"{place}@sha256:{'0' * 64}"])
    assert done.exit_code == 1 and "pinned" in done.output
