"""Every scheme gives index i exactly n·w_i copies in expectation: checked over all outcomes, then at the float edge."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.runtime.exact import explore
from ppl.runtime.resampling import SCHEMES, normalise, optimal
from ppl.runtime.source import RandomSource, Source, derive

weight_lists = st.lists(st.integers(0, 8), min_size=1, max_size=4).filter(any)


@pytest.mark.parametrize("name", SCHEMES)
@given(weights=weight_lists, n=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_expected_copies_are_n_times_the_weight(name: str, weights: list[int], n: int) -> None:
    n = max(n, len(weights)) if name == "killing" else n
    normalised = [w / sum(weights) for w in weights]
    expected = np.zeros(len(weights))
    for log_p, ancestors in explore(lambda s: SCHEMES[name](normalised, n, s, 0)):
        assert len(ancestors) == n
        expected += math.exp(log_p) * np.bincount(ancestors, minlength=len(weights))
    np.testing.assert_allclose(expected, n * np.array(normalised), atol=1e-9)


@given(weights=st.lists(st.integers(0, 8), min_size=1, max_size=6).filter(any), n=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_optimal_children_weigh_what_their_parent_weighs(weights: list[int], n: int) -> None:
    normalised = [w / sum(weights) for w in weights]
    expected = np.zeros(len(weights))
    for log_p, (ancestors, log_weights) in explore(lambda s: optimal(normalised, n, s, 0)):
        assert len(ancestors) == len(set(ancestors)) == min(n, np.count_nonzero(normalised))
        for ancestor, log_weight in zip(ancestors, log_weights, strict=True):
            expected[ancestor] += math.exp(log_p + log_weight)
    np.testing.assert_allclose(expected, normalised, atol=1e-9)


def test_optimal_keeps_the_heavy_and_evens_out_the_light() -> None:
    ancestors, log_weights = optimal([0.6, 0.1, 0.1, 0.1, 0.1], 3, RandomSource(), 7)
    assert ancestors[0] == 0 and np.exp(log_weights) == pytest.approx([0.6, 0.2, 0.2])
    # A weight that floats can't tell from the whole is kept all the same.
    assert len(optimal([1 / 1.5, 0.5 / 1.5, 1e-20], 2, RandomSource(), 7).ancestors) == 2
    assert len(optimal([1.0, 1e-20], 1, RandomSource(), 7).ancestors) == 1


@pytest.mark.parametrize("name", ["ssp", "systematic"])
def test_copies_are_within_one_of_what_is_expected(name: str) -> None:
    weights = normalise(np.linspace(0.0, 3.0, 57).tolist())
    for seed in range(20):
        counts = np.bincount(SCHEMES[name](weights, 57, RandomSource(), seed), minlength=57)
        assert (np.abs(counts - 57 * np.array(weights)) < 1 + 1e-9).all() and counts.sum() == 57


def test_killing_leaves_the_heaviest_in_place_and_makes_no_fewer() -> None:
    weights = normalise([0.0, 1.0, 0.5])
    assert all(SCHEMES["killing"](weights, 3, RandomSource(), seed)[1] == 1 for seed in range(20))
    with pytest.raises(ValueError, match="can't make 2 of 3"):
        SCHEMES["killing"](weights, 2, RandomSource(), 0)


def test_the_check_above_can_fail() -> None:
    def biased(weights: Sequence[float], n: int, source: Source, key: int) -> list[int]:
        return SCHEMES["multinomial"]([math.sqrt(weight) for weight in weights], n, source, key)

    normalised = [0.2, 0.8]
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
        ancestors = SCHEMES["systematic"]([1 / n] * n, n, RandomSource(), 1)
        assert sorted(ancestors) == list(range(n))
        assert SCHEMES["residual"]([1 / n] * n, n, RandomSource(), 1) == list(range(n))


@pytest.mark.parametrize("name", SCHEMES)
def test_ten_thousand_particles_take_no_time(name: str) -> None:
    weights = normalise([-0.001 * i for i in range(10_000)])
    started = time.perf_counter()
    SCHEMES[name](weights, len(weights), RandomSource(), 1)
    assert time.perf_counter() - started < 2.0
