"""What a device installs is pinned by hashes, in the versions of the suite; an audit that asked nobody fails."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DEVICE = ROOT / "requirements-device.txt"
ENTRY = r"^(?P<line>[\w.-]+==[^\\\n]+?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
LINE = re.compile(ENTRY, re.MULTILINE)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_every_package_of_a_device_is_pinned_as_in_the_constraints():
    writer, text = script("device_requirements"), DEVICE.read_text(encoding="utf-8")
    found = {writer.plain(entry["line"].partition("==")[0]): entry for entry in LINE.finditer(text)}
    rest = LINE.sub("", text)
    assert all(line.startswith("#") for line in rest.splitlines())
    assert sorted(found) == writer.needed()
    constraints = writer.pinned()
    for name, entry in found.items():
        assert entry["line"] == constraints[name], "run tests/packaging/device_requirements.py"
        digests = re.findall(r"[0-9a-f]{64}", entry["hashes"])
        assert digests and len(set(digests)) == len(digests)
    assert len(re.findall("--hash", found["onnxruntime"]["hashes"])) > 10  # of every machine


def document(**packages: dict) -> str:
    return json.dumps({"dependencies": [{"name": name, "version": "1", **facts} for name, facts in packages.items()]})


CLEAN, WEAK, SKIPPED = {"vulns": []}, {"vulns": [{"id": "CVE-1"}]}, {"skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([document(a=CLEAN, b=CLEAN), document(a=CLEAN, b=CLEAN)], 0),
        ([document(a=CLEAN, b=SKIPPED), document(a=SKIPPED, b=CLEAN)], 0),
        ([document(a=CLEAN, b=CLEAN), "no connection"], 0),
        ([document(a=CLEAN, b=WEAK), "no connection"], 1),
        ([document(a=SKIPPED, b=WEAK), document(a=SKIPPED, b=CLEAN)], 1),
        ([document(a=CLEAN, b=SKIPPED), "no connection"], 3),
        ([document(a=SKIPPED), document(a=SKIPPED)], 3),
        (["", "no connection"], 3),
        ([document(), document()], 3),
    ],
)
def test_an_audit_says_when_nobody_was_asked(answers, code):
    audit = script("audit")
    assert audit.joined([audit.told(str(place), text, "") for place, text in enumerate(answers)]).exit_code == code
