"""Tests of uniformity keep their rate of false alarms, and find what is not uniform."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from ppl.uniformity import _band, _grid, chi_square_p_value, ecdf_band, ecdf_p_value, p_value


def rate(p_values: list[float], level: float) -> float:
    return sum(p <= level for p in p_values) / len(p_values)


@pytest.mark.parametrize("test", [ecdf_p_value, chi_square_p_value], ids=lambda f: f.__name__)
def test_false_alarms_come_at_the_level(test: Callable[[list[float]], float]) -> None:
    rng = np.random.default_rng(0)
    found = [test(rng.random(100).tolist()) for _ in range(800)]
    for level in (0.2, 0.05):
        assert abs(rate(found, level) - level) < 4 * math.sqrt(level * (1 - level) / 800)


def test_the_exact_p_value_is_exact() -> None:
    """Three numbers, four cells: over every placement, P(p ≤ a) = a at each value a that p takes."""
    masses: dict[float, float] = {}
    for cells in itertools.product(range(4), repeat=3):
        p = ecdf_p_value([(cell + 0.5) / 4 for cell in cells])
        masses[p] = masses.get(p, 0.0) + 4.0**-3
    total = 0.0
    for p in sorted(masses):
        total += masses[p]
        assert total == pytest.approx(p, abs=1e-9)


def test_bands_hold_all_along() -> None:
    """The simultaneous band is left by one sample in twenty; a pointwise band, which is narrower, by most."""
    rng = np.random.default_rng(1)
    band = ecdf_band(80, 0.05)
    assert 0.95 <= band.coverage < 0.96
    pointwise = _band(_grid(80), 0.05)
    assert pointwise.coverage < 0.75
    out, narrow = 0, 0
    for _ in range(1_000):
        counts = np.searchsorted(np.sort(rng.random(80)), band.points, side="right")
        out += bool(((counts < band.low) | (counts > band.high)).any())
        narrow += bool(((counts < pointwise.low) | (counts > pointwise.high)).any())
    assert abs(out / 1_000 - (1 - band.coverage)) < 0.03
    assert abs(narrow / 1_000 - (1 - pointwise.coverage)) < 0.06


@pytest.mark.parametrize("shape", [(1.6, 1.0), (1.0, 1.6), (1.8, 1.8), (0.6, 0.6)])
def test_what_is_not_uniform_is_found(shape: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    found = [p_value(rng.beta(*shape, 300).tolist()) for _ in range(20)]
    assert rate(found, 1e-3) >= 0.8


def test_one_cell_too_full_is_found_by_chi_square() -> None:
    """A spike that is narrow moves the distribution function little."""
    numbers = [(i + 0.5) / 400 for i in range(400)]
    numbers[:40] = [0.52] * 40
    assert chi_square_p_value(numbers) < 1e-9


def test_numbers_outside_are_refused() -> None:
    for wrong in ([], [0.5, 1.5], [math.nan]):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            ecdf_p_value(wrong)
