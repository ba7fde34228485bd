"""Muon: steps along the nearest orthogonal matrix to the momentum, for weights that are matrices.

torch has a Muon of its own, which computes in bfloat16 wherever it runs: on a processor without that type a step of
this network takes ten times as long there (measured).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SIZE = 0.2
"""Root mean square of a step at learning rate 1, that of Adam's steps (Liu et al. 2025, "Muon is scalable")."""


class Muon(Optimizer):
    """Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", with Nesterov's momentum."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float | Tensor) -> None:
        """Takes groups of parameters [rows, columns]."""
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # no line search here
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - MOMENTUM)
                step = orthogonal(parameter.grad.lerp(momentum, MOMENTUM))
                # The learning rate may be a tensor on the device.
                parameter.sub_(step * (group["lr"] * (SIZE * math.sqrt(max(parameter.shape)))))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix [m, n] whose singular values are one: they come out between 0.7 and 1.2.

    Newton and Schulz's iteration with the coefficients of Jordan et al., X <- (a + b G + c G^2) X with G = X X^T,
    which all commute: it is done on G, the smaller square, and X is multiplied once.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    gram = matrix @ matrix.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor = identity
    for _ in range(ITERATIONS):
        polynomial = torch.addmm(identity * a + b * gram, gram, gram, alpha=c)
        factor = polynomial @ factor
        gram = polynomial @ gram @ polynomial
    return factor @ matrix
