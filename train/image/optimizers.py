"""What moves the weights of an image network: Muon for the matrices of its convolutions, Adam for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from latentwire.train.checkpoint import optimizer_tensors, restore_optimizer
from latentwire.train.image.muon import Muon
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.settings import ImageSettings


@dataclass(frozen=True)
class Matrix:
    """A convolution's weights [out, in, k, k] and the same memory seen as a matrix [out, k * k * in]."""

    weight: Tensor
    view: nn.Parameter

    @classmethod
    def of(cls, weight: Tensor) -> Matrix:
        """Takes weights with channels last, as torch trains convolutions fastest."""
        flat = weight.data.permute(0, 2, 3, 1).flatten(1)
        if flat.data_ptr() != weight.data_ptr():
            raise ValueError("expected weights whose channels are last in memory")
        return cls(weight, nn.Parameter(flat))

    def take_gradient(self) -> None:
        """Hand the weights' gradient to the matrix."""
        gradient = self.weight.grad
        self.view.grad = None if gradient is None else gradient.permute(0, 2, 3, 1).flatten(1)


class Optimizers:
    """All optimizers of a network as one."""

    def __init__(self, network: ImageNetwork, settings: ImageSettings) -> None:
        rate = settings.learning_rate
        learning = [p for p in network.parameters() if p.requires_grad]
        klts = (network.analysis.klt.weight, network.synthesis.klt.patch.weight)
        bases = [p for p in learning if any(p is klt for klt in klts)]
        others = [p for p in learning if all(p is not base for base in bases)]
        mixing = [p for p in others if p.dim() == 4 and p.shape[1] > 1] if settings.optimizer == "muon" else []
        rest = [p for p in others if all(p is not weight for weight in mixing)]
        adam = [{"params": rest, "peak": rate}, {"params": bases, "peak": rate * settings.basis_rate}]
        self.matrices = [Matrix.of(weight) for weight in mixing]
        recorded = network.log_gain.is_cuda
        self.parts: dict[str, Optimizer] = {"adam": Adam(adam, lr=rate, capturable=recorded)}
        if mixing:
            views = [{"params": [matrix.view for matrix in self.matrices], "peak": rate}]
            self.parts["muon"] = Muon(views, lr=rate)
        if recorded:
            for group in self._groups():
                group["lr"] = torch.tensor(rate, device=network.log_gain.device)

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for optimizer in self.parts.values() for group in optimizer.param_groups)

    def set_rate(self, factor: float) -> None:
        """Take ``factor`` times the peak learning rate from now on, in steps that were recorded before too."""
        for group in self._groups():
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["peak"] * factor)
            else:
                group["lr"] = group["peak"] * factor

    def step(self) -> None:
        """Move the weights along their gradients."""
        for matrix in self.matrices:
            matrix.take_gradient()
        for optimizer in self.parts.values():
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """What all of them remember, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for name, optimizer in self.parts.items():
            found |= optimizer_tensors(name, optimizer)
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Give back what `tensors` told."""
        for name, optimizer in self.parts.items():
            start = len(name) + 1
            own = {key[start:]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            restore_optimizer(optimizer, own)
