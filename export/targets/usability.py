"""What of a piece an accelerator would run: nodes, partitions, and the torch modules behind what it would not.

The operators that NNAPI and Core ML take are ONNX Runtime's own lists, from the wheel that is installed; those of
XNNPACK and QNN lie in ``ops/``, each with where it comes from. Partitions are counted by ONNX Runtime's own estimate.
Types and the limits in a list's notes are not checked: the notes are repeated in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from onnxruntime.tools.mobile_helpers import usability_checker
from onnxruntime.tools.onnx_model_utils import is_fixed_size_tensor

from latentwire.export.assemble import nested_graphs
from latentwire.export.notes import module_of
from latentwire.runtime.strictjson import Facts

SHIPPED = Path(usability_checker.__file__).parent
OWN = Path(__file__).parent / "ops"
ANY_RANK = 999
ROW = re.compile(r"^\|([\w.]+:\w+)\|(.*)\|$")


@dataclass(frozen=True)
class OpList:
    """The operators that an execution provider takes.

    Attributes:
        name: as targets name it.
        title: the provider, for people.
        path: a table of operators and notes, in the form of ONNX Runtime's.
        max_rank: of the tensors that it takes.
    """

    name: str
    title: str
    path: Path
    max_rank: int = ANY_RANK

    @property
    def source(self) -> str:
        """Where the list comes from."""
        if self.path.parent == SHIPPED:
            return f"{self.path.name} of onnxruntime {ort.__version__}"
        found = re.findall(r"^(?:Source|Version): (.*)$", self.path.read_text(encoding="utf-8"), re.MULTILINE)
        return ", ".join(found)

    def operators(self) -> dict[str, str]:
        """Notes by operator, ``domain:type``."""
        rows = (ROW.match(line.strip()) for line in self.path.read_text(encoding="utf-8").splitlines())
        return {row[1]: row[2].replace("<br/>", " ") for row in rows if row}


OP_LISTS = {
    entry.name: entry
    for entry in (
        OpList("nnapi", "NNAPI", SHIPPED / "nnapi_supported_ops.md"),
        OpList("coreml-mlprogram", "Core ML, MLProgram", SHIPPED / "coreml_supported_mlprogram_ops.md", 5),
        OpList("coreml-neuralnetwork", "Core ML, NeuralNetwork", SHIPPED / "coreml_supported_neuralnetwork_ops.md", 5),
        OpList("xnnpack", "XNNPACK", OWN / "xnnpack.md"),
        OpList("qnn", "QNN", OWN / "qnn.md"),
    )
}


@dataclass(frozen=True)
class Refused:
    """Nodes of one operator that a provider does not take.

    Attributes:
        operator: ``domain:type``.
        reason: "operator" where its list has none, "shape" where an input's shape varies, "rank" where one has too many
            axes.
        nodes: how many.
        modules: torch modules that they come from; nodes that come from none, such as those around a network, go by
            their own names.
    """

    operator: str
    reason: str
    nodes: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Usability(Facts):
    """What a provider would run of one model.

    Attributes:
        model: its name.
        provider: the provider's title.
        source: where the list of its operators comes from.
        nodes: nodes of the model, those of nested graphs included.
        taken: how many it would run.
        partitions: in how many pieces; each is a trip there and back.
        verdict: ONNX Runtime's: YES, MAYBE or NO.
        refused: what it would not run.
        notes: limits of operators that it would run, not checked here.
    """

    model: str
    provider: str
    source: str
    nodes: int
    taken: int
    partitions: int
    verdict: str
    refused: tuple[Refused, ...]
    notes: Mapping[str, str]


class Checker:
    """What ONNX Runtime's estimate asks of a list."""

    def __init__(self, operators: Mapping[str, str]) -> None:
        self.operators = operators

    def is_op_supported(self, node: onnx.NodeProto) -> bool:
        """Whether the list has the node's operator."""
        return operator_of(node) in self.operators


def operator_of(node: onnx.NodeProto) -> str:
    """Domain and type as the lists write them."""
    return f"{node.domain or 'ai.onnx'}:{node.op_type}"


