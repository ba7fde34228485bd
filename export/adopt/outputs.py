"""What a network returned, of whatever structure: its tensors by the way that leads to each of them.

Structures are known by what they look like: tuples and lists, mappings (Hugging Face's outputs are such), named tuples,
dataclasses, distributions (torch's, and those of latent diffusion models), plain objects. No library is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Step = int | str
Path = tuple[Step, ...]

MOST_LEAVES, DEEPEST = 64, 5


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A tensor or array within an output.

    Args:
        path: keys, indices and attributes that lead to it; empty if the output is the tensor.
        value: the tensor.
        of_posterior: whether it is the mean (or mode) of a distribution.
    """

    path: Path
    value: Any
    of_posterior: bool = False

    @property
    def name(self) -> str:
        """The way to it as `latent=` takes it: "latent_dist.mean", "0"."""
        return ".".join(map(str, self.path))

    @property
    def word(self) -> str:
        """The last word on the way, or nothing where it is a number."""
        return next((step.lower() for step in reversed(self.path) if isinstance(step, str)), "")

    @property
    def shape(self) -> tuple[int, ...]:
        """As integers."""
        return tuple(int(length) for length in self.value.shape)

    def describe(self) -> str:
        """Name, dtype and shape for messages."""
        return f"{self.name or 'the tensor'}: {dtype_name(self.value)} {list(self.shape)}"


def is_tensor(value: object) -> bool:
    """Whether it is an array of torch, NumPy or anything alike."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in ("shape", "dtype", "ndim"))


def dtype_name(value: Any) -> str:
    """float32, int64 and so on, of torch and NumPy alike."""
    return str(value.dtype).rpartition(".")[2]


def is_float(value: Any) -> bool:
    """Whether its numbers are floats."""
    return "float" in dtype_name(value)


def posterior_word(value: object) -> str | None:
    """The attribute of a distribution that is its centre, or None for what is no distribution."""
    if is_tensor(value) or isinstance(value, type) or not callable(getattr(value, "sample", None)):
        return None
    for word in ("mean", "mode"):
        try:
            centre = getattr(value, word, None)
        except NotImplementedError:  # torch's distributions without a mean
            continue
        if is_tensor(centre) or callable(centre):
            return word
    return None


def children(value: object) -> list[tuple[Step, Any]]:
    """The parts of a structure by the step that leads to each; none for what is no structure."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(name, getattr(value, name)) for name in value._fields]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    if isinstance(value, str | bytes | int | float | type(None)) or callable(value):
        return []
    return [(name, part) for name, part in getattr(value, "__dict__", {}).items() if not name.startswith("_")]


def leaves(value: object, path: Path = ()) -> list[Leaf]:
    """All tensors of an output, in its order; of a distribution its centre alone."""
    return list(_walk(value, path))[:MOST_LEAVES]


def _walk(value: object, path: Path) -> Iterator[Leaf]:
    if is_tensor(value):
        yield Leaf(path, value)
    elif (word := posterior_word(value)) is not None:
        yield Leaf((*path, word), take_step(value, word), of_posterior=True)
    elif len(path) < DEEPEST:
        for step, part in children(value):
            yield from _walk(part, (*path, step))


def follow(value: Any, path: Path) -> Any:
    """What lies at the end of a path; `take_step` says what is raised where it leads nowhere."""
    for step in path:
        value = take_step(value, step)
    return value


def take_step(value: Any, step: Step) -> Any:
    """One part of a structure; methods without arguments (``mode``) are called.

    Raises:
        KeyError, IndexError, AttributeError, TypeError: there is no such part.
    """
    if isinstance(value, Mapping) and (step in value or not isinstance(step, int)):
        return value[step]
    if isinstance(step, int):
        return value[step] if isinstance(value, Sequence) else children(value)[step][1]
    part = getattr(value, step)
    return part() if callable(part) and not is_tensor(part) else part


def parse(text: str, value: object) -> Path:
    """The path that a dotted name means in that structure: "latent_dist.mean", "0.mu"."""
    if isinstance(value, Mapping) and text in value:
        return (text,)  # outputs of ONNX models have dots in their names
    path: list[Step] = []
    for word in text.split("."):
        here = follow(value, tuple(path))
        is_index = word.lstrip("-").isdigit() and not (isinstance(here, Mapping) and word in here)
        path.append(int(word) if is_index else word)
    return tuple(path)


def describe(value: object) -> str:
    """An output for messages: each of its tensors, or what it is instead."""
    found = leaves(value)
    if not found:
        return f"{type(value).__name__}, in which there is no tensor"
    return "; ".join(leaf.describe() for leaf in found)
