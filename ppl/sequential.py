"""Tests that may be looked at after every observation, and stopped as soon as they are decided.

A test is a gambler who bets against the law at fair odds. While the law holds, the capital is a non-negative martingale
that starts at 1, so the probability that it *ever* reaches 1/α is at most α (Ville, 1939). Stopping as soon as it does,
or going on after a look at the data, costs nothing. The capitals of several gamblers may be averaged, whether or not
what they bet on is independent (Ramdas, Grünwald, Vovk and Shafer, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from .runtime.result import log_sum_exp

_CELLS = (2, 4, 8, 16)
_PRIOR = 4.0


class UniformBet:
    """Bets that numbers are not uniform on [0, 1].

    It predicts in which of k equal cells the next number falls, by the counts so far (under a Dirichlet prior), and its
    capital is multiplied by k times the probability that it gave (Dawid, 1984). Capital starts out equally split over
    several k: few cells see a shift or a wrong width early, many see the rest.

    Attributes:
        log_capital: log of the capital now.
    """

    def __init__(self) -> None:
        self.log_capital = 0.0
        self._counts = [[0] * cells for cells in _CELLS]
        self._logs = [0.0] * len(_CELLS)

    def see(self, number: float) -> float:
        """Bet on a number, independent of those before, then learn from it.

        Args:
            number: in [0, 1].

        Returns:
            The log of the capital.

        Raises:
            ValueError: the number is outside.
        """
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"a bet on uniform numbers needs one in [0, 1]; got {number!r}")
        for i, counts in enumerate(self._counts):
            cells = len(counts)
            cell = min(int(number * cells), cells - 1)
            predicted = (counts[cell] + _PRIOR) / (sum(counts) + _PRIOR * cells)
            self._logs[i] += math.log(predicted * cells)
            counts[cell] += 1
        self.log_capital = log_sum_exp(self._logs) - math.log(len(self._logs))
        return self.log_capital


class Bet(Protocol):
    """A gambler: on ranks (:class:`UniformBet`) or on means (``mean_test.MeanBet``)."""

    log_capital: float

    def see(self, number: float) -> float:
        """Bet on a number; returns the log of the capital."""
        ...


def together(bets: Sequence[Bet]) -> float:
    """The log of the mean capital of several gamblers."""
    logs = [bet.log_capital for bet in bets]
    return math.inf if math.inf in logs else log_sum_exp(logs) - math.log(len(bets))
