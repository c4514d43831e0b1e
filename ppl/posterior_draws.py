"""Drawing from weighted runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from .runtime.source import derive, fresh_seed, uniform

_SEED_MASK = (1 << 64) - 1


def draw(weights: Sequence[float], count: int, seed: int | None) -> list[int]:
    """Indices drawn in proportion to ``weights``, independently.

    Args:
        weights: at least one positive.
        count: how many.
        seed: what the draws are a function of; ``None`` for a fresh one.
    """
    key = derive((fresh_seed() if seed is None else int(seed)) & _SEED_MASK, "posterior.sample")
    positive = [i for i, w in enumerate(weights) if w > 0.0]
    edges = list(accumulate(weights[i] for i in positive))
    last = len(positive) - 1  # rounding may carry a target up to the total itself
    return [positive[min(bisect_right(edges, uniform(key, i) * edges[-1]), last)] for i in range(count)]
