"""Weights from a file into a model, without running any code that the file holds.

``.safetensors`` hold numbers only. ``.pt``, ``.pth``, ``.pth.tar``, ``.ckpt`` and ``.bin`` are pickles: they are read
with torch's ``weights_only``, which makes tensors and plain containers and refuses everything else. In a checkpoint the
weights are found under the keys that trainers use, and prefixes that wrappers put before all names are taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.export.bring.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

SAFE = (".safetensors",)
PICKLED = (".pt", ".pth", ".tar", ".ckpt", ".bin")
INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
"""Where checkpoints keep the weights, preferred first; Lightning and CompressAI have `state_dict`."""
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.", "autoencoder.")
"""What DataParallel, Lightning modules and torch.compile put before names."""
MOST = 8
"""Names that an error lists."""


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Put the weights of a file into a model.

    Args:
        model: gets them.
        path: of the file.

    Returns:
        Sentences of what was found and taken off.

    Raises:
        WeightsError: the file cannot be read, would run code, or its names or shapes are not the model's.
    """
    state, notes = read_state(path)
    wanted = model.state_dict()
    prefix = min(_prefixes(state), key=lambda entry: _mismatches(_without(state, entry), wanted))
    state = _without(state, prefix)
    _check(state, wanted, path)
    model.load_state_dict(state)
    return (*notes, f"weights: {prefix!r} was taken off their names") if prefix else notes


def read_state(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by name, and sentences of where they were.

    Raises:
        WeightsError: the file cannot be read, would run code, or holds no weights.
    """
    if not path.is_file():
        raise WeightsError(f"expected a file of weights at {path}, found none")
    suffix = path.suffix.lower()
    if suffix not in SAFE + PICKLED:
        raise WeightsError(f"{path}: expected weights as {', '.join(SAFE + PICKLED)}, found {suffix or 'no suffix'}")
    held = _read_safe(path) if suffix in SAFE else _read_pickled(path)
    state, where = _state_in(held)
    if state is None:
        found = ", ".join(map(str, held)) if isinstance(held, Mapping) else f"a {type(held).__name__}"
        raise WeightsError(
            f"{path}: expected tensors by name, or a checkpoint with them under {', '.join(INSIDE[:3])}, found {found}"
        )
    return state, (f"weights: {path.name}, {where}" if where else f"weights: {path.name}",)


def _read_safe(path: Path) -> Any:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: expected a safetensors file, found one that cannot be read: {error}") from error


def _read_pickled(path: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: expected a file of tensors, found one that would run code to be read, or none of torch's: if you "
            "trust it, write its weights anew where it was made, torch.save(model.state_dict(), PATH) or "
            f"safetensors.torch.save_file; {_refused(error)}"
        ) from error
    except Exception as error:  # zip, pickle and torch each have their own for a damaged file
        raise WeightsError(f"{path}: expected a file that torch.save wrote, found {error}") from error


def _refused(error: Exception) -> str:
    """What torch did not take, in its own words, without its advice to take it all the same."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if "WeightsUnpickler error" in line or "Unsupported" in line), lines[0])
    return f"torch says: {said.partition('Please use')[0].strip()}"


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without every prefix of wrappers that all names have."""
    return _without(state, max(_prefixes(state), key=len))


def _state_in(held: Any, where: str = "") -> tuple[dict[str, Tensor] | None, str]:
    """The tensors in what a file holds, and in words where they were."""
    import torch

    if not isinstance(held, Mapping):
        return None, ""
    if held and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in held.items()):
        return dict(held), where
    for key in INSIDE:
        if key in held:
            state, inner = _state_in(held[key], f"under {key!r}")
            if state is not None:
                return state, inner
    return None, ""


def _prefixes(state: Mapping[str, Tensor], taken: str = "") -> Iterator[str]:
    """Every prefix that all names have, none first, one inside another."""
    yield taken
    for prefix in PREFIXES:
        if state and all(name.startswith(taken + prefix) for name in state):
            yield from _prefixes(state, taken + prefix)


def _without(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _mismatches(state: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> int:
    return len(state.keys() ^ wanted.keys())


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, Any], path: Path) -> None:
    faults = [
        _listed("missing", [name for name in wanted if name not in state]),
        _listed("unexpected", [name for name in state if name not in wanted]),
        _listed(
            "of another shape",
            [
                f"{name} {list(state[name].shape)} instead of {list(wanted[name].shape)}"
                for name in wanted
                if name in state and state[name].shape != wanted[name].shape
            ],
        ),
    ]
    if any(faults):
        raise WeightsError(
            f"{path}: expected the {len(wanted)} weights of the model, found {'; '.join(filter(None, faults))}: give "
            "the arguments that the model was made with, --arg name=value, or the file of this model"
        )


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{len(names)} {what}: {', '.join(names[:MOST])}{more}" if names else ""
