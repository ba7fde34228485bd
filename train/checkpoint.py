"""Checkpoints: one safetensors file with everything that training needs to go on as if it had never stopped.

Tensors are named by what they belong to: `network.*`, `objective.*`, `average.*` (the moving average of the parameters
of both), `best.*` (the averages that were judged best, where a run keeps them), `optimizer.PLAYER.INDEX.KEY` (without
PLAYER where there is one) and `random` (the generator's state, uint8). The position in the run is JSON in
the file's metadata, under the one key `latentwire`: one key, because safetensors does not keep the order of several and
equal runs must give equal bytes. The file is written to a temporary name and renamed, so that a kill leaves the old one
or the new one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.strictjson import parse
from latentwire.train.errors import RunError

METADATA_KEY = "latentwire"
SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors and a JSON object that says where in the run they were taken."""

    tensors: dict[str, Tensor]
    position: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix.`, without it."""
        start = len(prefix) + 1
        return {name[start:]: tensor for name, tensor in self.tensors.items() if name.startswith(f"{prefix}.")}


def optimizer_tensors(prefix: str, optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers of each parameter, as `PREFIX.INDEX.KEY`."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}.{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Gives an optimizer back what it remembered: tensors by `INDEX.KEY`, such as `{"3.exp_avg": value}`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint; equal checkpoints give equal bytes."""
    document = json.dumps({"schema": SCHEMA, "position": checkpoint.position}, sort_keys=True)
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_atomically(path, safetensors.torch.save(tensors, {METADATA_KEY: document}))


def read(path: Path) -> Checkpoint:
    """The checkpoint in the file; raises RunError where it is missing, damaged or not one of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            document = parse((file.metadata() or {}).get(METADATA_KEY, "null"), METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, AttributeError) as error:  # the last: a dtype that torch has not
        raise RunError(f"{path}: expected a safetensors checkpoint, found none that can be read: {error}") from error
    position = document.get("position") if isinstance(document, dict) and document.get("schema") == SCHEMA else None
    if not isinstance(position, dict):
        raise RunError(f"{path}: expected a latentwire checkpoint of schema {SCHEMA}, found metadata {document!r:.200}")
    return Checkpoint(tensors, position)


def go_back(restore: Callable[[Checkpoint], None], path: Path) -> None:
    """Hands the checkpoint in the file to what restores a run's state from it.

    Raises:
        RunError: there is none that can be read, or it is another run's; names the file.
    """
    saved = read(path)
    try:
        restore(saved)
    except torch.OutOfMemoryError:  # a RuntimeError too, and no fault of the file
        raise
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:  # what is missing, or of other shapes
        raise RunError(
            f"{path}: expected a checkpoint of this very run, found another: {type(error).__name__}: {error}"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file of a run, on the disk when this returns; a reader never sees half of it."""
    with whole_file(path, durable=True, sole=True) as file:
        file.write(content)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a JSON document for people and programs to read, atomically."""
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
