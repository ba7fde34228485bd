"""From an ONNX model of whatever exporter to a half that can become a transform.

One input and one output, both float32, for any number of items; our opset; only operators that a codec may be made of;
weights as initializers, which quantization looks for; nothing left of training. What comes out was compared with what
went in, on the same values: a conversion that changes results is an error, not a surprise later.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions
from onnx.version_converter import convert_version
from onnx_ir.passes import common
from onnxscript import optimizer

from latentwire.export.assemble import drop_unused, nested_graphs
from latentwire.export.errors import HalfError, OutputChoiceError, SamplingError
from latentwire.export.graph import IR_VERSION, OPSET, duplicate
from latentwire.export.halves.batch import fixed_batch, for_any_number
from latentwire.export.halves.legacy import without_foreign
from latentwire.export.halves.read import read_half
from latentwire.export.halves.run import Network, examples_for
from latentwire.export.halves.tensors import FLOATS, inputs_of, outputs_of
from latentwire.export.notes import clean
from latentwire.runtime.bundle import check_model
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import ModelError

RANDOM = ("Bernoulli", "Multinomial", "Random", "StatelessRandom", "Philox")
"""How names of operators that draw at random begin; those of TensorFlow that have no name in ONNX among them."""
MOVING = {"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that are done ahead to weights of any size: none of them makes more of it."""
NAMES = {"encoder": ("input", "latents"), "decoder": ("latents", "output")}
TRIED = 5
"""Items that results are compared on."""


def prepared(
    model: onnx.ModelProto, role: str, *, output: int | str | None = None, examples: Array | None = None
) -> onnx.ModelProto:
    """A half as the other functions here take it.

    Args:
        model: any; it is not changed.
        role: "encoder" or "decoder": names its input and output, and is named in errors.
        output: index or name of the output that is meant; may be None where there is only one.
        examples: what it is tried with, float32 [n, ...], n from 5; random values where None.

    Returns:
        A model with ``input`` -> ``latents`` (encoder) or ``latents`` -> ``output`` (decoder), float32 [items, ...].

    Raises:
        HalfError: it is not one that a codec can be made of; the message says why.
        OutputChoiceError: it has several outputs, or none of that name or index.
        SamplingError: what it returns is drawn at random.
    """
    given = inline_local_functions(read_half(model, role))
    clean(given)
    drop_constant_inputs(given)
    check_input(given, role)
    keep_output(given, role, output)
    given = ir_passes(given, [common.RemoveUnusedNodesPass()])
    check_sampling(given, role)
    drop_dropout(given, role)
    without_foreign(given)
    check_valid(given, role)
    result = converted(given, role)
    result = ir_passes(result, [fold, common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)])
    result = ir_passes(result, [common.IdentityEliminationPass(), common.RemoveUnusedNodesPass()])
    check_operators(result, role)
    with_float32(result)
    result = named(result, *NAMES[role])
    trial, count = Network(given, role), fixed_batch(given)
    values = examples[:TRIED] if examples is not None else examples_for(inputs_of(given)[0], TRIED)
    wanted = trial.each(values, count or 1)
    result = for_any_number(result, role, values, wanted.astype(np.float32))
    onnx.checker.check_model(result, full_check=True)
    return result


def prepared_outputs(model: onnx.ModelProto, role: str) -> dict[str, onnx.ModelProto]:
    """The half of each output that a codec can be made of, by the output's name; what the others need is left out.

    Raises:
        HalfError: there is none; says what is wrong with the first.
    """
    found, faults = {}, []
    for entry in outputs_of(model):
        try:
            found[entry.name] = prepared(model, role, output=entry.name)
        except HalfError as fault:
            faults.append(fault)
    if not found:
        raise faults[0] if faults else HalfError(role, f"expected a {role} with an output, found none")
    return found


def check_valid(model: onnx.ModelProto, role: str) -> None:
    """Nothing, if this is ONNX; else HalfError."""
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker has a class of its own for each kind of fault
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise HalfError(role, f"expected a valid ONNX model as the {role}, found one where {text}") from error


def drop_constant_inputs(model: onnx.ModelProto) -> None:
    """Up to IR version 3 initializers stood among the inputs."""
    known = {entry.name for entry in model.graph.initializer}
    kept = [entry for entry in model.graph.input if entry.name not in known]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def check_input(model: onnx.ModelProto, role: str) -> None:
    """Nothing, if there is one input of floats [N, ...]; else HalfError."""
    found = inputs_of(model)
    if len(found) != 1:
        raise HalfError(
            role,
            f"expected a {role} with one input, found {', '.join(i.describe() for i in found) or 'none'}; "
            "export it with the others as constants",
        )
    if found[0].dtype not in FLOATS.values() or (found[0].shape is not None and len(found[0].shape) < 2):
        raise HalfError(role, f"expected an input of floats [N, ...] in the {role}, found {found[0].describe()}")


def keep_output(model: onnx.ModelProto, role: str, output: int | str | None) -> None:
    """Drop all outputs but the one that is meant."""
    found = outputs_of(model)
    listed = "; ".join(f"{at}: {entry.describe()}" for at, entry in enumerate(found))
    names = [entry.name for entry in found]
    if output is None and len(names) == 1:
        output = names[0]
    if isinstance(output, int) and -len(names) <= output < len(names):
        output = names[output]
    if not isinstance(output, str) or output not in names:
        asked = "one output" if output is None else f"an output {output!r}"
        raise OutputChoiceError(
            role, f"expected {asked} of the {role}, found {listed}: say which one is meant by index or name"
        )
    entry = found[names.index(output)]
    if entry.dtype not in FLOATS.values():
        raise HalfError(role, f"expected floats from the {role}, found {entry.describe()}")
    for at in reversed([at for at, name in enumerate(names) if name != output]):
        del model.graph.output[at]


