"""Resampling schemes: from weights to ancestors.

Each takes normalised weights and returns ``n`` indices such that index i appears n·w_i times in expectation, which is
all that unbiasedness asks (Douc, Cappé and Moulines, 2005, compare their variances). Adding one is a function and a row
in ``SCHEMES``. The schemes of ``WEIGHTED`` return offspring of unequal weight: index i gets the weight w_i in
expectation, in no fixed number of copies. :func:`offspring` takes either kind.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from .source import Key, Source, derive, relative

Scheme = Callable[[Sequence[float], int, Source, Key], list[int]]


class Offspring(NamedTuple):
    """Who goes on, and with what weight.

    Attributes:
        ancestors: the index of each child's parent.
        log_weights: of each child, such that the children of i together weigh w_i in expectation.
    """

    ancestors: list[int]
    log_weights: list[float]


WeightedScheme = Callable[[Sequence[float], int, Source, Key], Offspring]

_ROUNDING = 1e-9
"""A weight meant to be k/n must give k copies although floats put it a hair beside."""


def multinomial(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """n independent draws (Gordon, Salmond and Smith, 1993)."""
    edges = _edges(weights)
    return _at(edges, [source.offset(derive(key, i), edges.copy) for i in range(n)], weights)


def stratified(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """One draw from each of n equal strata (Kitagawa, 1996)."""
    edges = _edges(weights)

    def breaks(i: int) -> list[float]:
        return [edge * n - i for edge in edges if i < edge * n < i + 1]

    points = [(i + source.offset(derive(key, i), functools.partial(breaks, i))) / n for i in range(n)]
    return _at(edges, points, weights)


def systematic(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """n equally spaced points with one common random offset (Carpenter, Clifford and Fearnhead, 1999)."""
    edges = _edges(weights)
    offset = source.offset(key, lambda: [edge * n % 1.0 for edge in edges])
    return _at(edges, [(i + offset) / n for i in range(n)], weights)


def residual(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """⌊n·w_i⌋ copies of each, and the rest multinomially (Liu and Chen, 1998)."""
    copies, parts = _whole_and_parts(weights, n)
    chosen = [i for i, count in enumerate(copies) for _ in range(count)][:n]
    if len(chosen) < n:
        chosen += multinomial(parts if any(parts) else weights, n - len(chosen), source, key)
    return chosen


def ssp(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """⌊n·w_i⌋ or ⌈n·w_i⌉ copies of each (Srinivasan sampling process; Gerber, Chopin and Whiteley, 2019).

    Of the fractional parts, two at a time: mass moves between them, either way by as much as makes one of them whole.
    """
    copies, parts = _whole_and_parts(weights, n)
    unsettled = [i for i, part in enumerate(parts) if part]
    i = unsettled[0] if unsettled else weights.index(max(weights))
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
    copies[i] += n - sum(copies)  # the last part is 0 or 1, up to rounding
    return [i for i, count in enumerate(copies) for _ in range(count)]


def killing(weights: Sequence[float], n: int, source: Source, key: Key) -> list[int]:
    """Each stays with probability w_i / max w; whoever does not is replaced by a draw (Del Moral, 2004).

    Raises:
        ValueError: ``n`` is less than the number of weights: each keeps its own place.
    """
    if n < len(weights):
        raise ValueError(f"killing keeps each particle in its place, so it can't make {n} of {len(weights)}")
    top = max(weights)
    gone = [i for i in range(n) if i >= len(weights) or not _happens(weights[i] / top, source, derive(key, "stay", i))]
    chosen = list(range(n))
    for i, ancestor in zip(gone, multinomial(weights, len(gone), source, key), strict=True):
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


def optimal(weights: Sequence[float], n: int, source: Source, key: Key) -> Offspring:
    """At most n distinct children: the heavy keep their weight, the light are thinned to weight 1/c.

    c solves Σ min(1, c·w_i) = n; those with c·w_i ≥ 1 are kept, and of the rest i goes on with probability c·w_i. Of
    all unbiased schemes without replacement it disturbs the weights least (Fearnhead and Clifford, 2003; SMC steering:
    Lew et al., 2023).
    """
    order = sorted([i for i, weight in enumerate(weights) if weight > 0.0], key=lambda i: -weights[i])
    if len(order) <= n:
        order.sort()
        return Offspring(order, [math.log(weights[i]) for i in order])
    left = list(accumulate([weights[i] for i in reversed(order)]))  # left[-1 - k]: with the k heaviest taken away
    kept = next((k for k in range(n) if (n - k) * weights[order[k]] < left[-1 - k]), n - 1)
    light = left[-1 - kept]
    rest = list(weights)
    for i in order[:kept]:
        rest[i] = 0.0
    return Offspring(
        order[:kept] + systematic(rest, n - kept, source, key),
        [math.log(weights[i]) for i in order[:kept]] + [math.log(light / (n - kept))] * (n - kept),
    )


WEIGHTED: dict[str, WeightedScheme] = {"optimal": optimal}


def offspring(scheme: str, weights: Sequence[float], n: int, source: Source, key: Key) -> Offspring:
    """Children by a scheme of either kind.

    Args:
        scheme: a key of ``SCHEMES``, whose children share the weight equally, or of ``WEIGHTED``.
        weights: of the particles, normalised.
        n: how many children there may be.
        source, key: where the draws come from.
    """
    if scheme in WEIGHTED:
        return WEIGHTED[scheme](weights, n, source, key)
    return Offspring(SCHEMES[scheme](weights, n, source, key), [-math.log(n)] * n)


def normalise(log_weights: Sequence[float]) -> list[float]:
    """Weights that sum to one.

    Raises:
        ValueError: no log-weight is finite, or one is NaN or ``inf``.
    """
    weights, total, _ = relative(log_weights)
    return [weight / total for weight in weights]


def _whole_and_parts(weights: Sequence[float], n: int) -> tuple[list[int], list[float]]:
    """n·w_i as a whole number and a part of one. Where there is no copy, little is little and not rounding."""
    copies = [math.floor(weight * n + _ROUNDING) for weight in weights]
    parts = [max(weight * n - count, 0.0) for weight, count in zip(weights, copies, strict=True)]
    return copies, [0.0 if part < _ROUNDING and count else part for part, count in zip(parts, copies, strict=True)]


def _happens(p: float, source: Source, key: Key) -> bool:
    """True with probability ``p``."""
    return source.offset(key, lambda: [p]) < p


def _edges(weights: Sequence[float]) -> list[float]:
    """The cumulative weights, ending at exactly 1, whatever the weights sum to."""
    edges = list(accumulate(weights))
    total = edges[-1]
    return [edge / total for edge in edges]


def _at(edges: Sequence[float], points: Sequence[float], weights: Sequence[float]) -> list[int]:
    """The index under each point. Indices of zero weight are never hit, also where rounding meets an edge."""
    last = next(i for i in range(len(weights) - 1, -1, -1) if weights[i] > 0.0)
    return [min(bisect_right(edges, point), last) for point in points]
