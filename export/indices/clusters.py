"""Histograms that cost little in each other's code, gathered to few table rows (Lloyd's algorithm, KL divergence)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float32]
Shares = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

ROUNDS = 6
PRIOR = 4.0
"""Occurrences by which a centre leans on the histogram of everything, while histograms are assigned."""


@dataclass(frozen=True)
class Clusters:
    """Of histograms [n, S].

    Attributes:
        labels: of each histogram.
        totals: what the histograms of each label add up to, float64 [labels, S].
    """

    labels: Labels
    totals: Shares

    def shares(self, base: Shares, prior: float = PRIOR) -> Shares:
        """Of each label, float64 [labels, S]; every row leans on ``base`` [S] by ``prior`` occurrences."""
        return shares_of(self.totals + prior * base)


def shares_of(counts: npt.NDArray[np.floating]) -> Shares:
    """Counts [n, S] with rows scaled to sum to 1."""
    wide = counts.astype(np.float64)
    found: Shares = wide / wide.sum(1, keepdims=True)
    return found


def cluster(counts: Counts, base: Shares, number: int) -> Clusters:
    """Cluster histograms [n, S] to at most ``number``; ``base`` [S] has no zeros."""
    centres = seeds(counts, base, number)
    labels, totals = np.zeros(len(counts), np.int64), counts.sum(0, keepdims=True).astype(np.float64)
    for _ in range(ROUNDS if len(centres) > 1 else 0):
        used, labels = np.unique(costs(counts, centres).argmin(1), return_inverse=True)
        members = (labels == np.arange(len(used))[:, None]).astype(np.float32)
        totals = (members @ counts).astype(np.float64)
        centres = shares_of(totals + PRIOR * base)
    return Clusters(labels.astype(np.int64), totals)


def costs(counts: Counts, centres: Shares) -> Counts:
    """Bits of each histogram in the code of each centre, float32 [n, labels]."""
    found: Counts = counts @ (-np.log2(centres)).astype(np.float32).T
    return found


def seeds(counts: Counts, base: Shares, number: int) -> Shares:
    """Centres to begin with: one after the other the histogram that loses most with those there are."""
    found = [base]
    own = costs_alone(counts)
    best = costs(counts, base[None])[:, 0]
    while len(found) < number:
        worst = int((best - own).argmax())
        if best[worst] - own[worst] <= 1e-3:
            break
        found.append(shares_of(counts[worst : worst + 1] + PRIOR * base)[0])
        best = np.minimum(best, costs(counts, found[-1][None])[:, 0])
        own[worst] = best[worst]
    return np.stack(found)


def costs_alone(counts: Counts) -> Counts:
    """Bits of each histogram in its own code, float32 [n]."""
    total = counts.sum(1)
    inner = np.where(counts > 0, counts * np.log2(np.maximum(counts, 1e-30)), 0).sum(1)
    found: Counts = (total * np.log2(np.maximum(total, 1e-30)) - inner).astype(np.float32)
    return found
