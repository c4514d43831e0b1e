"""Families of distributions in plain floats: how to draw from them and their densities.

A tensor operation takes a microsecond, and torch's ``sample`` and ``log_prob`` are dozens of them; for a handful of
numbers plain arithmetic is quicker, and float64. ``known.py`` tells which of torch's distributions are of these.

Densities are torch's, with its conventions at the ends of the support.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

Uniforms = Callable[[], float]
"""The next number of a stream, from the open interval (0, 1)."""

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_quantile = NormalDist().inv_cdf  # to 16 digits: AS 241 (Wichura, 1988)


@dataclass(frozen=True, slots=True)
class Family:
    """Distributions of one kind, over a number or over a vector of numbers.

    Attributes:
        parameters: what torch calls them; each arrives as a float, those of vectors as nested lists.
        valid: whether parameters are in their domain, and in the range for which the family is implemented here.
        draw: a value, from a stream of uniforms and the parameters.
        log_prob: the log-density at a finite value, given the parameters.
        positive: whether a draw must not be rounded to zero.
        below: what a draw must not be rounded up to, given the parameters.
        vector: whether values are vectors.
    """

    parameters: tuple[str, ...]
    valid: Callable[..., bool]
    draw: Callable[..., Any]
    log_prob: Callable[..., float]
    positive: bool = False
    below: Callable[..., float] | None = None
    vector: bool = False


def _times_log(x: float, y: float) -> float:
    """x log y, where 0 log 0 = 0."""
    if x == 0.0:
        return 0.0
    return x * math.log(y) if y > 0.0 else -math.copysign(math.inf, x)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.0 else math.inf


# --- locations and scales -------------------------------------------------------------------------------------------


def _scaled(_loc: float, scale: float) -> bool:
    return scale > 0.0


def _normal(next_: Uniforms, loc: float, scale: float) -> float:
    return loc + scale * _quantile(next_())


def _normal_density(x: float, loc: float, scale: float) -> float:
    z = (x - loc) / scale
    return -0.5 * z * z - math.log(scale) - _LOG_SQRT_2PI


def _log_normal(next_: Uniforms, loc: float, scale: float) -> float:
    return _exp(_normal(next_, loc, scale))


def _log_normal_density(x: float, loc: float, scale: float) -> float:
    return _normal_density(math.log(x), loc, scale) - math.log(x) if x > 0.0 else -math.inf


def _half_normal(next_: Uniforms, scale: float) -> float:
    return abs(_normal(next_, 0.0, scale))


def _half_normal_density(x: float, scale: float) -> float:
    return _normal_density(x, 0.0, scale) + math.log(2.0) if x >= 0.0 else -math.inf


def _laplace(next_: Uniforms, loc: float, scale: float) -> float:
    u = next_()
    return loc + scale * (math.log(2.0 * u) if u < 0.5 else -math.log(2.0 * (1.0 - u)))


def _laplace_density(x: float, loc: float, scale: float) -> float:
    return -math.log(2.0 * scale) - abs(x - loc) / scale


def _cauchy(next_: Uniforms, loc: float, scale: float) -> float:
    return loc + scale * math.tan(math.pi * (next_() - 0.5))


def _cauchy_density(x: float, loc: float, scale: float) -> float:
    z = (x - loc) / scale
    return -math.log(math.pi * scale) - math.log1p(z * z)


def _interval(low: float, high: float) -> bool:
    return high - low > 0.0


def _uniform(next_: Uniforms, low: float, high: float) -> float:
    return low + next_() * (high - low)


def _uniform_density(x: float, low: float, high: float) -> float:
    return 0.0 - math.log(high - low) if low <= x < high else -math.inf


# --- positive numbers -----------------------------------------------------------------------------------------------


def _positive(*parameters: float) -> bool:
    return min(parameters) > 0.0


def _exponential(next_: Uniforms, rate: float) -> float:
    return -math.log(next_()) / rate


def _exponential_density(x: float, rate: float) -> float:
    return math.log(rate) - rate * x if x >= 0.0 else -math.inf


def _log_gamma(next_: Uniforms, shape: float) -> float:
    """The logarithm of a Gamma(shape, 1) variable (Marsaglia and Tsang, 2000; a small one would underflow)."""
    boost = 0.0
    if shape < 1.0:
        boost = math.log(next_()) / shape
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        z = _quantile(next_())
        root = 1.0 + c * z
        if root <= 0.0:
            continue
        log_v = 3.0 * math.log(root)
        if math.log(next_()) < 0.5 * z * z + d * (1.0 - root**3 + log_v):
            return boost + math.log(d) + log_v


def _gamma(next_: Uniforms, shape: float, rate: float) -> float:
    return _exp(_log_gamma(next_, shape) - math.log(rate))


def _gamma_density(x: float, shape: float, rate: float) -> float:
    if x < 0.0:
        return -math.inf
    return shape * math.log(rate) + _times_log(shape - 1.0, x) - rate * x - math.lgamma(shape)


def _beta(next_: Uniforms, a: float, b: float) -> float:
    return _logistic(_log_gamma(next_, a) - _log_gamma(next_, b))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0.0 else (e := math.exp(x)) / (1.0 + e)


def _beta_density(x: float, a: float, b: float) -> float:
    if not 0.0 <= x <= 1.0:
        return -math.inf
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return _times_log(a - 1.0, x) + _times_log(b - 1.0, 1.0 - x) + constant


# --- whole numbers --------------------------------------------------------------------------------------------------


def _poisson(next_: Uniforms, rate: float) -> float:
    """By inversion, from 0 upwards: quick for small rates only."""
    target, count, mass = next_(), 0, math.exp(-rate)
    while target >= mass > 0.0:
        target -= mass
        count += 1
        mass *= rate / count
    return float(count)


def _poisson_density(x: float, rate: float) -> float:
    if x < 0.0 or x != math.floor(x):
        return -math.inf
    return _times_log(x, rate) - rate - math.lgamma(x + 1.0)


# --- vectors --------------------------------------------------------------------------------------------------------


def _dirichlet(next_: Uniforms, concentration: Sequence[float]) -> list[float]:
    logs = [_log_gamma(next_, a) for a in concentration]
    top = max(logs)
    masses = [math.exp(x - top) for x in logs]
    total = math.fsum(masses)
    return [mass / total for mass in masses]


def _dirichlet_density(x: Sequence[float], concentration: Sequence[float]) -> float:
    if min(x) < 0.0 or abs(math.fsum(x) - 1.0) > 1e-6:
        return -math.inf
    terms = [_times_log(a - 1.0, p) - math.lgamma(a) for a, p in zip(concentration, x, strict=True)]
    return math.lgamma(math.fsum(concentration)) + sum(terms)


def _factored(_loc: Sequence[float], factor: Sequence[Sequence[float]]) -> bool:
    return all(row[i] > 0.0 for i, row in enumerate(factor))


def _product(x: Sequence[float], y: Sequence[float]) -> float:
    return sum([a * b for a, b in zip(x, y, strict=True)])


def _correlated(next_: Uniforms, loc: Sequence[float], factor: Sequence[Sequence[float]]) -> list[float]:
    z = [_quantile(next_()) for _ in loc]
    return [m + _product(row, z) for m, row in zip(loc, factor, strict=True)]


def _correlated_density(x: Sequence[float], loc: Sequence[float], factor: Sequence[Sequence[float]]) -> float:
    z: list[float] = []  # solves factor · z = x − loc
    log_prob = -_LOG_SQRT_2PI * len(loc)
    for i, row in enumerate(factor):
        z.append((x[i] - loc[i] - _product(row[:i], z)) / row[i])
        log_prob -= 0.5 * z[i] * z[i] + math.log(row[i])
    return log_prob


FAMILIES: dict[str, Family] = {
    "Normal": Family(("loc", "scale"), _scaled, _normal, _normal_density),
    "LogNormal": Family(("loc", "scale"), _scaled, _log_normal, _log_normal_density, positive=True),
    "HalfNormal": Family(("scale",), _positive, _half_normal, _half_normal_density),
    "Laplace": Family(("loc", "scale"), _scaled, _laplace, _laplace_density),
    "Cauchy": Family(("loc", "scale"), _scaled, _cauchy, _cauchy_density),
    "Uniform": Family(("low", "high"), _interval, _uniform, _uniform_density, below=lambda _, high: high),
    "Exponential": Family(("rate",), _positive, _exponential, _exponential_density),
    "Gamma": Family(("concentration", "rate"), _positive, _gamma, _gamma_density, positive=True),
    "Beta": Family(
        ("concentration1", "concentration0"), _positive, _beta, _beta_density, positive=True, below=lambda *_: 1.0
    ),
    "Poisson": Family(("rate",), lambda rate: 0.0 < rate <= 50.0, _poisson, _poisson_density),
    "Dirichlet": Family(
        ("concentration",), lambda a: min(a) > 0.0, _dirichlet, _dirichlet_density, positive=True, vector=True
    ),
    "MultivariateNormal": Family(
        ("loc", "_unbroadcasted_scale_tril"), _factored, _correlated, _correlated_density, vector=True
    ),
}
"""By the name of torch's class."""
