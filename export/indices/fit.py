"""Fit a codec's tables to the indices of calibration items: sources, contexts, frequency rows, groups of rare ones.

What pays is measured, not assumed. Four fifths of the items fit every plan (`plan`) with few and many table rows that
lean more and less on what the plane is like everywhere; the last fifth says which of them takes the fewest bits. That
is then fitted to all items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from latentwire.export.graph import TOTAL
from latentwire.export.indices.alphabet import fit_groups
from latentwire.export.indices.clusters import Clusters, Counts, Shares, cluster, costs, shares_of
from latentwire.export.indices.frequencies import frequencies
from latentwire.export.indices.plan import Step, plans
from latentwire.export.indices.tables import Alphabet, IndexTables, Stage, Whole

HELD_SHARE = 0.2
GAIN = 0.01
"""Sources must save this share of a plane's bits: every step of a plan is a loop more in the graph."""
MAX_ROWS = 192
"""Table rows of all planes; each has 4096 slots of 16 bytes in a decoder's memory."""
PLANE_ROWS = (1, 8, 64)
"""Rows of a step that are tried."""
PRIORS = (4.0, 64.0, 1024.0)
"""Occurrences by which a row leans on its plane's own distribution, of those that are tried."""
LEAN = 4.0
"""And a context that is rare at one class of sites on the same one at all others."""
MAX_NUMBERS = 1 << 21
"""Of counts, cells times columns, that are clustered at once."""
MAX_RADIX = 64
FEWER = 16
"""Contexts are tried in their full number and in this part of it."""
SITE_CLASSES = 8
MAX_COMMON = 1000
"""Columns of a plane, that for rare indices apart."""
SMOOTHING = 0.5
"""Occurrences that every codeword is given: one that was not seen is not impossible."""
FIT_NUMBERS = 1 << 22
"""Indices that are looked at, at most."""


@dataclass(frozen=True)
class Fit:
    """Fitted tables and how they came about.

    Attributes:
        tables: for the codec.
        plans: name of each plane's plan.
        bits: of an index of each plane, but for which rare ones: on held-out items for the plan that was taken.
        alone: the same with each position alone.
    """

    tables: IndexTables
    plans: tuple[str, ...]
    bits: tuple[float, ...]
    alone: tuple[float, ...]


