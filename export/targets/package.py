"""From a finished bundle to folders for app developers: `package_bundle`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from latentwire.export.errors import ExportError
from latentwire.export.targets.chain import Array
from latentwire.export.targets.costs import Cost, costs_of
from latentwire.export.targets.costs import as_markdown as costs_as_markdown
from latentwire.export.targets.golden import calibration_of, golden_items, write_golden
from latentwire.export.targets.ortformat import FIXED
from latentwire.export.targets.parts import TRANSFORMS, Part, check_parity, parts_of, read, read_coder, role_of
from latentwire.export.targets.readme import write_readme, write_terms
from latentwire.export.targets.shapes import Shapes
from latentwire.export.targets.targets import Target, target_named
from latentwire.export.targets.usability import OP_LISTS, Usability, as_markdown, on_cpu, usability
from latentwire.runtime.bundle import Bundle, open_bundle
from latentwire.runtime.errors import SettingError
from latentwire.runtime.identity import Identity

DESCRIPTION = "codec.json"
"""What a target's folder says of itself; not called manifest.json, by which a bundle is known."""
NO_SHAPES = Shapes()


@dataclass(frozen=True)
class Packaged:
    """A folder that was written.

    Attributes:
        target: whose it is.
        path: the folder.
        report: what accelerators would run of its models.
    """

    target: str
    path: Path
    report: tuple[Usability, ...]


def check_targets(names: Sequence[str], shapes: Shapes, picture: bool) -> list[Target]:
    """The targets of those names, if they can be made.

    Args:
        names: of targets.
        shapes: what is asked for.
        picture: whether the codec's items are pictures.

    Raises:
        SettingError: no target, an unknown one, one named twice, or a static shape that is missing.
    """
    targets = [target_named(name) for name in names]
    if not targets or len(set(names)) != len(names):
        raise SettingError(f"expected one target or several, each once, found {', '.join(names) or 'none'}")
    fixed, option = (shapes.size, "--size HEIGHTxWIDTH") if picture else (shapes.batch, "--batch N")
    for target in targets:
        if target.static and fixed is None:
            raise SettingError(
                f"expected {option} for target {target.name}, which takes static shapes only, found none"
            )
    return targets


def shape_for(target: Target, identity: Identity, shapes: Shapes) -> tuple[int, ...] | None:
    """The input's shape that a target's pieces are made for; None where its axes stay free."""
    return None if target.pieces is None else shapes.of_input(identity)


def package_bundle(
    codec: str | Path,
    out: str | Path,
    targets: Sequence[str],
    shapes: Shapes = NO_SHAPES,
    *,
    calibration: Sequence[Array] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> list[Packaged]:
    """Write one folder for each target, below ``out``.

    Args:
        codec: bundle folder, zip, or the name of a ready codec.
        out: folder that the targets' folders go to. Each appears whole, or not at all.
        targets: names; see `TARGETS`.
        shapes: static shapes for pieces, where they are wanted or needed.
        calibration: pictures, or one array of items, to quantize with for an NPU; the golden input by default.
        overwrite: replace folders that are there.
        on_stage: told what is done next, in a few words.

    Raises:
        SettingError: an unknown target, or a shape that is missing or not allowed.
        BundleError: there is no such bundle, or it is not what its manifest says.
        ExportError: a folder is there already, or a model cannot be converted.
        ParityError: a converted file does not do what the file does that it came from.
    """
    bundle = open_bundle(codec)
    identity = bundle.manifest.identity
    packaged = []
    for target in check_targets(targets, shapes, identity.input.is_picture):
        on_stage(f"packaging for {target.title}")
        path = Path(out) / target.name
        with whole_folder(path, overwrite) as folder:
            report = write_target(folder, target, bundle, shape_for(target, identity, shapes), calibration)
        packaged.append(Packaged(target.name, path, tuple(report)))
    return packaged


@contextmanager
def whole_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder that gets its name when the block ends without an error, and is removed otherwise.

    Raises:
        ExportError: something is there that may not be replaced.
    """
    ours = (path / DESCRIPTION).is_file()
    if path.exists() and not (overwrite and ours):
        hint = "give --overwrite to replace it" if ours else "it is not a target's folder"
        raise ExportError(f"{path} exists already: name another folder, or remove it ({hint})")
    folder = path.parent / f".{path.name}.writing"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as fault:
        raise ExportError(f"{path}: expected a folder that can be written to, found {fault}") from fault
    try:
        yield folder
        if path.exists():
            shutil.rmtree(path)
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_target(
    folder: Path, target: Target, bundle: Bundle, shape: tuple[int, ...] | None, calibration: Sequence[Array] | None
) -> list[Usability]:
    """All files of one target; returns the report that is among them."""
    manifest = bundle.manifest
    items = golden_items(bundle, shape)
    inputs = (
        [items]
        if calibration is None or shape is None
        else calibration_of(calibration, shape, manifest.input.is_picture)
    )
    parts = parts_of(target, bundle, shape, inputs)
    qualities = [case.quality for case in manifest.golden.cases]
    for part in parts:
        part.write(folder)
        check_parity(part, folder, items, qualities, manifest.size_axes)
    chain = parts[0].written(folder)
    golden = write_golden(folder / "golden", chain, items, qualities, manifest.default_quality, manifest.size_axes)
    costs = quantization_costs(folder, parts, bundle, items)
    report = report_on(target, parts)
    write_report(folder, report, costs)
    write_terms(folder / "TERMS.md", manifest)
    write_readme(folder / "README.md", target, manifest, parts, items)
    write_json(folder / DESCRIPTION, describe(folder, target, bundle, golden, shape))
    return report


def quantization_costs(folder: Path, parts: Sequence[Part], bundle: Bundle, items: Array) -> list[Cost]:
    """What parts that were quantized here cost, beside the bundle's float pieces."""
    manifest = bundle.manifest
    plain = Part("", FIXED, read(bundle, dict.fromkeys(TRANSFORMS, ("fp32",))) | read_coder(bundle)).before()
    qualities = [case.quality for case in manifest.golden.cases]
    return [
        cost
        for part in parts
        if part.compiled
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
    models = {
        place: (name, model) for part in parts for name, model in part.models.items() for place in [part.place(name)]
    }
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
