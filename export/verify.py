"""Parity of a bundle, on real data: what must be identical is compared exactly, what may drift is measured.

Exact: symbols decoded = symbols encoded for every pair of variants; packets from the same latents, whatever the
optimisation level and the number of threads. Measured: torch against ONNX, and each variant's rate and distortion
against fp32. `verify_bundle` runs on the files of a bundle alone; with the torch modules it compares those too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from latentwire.export import measure
from latentwire.export.errors import ParityError
from latentwire.export.factorized.tables import CodecTables
from latentwire.export.factorized.transforms import Analysis, Synthesis
from latentwire.export.graph.builder import duplicate
from latentwire.export.image.tables import FAMILY
from latentwire.export.image.verify import verify_images
from latentwire.export.transforms import Half
from latentwire.runtime.atomic import whole_file
from latentwire.runtime.bundle.bundle import Bundle, open_bundle
from latentwire.runtime.bundle.manifest import MANIFEST
from latentwire.runtime.contract import Array
from latentwire.train.image.network import ImageNetwork

QUALITIES = (0, 32, 64, 96, 128, 160, 192, 224, 255)
COMPARED = (0, 128, 255)
SYMBOL_LIMIT = 1e-5
OUTPUT_LIMIT = 1e-5
RATE_LIMIT = 0.02
"""Another precision may raise the rate by this share at quality 128."""
MSE_LIMIT = 0.03
"""And the squared error by this share."""
TIE = 1e-3
"""A symbol may differ between torch and ONNX only where the latent is this close to a rounding boundary, in steps."""
PACKET_ITEMS = 64

LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True)
class Reference:
    """The torch modules that a bundle was made from."""

    analysis: Analysis
    synthesis: Synthesis

    def in_half(self) -> Reference:
        """The same transforms with their networks in half precision."""
        family = self.synthesis.family
        return Reference(Analysis(family, Half(self.analysis.encoder)), Synthesis(family, Half(self.synthesis.decoder)))

    def latents(self, items: Array) -> torch.Tensor:
        """Latents of ``items`` in torch."""
        with torch.no_grad():
            return torch.cat([self.analysis(torch.tensor(part)) for part in measure.batches(items)])

    def output(self, latents: Array) -> Array:
        """Items from latents in torch, before rounding to whole numbers, in the contract's units."""
        with torch.no_grad():
            parts = [self.synthesis.decoder(torch.tensor(part)) for part in measure.batches(latents)]
            return self.synthesis.family.scale(torch.cat(parts)).numpy()


@dataclass(frozen=True)
class Check:
    """One comparison: passed where ``value`` <= ``limit``."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """NaN fails."""
        return self.value <= self.limit


@dataclass
class Report:
    """All checks of a bundle, and the curves that they were read off."""

    items: int
    checks: list[Check] = field(default_factory=list)
    curves: dict[str, list[measure.RatePoint]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def add(self, name: str, value: float, limit: float) -> None:
        """Record one comparison."""
        self.checks.append(Check(name, float(value), limit))

    def raise_on_failure(self) -> None:
        """Raises ParityError naming the failed checks."""
        failed = [f"{c.name}: {c.value:.3g} (limit {c.limit:.3g})" for c in self.checks if not c.passed]
        if failed:
            raise ParityError(f"{len(failed)} of {len(self.checks)} parity checks failed: " + "; ".join(failed))

    def to_json(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        return {
            "passed": self.passed,
            "items": self.items,
            "checks": [asdict(check) | {"passed": check.passed} for check in self.checks],
            "rate_distortion": {name: [asdict(point) for point in curve] for name, curve in self.curves.items()},
            "notes": self.notes,
        }


def verify_bundle(
    path: str | Path, items: Array | Sequence[Array], reference: Reference | ImageNetwork | None = None
) -> Report:
    """Run every check on a bundle.

    Args:
        path: the bundle.
        items: real items of its contract, [N, ...], or pictures [H, W, C]; not those it was fitted to.
        reference: the torch modules, or the image family's network, if they are at hand.
    """
    bundle = open_bundle(path)
    subject, report = Subject(bundle), Report(len(items))
    if bundle.manifest.family == FAMILY:
        for picture in items:
            bundle.manifest.input.validate(picture)
        verify_images(report, subject, list(items), reference if isinstance(reference, ImageNetwork) else None)
    else:
        vectors = np.asarray(items)
        bundle.manifest.input.validate(vectors)
        verify_vectors(report, subject, vectors, reference if isinstance(reference, Reference) else None)
    return report


def verify_vectors(report: Report, subject: Subject, items: Array, reference: Reference | None) -> None:
    """Add every check of a bundle of the dense family to ``report``."""
    for variant in subject.variants("analysis"):
        check_symbols(report, subject, variant, items)
    if not report.passed:
        report.notes.append("nothing else was measured: it would measure packets that do not decode")
        return
    check_assemblies(report, subject, items)
    check_determinism(report, subject, items)
    measure_variants(report, subject, items)
    if reference is None:
        report.notes.append("torch modules were not at hand: torch against ONNX was not compared again")
    else:
        check_torch(report, subject, items, reference)


class Subject:
    """A bundle's files, read once and checked against their hashes."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest

    @cached_property
    def coder(self) -> measure.Coder:
        """The integer pieces."""
        return measure.Coder(self.session("pack", "exact"), self.session("unpack", "exact"), self.size_axes)

    @cached_property
    def tables(self) -> CodecTables:
        """The tables in the integer pieces, of the dense family."""
        return read_tables(self.bundle.read_model("pack", "exact"), self.bundle.read_model("unpack", "exact"))

    @property
    def size_axes(self) -> tuple[int, ...]:
        """Input axes that the packet carries."""
        return self.manifest.size_axes

    def variants(self, role: str) -> list[str]:
        """Variants of a role, fp32 first."""
        return sorted(self.manifest.variants(role), key=lambda name: (name != "fp32", name))

    def session(self, role: str, variant: str, **options: Any) -> ort.InferenceSession:
        """A measuring session over a file whose hash was checked."""
        return measure.session(self.bundle.read_model(role, variant), **options)

    def latents(self, variant: str, items: Array) -> Array:
        """Latents of ``items`` by one analysis piece."""
        return measure.run_batched(self.session("analysis", variant), "input", items)


