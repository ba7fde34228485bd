"""The transforms of CompressAI's models as ONNX graphs, written from their arrays: pictures in, pictures out.

A transposed convolution of 5x5 at stride 2 is a convolution of 3x3 to four times the channels and a pixel shuffle: the
same sums. ONNX Runtime computes floats faster as the one, and bytes only as the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from latentwire.export.compressai.state import Architecture, Floats, State, normalization
from latentwire.export.graph import FLOAT, UINT8, Op, Value, build_model, table, value

STRIDE = 16
"""Pixels of a latent's position, each way."""
Number = TypeVar("Number", np.float32, np.float64)


def build_analysis(state: State, architecture: Architecture) -> onnx.ModelProto:
    """Picture uint8 [1, 3, H, W], sides multiples of 64 -> latents float32 [1, L, h, w].

    With hyper-latents, these come first, and the latents are folded to their positions; see `planes.build_pack`.
    """

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        net = Net(op, state)
        latents = net.analysis(op.Div(op.Cast(picture, to=FLOAT), 255.0))
        if not architecture.hyper:
            return [op.Identity(latents)]
        seen = op.Abs(latents) if architecture.magnitudes else latents
        return [
            op.Concat(net.hyper_analysis(seen, leaky=architecture.means), op.SpaceToDepth(latents, blocksize=4), axis=1)
        ]

    inputs = [value("picture", UINT8, [1, 3, "padded_height", "padded_width"])]
    outputs = [value("latents", FLOAT, [1, "latents", "latent_height", "latent_width"])]
    return build_model(trace, inputs, outputs, "analysis")


def build_synthesis(state: State, *, shuffled: bool = False) -> onnx.ModelProto:
    """Latents float32 [B, M, h, w] -> picture float32 [B, 3, 16 h, 16 w], about 0..1.

    Args:
        state: the model's.
        shuffled: with convolutions and pixel shuffles, as int8 needs it.
    """

    def trace(op: Op, latents: Value) -> Sequence[Value]:
        # What quantizers make of a layer's output must not be what the graph calls its own.
        return [op.Identity(Net(op, state, shuffled=shuffled).synthesis(latents))]

    channels = state.array("g_s.0.weight").shape[0]
    inputs = [value("latents", FLOAT, ["pictures", channels, "latent_height", "latent_width"])]
    outputs = [value("picture", FLOAT, ["pictures", 3, "padded_height", "padded_width"])]
    return build_model(trace, inputs, outputs, "synthesis")


class Net:
    """Layers by their names in a state dict, on pictures [B, C, h, w]."""

    def __init__(self, op: Op, state: State, *, shuffled: bool = False) -> None:
        self.op, self.state, self.shuffled = op, state, shuffled

    def analysis(self, picture: Value) -> Value:
        """g_a."""
        for at in (0, 2, 4):
            picture = self.normalized(self.convolved(picture, f"g_a.{at}", 2), f"g_a.{at + 1}", inverse=False)
        return self.convolved(picture, "g_a.6", 2)

    def synthesis(self, latents: Value) -> Value:
        """g_s."""
        for at in (0, 2, 4):
            latents = self.normalized(self.expanded(latents, f"g_s.{at}"), f"g_s.{at + 1}", inverse=True)
        return self.expanded(latents, "g_s.6")

    def hyper_analysis(self, latents: Value, *, leaky: bool) -> Value:
        """h_a."""
        op = self.op
        for at, stride in ((0, 1), (2, 2)):
            made = self.convolved(latents, f"h_a.{at}", stride)
            latents = op.LeakyRelu(made, alpha=0.01) if leaky else op.Relu(made)
        return self.convolved(latents, "h_a.4", 2)

    def convolved(self, picture: Value, name: str, stride: int) -> Value:
        """A convolution."""
        return self.product(picture, name, self.state.floats(f"{name}.weight"), self.bias(name), stride)

    def expanded(self, picture: Value, name: str) -> Value:
        """A transposed convolution of 5x5 at stride 2."""
        if not self.shuffled:
            return self.op.ConvTranspose(  # type: ignore[no-any-return]
                picture,
                table(self.op, self.state.floats(f"{name}.weight"), f"{name}.weight"),
                table(self.op, self.bias(name), f"{name}.bias"),
                kernel_shape=[5, 5],
                strides=[2, 2],
                pads=[2] * 4,
                output_padding=[1, 1],
            )
        weight = as_convolution(self.state.floats(f"{name}.weight"))
        product = self.product(picture, name, weight, np.repeat(self.bias(name), 4), 1)
        return self.op.DepthToSpace(product, blocksize=2, mode="CRD")  # type: ignore[no-any-return]

    def bias(self, name: str) -> Floats:
        """Of a layer."""
        return self.state.floats(f"{name}.bias")

    def product(self, picture: Value, name: str, weight: Floats, bias: Floats, stride: int) -> Value:
        """A convolution by arrays."""
        size = weight.shape[-1]
        convolved = self.op.Conv(
            picture,
            table(self.op, weight, f"{name}.weight"),
            table(self.op, bias, f"{name}.bias"),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
        )
        convolved.producer().name = name
        return convolved  # type: ignore[no-any-return]

    def normalized(self, picture: Value, name: str, *, inverse: bool) -> Value:
        """GDN, or ReLU where the state has no parameters for one."""
        op = self.op
        if f"{name}.beta" not in self.state:
            return op.Relu(picture)  # type: ignore[no-any-return]
        gamma, beta = normalization(self.state, name)
        sums = self.product(op.Mul(picture, picture), name, gamma[:, :, None, None], beta, 1)
        return (op.Mul if inverse else op.Div)(picture, op.Sqrt(sums))  # type: ignore[no-any-return]


def as_convolution(weight: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Weights [in, out, 5, 5] of a transposed convolution (stride 2, padding 2, output padding 1) as [4 out, in, 3, 3].

    Output 2 m + phase is the sum over inputs m + d, d in -1, 0, 1, times weight 2 - 2 d + phase, where there is one.
    """
    inputs, outputs, size, _ = weight.shape
    if size != 5:
        raise ValueError(f"expected transposed convolutions of 5x5, found {size}x{size}")
    wide = np.zeros((inputs, outputs, 6, 6), weight.dtype)
    wide[:, :, :5, :5] = weight
    places = np.array([[2 - 2 * d + phase for d in (-1, 0, 1)] for phase in (0, 1)])
    picked = wide[:, :, places[:, None, :, None], places[None, :, None, :]]  # [in, out, row phase, column phase, 3, 3]
    return np.ascontiguousarray(picked.transpose(1, 2, 3, 0, 4, 5).reshape(4 * outputs, inputs, 3, 3))
