"""Families in plain floats: the draws have the law, and the densities are torch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyro.distributions as pyro
import pytest
import torch
import torch.distributions as td
from scipy import stats

from ppl.runtime import families
from ppl.runtime.known import LARGEST, finite, known
from ppl.runtime.source import RandomSource, derive
from ppl.runtime.torch_distributions import Torch

FALSE_ALARM = 1e-6
N = 8_000


def td_f64(value: Any) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def tensor(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers[0] if len(numbers) == 1 else numbers, dtype=torch.float64)


def values(distribution: Any, n: int = N) -> np.ndarray:
    source = RandomSource()
    return np.array([Torch(distribution).draw(source, derive(11, i))[0].numpy() for i in range(n)])


SCALARS: list[tuple[Any, Any]] = [
    (td.Normal(tensor(1.0), tensor(2.0)), stats.norm(1, 2)),
    (td.LogNormal(tensor(0.5), tensor(0.7)), stats.lognorm(0.7, scale=math.exp(0.5))),
    (td.HalfNormal(tensor(3.0)), stats.halfnorm(scale=3)),
    (td.Laplace(tensor(-1.0), tensor(2.0)), stats.laplace(-1, 2)),
    (td.Cauchy(tensor(1.0), tensor(0.5)), stats.cauchy(1, 0.5)),
    (td.Uniform(tensor(-2.0), tensor(5.0)), stats.uniform(-2, 7)),
    (td.Exponential(tensor(2.5)), stats.expon(scale=1 / 2.5)),
    (td.Gamma(tensor(3.0), tensor(2.0)), stats.gamma(3, scale=0.5)),
    (td.Gamma(tensor(0.2), tensor(2.0)), stats.gamma(0.2, scale=0.5)),
    (td.Gamma(tensor(200.0), tensor(1.0)), stats.gamma(200)),
    (td.Beta(tensor(2.0), tensor(0.5)), stats.beta(2, 0.5)),
    (td.Beta(tensor(0.3), tensor(0.2)), stats.beta(0.3, 0.2)),
]


@pytest.mark.parametrize(("distribution", "law"), SCALARS, ids=[str(d) for d, _ in SCALARS])
def test_draws_have_the_law(distribution: Any, law: Any) -> None:
    assert known(distribution) is not None
    assert stats.kstest(values(distribution), law.cdf).pvalue > FALSE_ALARM


def test_a_draw_of_another_law_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = families.FAMILIES["Normal"]

    def too_wide(uniforms: families.Uniforms, loc: float, scale: float) -> float:
        return float(right.draw(uniforms, loc, 1.2 * scale))

    monkeypatch.setitem(families.FAMILIES, "Normal", replace(right, draw=too_wide))
    with pytest.raises(AssertionError):
        test_draws_have_the_law(*SCALARS[0])


@pytest.mark.parametrize("rate", [0.05, 4.0, 50.0])
def test_poisson_counts_have_the_law(rate: float) -> None:
    drawn = values(td.Poisson(tensor(rate)))
    law = stats.poisson(rate)
    cuts = np.unique([law.ppf(q) for q in np.linspace(0.02, 0.98, 25)])
    cells = np.searchsorted(cuts, drawn)
    masses = np.diff([0.0, *law.cdf(cuts), 1.0])
    assert stats.chisquare(np.bincount(cells, minlength=len(masses)), N * masses).pvalue > FALSE_ALARM


@pytest.mark.parametrize("distribution", [td.Bernoulli(tensor(0.3)), td.Categorical(tensor(1.0, 2.0, 0.5))])
def test_finite_ones_have_the_law(distribution: Any) -> None:
    assert finite(distribution) is not None
    masses = np.exp([w for _, w in Torch(distribution).support() or ()])
    assert masses.sum() == pytest.approx(1.0, abs=1e-12)
    counts = np.bincount(values(distribution).astype(int), minlength=len(masses))
    assert stats.chisquare(counts, N * masses).pvalue > FALSE_ALARM


def test_vectors_have_the_law() -> None:
    concentration = (0.4, 2.0, 5.0)
    simplex = values(td.Dirichlet(tensor(*concentration)))
    assert np.allclose(simplex.sum(1), 1.0)
    for i, a in enumerate(concentration):
        assert stats.kstest(simplex[:, i], stats.beta(a, sum(concentration) - a).cdf).pvalue > FALSE_ALARM
    assert stats.kstest(simplex[:, 0] / (simplex[:, 0] + simplex[:, 1]), stats.beta(0.4, 2.0).cdf).pvalue > FALSE_ALARM

    loc, covariance = np.array([1.0, -2.0, 0.5]), np.array([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.5]])
    drawn = values(td.MultivariateNormal(torch.tensor(loc), torch.tensor(covariance)))
    white = np.linalg.solve(np.linalg.cholesky(covariance), (drawn - loc).T)
    assert stats.kstest(white.ravel(), "norm").pvalue > FALSE_ALARM
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert stats.pearsonr(white[i], white[j]).pvalue > FALSE_ALARM


def test_copies_are_independent() -> None:
    pair = values(td.Independent(td.Normal(tensor(0.0, 5.0), tensor(1.0, 2.0)), 1))
    assert stats.kstest(pair[:, 0], "norm").pvalue > FALSE_ALARM
    assert stats.kstest(pair[:, 1], stats.norm(5, 2).cdf).pvalue > FALSE_ALARM
    assert stats.pearsonr(pair[:, 0], pair[:, 1]).pvalue > FALSE_ALARM


OTHERS: list[Any] = [
    td.Poisson(tensor(4.0)),
    td.Bernoulli(tensor(0.3)),
    td.Bernoulli(logits=tensor(1.5)),
    td.Bernoulli(tensor(1.0)),
    td.Categorical(tensor(1.0, 2.0, 0.5)),
    td.Categorical(logits=tensor(1.0, -math.inf, 0.5)),
    td.Beta(tensor(1.0), tensor(1.0)),
    td.Gamma(tensor(1.0), tensor(2.0)),
]


@pytest.mark.parametrize("distribution", [*(d for d, _ in SCALARS), *OTHERS], ids=str)
def test_densities_are_torchs(distribution: Any) -> None:
    points = [-3.0, -0.5, 0.0, 1e-9, 0.3, 0.999, 1.0, 2.0, 2.5, 5.0, 40.0]
    for x in [*points, *(float(v) for v in values(distribution, 50))]:
        try:
            expected = float(distribution.log_prob(tensor(x)))
        except ValueError:
            expected = -math.inf
        assert Torch(distribution).log_prob(x) == pytest.approx(expected, rel=1e-9, abs=1e-9), x
        assert Torch(distribution).log_prob(tensor(x)) == Torch(distribution).log_prob(x)
    for x in (math.nan, math.inf, -math.inf):
        assert Torch(distribution).log_prob(x) == -math.inf


@pytest.mark.parametrize(
    "distribution",
    [
        td.Dirichlet(tensor(0.4, 2.0, 5.0)),
        td.MultivariateNormal(tensor(1.0, -2.0), torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)),
        td.Normal(tensor(0.0, 5.0), tensor(2.0)),
        td.Independent(td.Gamma(tensor(0.5, 5.0), tensor(2.0, 1.0)), 1),
    ],
    ids=lambda d: type(d).__name__,
)
def test_densities_of_several_numbers_are_torchs(distribution: Any) -> None:
    assert known(distribution) is not None
    for i in range(50):
        value, log_prob = Torch(distribution).draw(RandomSource(), i)
        assert value.shape == distribution.sample().shape and value.dtype == torch.float64
        assert log_prob == Torch(distribution).log_prob(value)
        assert log_prob == pytest.approx(float(distribution.log_prob(value).sum()), rel=1e-9)
    assert Torch(td.Dirichlet(tensor(1.0, 1.0))).log_prob(tensor(0.5, 0.6)) == -math.inf


@pytest.mark.parametrize(
    "make",
    [
        lambda: td.Uniform(1e6, 1e6 + 0.25),
        lambda: td.Gamma(1e-3, 1.0),
        lambda: td.Beta(1e-3, 1e-3),
        lambda: td.Dirichlet(torch.full((4,), 1e-3)),
        lambda: td.LogNormal(-200.0, 1.0),
    ],
)
def test_rounding_leaves_a_draw_in_the_support(make: Callable[[], Any]) -> None:
    distribution = make()
    for i in range(300):
        value, log_prob = Torch(distribution).draw(RandomSource(), i)
        assert (
            value.dtype == torch.float32 and math.isfinite(log_prob) and log_prob == Torch(distribution).log_prob(value)
        )


def test_draws_are_functions_of_the_key_and_touch_nothing_global() -> None:
    state = torch.get_rng_state()
    for distribution, _ in SCALARS:
        first, again, other = (RandomSource().draw(distribution, key) for key in (5, 5, 6))
        assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_left_to_torch() -> None:
    class Shifted(td.Normal):
        def sample(self, sample_shape: Any = ()) -> torch.Tensor:
            return super().sample(sample_shape) + 100.0

    assert known(Shifted(0.0, 1.0)) is None
    assert float(RandomSource().draw(Shifted(0.0, 1.0), 3)) > 50.0
    assert known(td.Normal(torch.zeros(LARGEST + 1), 1.0)) is None
    assert known(td.Normal(0.0, -1.0, validate_args=False)) is None
    assert known(td.Normal(torch.zeros(()).half(), torch.ones(()).half())) is None
    assert known(td.StudentT(3.0)) is None
    assert known(td.Poisson(1000.0)) is None
    assert known(pyro.Normal(0.0, 1.0)) is not None
    assert known(pyro.Normal(0.0, 1.0).mask(False)) is None


def test_data_of_another_shape_are_scored_by_torch() -> None:
    data = tensor(0.5, -1.0, 2.0)
    normal = td.Normal(tensor(0.0), tensor(1.0))
    assert Torch(normal).log_prob(data) == pytest.approx(float(normal.log_prob(data).sum()))
    assert Torch(normal).log_prob([0.5, -1.0]) == pytest.approx(float(normal.log_prob(data[:2]).sum()))
    coin = td.Bernoulli(tensor(0.3))
    assert Torch(coin).log_prob([1.0, 0.0]) == pytest.approx(math.log(0.3 * 0.7))


@pytest.mark.parametrize(
    ("distribution", "value", "law"),
    [
        (td.Normal(td_f64(1e6), td_f64(0.01)), np.float64(1000000.02), stats.norm(1e6, 0.01).logpdf),
        (td.StudentT(td_f64(3.0), td_f64(1e6), td_f64(0.01)), 1000000.02, stats.t(3, 1e6, 0.01).logpdf),
        (td.Poisson(td_f64(1e6)), 1000500, stats.poisson(1e6).logpmf),
        (td.Binomial(td_f64(1e6), td_f64(0.5)), 500100, stats.binom(10**6, 0.5).logpmf),
        (td.Normal(td_f64([1e6, 1e6]), td_f64(0.01)), np.array([1000000.02] * 2), None),
    ],
)
def test_numbers_are_not_rounded(distribution: Any, value: Any, law: Any) -> None:
    """To float32 they would be, 0.02 off at a million."""
    expected = 2 * stats.norm(1e6, 0.01).logpdf(1000000.02) if law is None else law(value)
    assert Torch(distribution).log_prob(value) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (td.MultivariateNormal(torch.zeros(2), torch.eye(2)), [0.1, 0.2]),
        (td.Wishart(torch.tensor(3.0), torch.eye(2)), [[1.0, 0.2], [0.2, 1.0]]),
        (td.Multinomial(4, torch.tensor([0.2, 0.3, 0.5])), [1, 1, 2]),
        (td.Categorical(torch.tensor([[0.2, 0.8], [0.4, 0.6]])), [0, 1]),
        (td.Bernoulli(torch.tensor([0.2, 0.4])), [True, False]),
    ],
)
def test_lists_are_data_of_any_family(distribution: Any, value: Any) -> None:
    expected = float(distribution.log_prob(torch.tensor(value, dtype=torch.float32)).sum())
    assert Torch(distribution).log_prob(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("distribution", "value", "expected"),
    [
        (pyro.Delta(torch.tensor(0.1)), 0.1, 0.0),
        (pyro.Delta(torch.tensor([0.1, 0.3])), [0.1, 0.3], 0.0),
        (td.Pareto(0.1, 1.0), 0.1, math.log(10.0)),
        (td.Uniform(torch.tensor([0.1, 0.2]), 1.0), [0.1, 0.2], -math.log(0.9 * 0.8)),
        (td.Uniform(torch.tensor([0.1, 0.2]), 1.0), [0.09, 0.2], -math.inf),
    ],
)
def test_numbers_at_the_ends_of_a_support_are_in_it(distribution: Any, value: Any, expected: float) -> None:
    """Its ends are float32's."""
    assert Torch(distribution).log_prob(value) == pytest.approx(expected, rel=1e-5)
