"""CompressAI itself, in a folder of its own: its wheel without what it asks for, and stand-ins for what it never calls.

The package imports torchvision, torch_geometric and pandas, for data sets and point clouds. Coding pictures calls none
of them, and PyPI's torchvision does not go with every torch. So these are empty modules here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ("compressai==1.2.8", "einops==0.8.2")
BUILD = Path(__file__).parents[1] / "build/compressai"
STAND_INS = '''"""Modules that compressai imports and that coding pictures never calls."""

import importlib.machinery
import sys
import types


class Absent:
    """Whatever is asked of them."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, decorated):
        return decorated


class StandIn(types.ModuleType):
    """A module that has everything."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Absent,), {})


for name in (
    "pandas",
    "torch_geometric",
    "torch_geometric.data",
    "torch_geometric.data.datapipes",
    "torch_geometric.transforms",
    "torchvision",
    "torchvision.transforms",
):
    sys.modules[name] = StandIn(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
'''


class AbsentError(Exception):
    """CompressAI cannot be had here; the message says why."""


def site() -> Path:
    """The folder, made once.

    Raises:
        AbsentError: the packages cannot be downloaded, or do not import.
    """
    folder = BUILD / "site"
    if not (folder / ".done").exists():
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *REQUIREMENTS]
        called(words)
        (folder / "stand_ins.py").write_text(STAND_INS, encoding="utf-8")
        run(["-c", "import stand_ins, compressai.zoo"], folder)
        (folder / ".done").touch()
    return folder


def run(arguments: list[str], folder: Path | None = None) -> str:
    """What a Python process prints that can import CompressAI behind ``stand_ins``.

    Raises:
        AbsentError: there is none, or it ended with an error, of which this is the last line.
    """
    path = [str(folder or site()), str(Path(__file__).parent), *sys.path]
    return called(
        [sys.executable, "-W", "ignore", *arguments],
        {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in path if entry)},
    )


def called(words: list[str], environment: dict[str, str] | None = None) -> str:
    """A command's stdout."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=600, check=True)
    except (OSError, subprocess.SubprocessError) as fault:
        lines = str(getattr(fault, "stderr", "") or fault).strip().splitlines() or ["nothing said"]
        raise AbsentError(f"{words[0]}: {lines[-1]}") from fault
    return done.stdout