def read_tables(pack: bytes, unpack: bytes) -> CodecTables:
    """The codec's tables from the initializers of its two integer pieces."""
    found: dict[str, Array] = {}
    for data in (pack, unpack):
        for tensor in onnx.load_from_string(data).graph.initializer:
            found[tensor.name] = onnx.numpy_helper.to_array(tensor)
    frequency = found["frequency"].astype(np.uint16)
    return CodecTables(found["gain"], found["centre"], found["index"], frequency, found["rounding"], found["shift"])


def packet_parts(latents: Array, items: Array) -> Iterator[tuple[Array, tuple[int, ...]]]:
    """Latents by packet, with the input shape that each packet stands for."""
    for part, source in zip(measure.batches(latents, PACKET_ITEMS), measure.batches(items, PACKET_ITEMS), strict=True):
        yield part, source.shape


def check_symbols(report: Report, subject: Subject, variant: str, items: Array) -> None:
    """Through pack and unpack, each symbol comes back as NumPy computes it from the same latents: none may differ."""
    latents, wrong = subject.latents(variant, items), 0
    for quality in (QUALITIES[0], 128, QUALITIES[-1]):
        for part, shape in packet_parts(latents, items):
            found = subject.coder.restore(subject.coder.packet(part, shape, quality))["symbols"]
            wanted = subject.tables.quantize(part, quality)
            wrong += int((found != wanted).sum()) if found.shape == wanted.shape else wanted.size
    report.add(f"symbols decoded differ from symbols encoded, {variant} encoder", wrong, 0)


def check_assemblies(report: Report, subject: Subject, items: Array) -> None:
    """Every encoder file against every decoder file: the output is what the decoder's pieces make of the packet."""
    decoders = {name: subject.session("decoder", name) for name in subject.variants("decoder")}
    synthesis = {name: subject.session("synthesis", name) for name in decoders}
    span = subject.manifest.input.range[1] - subject.manifest.input.range[0]
    for source in subject.variants("encoder"):
        encoder = subject.session("encoder", source)
        worst = dict.fromkeys(decoders, 0.0)
        for quality in (0, 128, 255):
            feed = {"input": items[:PACKET_ITEMS], "quality": np.asarray(quality, np.uint8)}
            packet = encoder.run(None, feed)[0]
            pieces = subject.coder.restore(packet)
            for name, decoder in decoders.items():
                output, status = decoder.run(None, {"packet": packet})
                wanted = synthesis[name].run(None, {"latents": pieces["latents"]})[0]
                gap = np.abs(output.astype(np.float64) - wanted).max() if output.shape == wanted.shape else np.inf
                worst[name] = max(worst[name], gap / span + 1e9 * int(status))
        for name, gap in worst.items():
            report.add(f"{source} encoder to {name} decoder: output against its pieces", gap, one_level(subject))


def one_level(subject: Subject) -> float:
    """The smallest change of an output, as a share of the range: one level for integers, 1e-5 for floats."""
    low, high = subject.manifest.input.range
    return OUTPUT_LIMIT if subject.manifest.input.dtype == "float32" else 1 / (high - low)


def check_determinism(report: Report, subject: Subject, items: Array) -> None:
    """The same latents give the same bytes, and those the same symbols, whatever the optimisation level and threads."""
    part, shape = next(packet_parts(subject.latents("fp32", items), items))
    wanted = subject.coder.packet(part, shape, 128)
    symbols = subject.coder.restore(wanted)["symbols"]
    different = 0
    for level in LEVELS.values():
        for threads in (1, 2):
            coder = measure.Coder(
                subject.session("pack", "exact", threads=threads, level=level),
                subject.session("unpack", "exact", threads=threads, level=level),
                subject.size_axes,
            )
            different += not np.array_equal(coder.packet(part, shape, 128), wanted)
            different += not np.array_equal(coder.restore(wanted)["symbols"], symbols)
    report.add("optimisation levels x threads with other packets or symbols", different, 0)


