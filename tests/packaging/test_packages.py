"""The package is complete: what is in the folders is in the wheel, and the wheel alone works."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from latentwire import runtime

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LAYERS = ("export", "runtime", "train")
CODECS = "artifacts"
BESIDE = ("benchmarks", "docs", "examples", "tests")
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "SECURITY.md")
FILES += ("constraints.txt", "requirements-device.txt", ".pre-commit-config.yaml", "pyproject.toml")
LEFT_OVER = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
MEGABYTE = 1_000_000


def project(folder: Path) -> dict[str, Any]:
    """What a distribution says of itself."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


PROJECT = project(ROOT)


def files_of(layer: str) -> list[Path]:
    """What a layer's folder holds, relative to the root."""
    found = (path.relative_to(ROOT) for path in (ROOT / layer).rglob("*") if path.is_file())
    built = {"__pycache__", "build"}
    return sorted(path for path in found if not built & set(path.parts) and ".egg-info" not in str(path.parent))


def build(source: Path, target: Path, kind: str = "wheel") -> Path:
    """The distribution of a copied source, so that nothing left over from another build gets in."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a device installs."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=LEFT_OVER)
    return build(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ready codecs."""
    source = tmp_path_factory.mktemp("source") / CODECS
    shutil.copytree(ROOT / CODECS, source, ignore=LEFT_OVER)
    return build(source, tmp_path_factory.mktemp("codecs"))


def test_the_list_of_packages_equals_the_folders():
    folders = {path.parent for layer in LAYERS for path in files_of(layer) if path.name == "__init__.py"}
    packages = {f"latentwire.{'.'.join(folder.parts)}" for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    assert all((ROOT / layer / "py.typed").is_file() for layer in (*LAYERS, CODECS))
    assert not (ROOT / "__init__.py").exists()


def test_every_entry_point_names_a_layer_that_is_packaged():
    for target in PROJECT["project"]["entry-points"]["latentwire.commands"].values():
        assert target.partition(":")[0].rpartition(".")[0] in PROJECT["tool"]["setuptools"]["packages"]


def test_the_base_install_is_small():
    names = [requirement.partition(">")[0] for requirement in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["click", "numpy", "onnxruntime"]


def test_both_distributions_have_one_version():
    assert project(ROOT / CODECS)["project"]["version"] == PROJECT["project"]["version"]


def test_the_runtime_says_its_version():
    assert runtime.__version__ == PROJECT["project"]["version"]
    assert not hasattr(runtime, "version")


def packed_in(wheel: Path) -> set[str]:
    """The modules and data of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("latentwire/")}


@pytest.mark.slow
def test_the_wheel_contains_every_file(wheel):
    assert packed_in(wheel) == {f"latentwire/{path.as_posix()}" for layer in LAYERS for path in files_of(layer)}


@pytest.mark.slow
def test_the_codecs_wheel_contains_every_file_but_the_weights(codecs):
    """Weights to go on training from stay in the repository: who runs a codec has no use for them."""
    files = {f"latentwire/{path.as_posix()}" for path in files_of(CODECS) if path.name != "pyproject.toml"}
    assert packed_in(codecs) == {name for name in files if not name.startswith("latentwire/artifacts/weights/")}


@pytest.mark.slow
def test_the_source_distribution_holds_docs_examples_benchmarks_and_tests(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    fetched = shutil.ignore_patterns("__pycache__", "node_modules", "headers")
    for folder in (*LAYERS, *BESIDE):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=fetched)
    wanted = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    fetched_later = ("matrix/javascript/node_modules/a.js", "matrix/headers/a.h", "__pycache__/a.pyc")
    for left_over in (tmp_path / "tests" / name for name in fetched_later):
        left_over.parent.mkdir(parents=True)
        left_over.touch()
    (tmp_path / "out").mkdir()
    with tarfile.open(build(tmp_path, tmp_path / "out", "sdist")) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"} | {name for name in held if name.startswith("latentwire.egg-info/")}
    assert held - made == wanted


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment in which the wheel is installed and nothing else was asked for."""
    place = tmp_path_factory.mktemp("device")
    venv.create(place, with_pip=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    command = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt"]
    subprocess.run([*command, wheel], check=True, capture_output=True)
    return scripts


@pytest.mark.slow
def test_the_base_install_takes_less_than_150_megabytes(device):
    """Without byte code: Python writes it for modules that are used, pip for all unless told --no-compile."""
    sizes: Counter[str] = Counter()
    for site in device.parent.glob("**/site-packages"):
        for path in site.rglob("*"):
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
                sizes[path.relative_to(site).parts[0]] += path.stat().st_size
    ours = {name: size for name, size in sizes.items() if not name.startswith(("pip", "setuptools"))}
    assert {"latentwire", "numpy", "onnxruntime"} <= set(ours)
    assert ours["latentwire"] < 2.5 * MEGABYTE, "of which the runtime has one"
    assert sum(ours.values()) < 150 * MEGABYTE, sizes.most_common(8)


def call(device: Path, *arguments: object, stdin: bytes | None = None, status: int = 0) -> subprocess.CompletedProcess:
    command = [device / "latentwire", *map(str, arguments)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=device.parent, env=environment)
    assert result.returncode == status, result.stderr.decode()
    return result


@pytest.mark.slow
def test_the_wheel_alone_encodes_decodes_inspects_and_tests_itself(device):
    codec, items = ROOT / CODECS / "mnist", bytes(range(196)) * 4 * 3  # three of 784 values
    stream = call(device, "encode", codec, "-", "--raw", stdin=items).stdout
    assert 0 < len(stream) < len(items) / 2
    assert b'"packets": 1' in call(device, "inspect", "-", "--json", stdin=stream).stdout
    assert len(call(device, "decode", codec, "-", "--format", "raw", stdin=stream).stdout) == len(items)
    assert b'"passed": true' in call(device, "selftest", codec, "--json").stdout
    call(device, "decode", codec, "-", stdin=stream[:-1], status=4)


@pytest.mark.slow
def test_ready_codecs_go_by_their_names_once_they_are_installed(device, codecs):
    assert b"pip install latentwire-codecs" in call(device, "selftest", "mnist", status=2).stderr
    command = [device / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", codecs]
    subprocess.run(command, check=True, capture_output=True)
    assert b'"passed": true' in call(device, "selftest", "mnist", "--json").stdout


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
