"""Networks that are ONNX models: everything that an export needs of them, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from latentwire.export import measure
from latentwire.export.errors import ExportError
from latentwire.export.factorized.grids import cut, whole
from latentwire.export.factorized.layout import Family, wanted
from latentwire.export.factorized.reference import Floats, Reference
from latentwire.export.factorized.scaling import Scaling, to_float
from latentwire.export.graph import FLOAT, Op, Value
from latentwire.export.halves import Ends, Network, in_half_precision, prepared, sensitivity, with_scaling
from latentwire.runtime.contract import Array, Axis

PROBED = 1024
"""Items that the decoder's sensitivity and error are measured on, at most."""


@dataclass(frozen=True)
class OnnxReference(Reference):
    """An encoder and a decoder of ONNX operators, with the scaling of a layout around them."""

    family: Family
    encoder: Network
    decoder: Network
    origin: str = "the ONNX halves"

    @classmethod
    def of(cls, family: Family, encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> OnnxReference:
        """Of two models of one output each, which are prepared first.

        Raises:
            HalfError: one of them is not what a codec can be made of.
        """
        first, second = (prepared(half, role) for half, role in ((encoder, "encoder"), (decoder, "decoder")))
        return cls(family, Network(first, "encoder"), Network(second, "decoder"))

    def laid_out(self, family: Family) -> OnnxReference:
        """See `Reference`."""
        return replace(self, family=family)

    def in_half(self) -> OnnxReference:
        """See `Reference`."""
        first, second = (in_half_precision(half.model, half.role) for half in (self.encoder, self.decoder))
        return replace(self, encoder=Network(first, "encoder"), decoder=Network(second, "decoder"))

    def latents(self, items: Array) -> Floats:
        """See `Reference`."""
        items = whole(self.family, items)
        return np.concatenate([self.encoder(self.family.normalize(part)) for part in measure.batches(items)])

    def output(self, latents: Array, shape: Sequence[int]) -> Floats:
        """See `Reference`."""
        return cut(self.family, self.family.scale(self._decoded(latents)), shape)

    def rows(self, latents: Array) -> Floats:
        """See `Reference`."""
        return np.ascontiguousarray(self.family.rows(latents))

    def own_error(self, items: Array, latents: Array) -> float:
        """See `Reference`."""
        items, latents, total = items[:PROBED], latents[:PROBED], 0.0
        size = measure.together(items.shape[1:])
        for source, part in zip(measure.batches(items, size), measure.batches(latents, size), strict=True):
            error = self.decoder(part) - wanted(self.family, whole(self.family, source))
            total += float(np.square(error, dtype=np.float64).sum())
        return total / len(self.rows(latents))

    def sensitivity(self, latents: Array) -> npt.NDArray[np.float64]:
        """See `Reference`."""
        return sensitivity(self.decoder, latents[:PROBED], self.family.rows)

    def analysis(self, items: Array) -> onnx.ModelProto:
        """See `Reference`."""
        contract, into = self.family.contract, self._scaling.into

        def before(op: Op, values: Value) -> Value:
            return into.in_graph(op, to_float(op, values, contract.dtype), items.ndim, "into")

        source = ir.DataType.from_numpy(contract.numpy_dtype), named(contract.shape)
        return with_scaling(self.encoder.model, Ends(source, (FLOAT, named(self.family.latent_shape))), before)

    def synthesis(self, latents: Array) -> onnx.ModelProto:
        """See `Reference`."""
        contract, back = self.family.contract, self._scaling.back
        dtype = ir.DataType.from_numpy(contract.numpy_dtype)

        def after(op: Op, values: Value) -> Value:
            scaled: Value = op.Clip(back.in_graph(op, values, len(contract.shape), "back"), *map(float, contract.range))
            return scaled if contract.dtype == "float32" else op.Cast(op.Round(scaled), to=dtype)

        ends = Ends((FLOAT, named(self.family.latent_shape)), (dtype, named(contract.shape)))
        return with_scaling(self.decoder.model, ends, after=after)

    @property
    def _scaling(self) -> Scaling:
        scaling = getattr(self.family, "scaling", None)
        if not isinstance(scaling, Scaling):
            raise ExportError(
                "expected a layout whose scaling can be written in ONNX, as that of Dense and Tensors, for halves that "
                f"are ONNX models, found a {type(self.family).__name__}: give torch modules, or another family="
            )
        return scaling

    def _decoded(self, latents: Array) -> Floats:
        return np.concatenate([self.decoder(part) for part in measure.batches(latents)])


def named(shape: Sequence[Axis]) -> list[int | str]:
    """A shape as a graph declares it: a choice of lengths is one that varies."""
    return [axis if isinstance(axis, int | str) else f"axis_{at}" for at, axis in enumerate(shape)]
