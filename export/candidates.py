"""The int8 forms that a transform can have: which of its layers take bytes, everything else the same in all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from latentwire.export import qdq, refine, rewrite
from latentwire.export.measure import session
from latentwire.runtime.contract import Array

BATCH = 256
"""Items of a calibration run, at most."""
RUN_BYTES = 1 << 26
"""What a calibration run may hold of values that are looked at."""
CALIBRATION_BYTES = 1 << 32
"""The same, all runs together."""
ORDER_ITEMS = 64
"""Items on which layers are compared with each other."""
WIDER = 0.05
"""Part of its span that a channel's range is wider, where its values are the transform's result: what comes
next is never quite inside of what was seen."""


class Candidates:
    """The int8 transforms of one float model, by which of its layers stay float.

    Everything is observed and every weight rounded once: a candidate is a matter of putting nodes into a graph.

    Args:
        model: float, with one input.
        calibration: samples [N, ...].
    """

    def __init__(self, model: onnx.ModelProto, calibration: Array) -> None:
        self._model, self._input = model, model.graph.input[0].name
        self._whole_graph = rewrite.untransposed(model)
        self.layers = qdq.layers_of(self._whole_graph)
        self.names = [layer.node.name for layer in self.layers]
        if not self.layers:
            return
        self.feeds = self._cut(calibration)
        self._steps = self._fit_steps()
        self._whole = self._round()

    def quantized(self, keep_float: Collection[str] = ()) -> onnx.ModelProto:
        """Every layer but those named takes bytes."""
        chosen = {name: whole for name, whole in self._whole.items() if name not in keep_float}
        graph = rewrite.untransposed(self._model, but=keep_float) if keep_float else self._whole_graph
        return qdq.Inserter(graph, chosen, self._steps).inserted()

    def order(self) -> dict[str, float]:
        """Squared error of the result if each layer alone is quantized, as a share of the result's power."""
        sample = {self._input: np.concatenate([feed[self._input] for feed in self.feeds[:ORDER_ITEMS]])[:ORDER_ITEMS]}
        exact = output_of(self._model, sample).astype(np.float64)
        power = max(float(np.square(exact).sum()), 1e-30)
        return {
            name: float(np.square(output_of(self.quantized(set(self.names) - {name}), sample) - exact).sum()) / power
            for name in self.names
        }

    def _cut(self, calibration: Array) -> list[dict[str, Array]]:
        """Runs whose values fit into `RUN_BYTES`, of as many items as `CALIBRATION_BYTES` are enough for."""
        one = next(refine.runs(self._whole_graph, self._watched(), [{self._input: calibration[:1]}]))
        size = max(1, sum(value.nbytes for value in one.values()))
        most = max(ORDER_ITEMS, CALIBRATION_BYTES // size)
        items = calibration[:: max(1, -(-len(calibration) // most))]
        batch = int(np.clip(RUN_BYTES // size, 1, BATCH))
        return [{self._input: items[at : at + batch]} for at in range(0, len(items), batch)]

    def _watched(self) -> list[str]:
        """Values that become bytes."""
        results = [layer.result for layer in self.layers if layer.convolves]
        return list(dict.fromkeys([*(layer.source for layer in self.layers), *results]))

    def _fit_steps(self) -> dict[str, qdq.Steps]:
        """Steps of each value: of the whole range where channels have their own, of the best part of it otherwise."""
        ends = refine.extremes(self._whole_graph, self._watched(), self.feeds)
        apart = {layer.result for layer in self.layers if layer.apart}
        steps = {
            name: qdq.Steps.between(low - WIDER * (high - low), high + WIDER * (high - low))
            if name in apart
            else qdq.Steps.between(low.min(), high.max())
            for name, (low, high) in ends.items()
        }
        ranges = {name: (float(s.scale), int(s.zero)) for name, s in steps.items() if name not in apart}
        self._observed = refine.watch(self._whole_graph, ranges, self.feeds)
        for name, (scale, zero) in ranges.items():
            share = refine.SHARES[int(np.argmin(self._observed.errors[name]))]
            steps[name] = qdq.Steps(np.array(scale * share, np.float32), np.array(zero, np.uint8))
        return steps

    def _round(self) -> dict[str, qdq.Whole]:
        """Whole weights of each layer."""
        return {layer.node.name: self._rounded(layer) for layer in self.layers}

    def _rounded(self, layer: qdq.Layer) -> qdq.Whole:
        exact = layer.rows
        scale = np.abs(exact).max(1) / refine.LARGEST
        # A bias is a whole number of 32 bits, in units of the weights' scale: a row of hardly any weight gets more.
        bias = np.zeros(len(exact)) if layer.bias is None else np.abs(layer.bias).astype(np.float64)
        if layer.apart:
            bias = bias + qdq.LEVELS * self._steps[layer.result].scale
        finest = min(float(self._steps[name].scale) for name in self._before(layer))
        scale = np.maximum(scale, np.maximum(bias, 1e-30) / (finest * qdq.LARGEST_BIAS)).astype(np.float32)
        rounded = np.clip(np.rint(exact / scale[:, None]), -refine.LARGEST, refine.LARGEST)
        if layer.node.name in self._observed.moments:
            moments = self._observed.moments[layer.node.name]
            rounded = refine.rounded_rows(exact, rounded, scale, moments)
        return qdq.Whole(layer.as_weight(rounded).astype(np.int8), scale)

    def _before(self, layer: qdq.Layer) -> list[str]:
        """The values whose steps a layer's input can have: its own, or those of the convolution in front of it."""
        readers = qdq.readers_of(self._whole_graph.graph)
        ends = [other.result for other in self.layers if other.convolves and not other.apart
                and qdq.end_of(other, readers) == layer.source]  # fmt: skip
        return [layer.source, *ends]


def output_of(model: onnx.ModelProto, feed: Mapping[str, Array]) -> Array:
    """A model's first output."""
    return session(model).run(None, dict(feed))[0]  # type: ignore[no-any-return]
