"""Torch modules to ONNX: the analysis and synthesis pieces, with the input's cast and scaling inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import nn

from latentwire.export.errors import ExportError
from latentwire.export.graph import IR_VERSION, OPSET
from latentwire.export.notes import clean, quiet


class Half(nn.Module):
    """A network in half precision between float32 input and output.

    The scaling of items stays outside: items of 16 bits do not fit into fp16, whose largest value is 65504.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Float32 -> float32."""
        return self.network(values.half()).float()  # type: ignore[no-any-return]


def freeze(module: nn.Module, role: str) -> nn.Module:
    """A copy on the CPU in eval mode with float32 parameters that need no gradient.

    Raises:
        ExportError: a parameter is neither float32 nor convertible, or is not finite.
    """
    frozen = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    check_finite(frozen, role)
    return frozen


def check_finite(module: nn.Module, role: str) -> None:
    """Nothing, if weights are numbers. A mask of attention, which is no weight, may hold infinities.

    Raises:
        ExportError: a parameter is not finite; names it.
    """
    masks = {name for name, buffer in module.named_buffers() if not bool(torch.isnan(buffer).any())}
    for name, tensor in module.state_dict().items():
        if name not in masks and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ExportError(
                f"the {role}'s parameter {name!r} holds values that are not finite; train it again with a lower "
                "learning rate or restore an earlier checkpoint"
            )


def trace(
    module: nn.Module,
    examples: Sequence[torch.Tensor],
    axes: Sequence[Mapping[int, Any]],
    inputs: Sequence[str],
    output: str,
    role: str,
) -> onnx.ModelProto:
    """Export one transform, checked and without the exporter's notes.

    Args:
        module: the transform.
        examples: its inputs.
        axes: what torch.export is told of each input's dynamic axes; those that are left out have none.
        inputs: names of the graph's inputs.
        output: name of its output.
        role: named in errors.

    Raises:
        ExportError: torch cannot export the module; the message names it.
    """
    with quiet():
        try:
            program = torch.onnx.export(
                module,
                tuple(examples),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=(*map(dict, axes), *({} for _ in examples[len(axes) :])),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch raises a different class at each of its stages
            raise ExportError(explain_failure(module, role, error)) from error
    if program is None:
        raise ExportError(f"torch.onnx.export returned nothing for the {role} transform")
    model = program.model_proto
    model.ir_version = IR_VERSION
    clean(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def explain_failure(module: nn.Module, role: str, error: Exception) -> str:
    """Name the deepest submodule that fails to export alone, and torch's first line of complaint."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    culprits = [name for name, child in module.named_modules() if name and type(child).__name__ in str(error)]
    where = f" (module {culprits[-1]!r})" if culprits else f" ({type(module).__name__})"
    return f"the {role} transform{where} cannot be exported to ONNX: {reason}"
