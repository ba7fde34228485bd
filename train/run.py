"""What every family's run folder has: run.json, and its way back to a document."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from latentwire.runtime.strictjson import parse
from latentwire.train.errors import RunError

SCHEMA = 1


RUN_FILE, CHECKPOINT_FILE, METRICS_FILE = "run.json", "checkpoint.safetensors", "metrics.jsonl"


class RunDocument(dict[str, Any]):
    """An object of run.json; a member that is asked for and not there raises RunError, not KeyError."""

    def __missing__(self, key: str) -> Any:
        raise RunError(f"{RUN_FILE}: expected {key!r}, found {', '.join(self) or 'nothing'}: the file was damaged")

    def section(self, key: str) -> RunDocument:
        """A member that is an object itself; RunError where it is something else."""
        value = self[key]
        if not isinstance(value, dict):
            raise RunError(f"{RUN_FILE}: expected an object as {key!r}, found {value!r:.200}: the file was damaged")
        return RunDocument(value)


def read_document(path: Path) -> RunDocument:
    """The content of a run folder's run.json, whatever its family; raises RunError where there is none."""
    try:
        document = parse((path / RUN_FILE).read_bytes(), RUN_FILE)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: expected a run folder with {RUN_FILE}, found none that can be read: {error}"
        ) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise RunError(f"{path / RUN_FILE}: expected a run of schema {SCHEMA}, found something else")
    return RunDocument(document)


def versions() -> dict[str, str]:
    """Of what the weights depend on, for run.json."""
    return {
        "python": platform.python_version(),
        **{library: importlib.metadata.version(library) for library in ("torch", "numpy", "safetensors")},
    }


def without_folders(value: Any) -> Any:
    """JSON with every absolute path cut down to its last part: what is published names no folders of its trainer."""
    if isinstance(value, dict):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
