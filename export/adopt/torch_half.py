"""Halves of torch: modules, methods, functions, exported programs, TorchScript."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from latentwire.export.adopt.arrange import Arrangement
from latentwire.export.adopt.freezing import frozen_copies, seeded
from latentwire.export.adopt.half import Choice, Half, Role
from latentwire.export.adopt.layers import traced
from latentwire.export.adopt.modules import Arranged, Chosen, Function, Method, Restored
from latentwire.export.errors import HalfError
from latentwire.export.notes import quiet
from latentwire.runtime.contract import Array

KINDS = "a torch module, a method, a function, an exported program, TorchScript, or an ONNX file or model"


class TorchHalf:
    """A frozen copy of a module."""

    def __init__(self, role: Role, module: nn.Module) -> None:
        self.role, self.module = role, module

    def outputs(self, values: Array, seed: int = 0) -> Any:
        """See `Half`."""
        with torch.no_grad(), seeded(seed), traced(self.module) as trace:
            try:
                return self.module(torch.from_numpy(np.ascontiguousarray(values)))
            except Exception as error:  # a network can raise whatever it likes
                where, reason = trace.explain(error)
                raise HalfError(
                    self.role, f"the {self.role}, given {list(values.shape)}, fails {where}: {reason}"
                ) from error

    def taking(self, choice: Choice) -> nn.Module:
        """See `Half`."""
        return self.module if choice.is_plain else Chosen(self.module, choice.path, choice.choose, shape=choice.shape)

    def remade(self, made: nn.Module) -> TorchHalf:
        """See `Half`."""
        return TorchHalf(self.role, made)

    def arranged(self, arrangement: Arrangement, shape: tuple[int, ...]) -> nn.Module:
        """See `Half`."""
        del shape  # a module takes whatever comes
        return Arranged(self.module, arrangement.order, arrangement.shape)

    def restored(self, arrangement: Arrangement, shape: tuple[int, ...]) -> nn.Module:
        """See `Half`."""
        return Restored(self.module, arrangement.inverse, shape)


class ScriptHalf(TorchHalf):
    """TorchScript, which torch.export does not take: it is translated once its input is known."""

    def __init__(self, role: Role, module: nn.Module) -> None:
        super().__init__(role, module)
        self.is_translated = False

    def outputs(self, values: Array, seed: int = 0) -> Any:
        """See `Half`."""
        result = super().outputs(values, seed)
        if not self.is_translated:
            self.module = frozen_copies({self.role: translated(self.module, values, self.role)})[self.role]
            self.is_translated = True
        return result


def translated(module: nn.Module, values: Array, role: Role) -> nn.Module:
    """A TorchScript module as a graph module that does the same.

    Raises:
        HalfError: it has operators that have no counterpart.
    """
    from torch._export.converter import TS2EPConverter

    with quiet():
        try:
            program = TS2EPConverter(module, (torch.from_numpy(np.ascontiguousarray(values)),)).convert()  # type: ignore[arg-type]
        except Exception as error:  # the translator raises a different class at each of its stages
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise HalfError(
                role,
                f"the {role} is TorchScript that torch cannot translate: {reason}; give the Python module that it was "
                "made of, or export it to ONNX and give that file",
            ) from error
    return graph_module(program)


def graph_module(program: Any) -> nn.Module:
    """An exported program's module, which can be put into eval mode like any other: it is in it for good."""
    module: nn.Module = program.module()
    for name in ("train", "eval"):
        vars(module).pop(name, None)
    return module


def torch_halves(parts: Mapping[Role, Any]) -> dict[Role, Half]:
    """Halves as frozen copies; what they share, the copies share too.

    Args:
        parts: by role, a module, method, function, exported program or TorchScript.

    Raises:
        HalfError: one is none of these, or cannot be copied.
    """
    copies = frozen_copies({role: as_module(part, role) for role, part in parts.items()})
    return {role: (ScriptHalf if is_script(copies[role]) else TorchHalf)(role, copies[role]) for role in parts}


def as_module(part: Any, role: Role) -> nn.Module:
    """Anything that torch can run as a module; not yet a copy.

    Raises:
        HalfError: it is nothing of that kind.
    """
    if isinstance(part, torch.export.ExportedProgram):
        return graph_module(part)
    if isinstance(part, nn.Module):
        return getattr(part, "_orig_mod", part)  # what torch.compile made is the original module in a wrapper
    if isinstance(part, torch.ScriptMethod):
        raise HalfError(
            role, f"the {role} is a method of TorchScript without its module; give the module it belongs to"
        )
    if isinstance(part, torch.ScriptFunction):
        return scripted(ScriptedFunction(part), role)
    if isinstance(part, types.MethodType) and isinstance(part.__self__, nn.Module):
        if getattr(part.__self__, part.__name__, None) == part:
            return _method(part.__self__, part.__name__, role)
        return Function(part)
    if callable(part) and not isinstance(part, type):
        return Function(part)
    raise HalfError(role, f"expected the {role} to be {KINDS}, found {_found(part)}")


def method_of(model: Any, name: str, role: Role) -> nn.Module:
    """A model's attribute of that name as a module."""
    if isinstance(model, nn.Module) and not isinstance(getattr(model, name), nn.Module):
        return _method(model, name, role)
    return as_module(getattr(model, name), role)


def _method(model: nn.Module, name: str, role: Role) -> nn.Module:
    if not isinstance(model, torch.jit.ScriptModule):
        return Method(model, name)
    wrapper = {"encode": ScriptedEncode, "decode": ScriptedDecode}.get(name)
    if wrapper is None:
        raise HalfError(
            role, f"of TorchScript the methods encode and decode are known, found {name!r}; rename it, or give a module"
        )
    return scripted(wrapper(model), role)


def scripted(module: nn.Module, role: Role) -> nn.Module:
    """TorchScript around TorchScript."""
    with quiet():
        try:
            return torch.jit.script(module)
        except RuntimeError as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise HalfError(role, f"the {role}'s TorchScript takes something else than one tensor: {reason}") from error


class ScriptedEncode(nn.Module):
    """A scripted model's ``encode`` as its forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: torch.Tensor):  # type: ignore[no-untyped-def]  # noqa: D102 - TorchScript infers what it returns
        return self.model.encode(values)  # type: ignore[operator]


class ScriptedDecode(nn.Module):
    """A scripted model's ``decode`` as its forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: torch.Tensor):  # type: ignore[no-untyped-def]  # noqa: D102 - TorchScript infers what it returns
        return self.model.decode(values)  # type: ignore[operator]


class ScriptedFunction(nn.Module):
    """A scripted function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor):  # type: ignore[no-untyped-def]  # noqa: D102 - TorchScript infers what it returns
        return self.function(values)


def is_script(module: nn.Module) -> bool:
    """Whether it is TorchScript."""
    return isinstance(module, torch.jit.ScriptModule)


def _found(part: Any) -> str:
    if isinstance(part, type):
        return f"the class {part.__name__}; give an instance of it, with its weights"
    return type(part).__name__
