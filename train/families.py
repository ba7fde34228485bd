"""What a family of codecs is to this layer, and where families are found.

A family's room says what it offers in one object, which it registers by an entry point of the group
`latentwire.families.train`, under the family's name. So do families of other distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import click

from latentwire.runtime.plugins import Plugins
from latentwire.train.errors import RunError
from latentwire.train.run import read_document

FAMILIES = Plugins("latentwire.families.train", "a family")
Report = Callable[[str], None]


class TrainFamily(Protocol):
    """One family. It is imported for `latentwire train --help`: torch waits until a method is called."""

    @property
    def name(self) -> str:
        """As run.json, manifests and the entry point have it."""

    @property
    def command(self) -> click.Command:
        """`latentwire train NAME`."""

    def load_run(self, folder: Path) -> Any:
        """A finished run, as the family's room in the export layer takes it.

        Raises:
            RunError: there is no run of this family, it is unfinished, or its checkpoint is damaged.
        """

    def resume(self, folder: Path, report: Report) -> dict[str, Any]:
        """Continue a run to its end, on the data and with the settings that it was started with; returns run.json.

        Raises:
            RunError: there is no run of this family, or its data changed.
            InputError: the data cannot be read.
            DivergedError: a loss is not finite.
        """


def family_of_run(folder: Path) -> str:
    """The name of the family that a run folder belongs to.

    Raises:
        RunError: there is no run, or it names no family.
    """
    name = read_document(folder).get("family")
    if not isinstance(name, str):
        raise RunError(f"{folder}: expected a run that names its family, found {name!r}")
    return name


def resume_run(folder: Path, report: Report = lambda _: None) -> dict[str, Any]:
    """Continue the run in a folder to its end, whatever its family; returns the content of run.json.

    Raises:
        RunError: there is no run, or its data changed.
        SettingError: nothing that is installed here trains its family.
        InputError: the data cannot be read.
        DivergedError: a loss is not finite.
    """
    family: TrainFamily = FAMILIES.load(family_of_run(folder))
    return family.resume(folder, report)