def usability(model: onnx.ModelProto, name: str, listed: OpList) -> Usability:
    """What the provider of a list would run of a model.

    Args:
        model: with its shapes inferred, where they can be.
        name: of the model, for the report.
        listed: the provider's operators.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    operators = listed.operators()
    found = usability_checker.check_partitioning(inferred.graph, Checker(operators), True, listed.max_rank)
    taken = {id(node) for group in found.supported_groups for node in group}
    nodes = [node for graph in nested_graphs(inferred.graph) for node in graph.node]
    outside = [node for node in nodes if id(node) not in taken]
    kinds = {operator_of(node) for node in nodes if id(node) in taken}
    return Usability(
        name,
        listed.title,
        listed.source,
        nodes=found.num_nodes,
        taken=found.num_supported_nodes,
        partitions=found.num_partitions,
        verdict=found.suitability().name,
        refused=refused(outside, operators, fixed_names(inferred), origins_of(nodes)),
        notes={kind: operators[kind] for kind in sorted(kinds) if operators[kind]},
    )


def on_cpu(model: onnx.ModelProto, name: str) -> Usability:
    """The report on a model that stays on the CPU, where it was opened and run when it was packaged."""
    count = sum(len(graph.node) for graph in nested_graphs(model.graph))
    return Usability(name, "CPU", f"run here by onnxruntime {ort.__version__}", count, count, 1, "YES", (), {})


def fixed_names(model: onnx.ModelProto) -> set[str]:
    """Names of tensors whose shapes do not vary."""
    graphs = list(nested_graphs(model.graph))
    entries = [entry for graph in graphs for entry in (*graph.input, *graph.output, *graph.value_info)]
    constants = {entry.name for graph in graphs for entry in graph.initializer}
    return constants | {entry.name for entry in entries if is_fixed_size_tensor(entry)}


def refused(
    nodes: Sequence[onnx.NodeProto], operators: Mapping[str, str], fixed: set[str], origins: Mapping[int, str]
) -> tuple[Refused, ...]:
    """Nodes that are not taken, by operator and reason."""
    groups: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in nodes:
        kind = operator_of(node)
        reason = "operator" if kind not in operators else "rank" if fixed.issuperset(node.input) else "shape"
        groups.setdefault((kind, reason), []).append(node)
    return tuple(
        Refused(kind, reason, len(members), tuple(dict.fromkeys(origins[id(node)] for node in members)))
        for (kind, reason), members in sorted(groups.items())
    )


def origins_of(nodes: Sequence[onnx.NodeProto]) -> dict[int, str]:
    """Where nodes come from, by their `id`: see `module_of`, without the marks of the pieces that were joined.

    The quantizer's nodes come from no module; they belong to that of the node that they feed, or that feeds them.
    """
    makers = {name: node for node in nodes for name in node.output}
    readers = {name: node for node in nodes for name in node.input}

    def owner(node: onnx.NodeProto) -> onnx.NodeProto:
        if node.doc_string or node.op_type not in ("DequantizeLinear", "QuantizeLinear"):
            return node
        near = readers.get(node.output[0]) if node.op_type == "DequantizeLinear" else makers.get(node.input[0])
        return near or node

    return {id(node): re.sub(r"^((first|second)/)+", "", module_of(owner(node))) for node in nodes}


def as_markdown(found: Sequence[Usability]) -> str:
    """The report for people."""
    lines = [
        "# What accelerators would run",
        "",
        "By the operators that each provider lists, and ONNX Runtime's estimate of partitions. What a provider does "
        "not take runs on the CPU, in the same session. Nodes of no torch submodule go by their own names. The verdict "
        "counts a partition as a copy to a device and back, which XNNPACK, itself on the CPU, does not need.",
        "",
        "| model | provider | nodes it takes | partitions | worth trying |",
        "|---|---|---|---|---|",
        *(f"| {u.model} | {u.provider} | {u.taken} of {u.nodes} | {u.partitions} | {u.verdict} |" for u in found),
    ]
    for entry in found:
        if not entry.refused and not entry.notes:
            continue
        lines += ["", f"## {entry.model} on {entry.provider}", "", f"List: {entry.source}.", ""]
        if entry.refused:
            lines += ["| not taken | why | nodes | torch modules |", "|---|---|---|---|"]
            lines += [f"| {r.operator} | {r.reason} | {r.nodes} | {in_marks(r.modules)} |" for r in entry.refused]
        if entry.notes:
            lines += ["", "Not checked:", "", *(f"- {kind}: {note}" for kind, note in entry.notes.items())]
    return "\n".join([*lines, ""])


def in_marks(modules: Sequence[str], most: int = 8) -> str:
    """Names in code marks, the first few of many."""
    names = [f"`{name}`" for name in modules[:most]]
    return ", ".join([*names, *([f"{len(modules) - most} more"] if len(modules) > most else [])])
