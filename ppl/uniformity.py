"""Are these numbers uniform on [0, 1]? Two tests whose false-alarm rate is known.

The ranks of simulation-based calibration, of Geweke's test and of a goodness of fit are all uniform when the law holds,
so these two tests serve them all: the empirical distribution function inside simultaneous bands, exact at any count,
and chi² over equal cells, which sees what comes back in many cells at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MOST_POINTS = 100
SMALLEST_P = 1e-12  # below this the recursion is rounding


@dataclass(frozen=True)
class Band:
    """Between which counts the empirical distribution function stays, at all points at once.

    Attributes:
        points: where it is looked at, in (0, 1). Shape [points].
        low: the least count of numbers at or under each point. Shape [points], integers.
        high: the greatest. Shape [points], integers.
        coverage: the probability that uniform numbers stay inside.
    """

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray
    coverage: float


@dataclass(frozen=True)
class _Grid:
    """The distribution of the counts of ``count`` uniform numbers at or under each of some points."""

    count: int
    points: np.ndarray
    tails: np.ndarray
    """Shape [points, count + 1]: twice the smaller tail probability, P(C ≤ c) or P(C ≥ c)."""


def p_value(uniforms: Sequence[float]) -> float:
    """Both tests together: half the false-alarm rate goes to the distribution function, a quarter to chi².

    The last quarter covers chi²'s approximation.

    Args:
        uniforms: numbers in [0, 1], independent.
    """
    return min(1.0, 2.0 * ecdf_p_value(uniforms), 4.0 * chi_square_p_value(uniforms))


def ecdf_p_value(uniforms: Sequence[float]) -> float:
    """The p-value of the largest pointwise deviation of the empirical distribution function, exact for every count.

    At each point the count of numbers under it is binomial. The statistic is the smallest two-sided binomial tail
    probability over the points; its distribution comes from a recursion over them (Säilynoja, Bürkner and Vehtari,
    2022, algorithm 2).

    Args:
        uniforms: numbers in [0, 1], independent.
    """
    _need(uniforms)
    grid = _grid(len(uniforms))
    counts = np.searchsorted(np.sort(np.asarray(uniforms)), grid.points, side="right")
    observed = float(grid.tails[np.arange(len(counts)), counts].min())
    bound = min(1.0, len(counts) * observed)  # union over the points: never smaller than the truth
    return min(bound, max(1.0 - _band(grid, observed).coverage, SMALLEST_P))


def ecdf_band(count: int, level: float) -> Band:
    """The simultaneous band that ``count`` uniform numbers leave with probability at most ``level``.

    Args:
        count: how many numbers.
        level: the probability.
    """
    grid = _grid(count)
    low, high = level / len(grid.points) / 2, level
    band = _band(grid, low)
    for _ in range(25):
        middle = math.sqrt(low * high)
        trial = _band(grid, middle)
        if 1.0 - trial.coverage <= level:
            low, band = middle, trial
        else:
            high = middle
    return band


def chi_square_p_value(uniforms: Sequence[float], cells: int | None = None) -> float:
    """Pearson's chi² test over equal cells.

    Its distribution is approximated by chi². With 20 numbers a cell the true probability is 1.03 times as large at
    0.01, 1.1 times at 1e-3 and 1.6 times at 1e-5; :func:`p_value` leaves room for that.

    Args:
        uniforms: numbers in [0, 1], independent.
        cells: how many; by default up to 20, so that each expects twenty numbers or more where there are enough.
    """
    import torch

    _need(uniforms)
    counts = histogram(uniforms, cells)
    expected = len(uniforms) / len(counts)
    statistic = math.fsum((c - expected) ** 2 for c in counts) / expected
    half = torch.tensor([(len(counts) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def histogram(uniforms: Sequence[float], cells: int | None = None) -> list[int]:
    """How many numbers lie in each of ``cells`` equal cells; by default as many as :func:`chi_square_p_value` takes."""
    cells = cells or min(20, max(2, len(uniforms) // 20))
    counts = [0] * cells
    for u in uniforms:
        counts[min(int(u * cells), cells - 1)] += 1
    return counts


def _need(uniforms: Sequence[float]) -> None:
    if len(uniforms) == 0 or any(not 0.0 <= u <= 1.0 for u in uniforms):
        raise ValueError("a test of uniformity needs one number or more, all in [0, 1]")


@lru_cache(maxsize=16)
def _grid(count: int) -> _Grid:
    size = min(count, MOST_POINTS - 1)
    points = np.arange(1, size + 1) / (size + 1)
    log_factorials = _log_factorials(count)
    c = np.arange(count + 1)
    choose = log_factorials[count] - log_factorials - log_factorials[::-1]
    masses = np.exp(choose + c * np.log(points)[:, None] + (count - c) * np.log1p(-points)[:, None])
    below = np.cumsum(masses, axis=1)
    above = np.cumsum(masses[:, ::-1], axis=1)[:, ::-1]
    return _Grid(count, points, np.minimum(1.0, 2.0 * np.minimum(below, above)))


def _band(grid: _Grid, tail: float) -> Band:
    """The band of counts whose two-sided tail probability is above ``tail`` at each point, and its coverage."""
    log_factorials = _log_factorials(grid.count)
    inside = grid.tails > tail
    low = inside.argmax(axis=1)
    high = grid.count - inside[:, ::-1].argmax(axis=1)
    if not inside.any(axis=1).all():
        return Band(grid.points, low, high, 0.0)
    mass, start, before = np.ones(1), 0, 0.0
    for point, first, last in zip(grid.points, low, high, strict=True):
        old = np.arange(start, start + len(mass))[:, None]
        new = np.arange(first, last + 1)[None, :]
        step = (point - before) / (1.0 - before)  # a number that was above the last point is under this one
        added, rest = new - old, grid.count - new
        log_p = log_factorials[grid.count - old] - log_factorials[np.maximum(added, 0)] - log_factorials[rest]
        log_p = log_p + added * math.log(step) + rest * math.log1p(-step)
        mass = mass @ np.where(added >= 0, np.exp(np.where(added >= 0, log_p, -np.inf)), 0.0)
        start, before = int(first), float(point)
    return Band(grid.points, low, high, float(min(mass.sum(), 1.0)))


@lru_cache(maxsize=16)
def _log_factorials(count: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
