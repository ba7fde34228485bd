import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.runtime import selftest
from latentwire.runtime.errors import SelftestError


def forge(bundle: Path, target: Path, kind: str, array: np.ndarray | bytes) -> Path:
    """A copy of the bundle whose last golden case has another file of that kind, hash included."""
    copy = Path(shutil.copytree(bundle, target / kind))
    document = json.loads((copy / "manifest.json").read_text())
    reference = document["golden"]["cases"][-1][kind]
    if isinstance(array, bytes):
        (copy / reference["file"]).write_bytes(array)
    else:
        np.save(copy / reference["file"], array)
    reference["sha256"] = hashlib.sha256((copy / reference["file"]).read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(document))
    return copy


def golden(bundle: Path, kind: str) -> Path:
    document = json.loads((bundle / "manifest.json").read_text())
    return bundle / document["golden"]["cases"][-1][kind]["file"]


def failed(bundle: Path) -> list[str]:
    report = selftest(bundle)
    assert report.passed == all(check.passed for check in report.checks)
    return [check.name for check in report.checks if not check.passed]


def test_an_intact_bundle_passes(bundle):
    selftest(bundle).raise_on_failure()


def test_other_symbols_fail(bundle, tmp_path):
    symbols = np.load(golden(bundle, "symbols"))
    symbols[3, 0] += 1
    copy = forge(bundle, tmp_path, "symbols", symbols)
    assert failed(copy) == ["quality 255: golden packet to symbols"]
    with pytest.raises(SelftestError, match="1 of 160 symbols differ"):
        selftest(copy).raise_on_failure()


def test_one_level_is_within_the_tolerance_and_two_are_not(bundle, tmp_path):
    output = np.load(golden(bundle, "output"))
    output[0, 0] += 1
    assert failed(forge(bundle, tmp_path / "one", "output", output)) == []
    output[0, 0] += 1
    assert failed(forge(bundle, tmp_path / "two", "output", output)) == [
        "quality 255: golden packet to output, fp32 decoder"
    ]


def test_another_packet_fails(bundle, tmp_path):
    other = golden(bundle, "packet").with_name("q128.packet").read_bytes()
    names = failed(forge(bundle, tmp_path, "packet", other))
    assert "quality 255: golden latents to packet" in names
    assert "quality 255: golden packet to symbols" in names
