"""What CompressAI makes of a picture with seeded weights of its own classes. A process of its own: `environment.run`.

Weights are not trained, but scaled so that symbols, tables and means all vary. usage: reference.py CLASS OUT
"""

from __future__ import annotations

import sys

import numpy as np
import stand_ins  # noqa: F401  (before compressai, which imports what it stands for)
import torch
import torch.nn.functional as F
from compressai import models
from compressai.models import vbr
from compressai.ops import compute_padding

WIDTH, DEPTH = 16, 24
SIDES = (150, 215)


def main(name: str, out: str) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    kind = getattr(models, name, None) or getattr(vbr, name)
    model = kind(WIDTH, DEPTH).eval()
    for key, parameter in model.named_parameters():
        if key.endswith((".gamma", ".beta")):
            parameter.add_(0.05 * torch.rand_like(parameter))
    model.g_a[6].weight.mul_(12 if hasattr(model, "h_s") else 60)
    model.g_s[0].weight.mul_(0.05)
    if hasattr(model, "h_s"):
        model.h_a[4].weight.mul_(12)
        model.h_s[4].weight.mul_(1.5)
        model.h_s[4].bias[:DEPTH].copy_(torch.logspace(0, 1, DEPTH))
        model.h_s[4].bias[DEPTH:].copy_(torch.linspace(-2, 2, DEPTH) if "Mean" in name else torch.zeros(0))
    model.entropy_bottleneck.quantiles[:, 0, 1].uniform_(-0.4, 0.4)
    model.update(force=True)
    picture = smooth(np.random.default_rng(1))
    results = {}
    levels = range(1, 8, 3) if "Vbr" in name else [0]
    for level in levels:
        results[level] = coded(model, picture, {"s": level} if "Vbr" in name else {})
    torch.save({"state": model.state_dict(), "picture": torch.tensor(picture), "results": results}, out)


def coded(model: torch.nn.Module, picture: np.ndarray, options: dict) -> dict[str, object]:
    """Bytes of all strings and the picture that they decode to."""
    planes = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    pad, unpad = compute_padding(*SIDES, min_div=64)
    padded = F.pad(planes, pad)
    found = model.compress(padded, **options)
    restored = F.pad(model.decompress(**found, **options)["x_hat"], unpad)
    latents = model.g_a(padded)
    medians = model.entropy_bottleneck._get_medians().reshape(1, -1, 1, 1)
    sent = latents
    if hasattr(model, "h_a"):
        sent = model.h_a(latents if "Mean" in type(model).__name__ else latents.abs())
    return {
        "bytes": sum(len(string) for strings in found["strings"] for string in strings),
        "restored": restored[0].permute(1, 2, 0),
        "first_symbols": torch.round(sent - medians).int()[0].permute(1, 2, 0),
    }


def smooth(rng: np.random.Generator) -> np.ndarray:
    """Waves and an edge, uint8 [H, W, 3]."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    waves = sum(
        rng.normal(0, 20, 3) * np.sin(x[..., None] / rng.uniform(4, 50) + y[..., None] / rng.uniform(4, 50))
        for _ in range(6)
    )
    values = 110 + waves + 60 * ((x + 2 * y) % 90 > 45)[..., None] + rng.normal(0, 3, (*SIDES, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
