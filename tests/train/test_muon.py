"""Muon against its definition and against torch's, which computes in bfloat16."""

import pytest
import torch

from latentwire.train.image.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 80), (80, 24), (32, 32)])
def test_singular_values_come_out_near_one(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left @ torch.diag(torch.logspace(0, -1, min(shape))) @ right
    found = left.T @ orthogonal(matrix) @ right.T
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-3)  # the same singular vectors
    assert 0.6 < found.diagonal().min() < found.diagonal().max() < 1.25


def test_steps_are_those_of_torchs_muon():
    torch.manual_seed(1)
    start, gradients = torch.randn(24, 60), torch.randn(5, 24, 60)
    ends = []
    for make in (
        lambda group: Muon(group, lr=0.01),
        lambda group: torch.optim.Muon(group, lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make([{"params": [parameter]}])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameter.detach() - start)
    ours, theirs = ends
    assert (ours - theirs).norm() < 0.02 * theirs.norm()
