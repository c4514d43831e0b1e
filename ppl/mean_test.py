"""Do these numbers have the mean that a law says?

Bets (see ``sequential.py``), so that the rate of false alarms holds for any number of numbers, however skewed. Each
side takes what it needs and no more:

- *too large*: nothing, of numbers that are not negative. A gambler who multiplies her capital by 1 + λ (x/m − 1) plays
  a fair game if the mean is m, and wins if it is more (Waudby-Smith and Ramdas, 2024).
- *too small*: a bound. Where one number in a thousand is a thousand times the mean, the others are small, and no
  sample without it tells that from a mean which is too small. The game is 1 − λ (x − m) / (bound − m).
- either side, of numbers of any sign: a bound on the standard deviation. The game is (1 + y + y²/2) / (1 + λ²/2) with
  y = λ (x − m) / deviation, whose mean is at most 1 (Catoni, 2012; Wang and Ramdas, 2023).

The capital starts out equally split over stakes λ from large to small, each half of the one before, so that there is
nothing to be tuned. The price of the guarantee is about twice the runs of a test by a normal quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STAKES = 0.98 * 0.5 ** np.arange(10)
_CATONI = np.concatenate([sign * 4.0 * 0.5 ** np.arange(11) for sign in (1.0, -1.0)])
_ROUNDING = 1e-9


@dataclass(frozen=True)
class MeanCheck:
    """A mean beside what it should be.

    Attributes:
        name: of what.
        p_value: how likely such numbers are when the law holds, looked at by themselves.
        mean: the mean of the runs.
        standard_error: its standard error.
        expected: what the law says.
    """

    name: str
    p_value: float
    mean: float
    standard_error: float
    expected: float

    @classmethod
    def of(cls, name: str, p_value: float, numbers: Sequence[float], expected: float) -> MeanCheck:
        """What is to be told of numbers and their bets."""
        seen = np.asarray(numbers, dtype=np.float64)
        with np.errstate(all="ignore"):  # a number may be infinite, and the law refuted
            error = float(seen.std(ddof=1) / math.sqrt(len(seen))) if len(seen) > 1 else math.inf
            return cls(name, p_value, float(seen.mean()), error, expected)

    def __str__(self) -> str:
        return f"{self.name}: {self.mean:.4g} ± {self.standard_error:.2g}, expected {self.expected:.4g}"


class MeanBet:
    """Bets that the mean of independent numbers is not what the law says.

    Attributes:
        log_capital: log of the capital now.
        broken: the largest number seen that was over the bound; ``None``: none was.
    """

    def __init__(self, mean: float, bound: float | None = None, deviation: float | None = None) -> None:
        """Start.

        Args:
            mean: what the law says.
            bound: the largest number that there can be; ``None``: bet on too large a mean only.
            deviation: the largest standard deviation that the numbers can have. Then they may be negative, and the bets
                need nothing else.

        Raises:
            ValueError: no numbers can have that mean, or there is no such bound.
        """
        if deviation is not None:
            if not 0.0 < deviation < math.inf:
                raise ValueError(f"deviation is a standard deviation, over 0 and finite; got {deviation!r}")
        elif not mean >= 0.0:
            raise ValueError(f"a mean of {mean:.6g} needs numbers below 0, and they need deviation=")
        elif bound is not None and not mean * (1.0 - _ROUNDING) <= bound < math.inf:
            raise ValueError(f"the mean of numbers in [0, {bound}] lies inside; got {mean}")
        self.log_capital = 0.0
        self.broken: float | None = None
        self._mean, self._deviation = mean, deviation
        # Rounding is forgiven; and where all numbers are the same, the odds are high but no division by zero.
        self._bound = None if bound is None else max(bound * (1.0 + _ROUNDING), mean * (1.0 + 1e-6), 1e-300)
        self._logs = np.zeros(len(self._growth(mean)))

    def see(self, number: float) -> float:
        """Bet on a number, independent of those before.

        Args:
            number: not negative, unless there is a deviation. One over the bound is noted, and those who bet by the
                bound lose all.

        Returns:
            The log of the capital.

        Raises:
            ValueError: the number is negative.
        """
        if self._deviation is None:
            if number < 0.0:
                raise ValueError(f"{number:.6g} is below 0: means of numbers of either sign need deviation=")
            if self._bound is not None and number > self._bound:
                self.broken = max(number, self.broken or 0.0)
            if self._mean == 0.0 and number > 0.0:  # numbers of mean 0 that are not negative are 0
                self.log_capital = math.inf
        self._logs += self._growth(number)
        top = float(self._logs.max())
        if self.log_capital < math.inf:
            self.log_capital = top + (math.log(float(np.exp(self._logs - top).mean())) if top < math.inf else 0.0)
        return self.log_capital

    def runs_to_tell(self, number: float, level: float) -> float:
        """In how many runs that all gave this number the capital would rise to ``1 / level``; infinite if in none."""
        best = float(self._growth(number).max())
        return math.ceil((math.log(len(self._logs)) - math.log(level)) / best) if best > 0.0 else math.inf

    def _growth(self, number: float) -> np.ndarray:
        """The log of what each gambler's capital is multiplied by."""
        gap = number - self._mean
        with np.errstate(divide="ignore", over="ignore"):
            if self._deviation is not None:
                y = _CATONI * (gap / self._deviation)
                return np.log((1.0 + (1.0 + y) ** 2) / (2.0 + _CATONI**2))
            more = np.log1p(_STAKES * (gap / self._mean)) if self._mean > 0.0 else np.zeros(len(_STAKES))
            if self._bound is None:
                return more
            share = gap / (self._bound - self._mean)
            less = np.log1p(-_STAKES * share) if share <= 1.0 else np.full(len(_STAKES), -math.inf)
            return np.concatenate([more, less])
