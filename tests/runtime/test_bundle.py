import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from latentwire.runtime import Decoder, Encoder, open_bundle
from latentwire.runtime.bundle import storage
from latentwire.runtime.bundle.bundle import find_codec
from latentwire.runtime.errors import BundleNotFoundError, ManifestError, TamperedError, VariantError


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def zipped(bundle: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(bundle.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + str(file.relative_to(bundle)))
    return target


@pytest.mark.parametrize("prefix", ["", "digits/"])
def test_a_zip_is_as_good_as_the_folder(bundle, tmp_path, digits, prefix):
    packed = zipped(bundle, tmp_path / "digits.zip", prefix)
    assert open_bundle(packed).check_files() == open_bundle(bundle).check_files() > 10
    packet = Encoder(packed).encode(digits[:5])
    assert packet == Encoder(bundle).encode(digits[:5])
    assert np.array_equal(Decoder(packed).decode(packet), Decoder(bundle).decode(packet))


def test_every_file_is_checked_over_the_bytes_that_are_loaded(copied):
    entries = [entry.file for entry in open_bundle(copied).manifest.files]
    golden = [reference.file for reference in open_bundle(copied).manifest.golden.files()]
    for name in entries + golden:
        intact = (copied / name).read_bytes()
        middle = len(intact) // 2
        (copied / name).write_bytes(intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :])
        with pytest.raises(TamperedError, match=name):
            open_bundle(copied).check_files()
        (copied / name).write_bytes(intact)
    open_bundle(copied).check_files()


