"""The places where the matrix runs: each made once, in a folder of its own, from package registries.

A place that cannot be made here is skipped, with the reason. Nothing is installed on the system: Debian packages are
unpacked into the folder, wheels and npm packages live beside them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix.browser import FLAGS

HERE = Path(__file__).parent
OLDEST = "1.20.1"
"""The oldest ONNX Runtime that `pyproject.toml` accepts, in its last bug fix release."""
OPENVINO = "onnxruntime-openvino==1.24.1"
ARM_ONNXRUNTIME = "1.27.0"
"""The newest that starts under emulation (later ones stop at import in QEMU 7.2)."""
ARM_PACKAGES = (
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "libssl3",
    "libbz2-1.0",
    "liblzma5",
)
JAVASCRIPT = HERE / "javascript"
DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
HEADERS = HERE / "headers"
HEADERS_SUITE = "trixie"
"""The first Debian that has ONNX Runtime; its headers, of 1.21, go with every later library."""


class SkippedError(Exception):
    """A place that cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where cells run.

    Attributes:
        name: for the table.
        prepare: makes the place below a folder and returns the command that a cell's arguments follow.
        levels: optimisation levels to run at.
        threads: numbers of threads to run with.
        providers: execution providers, the preferred one first, without the end of their names.
        inputs: encode every so-manieth input; emulated processors are slow, and read every packet of all places.
        outputs: compare every so-manieth output.
    """

    name: str
    prepare: Callable[[Path], list[str]]
    levels: tuple[str, ...] = ("all",)
    threads: tuple[int, ...] = (1,)
    providers: tuple[str, ...] = ("CPU",)
    inputs: int = 1
    outputs: int = 1


def run(command: Sequence[str | Path], **options: object) -> str:
    """A command's stdout; SkippedError with its last line where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError) as fault:
        lines = str(getattr(fault, "stderr", "") or fault).strip().splitlines() or ["nothing said"]
        raise SkippedError(f"{words[0]}: {lines[-1]}") from fault
    return str(done.stdout)


def need(*programs: str) -> None:
    """SkippedError unless all of these programs are there."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise SkippedError(f"{', '.join(missing)} not found")


def debian(folder: Path, packages: Sequence[str], architecture: str, suite: str | None = None) -> Path:
    """Debian packages of an architecture, unpacked into one folder; no root rights, nothing else is touched.

    They come from the sources that this machine has, or from Debian's ``suite``.
    """
    root = folder / f"debian-{architecture}"
    done = root / f".done-{'-'.join(packages)[:60]}"
    if done.exists():
        return root
    need("apt-get", "dpkg")
    state, cache = folder / f"apt-{architecture}", folder / f"debs-{architecture}"
    for part in (state / "lists/partial", state / "archives/partial", cache, root):
        part.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    private = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    if suite is not None:
        sources = state / "sources.list"
        sources.write_text(f"deb [signed-by={DEBIAN_KEYS}] http://deb.debian.org/debian {suite} main\n")
        private |= {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null"}
    options = [part for key, entry in private.items() for part in ("-o", f"{key}={entry}")]
    run(["apt-get", *options, "-qq", "update"])
    run(["apt-get", *options, "-qq", "download", *packages], cwd=cache)
    for package in sorted(cache.glob("*.deb")):
        run(["dpkg", "-x", package, root])
    done.touch()
    return root


def compiled(folder: Path, source: Path) -> Path:
    """A C++ program made of one file, with Debian's headers of ONNX Runtime and the library of its wheel.

    What is missing is a reason to skip; what does not compile is not.
    """
    import onnxruntime

    need("g++")
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = next(capi.glob("libonnxruntime.so.*"), None)
    if library is None:
        raise SkippedError(f"no libonnxruntime.so in {capi}")
    headers = debian(HEADERS, ["libonnxruntime-dev"], "amd64", HEADERS_SUITE) / "usr/include/onnxruntime"
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(library)
    program = folder / source.stem
    search = ["-I", headers, "-L", folder, f"-Wl,-rpath,{folder}"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, *search, source, "-lonnxruntime", "-o", program], check=True)
    return program


def wheels(folder: Path, requirements: Sequence[str], tags: Sequence[str]) -> Path:
    """Wheels for another processor and Python 3.11, unpacked into one folder."""
    target = folder / f"wheels-{tags[0]}"
    if (target / ".done").exists():
        return target
    loose = folder / f"downloads-{tags[0]}"
    platforms = [part for tag in tags for part in ("--platform", tag)]
    python = ["--python-version", "3.11", "--implementation", "cp", "--only-binary", ":all:", "--no-deps"]
    run([sys.executable, "-m", "pip", "download", "-q", *python, *platforms, "-d", loose, *requirements])
    for wheel in sorted(loose.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    (target / ".done").touch()
    return target


def here(_: Path) -> list[str]:
    """This Python and the ONNX Runtime that it has."""
    return [sys.executable, str(HERE / "cell.py")]


def cuda(folder: Path) -> list[str]:
    """This Python, where its ONNX Runtime finds a GPU."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise SkippedError("this ONNX Runtime has no CUDA execution provider (onnxruntime-gpu brings it)")
    need("nvidia-smi")
    run(["nvidia-smi"])
    return here(folder)


