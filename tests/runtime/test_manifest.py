import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.bundle.identity import Metadata
from latentwire.runtime.bundle.manifest import Manifest
from latentwire.runtime.bundle.onnxfile import read_metadata, wire_fields
from latentwire.runtime.errors import ManifestError, VariantError
from latentwire.runtime.strictjson import parse
from latentwire.runtime.wire.packet import Limits


@pytest.fixture(scope="module")
def document(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def every_object(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all objects whose keys the schema names."""
    if isinstance(value, list):
        return [found for place, entry in enumerate(value) for found in every_object(entry, (*path, place))]
    if not isinstance(value, dict) or path[:1] == ("parity",) or (path[:1] == ("provenance",) and len(path) > 1):
        return []
    return [path, *(found for key, entry in value.items() for found in every_object(entry, (*path, key)))]


def at(document: Any, path: tuple) -> Any:
    for step in path:
        document = document[step]
    return document


def test_what_is_written_is_what_was_read(document):
    manifest = Manifest.from_json(document)
    assert manifest.to_json() == document
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_provider_that_the_table_lacks_gets_what_the_cpu_gets(document):
    changed = copy.deepcopy(document)
    changed["provider_variants"] = {"cpu": changed["provider_variants"]["cpu"]}
    manifest = Manifest.from_json(changed)
    assert manifest.default_variant == {"encoder": "fp32", "decoder": "fp32"}
    assert manifest.to_json() == changed


def test_every_missing_and_every_unknown_key_is_an_error(document):
    paths = every_object(document)
    assert len(paths) > 30
    for path in paths:
        for key in at(document, path):
            if path == ("provider_variants",) and key != "cpu":
                continue  # a bundle need not know of every provider
            changed = copy.deepcopy(document)
            del at(changed, path)[key]
            with pytest.raises(ManifestError, match=f"key '{key}'"):
                Manifest.from_json(changed)
        changed = copy.deepcopy(document)
        at(changed, path)["surprise"] = 1
        with pytest.raises(ManifestError, match="surprise"):
            Manifest.from_json(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("packet_version",), 2),
        (("codec_id",), "AB" * 32),
        (("default_quality",), 256),
        (("default_quality",), True),
        (("provider_variants", "cpu", "encoder"), "fp64"),
        (("provider_variants", "cuda", "decoder"), "fp64"),
        (("size_axes",), [0, 1]),
        (("limits", "size"), []),
        (("limits", "size"), [0]),
        (("limits", "size"), [1, 1, 1, 1, 1]),
        (("limits", "size"), [[]]),
        (("limits", "size"), [[1, 0]]),
        (("limits", "size"), [[[1]]]),
        (("limits", "size"), [True]),
        (("limits", "size"), [1 << 32]),
        (("limits", "area"), 0),
        (("limits", "area"), None),
        (("files", 0, "role"), "codec"),
        (("files", 1), None),
        (("parity",), []),
        (("golden", "cases", 0, "quality"), -1),
        (("golden", "cases"), []),
        (("provenance", "tools"), "onnx"),
    ],
)
def test_a_value_outside_the_schema_is_an_error(document, path, value):
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    with pytest.raises(ManifestError, match="expected"):
        Manifest.from_json(changed)


def test_listed_lengths_and_an_area_survive_json_and_no_area_is_left_out(document):
    assert document["limits"] == {"size": [65535]}
    changed = document | {"size_axes": [0, 1, 2], "limits": {"size": [65535, 65535, [1, 3]], "area": 100663296}}
    manifest = Manifest.from_json(changed)
    assert manifest.identity.limits == Limits((65535, 65535, (1, 3)), area=100663296)
    assert manifest.to_json() == changed


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:/x", "", ".", "..", "a//b", "a/", "con:", ".hidden", "a\0b"]
)
def test_a_path_that_leaves_the_bundle_is_an_error(document, name):
    for path in (("files", 0), ("golden", "input"), ("golden", "cases", 0, "packet")):
        changed = copy.deepcopy(document)
        at(changed, path)["file"] = name
        with pytest.raises(ManifestError, match="file"):
            Manifest.from_json(changed)


def test_a_role_and_variant_may_stand_only_once(document):
    changed = copy.deepcopy(document)
    changed["files"].append(changed["files"][0])
    with pytest.raises(ManifestError, match="once"):
        Manifest.from_json(changed)


def test_a_missing_variant_names_those_that_are_there(document):
    with pytest.raises(VariantError, match=r"found only .*encoder\.fp32"):
        Manifest.from_json(document).model("encoder", "int4")


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", '{"a": 1, "a": 2}', "[" * 100_000, b"\xff\xfe"])
def test_bad_json_is_an_error_with_a_place(text):
    with pytest.raises(ManifestError, match="somewhere"):
        parse(text, "somewhere")


def test_metadata_of_a_real_file_survives_json(bundle):
    metadata = read_metadata((bundle / "encoder.fp32.onnx").read_bytes(), "encoder")
    assert (metadata.role, metadata.variant) == ("encoder", "fp32")
    assert Metadata.from_json(metadata.to_json()) == metadata


@given(st.binary(max_size=200))
def test_any_bytes_are_protobuf_fields_or_an_error(data):
    try:
        fields = list(wire_fields(data, "file"))
    except ManifestError:
        return
    assert sum(field.length for field in fields) == len(data)
