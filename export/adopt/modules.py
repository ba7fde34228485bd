"""Torch modules around what is no module yet: methods, functions, outputs that are structures.

The exporter wants modules, which own their parameters and survive `copy.deepcopy`. A function keeps its networks in its
closure or among its globals, where a copy would still find the originals; so they are registered here, and the function
is bound anew, to what is registered, at every call.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from latentwire.export.adopt.outputs import Path, follow

MOST_NESTED = 4


@contextlib.contextmanager
def unvalidated() -> Iterator[None]:
    """Torch's distributions without a look at their arguments' values, which no exporter can follow."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


class Method(nn.Module):
    """A method of a module as a module."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, values: torch.Tensor) -> Any:
        """Whatever the method returns."""
        with unvalidated():
            return getattr(self.model, self.method)(values)


class Function(nn.Module):
    """A function, or a method of a plain object, with the modules and tensors that it uses as its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.modules_of = nn.ModuleDict()
        self.names: dict[int, str] = {}
        for value in captured(function):
            if id(value) in self.names:
                continue
            name = self.names[id(value)] = f"captured{len(self.names)}"
            if isinstance(value, nn.Module):
                self.modules_of[name] = value
            else:
                self.register_buffer(name, value.detach())

    def forward(self, values: torch.Tensor) -> Any:
        """Whatever the function returns."""
        function = rebound(self.function, {key: self._registered(name) for key, name in self.names.items()})
        with unvalidated():
            return function(values)

    def _registered(self, name: str) -> Any:
        return self.modules_of[name] if name in self.modules_of else getattr(self, name)


class Chosen(nn.Module):
    """A half whose output is a structure, or has its values in another order of axes: the tensor that is meant."""

    def __init__(
        self, half: nn.Module, path: Path = (), choose: Callable[[Any], Any] | None = None, *, shape: Any = None
    ) -> None:
        super().__init__()
        self.network, self.path, self.choose = half, path, choose
        self.shape: tuple[int, ...] | None = shape

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Float32 [N, ...] -> the tensor [N, ...]."""
        with unvalidated():
            output = self.network(values)
        chosen = follow(output, self.path) if self.choose is None else self.choose(output)
        if self.choose is not None and not isinstance(chosen, torch.Tensor):
            chosen = follow(chosen, self.path)
        result: torch.Tensor = chosen if self.shape is None else chosen.reshape(-1, *self.shape)
        return result


class Arranged(nn.Module):
    """An encoder that is handed items with their axes in its own order."""

    def __init__(self, network: nn.Module, order: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.order, self.shape = network, order, shape

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Float32 [N, ...] -> latents."""
        moved = items.permute(self.order) if self.order else items
        latents: torch.Tensor = self.network(moved.reshape(-1, *self.shape))
        return latents


class Restored(nn.Module):
    """A decoder whose items are handed back with their axes as they came."""

    def __init__(self, network: nn.Module, order: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.order, self.shape = network, order, shape

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents -> float32 [N, ...]."""
        items: torch.Tensor = self.network(latents)
        return items.permute(self.order) if self.order else items.reshape(-1, *self.shape)


def captured(function: Any, depth: int = 0) -> Iterator[nn.Module | torch.Tensor]:
    """The modules and tensors that a function finds outside of its arguments, also by way of other functions."""
    for value in _held(function):
        if isinstance(value, nn.Module | torch.Tensor):
            yield value
        elif depth < MOST_NESTED:
            yield from captured(value, depth + 1)


def _held(value: Any) -> list[Any]:
    """What a function, a method, a partial or a plain object refers to."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        return [*_cells(value).values(), *_globals(value).values(), *(value.__defaults__ or ())]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, type | types.ModuleType) or type(value).__module__ == builtins.__name__:
        return []
    return list(getattr(value, "__dict__", {}).values())


def _cells(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    return found


def _globals(function: types.FunctionType) -> dict[str, Any]:
    """The globals a function may use, those of functions defined within it included."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}


def rebound(value: Any, instead: dict[int, Any], depth: int = 0) -> Any:
    """The same function with other objects in place of those it captured.

    Args:
        value: the function; also what it refers to, on the way down.
        instead: by the ``id`` of an object, what takes its place.
        depth: how far down this is.
    """
    if id(value) in instead:
        return instead[id(value)]
    if depth > MOST_NESTED or not any(id(found) in instead for found in captured(value, depth)):
        return value
    anew = functools.partial(rebound, instead=instead, depth=depth + 1)
    if isinstance(value, functools.partial):
        keywords = {name: anew(part) for name, part in value.keywords.items()}
        return functools.partial(anew(value.func), *map(anew, value.args), **keywords)
    if isinstance(value, types.MethodType):
        return types.MethodType(anew(value.__func__), anew(value.__self__))
    if isinstance(value, types.FunctionType):
        return _rebound_function(value, anew)
    if isinstance(value, list | tuple):
        return type(value)(map(anew, value))
    if isinstance(value, dict):
        return {name: anew(part) for name, part in value.items()}
    twin = copy.copy(value)
    for name, part in vars(value).items():
        vars(twin)[name] = anew(part)
    return twin


def _rebound_function(function: types.FunctionType, anew: Callable[[Any], Any]) -> types.FunctionType:
    cells = _cells(function)
    closure = tuple(
        types.CellType(anew(cells[name])) if name in cells else cell
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    )
    names = {**function.__globals__, **{name: anew(part) for name, part in _globals(function).items()}}
    defaults = tuple(map(anew, function.__defaults__ or ()))
    twin = types.FunctionType(function.__code__, names, function.__name__, defaults, closure)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin
