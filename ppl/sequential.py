"""Tests that may be looked at after every observation, and stopped as soon as they are decided.

A test is a gambler who bets against the law at fair odds. While the law holds, the capital is a non-negative martingale
that starts at 1, so the probability that it *ever* reaches 1/α is at most α (Ville, 1939). Stopping as soon as it does,
or going on after a look at the data, costs nothing. The capitals of several gamblers may be averaged, whether or not
what they bet on is independent (Ramdas, Grünwald, Vovk and Shafer, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class MeanBet:
    """Bets that the mean of numbers in [0, bound] is not what the law says.

    The hedged capital process with predictable plug-in stakes (Waudby-Smith and Ramdas, 2024): half the capital bets on
    more, half on less, and the stakes follow the variance seen so far.

    Attributes:
        log_capital: log of the capital now.
    """

    def __init__(self, mean: float, bound: float, false_alarm: float) -> None:
        """Start.

        Args:
            mean: what the law says, in (0, bound).
            bound: the largest number that there can be.
            false_alarm: what the stakes are tuned for.

        Raises:
            ValueError: the mean is not inside.
        """
        if not 0.0 < mean < bound:
            raise ValueError(f"the mean of numbers in [0, {bound}] lies inside; got {mean}")
        self.log_capital = 0.0
        self._mean, self._bound, self._false_alarm = mean / bound, bound, false_alarm
        self._more = self._less = 0.0
        self._seen, self._sum, self._squares = 0, 0.5, 0.25

    def see(self, number: float) -> float:
        """Bet on a number, independent of those before, then learn from it.

        Args:
            number: in [0, bound].

        Returns:
            The log of the capital.

        Raises:
            ValueError: the number is outside.
        """
        share = number / self._bound
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{number:.6g} is outside [0, {self._bound:.6g}]; give a bound= that always holds")
        self._seen += 1
        variance = self._squares / self._seen
        stake = math.sqrt(2 * math.log(2 / self._false_alarm) / (variance * self._seen * math.log1p(self._seen)))
        gap = share - self._mean
        self._more += math.log1p(min(stake, 0.5 / self._mean) * gap)
        self._less += math.log1p(-min(stake, 0.5 / (1.0 - self._mean)) * gap)
        self._sum += share
        self._squares += (share - self._sum / (self._seen + 1)) ** 2
        self.log_capital = log_sum_exp([self._more, self._less]) - math.log(2)
        return self.log_capital


Bet = UniformBet | MeanBet


def together(bets: Sequence[Bet]) -> float:
    """The log of the mean capital of several gamblers."""
    return log_sum_exp([bet.log_capital for bet in bets]) - math.log(len(bets))