def ir_passes(model: onnx.ModelProto, passes: list[Callable[[ir.Model], object]]) -> onnx.ModelProto:
    """The model after those passes, without what they had inferred of its tensors."""
    changed = ir.from_proto(model)
    for one in passes:
        one(changed)
    result = ir.to_proto(changed)
    del result.graph.value_info[:]
    drop_unused(result)
    return result


def fold(model: ir.Model) -> None:
    """Compute ahead what is constant: small values, and weights that are only laid out differently."""
    optimizer.fold_constants(
        model,
        onnx_shape_inference=False,
        should_fold=lambda node: True if node.op_type in MOVING and not node.domain else None,
    )


def check_sampling(model: onnx.ModelProto, role: str) -> None:
    """Nothing, if what is left draws nothing at random; else SamplingError."""
    drawn = [node for graph in nested_graphs(model.graph) for node in graph.node if node.op_type.startswith(RANDOM)]
    if drawn:
        raise SamplingError(
            role,
            f"the {role} draws random numbers (node {drawn[0].name or drawn[0].output[0]!r}, {drawn[0].op_type}): "
            "take its mean, another output, with latent=, or export it without sampling",
        )


def drop_dropout(model: onnx.ModelProto, role: str) -> None:
    """Dropout does nothing outside of training; there must be no other layer in training mode."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    for graph in nested_graphs(model.graph):
        constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute}
        for node in graph.node:
            if in_training(node, constants):
                raise HalfError(
                    role,
                    f"the {role}'s node {node.name or node.output[0]!r} ({node.op_type}) is in training mode: export "
                    "it for inference (eval() in torch, training=False in Keras)",
                )
            if node.op_type == "Dropout" and not node.domain:
                node.op_type = "Identity"
                del node.input[1:], node.output[1:], node.attribute[:]


def in_training(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether a layer behaves as in training."""
    if node.op_type == "BatchNormalization":
        return any(entry.name == "training_mode" and entry.i for entry in node.attribute)
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    told = constants.get(node.input[2])
    return told is None or bool(onnx.numpy_helper.to_array(told))


def converted(model: onnx.ModelProto, role: str) -> onnx.ModelProto:
    """The model in our opset, which is then its only one.

    Raises:
        HalfError: there is no way from its opset to ours.
    """
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None:
        raise HalfError(role, f"expected a {role} of ONNX's own operators, found none: docs/security.md has the list")
    result = duplicate(model)
    if version != OPSET:
        try:
            result = convert_version(result, OPSET)
        except Exception as error:  # the converter raises whatever it meets
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise HalfError(
                role,
                f"the {role} is of opset {version} and cannot be converted to {OPSET}: {text}; export it with opset "
                f"{OPSET}",
            ) from error
    used = {node.domain for graph in nested_graphs(result.graph) for node in graph.node} - {"", "ai.onnx"}
    foreign = [entry for entry in result.opset_import if entry.domain in used]
    del result.opset_import[:]
    result.opset_import.extend([helper.make_opsetid("", OPSET), *foreign])
    result.ir_version = IR_VERSION
    del result.graph.value_info[:]
    return result


def check_operators(model: onnx.ModelProto, role: str) -> None:
    """Nothing, if a runtime accepts the model; else HalfError."""
    try:
        check_model(model.SerializeToString(), f"the {role}")
    except ModelError as error:
        raise HalfError(role, str(error)) from error


def with_float32(model: onnx.ModelProto) -> None:
    """Casts around a model whose input or output are other floats."""
    graph = model.graph
    (source,), (result,) = inputs_of(model), outputs_of(model)
    if source.dtype != "float32":
        (inner,) = (entry for entry in graph.input if entry.name == source.name)
        name = f"{source.name}/{source.dtype}"
        for node in (node for nested in nested_graphs(graph) for node in nested.node):
            node.input[:] = [name if one == source.name else one for one in node.input]
        graph.node.insert(0, helper.make_node("Cast", [source.name], [name], name, to=inner.type.tensor_type.elem_type))
        inner.type.tensor_type.elem_type = TensorProto.FLOAT
    if result.dtype != "float32":
        name = f"{result.name}/float32"
        graph.node.append(helper.make_node("Cast", [result.name], [name], name, to=TensorProto.FLOAT))
        graph.output[0].name, graph.output[0].type.tensor_type.elem_type = name, TensorProto.FLOAT


def named(model: onnx.ModelProto, source: str, result: str) -> onnx.ModelProto:
    """The same with those names of input and output, and others for all else; every node has a name of its own."""
    changed = ir.from_proto(model)
    graph = changed.graph
    first, last = graph.inputs[0], graph.outputs[0]
    if last is first or last.is_initializer():
        node = ir.node("Identity", [last])
        graph.append(node)
        graph.outputs[0] = last = node.outputs[0]
    taken = {"input", "latents", "output", "quality", "size", "packet", "status"}
    values = [v for node in graph.all_nodes() for v in (*node.inputs, *node.outputs) if v is not None]
    for value in (*values, *graph.initializers.values()):
        if value.name in taken and value is not first and value is not last:
            value.name = f"network/{value.name}"
    for node in graph.all_nodes():
        node.name = node.name or node.outputs[0].name
    first.name, last.name = f"{source}/first", f"{result}/last"  # one may have the name that the other shall have
    common.NameFixPass()(changed)
    first.name, last.name = source, result
    changed.producer_name, changed.producer_version, changed.domain = "latentwire", None, None
    graph.name = "half"
    return ir.to_proto(changed)
