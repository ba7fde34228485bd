"""The export layer's commands: export, verify, explore, demo. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from latentwire.runtime.cli import ExampleCommand, tell


def names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """A comma-separated option as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def show_stage(stage: str) -> None:
    """Progress of long work, on stderr and only for a person who watches."""
    if sys.stderr.isatty():
        click.echo(f"{stage} ...", err=True)


def size_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`HEIGHTxWIDTH` as two lengths."""
    from latentwire.export.static import parse_size

    return None if value is None else parse_size(value)


target_option = click.option(
    "--target", "targets", multiple=True, help="android, ios, qnn, web or linux-arm64; may be given several times."
)
size_option = click.option(
    "--size", metavar="HEIGHTxWIDTH", callback=size_of, help="Pictures' one size, for targets with static shapes."
)
batch_option = click.option(
    "--batch", type=click.IntRange(min=1), help="Items a packet, for targets with static shapes."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


@click.command(cls=ExampleCommand, example="latentwire export run --out codec --precision fp32,int8")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Bundle folder to write.")
@click.option("--precision", default="fp32,int8,fp16", show_default=True, callback=names, help="Variants to write.")
@click.option(
    "--calibrate",
    type=click.Path(exists=True, path_type=Path),
    help="Items to fit tables and int8 ranges to; the run's training data by default.",
)
@click.option(
    "--holdout",
    type=click.Path(exists=True, path_type=Path),
    help="Items to verify on; by default the last fifth of the calibration items, which are then not calibrated with.",
)
@click.option("--name", help="The codec's name; the folder's by default.")
@click.option("--terms", help="Terms of use, such as those of the training data, for the card.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@target_option
@size_option
@batch_option
@as_json
def export(
    run: Path,
    out: Path,
    precision: tuple[str, ...],
    calibrate: Path | None,
    holdout: Path | None,
    name: str | None,
    terms: str | None,
    overwrite: bool,
    targets: tuple[str, ...],
    size: tuple[int, int] | None,
    batch: int | None,
    as_json: bool,
) -> None:
    """Turn the finished RUN into a bundle: ONNX encoder and decoder, packets and proof.

    With --target, folders for app developers too, below targets/ in the bundle.
    """
    from latentwire.export.families import family_named
    from latentwire.export.family import ExportRequest
    from latentwire.export.runs import export_run, read_calibration
    from latentwire.export.static import Shapes
    from latentwire.export.targets import check_targets, package_bundle
    from latentwire.train import family_of_run

    shapes = Shapes(size, batch)
    if targets:
        check_targets(targets, shapes, family_named(family_of_run(run)).form)

    request = ExportRequest(precision, calibrate, holdout, name, terms, overwrite, show_stage)
    exported = export_run(run, out, request)
    packaged = []
    if targets:
        items = read_calibration(exported.path, calibrate)
        below = exported.path / "targets"
        packaged = package_bundle(exported.path, below, targets, shapes, calibration=items, on_stage=show_stage)
    if as_json:
        answer = {"bundle": str(exported.path), "codec_id": exported.codec_id, "parity": exported.parity}
        click.echo(json.dumps(answer | {"targets": [str(found.path) for found in packaged]}))
        return
    passed = len(exported.parity["checks"])
    click.echo(f"{exported.path}: codec {exported.codec_id[:16]}, {passed} parity checks passed")
    for found in packaged:
        click.echo(found.path)


@click.command(cls=ExampleCommand, example="latentwire package codec --target android --target web --out apps")
@click.argument("bundle")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the targets' folders.")
@target_option
@size_option
@batch_option
@click.option(
    "--calibrate",
    type=click.Path(exists=True, path_type=Path),
    help="Items to quantize with for an NPU; the bundle's golden ones by default, which are few.",
)
@click.option("--overwrite", is_flag=True, help="Replace folders that are there.")
@as_json
def package(
    bundle: str,
    out: Path,
    targets: tuple[str, ...],
    size: tuple[int, int] | None,
    batch: int | None,
    calibrate: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make folders for app developers of a BUNDLE: ORT-format models, a README to run them, golden packets, a report.

    BUNDLE is a folder, a zip or the name of a ready codec.
    """
    from latentwire.export.runs import read_calibration
    from latentwire.export.static import Shapes
    from latentwire.export.targets import package_bundle

    packaged = package_bundle(
        bundle,
        out,
        targets,
        Shapes(size, batch),
        calibration=read_calibration(bundle, calibrate),
        overwrite=overwrite,
        on_stage=show_stage,
    )
    answer = [{"target": found.target, "path": str(found.path)} for found in packaged]
    click.echo(json.dumps(answer) if as_json else "\n".join(str(found.path) for found in packaged))


@click.command(cls=ExampleCommand, example="latentwire verify codec --data items.npy --run run")
@click.argument("bundle")
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="Items to verify on; the golden ones if left out."
)
@click.option(
    "--run", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The run, to compare with torch again."
)
@click.option("--limit", type=click.IntRange(min=1), default=2048, show_default=True, help="Most items to use.")
@click.option("--write/--no-write", default=True, show_default=True, help="Put the report into the bundle (a folder).")
@as_json
def verify(bundle: str, data: Path | None, run: Path | None, limit: int, write: bool, as_json: bool) -> None:
    """Check a BUNDLE on real data: torch, variants, optimisation levels and threads against each other.

    BUNDLE is a folder, a zip or the name of a ready codec.
    """
    from latentwire.export.runs import verify_run
    from latentwire.export.verify import render, write_report

    report = verify_run(bundle, data, run, limit)
    if write and Path(bundle).is_dir():
        write_report(Path(bundle), report)
    if as_json:
        tell(report.to_json())
    else:
        click.echo(render(report))
    report.raise_on_failure()


@click.command(cls=ExampleCommand, example="latentwire explore codec --data items.npy --out pages")
@click.argument("bundle")
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Items to draw.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("explore"), show_default=True, help="Folder for the pages."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the items and samples that are drawn.")
@as_json
def explore(bundle: str, data: Path, out: Path, seed: int, as_json: bool) -> None:
    """Draw PNG pages of what a BUNDLE does to items: reconstructions, map of latents, interpolations, samples.

    BUNDLE is a folder, a zip or the name of a ready codec.
    """
    from latentwire.export.families import family_named
    from latentwire.runtime.bundle import open_bundle

    pages = family_named(open_bundle(bundle).manifest.family).explore(bundle, data, out, seed)
    click.echo(json.dumps([str(page) for page in pages]) if as_json else "\n".join(map(str, pages)))


@click.command(cls=ExampleCommand, example="latentwire demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Working folder.")
@click.option("--epochs", type=click.IntRange(min=1), help="Training epochs; a quick default otherwise.")
@as_json
def demo(out: Path, epochs: int | None, as_json: bool) -> None:
    """Train, export, verify, then send digits from a device process to a server process and show what they cost."""
    from latentwire.export.demo import run_demo

    result = run_demo(out, epochs=epochs)
    click.echo(json.dumps(result.to_json()) if as_json else result.render())
