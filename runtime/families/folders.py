"""Which files of a folder are worked on, what their results are called, and that one bad file does not end the rest.

A result is called like its file with another suffix. Where two results would have one name, or the name that the result
of another has, they keep their suffixes too: `a.jpg` and `a.png` become `a.jpg.lw` and `a.png.lw`. So a name depends on
the names in the folder only, and a second run replaces what the first one wrote.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentwire.runtime.errors import (
    BundleError,
    ForkError,
    InputFileError,
    LatentwireError,
    ProviderError,
    ResourceError,
    SettingError,
    about,
)
from latentwire.runtime.families.jobs import STDIO, Done, Failed, LeftOut, Outcome

ENDS_ALL = (BundleError, ProviderError, ForkError)
"""The codec or the machine is to blame, not the file: the next one would fare no better."""
PACKET_SUFFIX, STREAM_SUFFIX = ".packet", ".lw"


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        pairs: (input, result) of each file.
        left_out: files of the folder that are no inputs.
        folder: the folder, or None where one file is named.
    """

    pairs: tuple[tuple[str, str], ...]
    left_out: tuple[LeftOut, ...] = ()
    folder: str | None = None

    def is_taken(self, name: str) -> bool:
        """Whether a further result must not be called that: it would replace another, or what results are made of."""
        if os.path.realpath(name) in {os.path.realpath(path) for pair in self.pairs for path in pair}:
            return True
        return self.folder is not None and _same(Path(self.folder), Path(name).parent) and os.path.exists(name)

    def each(self, one: Callable[[str, str], Done]) -> Outcome[Done]:
        """Do it; of a folder, a file that fails is noted, and the next one has its turn.

        Args:
            one: what is done with an input and its result; leaves no half of a result behind where it fails.

        Raises:
            LatentwireError: the one file that is named fails, or the codec or the machine is to blame.
        """
        done: list[Done] = []
        failed: list[Failed] = []
        for source, target in self.pairs:
            try:
                done.append(_attempt(one, source, target))
            except ENDS_ALL:
                raise
            except LatentwireError as error:
                if self.folder is None:
                    raise
                failed.append(Failed(source, target, error))
        return Outcome(tuple(done), tuple(failed), self.left_out, self.folder)


def _attempt(one: Callable[[str, str], Done], source: str, target: str) -> Done:
    with about("stdin" if source == STDIO else source):
        try:
            return one(*apart(source, target))
        except MemoryError as fault:
            raise ResourceError(f"{source}: expected memory enough for it, found none left: {fault}") from fault


def encode_work(source: str, target: str, bare: bool) -> Work:
    """Results that are streams, or single packets where they are bare; files called like either are no inputs.

    Raises:
        SettingError: see `_folder_work`.
        InputFileError: see `_folder_work`.
    """
    suffix = PACKET_SUFFIX if bare else STREAM_SUFFIX
    return _work(source, target, suffix, lambda path: path.suffix.lower() in (PACKET_SUFFIX, STREAM_SUFFIX), "packets")


def decode_work(source: str, target: str, suffix: str, is_result: Callable[[Path], bool]) -> Work:
    """Results with a suffix; in the folder of the packets they replace nothing, which may be what packets are made of.

    Args:
        source: of packets.
        target: where results go.
        suffix: theirs.
        is_result: whether a file is no packets, but what they are made of, or become.

    Raises:
        SettingError: see `_folder_work`.
        InputFileError: see `_folder_work`.
    """
    work = _work(source, target, suffix, is_result, "no packets")
    if work.folder is None or not _same(Path(work.folder), Path(target)):
        return work
    kept = [LeftOut(file, "its result is there already") for file, result in work.pairs if os.path.exists(result)]
    pairs = tuple(pair for pair in work.pairs if not os.path.exists(pair[1]))
    return Work(pairs, (*work.left_out, *kept), work.folder)


def _work(source: str, target: str, suffix: str, is_other: Callable[[Path], bool], others: str) -> Work:
    path = Path(source)
    if source != STDIO and path.is_dir():
        return _folder_work(path, target, suffix, is_other, others)
    inside = target != STDIO and Path(target).is_dir()
    name = "stdin" if source == STDIO else path.stem
    return Work(((source, str(Path(target) / (name + suffix)) if inside else target),))


def _folder_work(folder: Path, target: str, suffix: str, is_other: Callable[[Path], bool], others: str) -> Work:
    """All files of a folder, by name; the target folder is made.

    Raises:
        SettingError: results would go to stdout, or to a folder that is a file.
        InputFileError: there is nothing in the folder to work on, or it cannot be read.
    """
    if target == STDIO:
        raise SettingError(f"expected a folder for the results of folder {folder}, found stdout: name one with --out")
    if Path(target).exists() and not Path(target).is_dir():
        raise SettingError(f"expected a folder for the results of folder {folder}, found the file {target}")
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as fault:
        raise InputFileError(f"{folder}: expected a folder that can be read, found {fault}") from fault
    is_input = [not is_other(file) for file in files]
    inputs = [file for file, wanted in zip(files, is_input, strict=True) if wanted]
    left_out = [LeftOut(str(file), others) for file, wanted in zip(files, is_input, strict=True) if not wanted]
    if not inputs:
        raise InputFileError(
            f"{folder}: expected a folder with files to work on, found {f'only {others}' if files else 'none'}"
        )
    _make(Path(target))
    names = result_names([file.name for file in inputs], suffix)
    pairs = [(str(file), str(Path(target) / name)) for file, name in zip(inputs, names, strict=True)]
    return Work(tuple(pairs), tuple(left_out), str(folder))


def _same(folder: Path, other: Path) -> bool:
    return other.exists() and os.path.samefile(folder, other)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputFileError(f"{folder}: expected a folder that can be made, found {fault}") from fault


def result_names(names: Sequence[str], suffix: str) -> list[str]:
    """What the results of files are called: no two alike, not in upper and lower case either.

    Args:
        names: of files in one folder.
        suffix: of the results.
    """
    short = {name: Path(name).stem + suffix for name in names}
    whole = {name: name + suffix for name in names}
    chosen = dict(short)
    while clashes := _clashes(chosen.values()):
        longer = {name: whole[name] for name, result in chosen.items() if result.casefold() in clashes}
        if longer.items() <= chosen.items():  # names that differ in case only, where the file system tells them apart
            break
        chosen |= longer
    return [chosen[name] for name in names]


def _clashes(results: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(map(str.casefold, results)).items() if count > 1}


def apart(source: str, target: str) -> tuple[str, str]:
    """Both, if they are not one file, under whatever names.

    Raises:
        SettingError: the result would replace what it is made from.
    """
    if STDIO not in (source, target) and os.path.exists(target) and os.path.samefile(source, target):
        raise SettingError(
            f"expected a result beside its source, found {target} for both: name another file with --out"
        )
    return source, target
