"""Writes a target's folder: models, golden files, report, README, and what describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import onnxruntime as ort

from latentwire.export.folders import own_folder
from latentwire.export.static import StaticForm
from latentwire.export.targets.costs import Cost, costs_of
from latentwire.export.targets.costs import as_markdown as costs_as_markdown
from latentwire.export.targets.golden import calibration_of, golden_items, write_golden
from latentwire.export.targets.parts import TRANSFORMS, Part, check_parity, parts_of, read, read_coder, role_of
from latentwire.export.targets.readme import write_readme, write_terms
from latentwire.export.targets.targets import Target
from latentwire.export.targets.usability import OP_LISTS, Usability, as_markdown, on_cpu, usability
from latentwire.export.verify import Items
from latentwire.runtime.bundle import Bundle
from latentwire.runtime.contract import Array

DESCRIPTION = "codec.json"
"""What a target's folder says of itself; not called manifest.json, by which a bundle is known."""


def target_folder(path: Path, overwrite: bool) -> AbstractContextManager[Path]:
    """A new folder for a target, see `own_folder`."""
    return own_folder(path, DESCRIPTION, "a target's folder", overwrite=overwrite)


def write_target(
    folder: Path,
    target: Target,
    bundle: Bundle,
    form: StaticForm,
    shape: tuple[int, ...] | None,
    calibration: Items | None,
) -> list[Usability]:
    """All files of one target; returns the report that is among them."""
    manifest = bundle.manifest
    items = golden_items(bundle, shape)
    inputs = [items]
    if calibration is not None and shape is not None:
        inputs = calibration_of(form.inputs(calibration, shape), shape)
    parts = parts_of(target, bundle, form, shape, inputs)
    qualities = [case.quality for case in manifest.golden.cases]
    for part in parts:
        part.write(folder)
        check_parity(part, folder, items, qualities, manifest.size_axes)
    chain = parts[0].written(folder)
    golden = write_golden(folder / "golden", chain, items, qualities, manifest.default_quality, manifest.size_axes)
    costs = quantization_costs(folder, parts, bundle, items) if target.static else []
    report = report_on(target, parts)
    write_report(folder, report, costs)
    write_terms(folder / "TERMS.md", manifest)
    write_readme(folder / "README.md", target, manifest, parts, items)
    write_json(folder / DESCRIPTION, describe(folder, target, bundle, golden, shape))
    return report


def quantization_costs(folder: Path, parts: Sequence[Part], bundle: Bundle, items: Array) -> list[Cost]:
    """What parts that were quantized here cost, beside the bundle's float pieces."""
    manifest = bundle.manifest
    plain = Part("", read(bundle, dict.fromkeys(TRANSFORMS, ("fp32",))) | read_coder(bundle)).before()
    qualities = [case.quality for case in manifest.golden.cases]
    return [
        cost
        for part in parts
        for cost in costs_of(part.folder, part.written(folder), plain, items, qualities, manifest.size_axes)
    ]


def write_report(folder: Path, report: Sequence[Usability], costs: Sequence[Cost]) -> None:
    """The report, for programs and for people."""
    found = {"usability": [entry.to_json() for entry in report], "costs": [cost.to_json() for cost in costs]}
    write_json(folder / "report.json", found)
    text = as_markdown(report) + (costs_as_markdown(costs) if costs else "")
    (folder / "report.md").write_text(text, encoding="utf-8")


def report_on(target: Target, parts: Sequence[Part]) -> list[Usability]:
    """What each accelerator of the target would run of each transform; the rest is the CPU's."""
    models = {part.place(name): (name, model) for part in parts for name, model in part.models.items()}
    report = []
    for place, (name, model) in models.items():
        if role_of(name) in TRANSFORMS:
            report += [usability(model, place, OP_LISTS[listed]) for listed in target.accelerators]
        else:
            report.append(on_cpu(model, place))
    return report


def describe(
    folder: Path, target: Target, bundle: Bundle, golden: dict[str, Any], shape: tuple[int, ...] | None
) -> dict[str, Any]:
    """What `DESCRIPTION` holds: the codec's part of the bundle's manifest, and each file with its SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "target": target.name,
        "name": bundle.manifest.name,
        **bundle.manifest.identity.to_json(),
        "static_input": None if shape is None else list(shape),
        "onnxruntime": ort.__version__,
        "golden": golden,
        "files": [describe_file(path, folder) for path in files],
    }


def describe_file(path: Path, folder: Path) -> dict[str, Any]:
    """Name, size and hash."""
    data = path.read_bytes()
    name = path.relative_to(folder).as_posix()
    return {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
