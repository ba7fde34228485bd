"""Which layer of a network failed, what it expects and what came: for messages."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class Trace:
    """The layers that are running, outermost first; after a failure the innermost is the last one."""

    def __init__(self) -> None:
        self.running: list[tuple[str, nn.Module, tuple[int, ...] | None]] = []

    def explain(self, error: Exception) -> tuple[str, str]:
        """(The layer, what it expected and what came), both for a sentence."""
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if not self.running:
            return "", f"{type(error).__name__}: {reason}"
        name, layer, shape = self.running[-1]
        where = f"in layer {name!r} ({layer_text(layer)})" if name else f"in {layer_text(layer)}"
        wanted = expected(layer)
        came = f"found {list(shape)}" if shape is not None else "found no tensor"
        if wanted is None or shape is None or fits(layer, shape):
            return where, f"{came}: {reason}"
        advice = advise(layer, shape)
        return where, f"expected {wanted}, {came}{f': {advice}' if advice else ''}"


@contextlib.contextmanager
def traced(module: nn.Module) -> Iterator[Trace]:
    """Hooks on every layer while the block runs."""
    trace = Trace()
    handles = []
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue

        def enter(layer: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            shape = next((tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)), None)
            trace.running.append((readable(name), layer, shape))

        def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
            trace.running.pop()

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def readable(name: str) -> str:
    """A layer's name as its owner knows it, without the modules that were put around."""
    words = name.split(".")
    while words and (words[0] in ("network", "model", "modules_of") or words[0].startswith("captured")):
        words.pop(0)
    return ".".join(words)


def layer_text(layer: nn.Module) -> str:
    """Type and settings, where they fit a line: "Linear(in_features=784, out_features=32, bias=True)"."""
    text = repr(layer)
    return text if "\n" not in text and len(text) < 120 else type(layer).__name__


def expected(layer: nn.Module) -> str | None:
    """The shape that a layer wants, where its type says so."""
    if isinstance(layer, nn.Linear):
        return f"[..., {layer.in_features}]"
    if isinstance(layer, nn.modules.conv._ConvNd):
        axes = "".join(f", {axis}" for axis in "DHW"[-_dimensions(layer) :]) if _dimensions(layer) > 1 else ", T"
        return f"[N, {layer.in_channels}{axes}]"
    if isinstance(layer, nn.RNNBase):
        return f"[N, T, {layer.input_size}]" if layer.batch_first else f"[T, N, {layer.input_size}]"
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return f"[N, {layer.num_features}, ...]"
    if isinstance(layer, nn.GroupNorm):
        return f"[N, {layer.num_channels}, ...]"
    if isinstance(layer, nn.LayerNorm):
        return f"[..., {', '.join(map(str, layer.normalized_shape))}]"
    return None


def fits(layer: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a shape is what the layer's type wants; the reason of a failure is another one then."""
    if isinstance(layer, nn.Linear):
        return bool(shape) and shape[-1] == layer.in_features
    if isinstance(layer, nn.modules.conv._ConvNd):
        return len(shape) == _dimensions(layer) + 2 and shape[1] == layer.in_channels
    if isinstance(layer, nn.RNNBase):
        return len(shape) == 3 and shape[-1] == layer.input_size
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return len(shape) > 1 and shape[1] == layer.num_features
    if isinstance(layer, nn.GroupNorm):
        return len(shape) > 1 and shape[1] == layer.num_channels
    if isinstance(layer, nn.LayerNorm):
        return shape[-len(layer.normalized_shape) :] == tuple(layer.normalized_shape)
    return False


def advise(layer: nn.Module, shape: tuple[int, ...]) -> str:
    """What to do about the shape, where that is plain."""
    if isinstance(layer, nn.Linear) and math.prod(shape[1:]) == layer.in_features:
        return "flatten the items, data.reshape(len(data), -1), or begin the network with nn.Flatten()"
    if isinstance(layer, nn.modules.conv._ConvNd):
        if len(shape) == _dimensions(layer) + 2 and shape[-1] == layer.in_channels:
            return "the channels are the last axis; move them with np.moveaxis(data, -1, 1)"
        if len(shape) == _dimensions(layer) + 1 and layer.in_channels == 1:
            return "the axis of the single channel is missing; add it with data[:, None]"
    if isinstance(layer, nn.RNNBase) and len(shape) == 3 and shape[1] == layer.input_size:
        return "the channels are not the last axis; move them with np.moveaxis(data, 1, -1)"
    return ""


def _dimensions(layer: nn.modules.conv._ConvNd) -> int:
    return len(layer.kernel_size)
