"""A normal distribution in plain Python: as exact as torch's and much faster one number at a time."""

from __future__ import annotations

import math
from statistics import NormalDist

from ppl.runtime.distributions import Distribution
from ppl.runtime.source import Key, Source


class Normal(Distribution):
    """The normal distribution with this mean and standard deviation, by inversion."""

    def __init__(self, mean: float, sd: float) -> None:
        self.mean, self.sd = mean, sd

    def draw(self, source: Source, key: Key) -> tuple[float, float]:
        u = source.offset(key, lambda: ())
        value = self.mean + self.sd * NormalDist().inv_cdf(max(u, 1e-300))
        return value, self.log_prob(value)

    def density(self, value: float) -> float:
        """The density at a value."""
        return math.exp(self.log_prob(value))

    def log_prob(self, value: float) -> float:
        return -0.5 * ((value - self.mean) / self.sd) ** 2 - math.log(self.sd) - 0.5 * math.log(2 * math.pi)