def test_a_tampered_model_is_refused_before_it_runs(copied):
    with (copied / "encoder.fp32.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(TamperedError):
        Encoder(copied)


def test_a_model_of_another_codec_is_refused_even_with_a_fitting_hash(copied):
    document = json.loads((copied / "manifest.json").read_text())
    document["codec_id"] = "00" * 32
    (copied / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(TamperedError, match="metadata"):
        Encoder(copied)


def test_a_missing_file_and_a_missing_manifest_say_so(copied):
    (copied / "decoder.fp32.onnx").unlink()
    with pytest.raises(TamperedError, match=r"decoder\.fp32\.onnx"):
        Decoder(copied)
    (copied / "manifest.json").unlink()
    with pytest.raises(BundleNotFoundError, match=r"manifest\.json"):
        open_bundle(copied)


def test_a_zip_that_unpacks_to_more_than_recorded_is_refused(bundle, tmp_path):
    packed = zipped(bundle, tmp_path / "bomb.zip")
    with zipfile.ZipFile(packed) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data + bytes(1 << 24) if name == "encoder.fp32.onnx" else data)
    with pytest.raises(TamperedError, match="at most"):
        Encoder(packed)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_a_file_that_is_no_bundle_is_an_error(tmp_path, content):
    file = tmp_path / "codec.zip"
    file.write_bytes(content)
    with pytest.raises(ManifestError, match="zip"):
        open_bundle(file)


@pytest.mark.parametrize("codec", ["no-such-codec", "no/such/codec", "nothing.onnx"])
def test_a_codec_that_is_nowhere_says_what_was_looked_for(codec):
    with pytest.raises(BundleNotFoundError, match=codec):
        find_codec(codec)


def test_a_lone_onnx_file_is_still_usable(bundle, tmp_path, digits):
    for name in ("encoder.fp32.onnx", "decoder.int8.onnx"):
        shutil.copy(bundle / name, tmp_path / name)
    encoder, decoder = Encoder(tmp_path / "encoder.fp32.onnx"), Decoder(tmp_path / "decoder.int8.onnx")
    assert (encoder.variant, decoder.variant) == ("fp32", "int8")
    assert encoder.codec_id == decoder.codec_id
    packet = encoder.encode(digits[:7], 200)
    assert packet == Encoder(bundle).encode(digits[:7], 200)
    assert np.array_equal(decoder.decode(packet), Decoder(bundle, variant="int8").decode(packet))
    assert encoder.encode(digits[:7], max_bytes=40) == Encoder(bundle).encode(digits[:7], max_bytes=40)
    with pytest.raises(VariantError):
        decoder.latents(packet)
    with pytest.raises(VariantError):
        Encoder(tmp_path / "decoder.int8.onnx")


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path):
    import onnx

    graph = onnx.helper.make_graph([], "empty", [], [])
    (tmp_path / "other.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ManifestError, match="metadata"):
        Encoder(tmp_path / "other.onnx")


def raw_zip(target: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(target, "w", options.get("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def test_a_zip_that_unpacks_to_far_more_than_it_is_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    packed = raw_zip(tmp_path / "bomb.zip", {"manifest.json": b"{}", "golden/zeros.npy": bytes(1 << 26)})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ManifestError, match="unpack to at most"):
        open_bundle(packed)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "..\\outside"])
def test_a_zip_with_names_outside_of_it_is_refused(tmp_path, name):
    packed = raw_zip(tmp_path / "names.zip", {"manifest.json": b"{}", "placeholder": b""})
    data = packed.read_bytes()
    assert len(name) <= len("placeholder")
    packed.write_bytes(data.replace(b"placeholder", name.encode().ljust(len("placeholder"), b"x")))
    with pytest.raises(ManifestError, match="names inside"):
        open_bundle(packed)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_that_has_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("manifest.json", "{} ")
    with pytest.raises(ManifestError, match="once"):
        open_bundle(tmp_path / "twice.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_packed_otherwise_is_refused(tmp_path, method):
    packed = raw_zip(tmp_path / "other.zip", {"manifest.json": b"{}"}, method=method)
    with pytest.raises(ManifestError, match="stored or deflated"):
        open_bundle(packed)


def test_a_zip_whose_list_of_names_is_long_is_refused_before_it_is_read(tmp_path, monkeypatch):
    many = raw_zip(tmp_path / "many.zip", {f"{number:0100}": b"" for number in range(8000)})
    larger = tmp_path / "larger.zip"
    # A second list behind the first, as zips above 4 GiB have it, would be believed instead.
    plain = raw_zip(tmp_path / "plain.zip", {"manifest.json": b"{}"}).read_bytes()
    larger.write_bytes(plain[:-22] + b"PK\x06\x07" + bytes(16) + plain[-22:])
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the list was read"))
    for packed in (many, larger):
        with pytest.raises(ManifestError, match="list of at most"):
            open_bundle(packed)


def test_an_array_that_claims_more_than_is_there_allocates_nothing(copied):
    document = json.loads((copied / "manifest.json").read_text())
    place = document["golden"]["input"]["file"]
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 8)}".ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
    objects = b"{'descr': '|O', 'fortran_order': False, 'shape': (8,)}".ljust(117) + b"\n"
    pickled = b"\x93NUMPY\x01\x00" + len(objects).to_bytes(2, "little") + objects + bytes(64)
    for content in (data, pickled, b"PK\x03\x04", b""):
        (copied / place).write_bytes(content)
        document["golden"]["input"]["sha256"] = hashlib.sha256(content).hexdigest()
        (copied / "manifest.json").write_text(json.dumps(document))
        opened = open_bundle(copied)
        with pytest.raises(ManifestError, match=place):
            opened.read_array(opened.manifest.golden.input)


def test_the_bytes_that_are_hashed_are_those_that_are_loaded(copied, monkeypatch):
    """Files that change while they are read are read once: model, hash, metadata and judgement share the bytes."""
    read = []
    kept = storage.Folder.read
    monkeypatch.setattr(storage.Folder, "read", lambda self, name, limit: read.append(name) or kept(self, name, limit))
    opened = open_bundle(copied)
    Encoder(opened)
    assert read == ["manifest.json", "encoder.fp32.onnx"]