def installed(*requirements: str) -> Callable[[Path], list[str]]:
    """A Python of its own with these packages."""

    def prepare(folder: Path) -> list[str]:
        home = folder / "_".join(requirement.replace("==", "-").replace("<", "-") for requirement in requirements)
        python = home / "bin/python"
        if not (home / ".done").exists():
            run([sys.executable, "-m", "venv", home])
            run([python, "-m", "pip", "install", "-q", *requirements])
            (home / ".done").touch()
        return [str(python), str(HERE / "cell.py")]

    return prepare


openvino = installed(OPENVINO, "numpy", "click")
"""Another provider than the CPU's that any x86-64 machine can run; with what the runtime needs."""


OWN_KERNELS = ("-U", "OPENBLAS_CORETYPE")
"""Of QEMU: NumPy's BLAS looks at the emulated processor, where the environment may name kernels for the host."""


def emulated(model: str) -> Callable[[Path], list[str]]:
    """This very Python under an emulated x86-64 processor."""

    def prepare(folder: Path) -> list[str]:
        if platform.machine() != "x86_64":
            raise SkippedError(f"emulates the same Python on x86-64, found {platform.machine()}")
        emulator = debian(folder / "qemu", ["qemu-user-static"], "amd64") / "usr/bin/qemu-x86_64-static"
        return [str(emulator), "-cpu", model, *OWN_KERNELS, sys.executable, str(HERE / "cell.py")]

    return prepare


haswell = emulated("Haswell-noTSX")
"""Without VNNI, where full-range u8 x s8 products saturate in pairs."""
nehalem = emulated("Nehalem")
"""Without fused multiplication and addition: float sums round differently."""


def arm(folder: Path) -> list[str]:
    """Debian's Python and aarch64 wheels under an emulated Cortex-A72."""
    emulator = debian(folder / "qemu", ["qemu-user-static"], "amd64") / "usr/bin/qemu-aarch64-static"
    root = debian(folder / "arm64", ARM_PACKAGES, "arm64")
    tags = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
    site = wheels(folder / "arm64", [f"onnxruntime=={ARM_ONNXRUNTIME}", "numpy==2.2.6"], tags)
    python = [str(emulator), "-cpu", "cortex-a72", *OWN_KERNELS, "-L", str(root), "-E", f"PYTHONPATH={site}"]
    return [*python, str(root / "usr/bin/python3.11"), str(HERE / "cell.py")]


def packages(_: Path) -> None:
    """The npm packages of the JavaScript cells, as their lock file says."""
    need("node", "npm")
    if not (JAVASCRIPT / "node_modules/.package-lock.json").exists():
        skip_download = {**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"}
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=JAVASCRIPT, env=skip_download)


def node_native(folder: Path) -> list[str]:
    """onnxruntime-node: the C++ library behind its JavaScript binding."""
    packages(folder)
    return ["node", str(JAVASCRIPT / "node.mjs"), "onnxruntime-node"]


def node_wasm(folder: Path) -> list[str]:
    """onnxruntime-web's WebAssembly in Node."""
    packages(folder)
    return ["node", str(JAVASCRIPT / "node.mjs"), "onnxruntime-web"]


def browser(folder: Path) -> list[str]:
    """onnxruntime-web's WebAssembly in headless Chromium."""
    packages(folder)
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        raise SkippedError("chromium not found")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # does it start at all?
        run([found, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", "about:blank"], timeout=120)
    return [sys.executable, str(HERE / "browser.py"), found]


LEVELS = ("disabled", "basic", "extended", "all")
PLACES = (
    Place("x86-64, newest ONNX Runtime", here, LEVELS, (1, 2)),
    Place(f"x86-64, ONNX Runtime {OLDEST}", installed(f"onnxruntime=={OLDEST}", "numpy<2.3"), LEVELS, (1, 2)),
    Place("x86-64 without VNNI (Haswell, emulated)", haswell, ("disabled", "all"), inputs=4, outputs=10),
    Place("x86-64 without AVX (Nehalem, emulated)", nehalem, inputs=4, outputs=10),
    Place("ARM64 (Cortex-A72, emulated)", arm, ("disabled", "all"), inputs=4, outputs=10),
    Place("OpenVINO, coder on the CPU", openvino, providers=("OpenVINO", "CPU")),
    Place("CUDA, coder on the CPU", cuda, providers=("CUDA", "CPU")),
    Place("Node, native library", node_native),
    Place("Node, WebAssembly", node_wasm),
    Place("Chromium, WebAssembly", browser),
)
