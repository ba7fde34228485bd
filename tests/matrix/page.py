"""What the places of the matrix said, as findings and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matrix.environments import Place

TOLERANCE = {"fp32": 1.0, "fp16": 4.0, "int8": 4.0}
"""Levels by which an output may differ from the reference's."""


@dataclass
class Ran:
    """What a place's cells said.

    Attributes:
        place: where.
        version: of its ONNX Runtime.
        reason: why it did not run, or nothing.
        sent: packets, each with its family, input and the symbols that it says it holds.
        other_bytes: packets of the reference's latents that differ from the reference's packets.
        packed: how many were compared.
        lost: symbol lists read otherwise than they were sent, by the place that sent them.
        read: how many were read, by the place that sent them.
        gaps: largest difference of an output from the reference, by family and variant.
        milliseconds: medians by family, variant and direction, at the last level with one thread.
    """

    place: Place
    version: str = ""
    reason: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    other_bytes: int = 0
    packed: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)

    @property
    def ran(self) -> bool:
        """Whether it did."""
        return not self.reason


def faults(results: Sequence[Ran]) -> list[str]:
    """What disagrees, in words; nothing is as it should be."""
    found = []
    for result in (entry for entry in results if entry.ran):
        name = result.place.name
        if result.other_bytes:
            found.append(f"{name}: {result.other_bytes} of {result.packed} packets of the same latents differ")
        found += [f"{name}: lost symbols of {lost} packets from {who}" for who, lost in result.lost.items() if lost]
        off = {variant: gap for variant, gap in result.gaps.items() if gap > TOLERANCE[variant.split()[1]]}
        found += [f"{name}: {variant} is {gap:g} levels off" for variant, gap in off.items()]
    return found


def render(results: Sequence[Ran], count: int, source: str) -> str:
    """The page for the documentation."""
    sections = [places(results), symbols(results), outputs(results), times(results)]
    head = f"""# The matrix

Made by `make matrix`. Every place below encoded real inputs with every encoder variant, and read every packet of every
place with every decoder variant, at the optimisation levels and numbers of threads that stand beside it. Inputs:
{count} of each family ({source}); an emulated processor encodes fewer of them, and reads all."""
    return "\n\n".join([head, *sections]) + "\n"


def places(results: Sequence[Ran]) -> str:
    """Who took part."""
    rows = []
    for name, result in lettered(results):
        about = result.version if result.ran else f"**not run**: {result.reason}"
        levels, threads = ", ".join(result.place.levels), ", ".join(map(str, result.place.threads))
        share = "all" if result.place.inputs == 1 else f"1 of {result.place.inputs}"
        rows.append([name, result.place.name, about, levels, threads, share])
    return "## Places\n\n" + table(["", "place", "ONNX Runtime", "levels", "threads", "encodes"], rows)


def symbols(results: Sequence[Ran]) -> str:
    """Who lost symbols of whose packets."""
    ran = [(name, result) for name, result in lettered(results) if result.ran]
    rows = []
    for name, sender in ran:
        who = sender.place.name
        cells = [f"{reader.lost.get(who, 0)} / {reader.read.get(who, 0)}" for _, reader in ran]
        rows.append([name, *cells, f"{sender.other_bytes} / {sender.packed}"])
    text = """## Symbols

Packets whose symbols were read otherwise than the encoder says it sent them, of those read: a row sends, a column
reads. The last column compares bytes: what a place packs the reference's latents to, against the reference's own."""
    return text + "\n\n" + table(["sent by", *(name for name, _ in ran), "other bytes"], rows)


def outputs(results: Sequence[Ran]) -> str:
    """How far decoded pictures and vectors are apart."""
    ran = [(name, result) for name, result in lettered(results) if result.ran]
    variants = sorted({variant for _, result in ran for variant in result.gaps})
    rows = [[name, *(number(result.gaps.get(variant)) for variant in variants)] for name, result in ran]
    limits = ", ".join(f"{variant} by {limit:g}" for variant, limit in TOLERANCE.items())
    text = f"""## Outputs

Largest difference of a decoded level (0 to 255) from the reference's for the same packet and variant. Allowed:
{limits}."""
    return text + "\n\n" + table(["", *variants], rows)


def times(results: Sequence[Ran]) -> str:
    """Medians, for orientation only."""
    ran = [(name, result) for name, result in lettered(results) if result.ran]
    names = sorted({entry for _, result in ran for entry in result.milliseconds})
    rows = [[name, *(number(result.milliseconds.get(entry), ".2f") for entry in names)] for name, result in ran]
    text = "## Milliseconds\n\nMedian for one input, for orientation: inputs are small, and processors may be emulated."
    return text + "\n\n" + table(["", *names], rows)


def lettered(results: Sequence[Ran]) -> list[tuple[str, Ran]]:
    """A for the first, B for the second."""
    return [(chr(ord("A") + at), result) for at, result in enumerate(results)]


def number(value: float | None, form: str = "g") -> str:
    """A figure, or a dash."""
    return "-" if value is None else format(value, form)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
