"""The transforms of a pair of torch modules: the input's cast and scaling inside, leading axes dynamic."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from latentwire.export.errors import ExportError
from latentwire.export.factorized.layout import Family
from latentwire.export.notes import name_axes
from latentwire.export.transforms import trace

TORCH_DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "int16": torch.int16, "float32": torch.float32}


class Analysis(nn.Module):
    """Items as they arrive -> latents."""

    def __init__(self, family: Family, encoder: nn.Module) -> None:
        super().__init__()
        self.family, self.encoder = family, encoder

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """[N, ...] of the contract's dtype -> latents float32."""
        return self.encoder(self.family.normalize(items))  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """Latents -> items as they are handed back."""

    def __init__(self, family: Family, decoder: nn.Module) -> None:
        super().__init__()
        self.family, self.decoder = family, decoder
        self.dtype = TORCH_DTYPES[family.contract.dtype]

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents float32 -> [N, ...] of the contract's dtype."""
        values = self.family.scale(self.decoder(latents))
        return values if self.dtype is torch.float32 else torch.round(values).to(self.dtype)


def to_onnx(module: nn.Module, example: torch.Tensor, family: Family, role: str) -> onnx.ModelProto:
    """Export ``analysis`` (input -> latents) or ``synthesis`` (latents -> output) with its leading axes dynamic.

    Args:
        module: an `Analysis` or `Synthesis`.
        example: at least two items or latents, so that no axis is specialised to 1.
        family: names the dynamic axes.
        role: "analysis" or "synthesis".

    Raises:
        ExportError: torch cannot export the module; the message names it.
    """
    source, result = ("input", "latents") if role == "analysis" else ("latents", "output")
    declared, returned = family.contract.shape, family.latent_shape
    if role == "synthesis":
        declared, returned = returned, declared
    # Sizes that networks take are multiples of something, which torch finds out; any number of items is taken.
    axes = {
        at: torch.export.Dim.AUTO if at else torch.export.Dim(str(name), min=1)
        for at, name in enumerate(declared)
        if isinstance(name, str)
    }
    model = trace(module, [example], [axes], [source], result, role)
    found = model.graph.input[0].type.tensor_type.shape.dim
    fixed = [declared[at] for at in axes if found[at].HasField("dim_value")]
    if fixed:
        raise ExportError(
            f"expected a {role} transform of any size, found one that torch exports for a single length of "
            f"{' and '.join(map(str, fixed))}: leave dynamic= out, or compute sizes from tensors' shapes in it"
        )
    name_axes(model.graph.input[0], declared)
    name_axes(model.graph.output[0], returned)
    return model
