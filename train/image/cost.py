"""What a network costs the device and the server: multiplications per pixel, parameters, memory of activations."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from latentwire.runtime.strictjson import Facts
from latentwire.train.errors import SettingsError
from latentwire.train.image.network import ImageNetwork

PROBE = 256
"""Side of the picture that is counted on."""
WIDTH_STEP = 8
WIDEST = 512


@dataclass(frozen=True)
class Cost(Facts):
    """Thousands of multiply-accumulates per pixel and parameters of the parts, and float32 bytes of activations.

    The device runs analysis, hyper-analysis and probability model; the server probability model and synthesis. Peaks
    are the largest inputs and outputs of one layer, in bytes per pixel.
    """

    analysis: float
    hyper_analysis: float
    probability: float
    synthesis: float
    device: float
    server: float
    device_parameters: int
    server_parameters: int
    device_peak_bytes: float
    server_peak_bytes: float

    def render(self) -> str:
        """For a person."""
        return (
            f"device {self.device:.2f} kMAC/px (analysis {self.analysis:.2f}, hyper-analysis "
            f"{self.hyper_analysis:.2f}, probability model {self.probability:.2f}), "
            f"{self.device_parameters / 1e6:.2f} M parameters, {self.device_peak_bytes:.0f} bytes/px at peak\n"
            f"server {self.server:.2f} kMAC/px (synthesis {self.synthesis:.2f}), {self.server_parameters / 1e6:.2f} M "
            f"parameters, {self.server_peak_bytes:.0f} bytes/px at peak"
        )


@torch.no_grad()
def cost_of(network: ImageNetwork) -> Cost:
    """Counted by passing the shape of a picture through a network for colour pictures, without computing anything."""
    shape = copy.deepcopy(network).to("meta")
    found = {part: [0.0, 0.0] for part in ("analysis", "hyper_analysis", "prior", "synthesis")}
    hooks: list[RemovableHandle] = []
    for part, entry in found.items():
        layers = (layer for layer in getattr(shape, part).modules() if isinstance(layer, nn.Conv2d))
        hooks.extend(layer.register_forward_hook(_counter(entry)) for layer in layers)
    try:
        shape(torch.zeros(1, 3, PROBE, PROBE, device="meta"), torch.zeros(1, device="meta"), exact=False, dead_zone=0.0)
    finally:
        for hook in hooks:
            hook.remove()
    macs = {part: entry[0] / PROBE**2 / 1000 for part, entry in found.items()}
    peak = {part: 4 * entry[1] / PROBE**2 for part, entry in found.items()}
    size = {part: sum(p.numel() for p in getattr(network, part).parameters()) for part in found}
    device, server = ("analysis", "hyper_analysis", "prior"), ("prior", "synthesis")
    return Cost(
        analysis=macs["analysis"],
        hyper_analysis=macs["hyper_analysis"],
        probability=macs["prior"],
        synthesis=macs["synthesis"],
        device=sum(macs[part] for part in device),
        server=sum(macs[part] for part in server),
        device_parameters=sum(size[part] for part in device),
        server_parameters=sum(size[part] for part in server),
        device_peak_bytes=max(peak[part] for part in device),
        server_peak_bytes=max(peak[part] for part in server),
    )


def _counter(entry: list[float]) -> Any:
    def count(layer: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        entry[0] += layer.weight.numel() * output.shape[-2] * output.shape[-1]
        entry[1] = max(entry[1], inputs[0].numel() + output.numel())

    return count


def width_for(budget: float, hyper: int) -> int:
    """The largest width whose device side stays within ``budget`` thousand multiply-accumulates per pixel.

    Raises:
        SettingsError: not even the smallest does.
    """
    found = 0
    for width in range(WIDTH_STEP, WIDEST + 1, WIDTH_STEP):
        with torch.device("meta"):
            network = ImageNetwork([0.01, 0.1], hyper=hyper, width=width)
        if cost_of(network).device > budget:
            break
        found = width
    if not found:
        raise SettingsError(f"budget must allow a width of {WIDTH_STEP}, found {budget} kMAC per pixel: raise it")
    return found
