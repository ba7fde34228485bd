"""The package is complete: what is in the folders is in the wheel, and the wheel alone works."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LAYERS = ("artifacts", "export", "runtime", "train")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def files_of(layer: str) -> list[Path]:
    """What a layer's folder holds, relative to the root."""
    found = (path.relative_to(ROOT) for path in (ROOT / layer).rglob("*") if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing left over from another build gets in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_list_of_packages_equals_the_folders():
    folders = {path.parent for layer in LAYERS for path in files_of(layer) if path.name == "__init__.py"}
    packages = {f"latentwire.{'.'.join(folder.parts)}" for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    assert all((ROOT / layer / "py.typed").is_file() for layer in LAYERS)
    assert not (ROOT / "__init__.py").exists()


def test_every_entry_point_names_a_layer_that_is_packaged():
    for target in PROJECT["project"]["entry-points"]["latentwire.commands"].values():
        assert target.partition(":")[0].rpartition(".")[0] in PROJECT["tool"]["setuptools"]["packages"]


def test_the_base_install_is_small():
    names = [requirement.partition(">")[0] for requirement in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["click", "numpy", "onnxruntime"]


@pytest.mark.slow
def test_the_wheel_contains_every_file_but_the_weights(wheel):
    """Weights to go on training from stay in the repository: a device has no use for them."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("latentwire/")}
    files = {f"latentwire/{path.as_posix()}" for layer in LAYERS for path in files_of(layer)}
    assert packed == {name for name in files if not name.startswith("latentwire/artifacts/weights/")}


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment in which the wheel is installed and nothing else was asked for."""
    place = tmp_path_factory.mktemp("device")
    venv.create(place, with_pip=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    install = [scripts / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return scripts


def call(device: Path, *arguments: object, stdin: bytes | None = None, status: int = 0) -> subprocess.CompletedProcess:
    command = [device / "latentwire", *map(str, arguments)]
    result = subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=device.parent)
    assert result.returncode == status, result.stderr.decode()
    return result


@pytest.mark.slow
def test_the_wheel_alone_encodes_decodes_inspects_and_tests_itself(device):
    items = bytes(range(196)) * 4 * 3  # three of 784 values
    stream = call(device, "encode", "mnist", "-", "--raw", stdin=items).stdout
    assert 0 < len(stream) < len(items) / 2
    assert b'"packets": 1' in call(device, "inspect", "-", "--json", stdin=stream).stdout
    assert len(call(device, "decode", "mnist", "-", "--format", "raw", stdin=stream).stdout) == len(items)
    assert b'"passed": true' in call(device, "selftest", "mnist", "--json").stdout
    call(device, "decode", "mnist", "-", stdin=stream[:-1], status=4)


@pytest.mark.slow
def test_the_wheel_alone_says_which_extra_a_command_needs(device):
    train = call(device, "train", "dense", "--data", ".", "--out", "run", status=2)
    assert b"pip install 'latentwire[train]'" in train.stderr
    assert b"pip install 'latentwire[export]'" in call(device, "verify", ".", status=2).stderr
    assert b"encode" in call(device, "--help").stdout


@pytest.mark.slow
def test_the_wheel_alone_brings_no_training_library(device):
    listed = subprocess.run([device / "python", "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    names = {line.split()[0].lower() for line in listed.splitlines()[2:]}
    assert {"numpy", "onnxruntime", "click"} <= names
    assert not names & {"torch", "onnx", "onnxscript", "pillow", "matplotlib", "scipy"}
