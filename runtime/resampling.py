"""Resampling schemes: from weights to ancestors.

Each takes normalised weights and returns ``n`` indices such that index i appears n·w_i times in expectation, which is
all that unbiasedness asks (Douc, Cappé and Moulines, 2005, compare their variances). Adding one is a function and a row
in ``SCHEMES``. The schemes of ``WEIGHTED`` return offspring of unequal weight: index i gets the weight w_i in
expectation, in no fixed number of copies. :func:`offspring` takes either kind.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .lazy import lazy
from .source import Key, Source, derive

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy")

Scheme = Callable[["np.ndarray", int, Source, Key], list[int]]


class Offspring(NamedTuple):
    """Who goes on, and with what weight.

    Attributes:
        ancestors: the index of each child's parent.
        log_weights: of each child, such that the children of i together weigh w_i in expectation.
    """

    ancestors: list[int]
    log_weights: list[float]


WeightedScheme = Callable[["np.ndarray", int, Source, Key], Offspring]

_ROUNDING = 1e-9
"""A weight meant to be k/n must give k copies although floats put it a hair beside."""


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
    copies = np.floor(expected + _ROUNDING)
    left = np.maximum(expected - copies, 0.0)
    left[(left < _ROUNDING) & (copies > 0)] = 0.0  # where there is no copy, little is little and not rounding
    chosen = [i for i, c in enumerate(copies.astype(int)) for _ in range(c)][:n]
    if len(chosen) < n:
        chosen += _independent(left if left.sum() > 0 else weights, n - len(chosen), source, key)
    return chosen


def ssp(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """⌊n·w_i⌋ or ⌈n·w_i⌉ copies of each (Srinivasan sampling process; Gerber, Chopin and Whiteley, 2019).

    Of the fractional parts, two at a time: mass moves between them, either way by as much as makes one of them whole.
    """
    expected = weights * n
    copies = np.floor(expected + _ROUNDING).astype(int)
    parts = (expected - copies).tolist()
    # Where there is no copy, little is little and not rounding.
    unsettled = [i for i, part in enumerate(parts) if part > (_ROUNDING if copies[i] else 0.0)]
    i = unsettled[0] if unsettled else int(weights.argmax())
    for step, j in enumerate(unsettled[1:]):
        a, b = parts[i], parts[j]
        up, down = min(1.0 - a, b), min(a, 1.0 - b)
        if _happens(down / (up + down), source, derive(key, step)):
            parts[i], parts[j] = a + up, b - up
            whole, i = (i, j) if up == 1.0 - a else (j, i)
        else:
            parts[i], parts[j] = a - down, b + down
            whole, i = (i, j) if down == a else (j, i)
        copies[whole] += round(parts[whole])
    copies[i] += n - copies.sum()  # the last part is 0 or 1, up to rounding
    return [i for i, count in enumerate(copies) for _ in range(count)]


def killing(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """Each stays with probability w_i / max w; whoever does not is replaced by a draw (Del Moral, 2004).

    Raises:
        ValueError: ``n`` is less than the number of weights: each keeps its own place.
    """
    if n < len(weights):
        raise ValueError(f"killing keeps each particle in its place, so it can't make {n} of {len(weights)}")
    stay = weights / weights.max()
    gone = [i for i in range(n) if i >= len(weights) or not _happens(float(stay[i]), source, derive(key, "stay", i))]
    chosen = list(range(n))
    for i, ancestor in zip(gone, _independent(weights, len(gone), source, key), strict=True):
        chosen[i] = ancestor
    return chosen


SCHEMES: dict[str, Scheme] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
    "ssp": ssp,
    "killing": killing,
}


def optimal(weights: np.ndarray, n: int, source: Source, key: Key) -> Offspring:
    """At most n distinct children: the heavy keep their weight, the light are thinned to weight 1/c.

    c solves Σ min(1, c·w_i) = n; those with c·w_i ≥ 1 are kept, and of the rest i goes on with probability c·w_i. Of
    all unbiased schemes without replacement it disturbs the weights least (Fearnhead and Clifford, 2003; SMC steering:
    Lew et al., 2023).
    """
    alive = np.flatnonzero(weights > 0)
    if len(alive) <= n:
        return Offspring(alive.tolist(), np.log(weights[alive]).tolist())
    order = np.argsort(-weights, kind="stable")
    light = weights[order][::-1].cumsum()[::-1]  # what is left with the k heaviest taken away
    kept = next((k for k in range(n) if (n - k) * weights[order[k]] < light[k]), n - 1)
    heavy, rest = order[:kept], weights.copy()
    rest[heavy] = 0.0
    thinned = systematic(rest / rest.sum(), n - kept, source, key)
    return Offspring(
        [*heavy.tolist(), *thinned],
        [*np.log(weights[heavy]).tolist(), *[math.log(light[kept] / (n - kept))] * (n - kept)],
    )


WEIGHTED: dict[str, WeightedScheme] = {"optimal": optimal}


def offspring(scheme: str, weights: np.ndarray, n: int, source: Source, key: Key) -> Offspring:
    """Children by a scheme of either kind.

    Args:
        scheme: a key of ``SCHEMES``, whose children share the weight equally, or of ``WEIGHTED``.
        weights: normalised, float64 [particles].
        n: how many children there may be.
        source, key: where the draws come from.
    """
    if scheme in WEIGHTED:
        return WEIGHTED[scheme](weights, n, source, key)
    return Offspring(SCHEMES[scheme](weights, n, source, key), [-math.log(n)] * n)


def normalise(log_weights: Sequence[float]) -> np.ndarray:
    """Weights that sum to one, float64.

    Raises:
        ValueError: no log-weight is finite, or one is NaN or ``inf``.
    """
    logs = np.asarray(log_weights, dtype=np.float64)
    top = logs.max(initial=-math.inf)
    if not math.isfinite(top):  # NaN shows in the maximum
        raise ValueError(f"these log-weights are no weights to resample by: {_few(logs)}")
    weights = np.exp(logs - top)
    return np.asarray(weights / weights.sum())


def _few(logs: np.ndarray) -> str:
    """The first of them, for errors."""
    return f"{logs[:6].tolist()}" + (f" and {len(logs) - 6} more" if len(logs) > 6 else "")


def _independent(weights: np.ndarray, n: int, source: Source, key: Key) -> list[int]:
    """n independent draws in proportion to weights, each by bisection."""
    edges = _edges(weights)
    return _at(edges, [source.offset(derive(key, i), edges.tolist) for i in range(n)], weights)


def _happens(p: float, source: Source, key: Key) -> bool:
    """True with probability ``p``."""
    return source.offset(key, lambda: [p]) < p


def _edges(weights: np.ndarray) -> np.ndarray:
    """The cumulative weights, ending at exactly 1."""
    edges = np.cumsum(weights)
    return np.asarray(edges / edges[-1])


def _at(edges: np.ndarray, points: Sequence[float], weights: np.ndarray) -> list[int]:
    """The index under each point. Indices of zero weight are never hit, also where rounding meets an edge."""
    found = np.searchsorted(edges, np.asarray(points), side="right")
    last = int(np.flatnonzero(weights > 0)[-1])
    return [min(int(i), last) for i in found]
