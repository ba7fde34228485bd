"""What every family's run folder has: run.json, and its way back to a document."""

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from latentwire.train.errors import RunError

SCHEMA = 1


RUN_FILE, CHECKPOINT_FILE, METRICS_FILE = "run.json", "checkpoint.safetensors", "metrics.jsonl"


def read_document(path: Path) -> dict[str, Any]:
    """The content of a run folder's run.json, whatever its family; raises RunError where there is none."""
    try:
        document = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: expected a run folder with {RUN_FILE}, found none that can be read: {error}"
        ) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise RunError(f"{path / RUN_FILE}: expected a run of schema {SCHEMA}, found something else")
    return document


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