def measure_variants(report: Report, subject: Subject, items: Array) -> None:
    """Rate-distortion curve of each variant; int8 and fp16 against fp32 at the middle quality."""
    synthesis = subject.session("synthesis", "fp32")
    analysed = {name: subject.latents(name, items) for name in subject.variants("analysis")}
    whole = curve(subject, analysed["fp32"], items, synthesis, QUALITIES)
    report.curves["fp32 encoder, fp32 decoder"] = whole
    for name in subject.variants("analysis")[1:]:
        report.curves[f"{name} encoder, fp32 decoder"] = curve(subject, analysed[name], items, synthesis, COMPARED)
    for name in subject.variants("synthesis")[1:]:
        session = subject.session("synthesis", name)
        report.curves[f"fp32 encoder, {name} decoder"] = curve(subject, analysed["fp32"], items, session, COMPARED)
    base = whole[QUALITIES.index(128)]
    for name, points in list(report.curves.items())[1:]:
        point = points[COMPARED.index(128)]
        report.add(f"{name}: rate increase at quality 128", point.bits / base.bits - 1, RATE_LIMIT)
        report.add(f"{name}: MSE increase at quality 128", point.mse / max(base.mse, 1e-12) - 1, MSE_LIMIT)


def curve(
    subject: Subject, latents: Array, items: Array, synthesis: ort.InferenceSession, qualities: tuple[int, ...]
) -> list[measure.RatePoint]:
    """One point for each quality."""
    contract = subject.manifest.input
    return [measure.rate_point(subject.coder, latents, items, synthesis, contract, q) for q in qualities]


def check_torch(report: Report, subject: Subject, items: Array, reference: Reference) -> None:
    """Torch against ONNX fp32: symbols (rounding ties apart) and the output before it is rounded."""
    rows = reference.synthesis.family.rows
    wanted = rows(reference.latents(items)).numpy()
    found = rows(torch.tensor(subject.latents("fp32", items))).numpy()
    differ = far = total = 0
    for quality in (0, 128, 255):
        other = subject.tables.quantize(wanted, quality) != subject.tables.quantize(found, quality)
        scaled = np.abs((wanted - subject.tables.centre) * subject.tables.gain[quality])
        distance = np.abs((scaled + subject.tables.rounding[quality] + 0.5) % 1 - 0.5)
        differ, far, total = differ + int(other.sum()), far + int((other & (distance > TIE)).sum()), total + other.size
    report.add("torch against ONNX fp32: share of symbols that differ", differ / total, SYMBOL_LIMIT)
    report.add("torch against ONNX fp32: symbols that differ away from a rounding tie", far, 0)
    part, shape = next(packet_parts(subject.latents("fp32", items), items))
    latents = subject.coder.restore(subject.coder.packet(part, shape, 255))["latents"]
    low, high = subject.manifest.input.range
    gap = np.abs(unrounded(subject, latents) - reference.output(latents)).max() / (high - low)
    report.add("torch against ONNX fp32: largest output difference, range scaled to 1", gap, OUTPUT_LIMIT)


def unrounded(subject: Subject, latents: Array) -> Array:
    """Output of the fp32 synthesis file before its last rounding, read off inside the graph."""
    model = duplicate(onnx.load_from_string(subject.bundle.read_model("synthesis", "fp32")))
    rounding = [node for node in model.graph.node if node.op_type == "Round"]
    if rounding:
        tap = onnx.helper.make_tensor_value_info(rounding[-1].input[0], onnx.TensorProto.FLOAT, None)
        model.graph.output.insert(0, tap)
    return measure.session(model).run(None, {"latents": latents})[0]  # type: ignore[no-any-return]


def render(report: Report) -> str:
    """The report as lines for a person."""
    lines = [f"{'ok  ' if c.passed else 'FAIL'} {c.name}: {c.value:.3g} (limit {c.limit:.3g})" for c in report.checks]
    lines += report.notes
    verdict = "parity holds" if report.passed else "PARITY FAILED"
    return "\n".join([*lines, f"{verdict}: {len(report.checks)} checks on {report.items} items"])


def write_report(bundle: Path, report: Report) -> None:
    """Put a new report into a bundle folder's manifest, keeping the comparison with torch if this one had none."""
    target = bundle / MANIFEST
    document = json.loads(target.read_text(encoding="utf-8"))
    document["parity"] = merged(document["parity"], report.to_json())
    with whole_file(target) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())


def merged(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """``new``, with the torch checks of ``old`` where it has none of its own."""
    if old is None or any(check["name"].startswith("torch") for check in new["checks"]):
        return new
    torch_checks = [check for check in old["checks"] if check["name"].startswith("torch")]
    return new | {"checks": new["checks"] + torch_checks}