def fit_tables(indices: Whole, sizes: tuple[int, ...], shape: tuple[int, ...], quality_planes: Whole) -> Fit:
    """Everything that `IndexTables` holds.

    Args:
        indices: int64 [N, R, P], below the codebook's size each.
        sizes: K of each plane.
        shape: the lengths whose product is P.
        quality_planes: see `IndexTables`.
    """
    sample = indices[:: max(1, indices.size // FIT_NUMBERS)]
    commons = [
        common_codewords(np.bincount(sample[:, plane].reshape(-1), minlength=size)) for plane, size in enumerate(sizes)
    ]
    slots = slots_of(sample, commons, sizes)
    order = np.random.default_rng(0).permutation(len(slots))
    kept = max(1, int(len(slots) * HELD_SHARE))
    fitted = []
    for plane, common in enumerate(commons):
        fitter = Fitter(plane, len(common), slots, order[kept:], order[:kept], max(4, MAX_ROWS // len(sizes)))
        fitted.append(fit_plane(fitter, common, shape, sample[:, plane], sizes[plane]))
    tables = assembled(fitted, slots.places, quality_planes)
    return Fit(tables, *(tuple(getattr(plane, name) for plane in fitted) for name in ("plan", "bits", "alone")))


def common_codewords(counts: Whole) -> Whole:
    """The most frequent ones, at most `MAX_COMMON` of those that occur, int64 [C]; at least one."""
    order = np.argsort(-counts, kind="stable")
    seen = int((counts > 0).sum())
    return np.sort(order[: max(1, min(seen, MAX_COMMON))]).astype(np.int64)


@dataclass(frozen=True)
class Slots:
    """Indices as slots: plane * width + column, whose last one is for all that have no column.

    Attributes:
        values: int64 [N, R, P].
        width: columns of a plane here.
    """

    values: Whole
    width: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def places(self) -> int:
        """P."""
        return int(self.values.shape[2])

    @property
    def none(self) -> int:
        """Stands for a source that is not there."""
        return int(self.values.shape[1]) * self.width


def slots_of(indices: Whole, commons: list[Whole], sizes: tuple[int, ...]) -> Slots:
    """Of indices int64 [N, R, P] with such common codewords."""
    width = max(map(len, commons)) + 1
    parts = []
    for plane, (common, size) in enumerate(zip(commons, sizes, strict=True)):
        columns = np.full(size, width - 1, np.int64)
        columns[common] = np.arange(len(common))
        parts.append(plane * width + columns[indices[:, plane]])
    return Slots(np.stack(parts, 1), width)


@dataclass(frozen=True)
class Coded:
    """One step of a plane, fitted: see `Stage` for classes, radix and contexts.

    Attributes:
        step: which sites.
        classes: of slots, int64 [R * S + 1] with one more for none.
        radix: number of classes.
        base: of each site, in ``labels``.
        labels: which row each cell, a context of a class of sites, has.
        clusters: what the rows are made of.
        everywhere: shares of the plane, float64 [C + 1].
        prior: occurrences by which rows lean on that.
    """

    step: Step
    classes: Whole
    radix: int
    base: Whole
    labels: Whole
    clusters: Clusters
    everywhere: Shares
    prior: float

    @property
    def shares(self) -> Shares:
        """Of each row, float64 [rows, C + 1]."""
        return self.clusters.shares(self.everywhere, self.prior)


@dataclass(frozen=True)
class Fitted:
    """One plane, fitted: see `Fit`."""

    plan: str
    steps: tuple[Coded, ...]
    alphabet: Alphabet
    groups: Shares
    """How often each group of rare indices occurs, float64 [G]."""
    bits: float
    alone: float


def fit_plane(fitter: Fitter, common: Whole, shape: tuple[int, ...], indices: Whole, size: int) -> Fitted:
    """The best plan for a plane of indices int64 [N, P] below ``size``."""
    tried = plans(shape, first=fitter.plane == 0)
    best = [[min(fitter.trials(step), key=lambda found: found[0]) for step in plan.steps] for plan in tried]
    bits = [sum(cost for cost, _ in steps) / len(fitter.held) / fitter.slots.places for steps in best]
    taken = int(np.argmin([bits[0] * (1 - GAIN), *bits[1:]]))
    steps = tuple(fitter.again(coded) for _, coded in best[taken])
    counts = rare_counts(fitter, steps, indices, size)
    codewords, members = fit_groups(counts)
    groups = np.add.reduceat(counts[codewords], np.cumsum(1 << members) - (1 << members))
    return Fitted(tried[taken].name, steps, Alphabet(common, codewords, members), groups, bits[taken], bits[0])


def rare_counts(fitter: Fitter, steps: tuple[Coded, ...], indices: Whole, size: int) -> Shares:
    """How often each codeword is rare in indices int64 [N, P], float64 [K]; none is 0."""
    found = np.zeros(size)
    everything = np.arange(len(indices))
    for coded in steps:
        own = fitter.own(everything, coded.step)
        missing = (frequencies(coded.shares)[fitter.labels(coded, everything), own] == 0) | (own == fitter.common)
        found += np.bincount(indices[:, coded.step.positions][missing], minlength=size)
    everywhere = np.bincount(indices.reshape(-1), minlength=size) + SMOOTHING
    found += SMOOTHING * size * everywhere / everywhere.sum()
    return found


class Fitter:
    """Fits steps of one plane."""

    def __init__(self, plane: int, common: int, slots: Slots, fitting: Whole, held: Whole, rows: int) -> None:
        """Takes the number of common codewords; what is none of them counts as one symbol more."""
        self.plane, self.common, self.symbols = plane, common, common + 1
        self.slots, self.fitting, self.held, self.rows = slots, fitting, held, rows

    def own(self, items: Whole, step: Step) -> Whole:
        """Symbols int64 [n, sites] of the step's sites in some items."""
        found = self.slots.values[items, self.plane][:, step.positions] - self.plane * self.slots.width
        own: Whole = np.minimum(found, self.common)
        return own

    def sources(self, items: Whole, step: Step) -> Whole:
        """Slots int64 [M, n, sites] of their sources."""
        values = self.slots.values[items]
        same = np.concatenate([values[:, self.plane], np.full((len(values), 1), self.slots.none)], 1)
        found = [same[:, places] for places in step.sources]
        if step.above:
            found.insert(0, values[:, self.plane - 1][:, step.positions])
        return np.stack(found) if found else np.zeros((0, len(values), len(step.positions)), np.int64)

    def trials(self, step: Step) -> Iterator[tuple[float, Coded]]:
        """(Bits of the held-out items, a step that is fitted to the others), of all that is tried."""
        for coded in self.fits(self.fitting, step, [min(rows, self.rows) for rows in PLANE_ROWS], self.radices(step)):
            labels, own = self.labels(coded, self.held), self.own(self.held, step)
            for prior in PRIORS:
                candidate = replace(coded, prior=prior)
                yield float(-np.log2(candidate.shares[labels, own]).sum()), candidate

    def again(self, coded: Coded) -> Coded:
        """The same with all items."""
        rows, radix = len(coded.clusters.totals), coded.radix
        (found,) = self.fits(np.arange(len(self.slots)), coded.step, [rows], [radix])
        return replace(found, prior=coded.prior)

    def radices(self, step: Step) -> list[int]:
        """Numbers of classes of a source that are tried: contexts are as many as there are data for, or fewer."""
        sources = len(step.sources) + step.above
        if not sources:
            return [1]
        most = min(MAX_NUMBERS // self.symbols, len(self.fitting) * len(step.positions) // 4) / SITE_CLASSES
        each = (int((most / part) ** (1 / sources) + 1e-9) for part in (1, FEWER))
        return sorted({min(max(2, radix), MAX_RADIX) for radix in each})

    def fits(self, items: Whole, step: Step, rows: list[int], radices: list[int]) -> Iterator[Coded]:
        """Fitted with so many rows at most each, and so many classes of a source."""
        own, sources = self.own(items, step), self.sources(items, step)
        sites = len(step.positions)
        site = np.broadcast_to(np.arange(sites), own.shape)
        by_site = self.count(site, own, sites)
        everywhere = shares_of(by_site.sum(0, keepdims=True) + 1 / self.symbols)[0]
        if not len(sources):
            for number in rows:
                found = cluster(by_site, everywhere, number)
                none = np.zeros(self.slots.none + 1, np.int64)
                yield Coded(step, none, 1, np.arange(sites), found.labels, found, everywhere, PRIORS[0])
            return
        alike = cluster(by_site, everywhere, min(SITE_CLASSES, sites)).labels
        kinds = int(alike.max()) + 1
        for radix in radices:
            classes, contexts = self.classes(sources, own, radix), radix ** len(sources)
            cells = alike[site] * contexts + context_of(classes, radix, sources)
            counts = self.count(cells, own, kinds * contexts)
            for number in rows:
                labels, found = self.cells(counts, contexts, everywhere, number)
                yield Coded(step, classes, radix, alike * contexts, labels, found, everywhere, PRIORS[0])

    def cells(self, counts: Counts, contexts: int, everywhere: Shares, rows: int) -> tuple[Whole, Clusters]:
        """(Row of each cell, clusters) of how often each symbol occurs in each cell, a context of a class of sites."""
        lean = shares_of(counts.reshape(-1, contexts, self.symbols).sum(0) + everywhere)
        present = np.flatnonzero(counts.any(1))
        found = cluster(counts[present] + (LEAN * lean[present % contexts]).astype(np.float32), everywhere, rows)
        labels = costs(lean.astype(np.float32), found.shares(everywhere)).argmin(1)
        labels = np.tile(labels, len(counts) // contexts)
        labels[present] = found.labels
        return labels, found

    def count(self, cells: Whole, own: Whole, number: int) -> Counts:
        """How often each symbol occurs in each cell, float32 [number, C + 1]."""
        places = cells.reshape(-1) * self.symbols + own.reshape(-1)
        return np.bincount(places, minlength=number * self.symbols).reshape(number, self.symbols).astype(np.float32)

    def classes(self, sources: Whole, own: Whole, radix: int) -> Whole:
        """Class of every slot as a source: 1 .. radix - 1 by what follows it, 0 for none, rare ones and unseen ones."""
        places = np.concatenate([source.reshape(-1) * self.symbols + own.reshape(-1) for source in sources])
        present, at = np.unique(places // self.symbols, return_inverse=True)
        counts = self.count(at, places % self.symbols, len(present))
        real = (present < self.slots.none) & (present % self.slots.width < self.slots.width - 1)
        found = np.zeros(self.slots.none + 1, np.int64)
        if real.any():
            everywhere = shares_of(counts.sum(0, keepdims=True) + 1 / self.symbols)[0]
            found[present[real]] = 1 + cluster(counts[real], everywhere, radix - 1).labels
        return found

    def labels(self, coded: Coded, items: Whole) -> Whole:
        """Which of the step's rows each of its sites has, int64 [n, sites]."""
        context = context_of(coded.classes, coded.radix, self.sources(items, coded.step))
        found: Whole = coded.labels[coded.base + context]
        return found


def context_of(classes: Whole, radix: int, sources: Whole) -> Whole:
    """Context int64 [n, sites] of slots of sources int64 [M, n, sites]; see `Stage.weights`."""
    weights = radix ** np.arange(len(sources), dtype=np.int64)
    found: Whole = (classes[sources] * weights[:, None, None]).sum(0)
    return found


def assembled(fitted: list[Fitted], positions: int, quality_planes: Whole) -> IndexTables:
    """Tables of what was fitted to each plane: one stage for all that has no sources, then those that have."""
    planes = len(fitted)
    width = max(max(len(plane.alphabet.common) + 1, plane.alphabet.groups) for plane in fitted)
    certain = np.zeros((1, width), np.int64)
    certain[0, 0] = TOTAL
    of_groups = [frequencies(plane.groups[None] / plane.groups.sum(), 0.0) for plane in fitted]
    frequency = [certain, *(placed(groups, width) for groups in of_groups)]
    rows, stages = np.zeros(0, np.int64), list[Stage]()
    for plane, found in enumerate(fitted):
        for coded in found.steps:
            first = sum(map(len, frequency))
            frequency.append(placed(frequencies(coded.shares), width, last=True))
            stages.append(stage_of(plane, coded, planes, width, positions, len(rows)))
            rows = np.concatenate([rows, first + coded.labels])
    alone = [stage for stage in stages if not len(stage.sources)]
    together = Stage(
        np.concatenate([stage.places for stage in alone]),
        np.zeros((0, sum(stage.sites for stage in alone)), np.int64),
        alone[0].classes,
        1,
        np.concatenate([stage.base for stage in alone]),
    )
    others = [stage for stage in stages if len(stage.sources)]
    return IndexTables(
        positions,
        tuple(plane.alphabet for plane in fitted),
        quality_planes,
        (together, *others),
        rows.astype(np.uint16),
        np.concatenate(frequency).astype(np.uint16),
    )


def placed(frequency: Whole, width: int, *, last: bool = False) -> Whole:
    """Frequencies [n, k] in rows of ``width`` columns; the last one goes to the last column where asked for."""
    found = np.zeros((len(frequency), width), np.int64)
    found[:, : frequency.shape[1] - last] = frequency[:, : frequency.shape[1] - last]
    if last:
        found[:, -1] = frequency[:, -1]
    return found


def stage_of(plane: int, coded: Coded, planes: int, width: int, positions: int, begin: int) -> Stage:
    """A step as a stage whose rows begin at ``begin``."""
    step, offset = coded.step, plane * positions
    sources = np.where(step.sources < 0, -1, step.sources + offset)
    if step.above:
        sources = np.concatenate([step.positions[None] + offset - positions, sources])
    # What is rare is of class 0, since its codeword is not known when the stage is decoded.
    classes = np.zeros((planes, width), np.uint8)
    own = coded.classes[:-1].reshape(planes, -1)
    classes[:, : own.shape[1] - 1] = own[:, :-1]
    return Stage(step.positions + offset, sources, classes, coded.radix, coded.base + begin)
