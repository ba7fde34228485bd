"""Parity of a bundle, on real data: what must be identical is compared exactly, what may drift is measured.

Exact: symbols that the unpack piece reads = symbols that the pack piece sent, read off inside its graph, for every
variant of the transforms; packets from the same latents, whatever the optimisation level and the number of threads.
Measured: each variant's rate and distortion against fp32, and, where the torch side is at hand, torch against ONNX.

All families go through the same checks. What a family adds is in its `Verifier`: what a packet takes, what a precision
may cost, and how its torch side is compared.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from latentwire.export import measure
from latentwire.export.errors import ExportError, ParityError
from latentwire.export.measure import Coder, Pieces, RatePoint
from latentwire.export.tap import Tap
from latentwire.runtime.atomic import whole_file
from latentwire.runtime.bundle import MANIFEST, Bundle
from latentwire.runtime.contract import Array

EXACT = (0, 64, 128, 192, 255)
"""Qualities at which symbols are compared."""
FLOAT_LIMIT = 1e-5
"""Largest difference of a float output, range scaled to 1."""
LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
Items = Array | Sequence[Array]
"""One array of items, or pictures one by one."""


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
    curves: dict[str, list[RatePoint]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    networks_alone: float | None = None
    """Mean squared error, range scaled to 1, of what the networks make of the items without any quantization."""

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
            **({} if self.networks_alone is None else {"networks_alone_mse": self.networks_alone}),
        }


class Subject:
    """A bundle's files, read once and checked against their hashes."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self._models: dict[tuple[str, str], bytes] = {}

    @property
    def size_axes(self) -> tuple[int, ...]:
        """Input axes that the packet carries."""
        return self.manifest.size_axes

    def variants(self, role: str) -> list[str]:
        """Variants of a role, fp32 first."""
        return sorted(self.manifest.variants(role), key=lambda name: (name != "fp32", name))

    def session(self, role: str, variant: str, **options: Any) -> ort.InferenceSession:
        """A measuring session over a file whose hash was checked."""
        return measure.session(self.read_model(role, variant), **options)

    def read_model(self, role: str, variant: str) -> bytes:
        """A file's bytes, whose hash was checked."""
        if (role, variant) not in self._models:
            self._models[role, variant] = self.bundle.read_model(role, variant)
        return self._models[role, variant]

    def coder(self, **options: Any) -> Coder:
        """The integer pieces."""
        pack, unpack = (self.session(role, "exact", **options) for role in ("pack", "unpack"))
        return Coder(pack, unpack, self.size_axes)

    def pieces(self, analysis: str = "fp32", synthesis: str = "fp32", **options: Any) -> Pieces:
        """Sessions of the four pieces."""
        return Pieces(
            self.session("analysis", analysis, **options),
            self.coder(**options),
            self.session("synthesis", synthesis, **options),
        )

    def tap(self) -> Tap:
        """The pack piece that tells what it sends."""
        return Tap(self.read_model("pack", "exact"), self.size_axes)

    @property
    def step(self) -> float:
        """The smallest change of an output, as a share of the range: one level for integers, 1e-5 for floats."""
        low, high = self.manifest.input.range
        return FLOAT_LIMIT if self.manifest.input.dtype == "float32" else 1 / (high - low)


