"""Do these numbers have the mean that a law says?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class MeanCheck:
    """A mean beside what it should be.

    Attributes:
        name: of what.
        p_value: how likely a difference so large is when the law holds, looked at by itself.
        mean: the mean of the runs.
        standard_error: its standard error.
        expected: what the law says.
    """

    name: str
    p_value: float
    mean: float
    standard_error: float
    expected: float

    def __str__(self) -> str:
        return f"{self.name}: {self.mean:.4g} ± {self.standard_error:.2g}, expected {self.expected:.4g}"


def check_mean(name: str, numbers: Sequence[float], expected: float) -> MeanCheck:
    """Test a mean with independent numbers, however skewed.

    Estimates of an evidence are skewed: most are a little too small, a few far too large, and the ordinary t-test would
    then find the mean too small too often. Hall's transformation (1992) takes the skewness out of t; its tails are read
    as Student's, through Wallace's normal approximation (1959). On 300 log-normal numbers the rate of false alarms at
    0.001 came out as 0.001 to 0.003, for a standard deviation of the logarithm from 0.3 to 1.3.

    Args:
        name: of what.
        numbers: independent, of finite variance; a hundred or more.
        expected: the mean that the law says.
    """
    n = len(numbers)
    mean = math.fsum(numbers) / n
    gaps = [x - mean for x in numbers]
    variance = math.fsum(g * g for g in gaps) / max(n - 1, 1)
    error = math.sqrt(variance / n)
    if error <= 1e-12 * max(abs(mean), abs(expected), 1e-300):  # all are the same number
        same = math.isclose(mean, expected, rel_tol=1e-9, abs_tol=1e-12)
        return MeanCheck(name, 1.0 if same else 0.0, mean, error, expected)
    skewness = math.fsum(g**3 for g in gaps) / n / variance**1.5
    t, c = (mean - expected) / error, skewness / math.sqrt(n)
    t += c * t**2 / 3 + c**2 * t**3 / 27 + c / 6
    z = (8 * n - 7) / (8 * n - 5) * math.sqrt((n - 1) * math.log1p(t * t / (n - 1)))
    return MeanCheck(name, 2 * NormalDist().cdf(-z), mean, error, expected)
