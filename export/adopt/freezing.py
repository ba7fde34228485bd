"""A copy of torch modules to look at: on the CPU, in eval mode, float32, with plain weights. No model is changed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from latentwire.export.adopt.half import Role
from latentwire.export.errors import HalfError
from latentwire.export.notes import quiet
from latentwire.export.transforms import check_finite


def frozen_copies(halves: Mapping[Role, nn.Module]) -> dict[Role, nn.Module]:
    """Copies of the halves, made together so that what they share is shared by the copies too.

    Args:
        halves: by role.

    Raises:
        HalfError: a module cannot be copied; names the half and the reason.
        ExportError: a weight is no number; names it.
    """
    memo: dict[int, Any] = {}
    copies: dict[Role, nn.Module] = {}
    for role, module in halves.items():
        # Old weight normalisation, and what was TorchScript, keep computed tensors, which torch does not copy.
        for tensor in _computed(module):
            value = tensor.detach().clone()
            memo[id(tensor)] = nn.Parameter(value, False) if isinstance(tensor, nn.Parameter) else value
        try:
            with quiet():  # torch's own deprecations, of exported programs
                copies[role] = copy.deepcopy(module, memo)
        except Exception as error:  # a module may hold anything: locks, files, processes
            raise HalfError(
                role,
                f"the {role} ({type(module).__name__}) cannot be copied: {error}; give the modules alone, without what "
                "was attached to them for training",
            ) from error
    for role, module in copies.items():
        with quiet():
            _plain(module)
            module.cpu().float().eval()
        check_finite(module, role)
        if not isinstance(module, torch.jit.ScriptModule):  # which is translated later, into a module that is frozen
            module.requires_grad_(False)
    return copies


def _computed(module: nn.Module) -> Iterator[torch.Tensor]:
    """Tensors that belong to a module's graph and are no parameters of it."""
    for part in module.modules():
        for holder in (vars(part), part._parameters, part._buffers):
            yield from (value for value in holder.values() if isinstance(value, torch.Tensor) and not value.is_leaf)


def _plain(module: nn.Module) -> None:
    """Weight and spectral normalisation folded into the weights: their value is what a codec needs."""
    for part in module.modules():
        if parametrize.is_parametrized(part):
            # The class holds the properties that are removed, and a copy shares it with its original.
            own = type(part)
            part.__class__ = type(own.__name__, own.__bases__, dict(vars(own)))
            for name in list(part.parametrizations):  # type: ignore[arg-type]  # a ModuleDict there
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        for hook in list(part._forward_pre_hooks.values()):
            remove = {"WeightNorm": nn.utils.remove_weight_norm, "SpectralNorm": nn.utils.remove_spectral_norm}.get(
                type(hook).__name__
            )
            if remove is not None:
                remove(part, getattr(hook, "name", "weight"))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from a seed, and afterwards as if nothing had been drawn."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
