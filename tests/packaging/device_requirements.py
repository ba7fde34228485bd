"""Write requirements-device.txt anew: what a device installs, as constraints.txt has it, each wheel by its hash.

    .venv/bin/python tests/packaging/device_requirements.py

Asks the index of packages (PEP 691) for the hashes of every wheel of these versions, whatever machine it is for.
"""

import importlib.metadata
import json
import re
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "requirements-device.txt"
INDEX = "https://pypi.org/simple"
HEAD = """\
# What a device installs beside Latentwire: numpy, onnxruntime, click and what these need, each wheel by its hash.
#
#     pip install --require-hashes -r requirements-device.txt
#     pip install --no-deps latentwire
#
# Of Python 3.11 and newer, whose versions constraints.txt has. Written by tests/packaging/device_requirements.py.
"""


def pinned() -> dict[str, str]:
    """Name, in its plain form -> the line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {plain(line.partition("==")[0]): line for line in lines if "==" in line and not line.startswith("#")}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def needed() -> list[str]:
    """The device's packages and all that they need, by what is installed here."""
    found, waiting = set(), ["click", "numpy", "onnxruntime"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            asked = importlib.metadata.requires(name) or []
            waiting += [plain(re.split(r"[^\w.-]", line)[0]) for line in asked if "extra ==" not in line]
    return sorted(found)


def hashes(name: str, version: str) -> list[str]:
    """SHA-256 of every wheel of that version."""
    asked = urllib.request.Request(f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(asked) as answer:
        files = json.load(answer)["files"]
    wheels = [f for f in files if f["filename"].endswith(".whl") and f["filename"].split("-")[1] == version]
    return sorted({f["hashes"]["sha256"] for f in wheels})


def main() -> None:
    lines = pinned()
    parts = [HEAD]
    for name in needed():
        version = lines[name].partition("==")[2].partition(" ")[0]
        found = hashes(name, version)
        if not found:
            sys.exit(f"expected wheels of {name} {version} in {INDEX}, found none")
        parts.append(" \\\n".join([lines[name], *(f"    --hash=sha256:{digest}" for digest in found)]) + "\n")
    TARGET.write_text("".join(parts), encoding="utf-8")
    print(f"{TARGET}: {', '.join(needed())}")


if __name__ == "__main__":
    main()
