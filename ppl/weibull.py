"""A mixture of two Weibull distributions, fitted by expectation–maximisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SHAPES = (0.05, 50.0)


def low_component(values: Sequence[float], rounds: int = 60) -> list[float]:
    """For each value, the probability that it belongs to the component with the lower mean.

    Args:
        values: over 0. Fewer than four distinct ones are not told apart: 0 for each.
        rounds: of expectation–maximisation (Dempster, Laird and Rubin, 1977), from halves split at the median.
    """
    x = np.maximum(np.asarray(values, dtype=np.float64), 1e-300)
    if len(set(x.tolist())) < 4:
        return [0.0] * len(x)
    low = np.where(x <= np.median(x), 0.9, 0.1)
    for _ in range(rounds):
        parts = []
        for weight in (low, 1.0 - low):
            shape, scale = fit(x, weight)
            parts.append(np.log(weight.mean()) + log_density(x, shape, scale))
        low = 1.0 / (1.0 + np.exp(np.clip(parts[1] - parts[0], -700.0, 700.0)))
        low = np.clip(low, 1e-9, 1.0 - 1e-9)
    if (low * x).sum() / low.sum() > ((1.0 - low) * x).sum() / (1.0 - low).sum():
        low = 1.0 - low
    return [float(p) for p in low]


def log_density(x: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """The log-density of a Weibull distribution."""
    z = np.log(x) - np.log(scale)
    found: np.ndarray = np.log(shape) - np.log(scale) + (shape - 1.0) * z - np.exp(np.minimum(shape * z, 700.0))
    return found


def fit(x: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The shape and scale that make weighted values most likely; the shape by bisection of its likelihood equation."""
    logs = np.log(x)
    top = logs.max()
    mean = (weight * logs).sum() / weight.sum()

    def slope(shape: float) -> float:
        powers = weight * np.exp(shape * (logs - top))
        return float((powers * logs).sum() / powers.sum() - 1.0 / shape - mean)

    low, high = _SHAPES
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
    shape = (low * high) ** 0.5
    power = (weight * np.exp(shape * (logs - top))).sum() / weight.sum()
    return shape, float(np.exp(top + np.log(power) / shape))