class Verifier(ABC):
    """The checks of one bundle on real items; subclasses say what differs between families."""

    reference_type: ClassVar[type]
    """What the torch side of a comparison is."""
    qualities: ClassVar[tuple[int, ...]] = (0, 32, 64, 96, 128, 160, 192, 224, 255)
    """Of the rate-distortion curve of fp32."""
    compared: ClassVar[tuple[int, ...]]
    """Of the other variants' curves."""

    def __init__(self, subject: Subject, items: Items) -> None:
        """Takes items of the codec's contract, not those that it was fitted to.

        Raises:
            InputError: the items are not what the contract says.
        """
        self.subject, self.items = subject, items
        self.check_items()

    @abstractmethod
    def check_items(self) -> None:
        """Nothing, if the items are what the contract says; else its InputError."""

    @abstractmethod
    def packets(self) -> Sequence[Array]:
        """What each packet takes where exactness is checked."""

    @abstractmethod
    def samples(self) -> Sequence[Array]:
        """What a few packets take, of all kinds that there are."""

    @abstractmethod
    def curve(self, pieces: Pieces, qualities: tuple[int, ...]) -> list[RatePoint]:
        """Rate and distortion over all items."""

    @abstractmethod
    def judge(self, report: Report, name: str, base: list[RatePoint], found: list[RatePoint]) -> None:
        """Compare the curve of another variant, at the qualities `compared`, with that of fp32."""

    @abstractmethod
    def compare(self, report: Report, reference: Any) -> None:
        """Compare torch, an instance of `reference_type`, with ONNX fp32."""

    def run(self, reference: Any = None) -> Report:
        """All checks.

        Raises:
            ExportError: the reference is of another family than the bundle.
        """
        if reference is not None and not isinstance(reference, self.reference_type):
            raise ExportError(
                f"expected a {self.reference_type.__name__} as the torch side of a codec of the family "
                f"{self.subject.manifest.family!r}, found a {type(reference).__name__}: give the modules that this "
                "bundle was made from"
            )
        report = Report(len(self.items))
        self.check_symbols(report)
        if not report.passed:
            report.notes.append("nothing else was measured: it would measure packets that do not decode")
            return report
        self.check_assemblies(report)
        self.check_determinism(report)
        self.measure_variants(report)
        if reference is None:
            report.notes.append("the torch side was not at hand: torch against ONNX was not compared again")
        else:
            self.compare(report, reference)
        return report

    def check_symbols(self, report: Report) -> None:
        """Every symbol that the pack piece sends, read off inside it, comes out of the unpack piece."""
        coder, tap = self.subject.coder(), self.subject.tap()
        for variant in self.subject.variants("analysis"):
            pieces, wrong = self.subject.pieces(variant), 0
            for source in self.packets():
                for quality in EXACT:
                    sent = tap.send(pieces.latents(source, quality), source.shape, quality)
                    wrong += sent.lost(coder.restore(sent.packet))
            report.add(f"symbols decoded differ from symbols encoded, {variant} encoder", wrong, 0)

    def check_assemblies(self, report: Report) -> None:
        """Every encoder file against every decoder file: the output is what the decoder's pieces make of the packet."""
        for source in self.subject.variants("encoder"):
            encoder = self.subject.session("encoder", source)
            for target in self.subject.variants("decoder"):
                gap = self._largest_gap(encoder, target)
                name = f"{source} encoder to {target} decoder: output against its pieces"
                report.add(name, gap, self.subject.step)

    def _largest_gap(self, encoder: ort.InferenceSession, target: str) -> float:
        decoder, pieces, worst = self.subject.session("decoder", target), self.subject.pieces(synthesis=target), 0.0
        low, high = self.subject.manifest.input.range
        for items in self.samples():
            packet = encoder.run(["packet"], {"input": items, "quality": np.asarray(128, np.uint8)})[0]
            output, status = decoder.run(["output", "status"], {"packet": packet})
            wanted = pieces.output(packet)
            fits = status == 0 and output.shape == wanted.shape == items.shape
            gap = np.abs(output.astype(np.float64) - wanted).max() / (high - low) if fits else np.inf
            worst = max(worst, float(gap))
        return worst

    def check_determinism(self, report: Report) -> None:
        """The same latents give the same bytes, and those the same symbols, whatever optimisation level and threads."""
        source = self.packets()[0]
        latents = self.subject.pieces().latents(source, 128)
        coder, different = self.subject.coder(), 0
        wanted = coder.packet(latents, source.shape, 128)
        symbols = coder.restore(wanted)["symbols"]
        for level in LEVELS.values():
            for threads in (1, 2):
                other = self.subject.coder(threads=threads, level=level)
                different += not np.array_equal(other.packet(latents, source.shape, 128), wanted)
                different += not np.array_equal(other.restore(wanted)["symbols"], symbols)
        report.add("optimisation levels x threads with other packets or symbols", different, 0)

    def measure_variants(self, report: Report) -> None:
        """Rate-distortion curve of each variant, and what each costs against fp32."""
        base = self.curve(self.subject.pieces(), self.qualities)
        report.curves["fp32 encoder, fp32 decoder"] = base
        pairs = [(name, "fp32") for name in self.subject.variants("analysis")[1:]]
        pairs += [("fp32", name) for name in self.subject.variants("synthesis")[1:]]
        for analysis, synthesis in pairs:
            name = f"{analysis} encoder, {synthesis} decoder"
            report.curves[name] = self.curve(self.subject.pieces(analysis, synthesis), self.compared)
            self.judge(report, name, base, report.curves[name])


def render(report: Report) -> str:
    """The report as lines for a person."""
    lines = [f"{'ok  ' if c.passed else 'FAIL'} {c.name}: {c.value:.3g} (limit {c.limit:.3g})" for c in report.checks]
    if report.networks_alone is not None:
        lines.append(f"networks alone, no quantization: MSE {report.networks_alone:.3g} (range scaled to 1)")
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
