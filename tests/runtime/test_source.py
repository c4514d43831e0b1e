"""Draws are pure functions of key and counter, and have the law they claim."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.requests import PLAIN
from ppl.runtime.exact import KeyReused, NotFinite, explore
from ppl.runtime.source import RandomSource, Source, derive, uniform, uniforms

FALSE_ALARM = 1e-6


def test_scalar_and_vector_agree_to_the_bit() -> None:
    keys = [0, 1, 2**64 - 1, derive(3, "a"), derive(3, "b", 4)]
    counters = [0, 5, 7, 2**40, 1]
    assert uniforms(keys, counters).tolist() == [uniform(k, c) for k, c in zip(keys, counters, strict=True)]


def test_streams_are_uniform_and_uncorrelated() -> None:
    draws = uniforms([derive(0, i) for i in range(20_000)], [0] * 20_000)
    assert stats.kstest(draws, "uniform").pvalue > FALSE_ALARM
    along = uniforms([derive(0, "one")] * 20_000, list(range(20_000)))
    assert stats.kstest(along, "uniform").pvalue > FALSE_ALARM
    assert stats.pearsonr(along[1:], along[:-1]).pvalue > FALSE_ALARM
    assert stats.pearsonr(draws, along).pvalue > FALSE_ALARM


def test_derive_separates_its_parts() -> None:
    assert derive(1, "ab") != derive(1, "a", "b") != derive(2, "a", "b")
    assert len({derive(0, i) for i in range(10_000)}) == 10_000


def test_choose_has_the_law_of_its_weights() -> None:
    source = RandomSource()
    log_weights = [math.log(w) if w else -math.inf for w in (0.0, 1.0, 0.0, 3.0, 6.0, 0.0)]
    counts = np.bincount([source.choose(log_weights, derive(7, i)) for i in range(20_000)], minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    assert stats.chisquare(counts[[1, 3, 4]], 20_000 * np.array([0.1, 0.3, 0.6])).pvalue > FALSE_ALARM


def test_choose_rows_has_the_law_of_each_row_and_ignores_its_neighbours() -> None:
    source = RandomSource()
    laws = NextTokens(torch.log(torch.tensor([[0.0, 0.25, 0.75, 0.0], [0.5, 0.0, 0.0, 0.5]])), PLAIN)
    keys = [derive(1, i) for i in range(10_000)]
    found = source.choose_rows(laws, [0, 1] * 5_000, keys, [0] * 10_000)
    assert stats.binomtest(int((found[::2] == 1).sum()), 5_000, 0.25).pvalue > FALSE_ALARM
    assert stats.binomtest(int((found[1::2] == 0).sum()), 5_000, 0.5).pvalue > FALSE_ALARM
    assert set(found[::2]) == {1, 2} and set(found[1::2]) == {0, 3}
    assert source.choose_rows(laws, [1], keys[3:4], [0]).tolist() == [found[3]]


@pytest.mark.parametrize("weights", [[1e-300, 1e-300], [1e300, 1e300], [1.0, 1e-320]])
def test_choose_at_the_float_boundary(weights: list[float]) -> None:
    source = RandomSource()
    found = {source.choose([math.log(w) for w in weights], derive(0, i)) for i in range(200)}
    assert found <= {0, 1} and (weights[0] != weights[1] or found == {0, 1})


def test_rows_whose_cumulative_sum_ends_below_one() -> None:
    row = torch.full((1, 1000), -math.log(1000.0))
    row[0, -3:] = -math.inf
    laws = NextTokens(row, PLAIN)

    class High(RandomSource):
        pass

    source = High()
    for i in range(2_000):
        assert source.choose_rows(laws, [0], [derive(5, i)], [i])[0] < 997


def test_torch_draws_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = RandomSource().draw(torch.distributions.Normal(0.0, 1.0), 5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, RandomSource().draw(torch.distributions.Normal(0.0, 1.0), 5))


def test_exploring_gives_every_outcome_its_probability() -> None:
    def computation(source: Source) -> tuple[int, ...]:
        first = source.choose([math.log(0.25), math.log(0.75)], 0)
        if first == 0:
            return (first,)
        cell = source.offset(1, lambda: [0.5, 0.125])
        return (first, int(cell > 0.125) + int(cell > 0.5), int(source.accept(math.log(0.5), 2)))

    found = {result: math.exp(log_p) for log_p, result in explore(computation)}
    assert math.fsum(found.values()) == pytest.approx(1.0, abs=1e-12)
    assert found[(0,)] == pytest.approx(0.25)
    assert found[(1, 0, 1)] == pytest.approx(0.75 * 0.125 * 0.5)
    assert len(found) == 7


def test_exploring_refuses_what_is_not_finite() -> None:
    with pytest.raises(NotFinite, match="more than 10"):
        list(explore(lambda s: [s.choose([0.0, 0.0], i) for i in range(5)], limit=10))
    with pytest.raises(NotFinite, match="Normal"):
        list(explore(lambda s: s.draw(torch.distributions.Normal(0.0, 1.0), 0)))


def test_exploring_refuses_a_key_that_is_used_twice_on_one_path() -> None:
    """In production the two draws would be one random number."""

    def sometimes(source: Source) -> None:
        if source.choose([0.0, 0.0], 1) == 1:
            source.offset(1, lambda: [0.5])

    with pytest.raises(KeyReused, match=r"one in sometimes \(test_source.py:\d+\).* and one in sometimes"):
        list(explore(sometimes))
    with pytest.raises(KeyReused, match="Derive a key of its own for each"):
        list(explore(lambda s: (s.accept(math.log(0.5), 3), s.accept(math.log(0.5), 3))))

    laws = NextTokens(torch.full((1, 2), -math.log(2.0)), PLAIN)
    assert len(list(explore(lambda s: s.choose_rows(laws, [0, 0], [7, 7], [0, 1])))) == 4  # two numbers of a stream
    with pytest.raises(KeyReused):
        list(explore(lambda s: s.choose_rows(laws, [0, 0], [7, 7], [2, 2])))
    with pytest.raises(KeyReused):  # other draws use the first number of their stream
        list(explore(lambda s: (s.choose_rows(laws, [0], [7], [0]), s.choose([0.0, 0.0], 7))))


def test_offsets_are_explored_at_both_sides_of_every_break() -> None:
    breaks = [0.2, 0.3, 0.7]

    def computation(source: Source, earlier: int) -> float:
        for key in range(earlier):
            source.choose([0.0, 0.0], key)
        return source.offset(99, lambda: breaks)

    points = [u for earlier in range(2) for _, u in explore(partial(computation, earlier=earlier))]
    assert len(points) == 4 + 2 * 4
    near = {b: {u > b for u in points if abs(u - b) < 1e-3} for b in breaks}
    assert all(sides == {True, False} for sides in near.values())
