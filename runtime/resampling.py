"""Resampling schemes: from weights to ancestors.

Each takes normalised weights and returns ``n`` indices such that index i appears n·w_i times in expectation, which is
all that unbiasedness asks (Douc, Cappé and Moulines, 2005, compare their variances). Adding one is a function and a row
in ``SCHEMES``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from .source import Key, Source, derive

Scheme = Callable[[np.ndarray, int, Source, Key], list[int]]


def multinomial(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """n independent draws (Gordon, Salmond and Smith, 1993)."""
    return _independent(weights, n, source, key)


def stratified(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """One draw from each of n equal strata (Kitagawa, 1996)."""
    edges = _edges(weights)

    def breaks(i: int) -> list[float]:
        return [float(e - i) for e in edges * n if i < e < i + 1]

    points = [(i + source.offset(derive(key, i), functools.partial(breaks, i))) / n for i in range(n)]
    return _at(edges, points, weights)


def systematic(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """n equally spaced points with one common random offset (Carpenter, Clifford and Fearnhead, 1999)."""
    edges = _edges(weights)
    offset = source.offset(key, lambda: [float(e) for e in edges * n % 1.0])
    return _at(edges, [(i + offset) / n for i in range(n)], weights)


def residual(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """⌊n·w_i⌋ copies of each, and the rest multinomially (Liu and Chen, 1998)."""
    expected = weights * n
    # A weight meant to be k/n must give k copies although floats put it a hair below.
    copies = np.floor(expected + 1e-9)
    left = np.maximum(expected - copies, 0.0)
    left[left < 1e-9] = 0.0
    chosen = [i for i, c in enumerate(copies.astype(int)) for _ in range(c)][:n]
    if len(chosen) < n:
        chosen += _independent(left if left.sum() > 0 else weights, n - len(chosen), source, key)
    return chosen


SCHEMES: dict[str, Scheme] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}


def normalise(log_weights: Sequence[float]) -> np.ndarray:
    """Weights that sum to one, float64. At least one log-weight must be finite."""
    logs = np.asarray(log_weights, dtype=np.float64)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _independent(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """n independent draws in proportion to weights, each by bisection."""
    edges = _edges(weights)
    return _at(edges, [source.offset(derive(key, i), edges.tolist) for i in range(n)], weights)


def _edges(weights: np.ndarray) -> np.ndarray:
    """The cumulative weights, ending at exactly 1."""
    edges = np.cumsum(weights)
    return np.asarray(edges / edges[-1])


def _at(edges: np.ndarray, points: Sequence[float], weights: np.ndarray) -> list[int]:
    """The index under each point. Indices of zero weight are never hit, also where rounding meets an edge."""
    found = np.searchsorted(edges, np.asarray(points), side="right")
    last = int(np.flatnonzero(weights > 0)[-1])
    return [min(int(i), last) for i in found]
