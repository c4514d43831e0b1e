"""What marginalised programs call: the sum over a random choice that is not drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .runtime.distributions import as_distribution
from .runtime.result import log_sum_exp


class Marginal:
    """log Σ p(x) w(x), gathered by going through the outcomes x and telling what weighs each.

    Args:
        distribution: of x, with finitely many outcomes.

    Raises:
        TypeError: it is no distribution of this process, or its outcomes can't be listed.
    """

    def __init__(self, distribution: Any) -> None:
        local = as_distribution(distribution)
        outcomes = None if local is None else local.support()
        if outcomes is None:
            raise TypeError(
                f"{distribution!r} is no distribution whose outcomes can be listed, so it can't be summed out"
            )
        self._outcomes = outcomes
        self._log_terms: list[float] = []
        self._log_weight = 0.0

    def __iter__(self) -> Iterator[Any]:
        for value, log_prob in self._outcomes:
            self._log_weight = log_prob
            yield value
            self._log_terms.append(self._log_weight)

    def factor(self, log_weight: Any) -> bool:
        """Tell a ``factor``. Returns whether the outcome is ruled out."""
        return self._add(float(log_weight))

    def condition(self, holds: Any) -> bool:
        """Tell a ``condition``. Returns whether the outcome is ruled out."""
        return self._add(0.0 if holds else -math.inf)

    def observe(self, distribution: Any, value: Any) -> bool:
        """Tell an ``observe``. Returns whether the outcome is ruled out.

        Raises:
            TypeError: ``distribution`` is none of this process.
        """
        local = as_distribution(distribution)
        if local is None:
            raise TypeError(f"observe() needs a distribution, got {type(distribution).__name__} {distribution!r}")
        return self._add(local.log_prob(value))

    def total(self) -> float:
        """The logarithm of the sum; NaN if a weight was no number."""
        return math.nan if any(map(math.isnan, self._log_terms)) else log_sum_exp(self._log_terms)

    def _add(self, log_weight: float) -> bool:
        self._log_weight += log_weight
        return self._log_weight == -math.inf
