"""From a finished bundle to folders for app developers: `package_bundle`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentwire.export.families import family_named
from latentwire.export.static import Shapes, StaticForm
from latentwire.export.targets.folder import target_folder, write_target
from latentwire.export.targets.targets import Target, target_named
from latentwire.export.targets.usability import Usability
from latentwire.export.verify import Items
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.errors import SettingError

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


def check_targets(names: Sequence[str], shapes: Shapes, form: StaticForm) -> list[Target]:
    """The targets of those names, if they can be made.

    Args:
        names: of targets.
        shapes: what is asked for.
        form: what static shapes mean for the codec.

    Raises:
        SettingError: no target, an unknown one, one named twice, or a static shape that is missing or that none takes.
    """
    targets = [target_named(name) for name in names]
    if not targets or len(set(names)) != len(names):
        raise SettingError(f"expected one target or several, each once, found {', '.join(names) or 'none'}")
    if shapes != NO_SHAPES and not any(target.pieces for target in targets):
        raise SettingError(f"expected no --size and no --batch for {', '.join(names)}, which take any shape, found one")
    for target in targets:
        if target.static and not form.fixes(shapes):
            raise SettingError(
                f"expected {form.option} for target {target.name}, which takes static shapes only, found none"
            )
    return targets


def package_bundle(
    codec: str | Path,
    out: str | Path,
    targets: Sequence[str],
    shapes: Shapes = NO_SHAPES,
    *,
    calibration: Items | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> list[Packaged]:
    """Write one folder for each target, below ``out``.

    Args:
        codec: bundle folder, zip, or the name of a ready codec.
        out: folder that the targets' folders go to. Each appears whole, or not at all.
        targets: names; see `TARGETS`.
        shapes: static shapes for pieces, where they are wanted or needed.
        calibration: items to quantize with for an NPU; the golden input by default.
        overwrite: replace folders that are there.
        on_stage: told what is done next, in a few words.

    Raises:
        SettingError: an unknown target, or a shape that is missing or not allowed.
        BundleError: there is no such bundle, or it is not what its manifest says.
        ExportError: a folder is there already, or a model cannot be converted.
        ParityError: a converted file does not do what the file does that it came from.
    """
    bundle = open_bundle(codec)
    form = family_named(bundle.manifest.family).form
    chosen = check_targets(targets, shapes, form)
    shape = form.input_shape(shapes, bundle.manifest.identity)
    packaged = []
    for target in chosen:
        on_stage(f"packaging for {target.title}")
        path = Path(out) / target.name
        with target_folder(path, overwrite) as folder:
            report = write_target(folder, target, bundle, form, shape if target.pieces else None, calibration)
        packaged.append(Packaged(target.name, path, tuple(report)))
    return packaged
