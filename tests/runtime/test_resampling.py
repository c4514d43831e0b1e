"""Every scheme gives index i exactly n·w_i copies in expectation: checked over all outcomes, then at the float edge."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.runtime.exact import explore
from ppl.runtime.resampling import SCHEMES, normalise
from ppl.runtime.source import RandomSource, Source, derive

weight_lists = st.lists(st.integers(0, 8), min_size=1, max_size=4).filter(any)


@pytest.mark.parametrize("name", SCHEMES)
@given(weights=weight_lists, n=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_expected_copies_are_n_times_the_weight(name: str, weights: list[int], n: int) -> None:
    normalised = np.array(weights, dtype=float) / sum(weights)
    expected = np.zeros(len(weights))
    for log_p, ancestors in explore(lambda s: SCHEMES[name](normalised, n, s, 0)):
        assert len(ancestors) == n
        expected += math.exp(log_p) * np.bincount(ancestors, minlength=len(weights))
    np.testing.assert_allclose(expected, n * normalised, atol=1e-9)


def test_the_check_above_can_fail() -> None:
    def biased(weights: np.ndarray, n: int, source: Source, key: int) -> list[int]:
        return SCHEMES["multinomial"](np.sqrt(weights) / np.sqrt(weights).sum(), n, source, key)

    normalised = np.array([0.2, 0.8])
    expected = np.zeros(2)
    for log_p, ancestors in explore(lambda s: biased(normalised, 2, s, 0)):
        expected += math.exp(log_p) * np.bincount(ancestors, minlength=2)
    assert abs(expected[0] - 0.4) > 0.1


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(
    "log_weights",
    [
        [-math.inf, 0.0, -math.inf],
        [0.0, -math.inf],
        [-math.inf, -690.0, -690.5],
        [690.0, 689.0, -math.inf],
        [0.0] * 1000 + [-math.inf] * 3,
        [-math.inf] * 3 + [math.log(1e-300)] * 7,
        [5.0],
    ],
)
def test_zero_weights_have_no_children_and_extremes_are_fine(name: str, log_weights: list[float]) -> None:
    weights = normalise(log_weights)
    for seed in range(50):
        ancestors = SCHEMES[name](weights, len(weights), RandomSource(), derive(seed, "test"))
        assert len(ancestors) == len(weights)
        assert all(log_weights[a] > -math.inf for a in ancestors)


def test_systematic_keeps_equal_weights_whole() -> None:
    for n in (3, 10, 49):
        ancestors = SCHEMES["systematic"](np.full(n, 1 / n), n, RandomSource(), 1)
        assert sorted(ancestors) == list(range(n))
        assert SCHEMES["residual"](np.full(n, 1 / n), n, RandomSource(), 1) == list(range(n))


@pytest.mark.parametrize("name", SCHEMES)
def test_ten_thousand_particles_take_no_time(name: str) -> None:
    weights = normalise([-0.001 * i for i in range(10_000)])
    started = time.perf_counter()
    SCHEMES[name](weights, len(weights), RandomSource(), 1)
    assert time.perf_counter() - started < 2.0
