"""Conjugate models: evidence, posterior means and posterior distributions are known in closed form."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch.distributions import Beta, Gamma, Poisson

from ppl import (
    SMC,
    Enumerate,
    Importance,
    dist,
    goodness_of_fit,
    infer,
    observe,
    program,
    sample,
    validate_evidence,
    validate_inverse_evidence,
)

from .normals import Normal

FLIPS = (True, True, False, True)
READINGS = (0.4, 1.1, 0.9)
COUNTS = (2, 4)


@program
def beta_bernoulli(flips: Sequence[bool]) -> float:
    p = sample(Beta(torch.tensor(2.0), torch.tensor(2.0)))
    for flip in flips:
        observe(dist.flip(p.item()), flip)
    return p.item()


@program
def normal_normal(readings: Sequence[float]) -> float:
    mean = sample(Normal(0.0, 1.0))
    for reading in readings:
        observe(Normal(mean, 1.0), reading)
    return mean


@program
def gamma_poisson(counts: Sequence[int]) -> float:
    rate = sample(Gamma(torch.tensor(3.0), torch.tensor(1.0)))
    for count in counts:
        observe(Poisson(rate), float(count))
    return rate.item()


@program
def urn(draws: Sequence[str]) -> int:
    red = sample(dist.uniform(range(1, 5)))
    for colour in draws:
        observe(dist.categorical({"red": red, "blue": 5 - red}), colour)
    return red


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


HEADS = sum(FLIPS)
TAILS = len(FLIPS) - HEADS
BETA_EVIDENCE = log_beta(2 + HEADS, 2 + TAILS) - log_beta(2, 2)
NORMAL_PRECISION = 1 + len(READINGS)
NORMAL_EVIDENCE = (
    -0.5 * len(READINGS) * math.log(2 * math.pi)
    - 0.5 * math.log(NORMAL_PRECISION)
    - 0.5 * (sum(y * y for y in READINGS) - sum(READINGS) ** 2 / NORMAL_PRECISION)
)
GAMMA_SHAPE, GAMMA_RATE = 3 + sum(COUNTS), 1 + len(COUNTS)
GAMMA_EVIDENCE = (
    math.lgamma(GAMMA_SHAPE)
    - math.lgamma(3)
    - GAMMA_SHAPE * math.log(GAMMA_RATE)
    - sum(math.lgamma(c + 1) for c in COUNTS)
)
URN = {red: math.prod(red / 5 if c == "red" else 1 - red / 5 for c in ("red", "red", "blue")) for red in range(1, 5)}
URN_POSTERIOR = {red: mass / sum(URN.values()) for red, mass in URN.items()}

CASES: dict[str, tuple[Any, Any, float, float, float]] = {
    # program, data, log Z, posterior mean, posterior mean of the square
    "beta–bernoulli": (
        beta_bernoulli, FLIPS, BETA_EVIDENCE,
        (2 + HEADS) / (4 + len(FLIPS)), (2 + HEADS) * (3 + HEADS) / ((4 + len(FLIPS)) * (5 + len(FLIPS))),
    ),
    "normal–normal": (
        normal_normal, READINGS, NORMAL_EVIDENCE,
        sum(READINGS) / NORMAL_PRECISION, 1 / NORMAL_PRECISION + (sum(READINGS) / NORMAL_PRECISION) ** 2,
    ),
    "gamma–poisson": (
        gamma_poisson, COUNTS, GAMMA_EVIDENCE,
        GAMMA_SHAPE / GAMMA_RATE, GAMMA_SHAPE * (GAMMA_SHAPE + 1) / GAMMA_RATE**2,
    ),
    "urn": (
        urn, ("red", "red", "blue"), math.log(sum(URN.values()) / 4),
        sum(r * p for r, p in URN_POSTERIOR.items()), sum(r * r * p for r, p in URN_POSTERIOR.items()),
    ),
}  # fmt: skip


DEVIATIONS = {"evidence": 0.6, "mean": 1.3, "square": 5.0}
"""More than any has: with 4 particles Ẑ/Z comes to 0.2 to 0.5, Ẑ/Z times the mean to 1.1, times the square to 4.2."""


def means_of(name: str) -> dict[str, tuple[Callable[[Any], float], float]]:
    _, _, _, mean, square = CASES[name]
    return {"mean": (float, mean), "square": (lambda x: float(x) ** 2, square)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["importance", "smc"])
def test_evidence_and_moments(name: str, method: str) -> None:
    prog, data, log_evidence, _, _ = CASES[name]
    runs = 200 if prog in (beta_bernoulli, gamma_poisson) else 500
    certificate = validate_evidence(
        prog, data, log_evidence=log_evidence, means=means_of(name), method=method, n=4, runs=runs, deviation=DEVIATIONS
    )
    assert certificate, str(certificate)
    for error in (-0.4, 0.4):
        off = validate_evidence(
            prog, data, log_evidence=log_evidence + error, method=method, n=4, runs=runs, deviation=DEVIATIONS
        )
        assert not off


def test_posterior_draws() -> None:
    from scipy import stats

    beta = stats.beta(2 + HEADS, 2 + TAILS)
    assert goodness_of_fit(beta_bernoulli, FLIPS, cdf=beta.cdf, method="importance", n=20, runs=50)
    gamma = stats.gamma(GAMMA_SHAPE, scale=1 / GAMMA_RATE)
    assert goodness_of_fit(gamma_poisson, COUNTS, cdf=gamma.cdf, method="importance", n=20, runs=50)
    normal = stats.norm(sum(READINGS) / NORMAL_PRECISION, NORMAL_PRECISION**-0.5)
    assert goodness_of_fit(normal_normal, READINGS, cdf=normal.cdf, n=100, runs=300)
    prior = stats.norm(0, 1)
    assert not goodness_of_fit(normal_normal, READINGS, cdf=prior.cdf, n=100, runs=300)


def test_posterior_draws_of_discrete_values() -> None:
    data = ("red", "red", "blue")
    for method in (Enumerate(), Importance(n=60)):
        assert goodness_of_fit(urn, data, probabilities=URN_POSTERIOR, method=method, runs=300)
    prior = dict.fromkeys(range(1, 5), 0.25)
    off = goodness_of_fit(urn, data, probabilities=prior, method="enumerate", runs=300, sequential=True)
    assert not off and off.leaves < 300
    never = goodness_of_fit(urn, data, probabilities={1: 0.5, 2: 0.5}, method="enumerate", runs=300)
    assert not never and never.p_value == 0.0 and never.leaves < 30  # a value that the law rules out decides at once


def test_sequential_evidence() -> None:
    """With the most that Ẑ can be, bets on the mean stop early where it is wrong, and alarm nowhere else."""
    data = ("red", "red", "blue")
    log_evidence = CASES["urn"][2]
    bound = 0.16 / math.exp(log_evidence)  # the likelihood is at most max r²(1 − r) over the urns
    right = validate_evidence(urn, data, log_evidence=log_evidence, n=4, runs=400, sequential=True, bound=bound)
    assert right and right.leaves == 400
    low, wide = log_evidence - 0.3, bound * math.exp(0.3)
    wrong = validate_evidence(urn, data, log_evidence=low, n=4, runs=400, sequential=True, bound=wide)
    assert not wrong and wrong.leaves < 200
    narrow = validate_evidence(urn, data, log_evidence=log_evidence, n=4, runs=400, sequential=True, bound=1.01)
    assert narrow and "over the bound, so means that are too small were not looked for" in narrow.assumption


# --- conditional methods ---


WIDE = 2.0  # readings so vague that Z/Ẑ has a variance
WIDE_PRECISION = 1 + len(READINGS) / WIDE**2
WIDE_MEAN = sum(READINGS) / WIDE**2 / WIDE_PRECISION
WIDE_EVIDENCE = (
    sum(Normal(0.0, WIDE).log_prob(y) for y in READINGS)
    - 0.5 * math.log(WIDE_PRECISION)
    + 0.5 * WIDE_PRECISION * WIDE_MEAN**2
)


def conditional(seed: int, n: int = 3, reference: str = "kept") -> float:
    """log Ẑ of conditional importance sampling for a normal mean, its reference drawn from the posterior."""
    rng = random.Random(seed)
    kept = rng.gauss(WIDE_MEAN, WIDE_PRECISION**-0.5)
    others = [rng.gauss(0.0, 1.0) for _ in range(n - 1)]
    values = {"kept": [kept, *others], "dropped": [*others, rng.gauss(0.0, 1.0)], "cloned": [kept, kept, *others[1:]]}
    likelihoods = [math.exp(sum(Normal(v, WIDE).log_prob(y) for y in READINGS)) for v in values[reference]]
    return math.log(sum(likelihoods) / n)


def test_inverse_evidence_under_conditional_smc() -> None:
    for n in (2, 3, 8):
        certificate = validate_inverse_evidence(partial(conditional, n=n), WIDE_EVIDENCE, runs=2_000, deviation=0.5)
        assert certificate, str(certificate)
        assert certificate.guarantee == "stationary"


@pytest.mark.parametrize("reference", ["dropped", "cloned"])
def test_a_reference_that_is_not_kept_once_is_caught(reference: str) -> None:
    def estimate(seed: int) -> float:
        return conditional(seed, 3, reference)

    assert not validate_inverse_evidence(estimate, WIDE_EVIDENCE, runs=8_000, deviation=0.5)


def test_arguments() -> None:
    with pytest.raises(ValueError, match="either cdf="):
        goodness_of_fit(urn, ())
    with pytest.raises(ValueError, match=r"sum to 0\.5"):
        goodness_of_fit(urn, (), probabilities={1: 0.5})
    with pytest.raises(ValueError, match="estimates no evidence"):
        validate_evidence(urn, (), log_evidence=0.0, method="forward")
    with pytest.raises(ValueError, match="write method=SMC"):
        validate_evidence(urn, (), log_evidence=0.0, method=SMC(n=2), n=3)
    with pytest.raises(ValueError, match="needs numbers below 0, and they need deviation="):
        validate_evidence(normal_normal, READINGS, log_evidence=0.0, means={"mean": (float, -0.1)})


def test_values_are_counted_by_weight() -> None:
    """What goodness_of_fit draws is by weight: the prior's share of each urn is not the posterior's."""
    found = infer(urn, ("red", "red", "blue"), method="importance", n=2_000, seed=0)
    shares = Counter(found.sample(4_000, seed=0))
    assert shares[1] / 4_000 == pytest.approx(URN_POSTERIOR[1], abs=0.03)
    assert abs(shares[1] / 4_000 - 0.25) > 0.1
