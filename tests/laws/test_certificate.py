"""Certificates: true when the law holds, false when it does not, and clear where it can't be checked."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributions as td

from ppl import SMC, Importance, dist, factor, program, sample
from ppl.certificate import TooLarge, validate
from ppl.certificate_statistical import validate_statistically
from ppl.law_programs import hidden_markov, soft_and_hard, twisted
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task


def test_a_certificate_of_a_proper_method() -> None:
    certificate = validate(soft_and_hard, method="smc", ess_threshold=1.0)
    assert certificate and certificate.exact and certificate.error < 1e-12
    assert certificate.guarantee == "proper" and certificate.leaves > 100
    assert "holds; checked exactly" in str(certificate)
    assert json.loads(certificate.to_json())["holds"] is True


def test_exact_methods_and_nested_options() -> None:
    assert validate(twisted, method="enumerate")
    assert validate(hidden_markov, [True], method=Importance(), n=2)


class Wrong(SMC):
    """Adds a little evidence of its own."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale += 0.01
        return population


def test_a_wrong_method_gets_no_certificate() -> None:
    certificate = validate(soft_and_hard, method=Wrong(), n=2)
    assert not certificate and certificate.error > 1e-3
    assert "DOES NOT HOLD" in str(certificate)
    certificate = validate_statistically(soft_and_hard, method=Wrong(n=1), n=4, runs=100)
    assert certificate.tolerance > 4


def test_statistically() -> None:
    certificate = validate_statistically(hidden_markov, [True, False, True], method="smc", n=4, runs=1500)
    assert certificate and not certificate.exact and certificate.error < certificate.tolerance


class VeryWrong(SMC):
    """Counts evidence twice."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale += 0.2
        return population


def test_statistics_catch_what_is_large_enough() -> None:
    assert not validate_statistically(hidden_markov, [True, False], method=VeryWrong(), n=4, runs=1500)


def test_too_large_says_what_to_shrink() -> None:
    with pytest.raises(
        TooLarge,
        match=r"more than limit=50 runs.*about.*sequences.*branches most at.*n=\(1, 2\).*validate_statistically",
    ):
        validate(soft_and_hard, method="smc", limit=50)

    @program
    def continuous() -> None:
        sample(td.Normal(0.0, 1.0))
        factor(0.0)

    with pytest.raises(Exception, match="Normal"):
        validate(continuous)


def test_values_that_can_not_be_hashed() -> None:
    @program
    def listed() -> list[bool]:
        return [sample(dist.flip(0.5))]

    assert validate(listed)


@pytest.mark.parametrize("log_scale", [-1000.0, -40.0, 900.0])
def test_errors_count_by_their_share_of_the_evidence(log_scale: float) -> None:
    """However unlikely the evidence: with absolute errors any method would pass."""

    @program
    def unlikely() -> bool:
        x = sample(dist.flip(0.5))
        factor(log_scale + 1.0 if x else log_scale)
        return x

    assert validate(unlikely, n=(1, 2), ess_threshold=1.0)
    assert not validate(unlikely, method=Wrong(), n=2)
    assert validate_statistically(unlikely, method="smc", n=4, runs=400)
    assert not validate_statistically(unlikely, method=VeryWrong(), n=4, runs=1500)


def test_what_has_no_law_of_means_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MH\(.*is a Markov chain.*Use validate.*or geweke"):
        validate_statistically(soft_and_hard, method="mh")
    with pytest.raises(ValueError, match=r"Beam\(.*is a search and promises nothing.*validate"):
        validate_statistically(soft_and_hard, method="beam")
    for runs in (0, 1):
        with pytest.raises(ValueError, match="fewer than 20 runs"):
            validate_statistically(soft_and_hard, runs=runs)
    with pytest.raises(ValueError, match="false_alarm is a probability"):
        validate_statistically(soft_and_hard, false_alarm=2.0)


def test_forward_sampling_is_checked_against_the_prior_also_statistically() -> None:
    assert validate_statistically(hidden_markov, [True, False], method="forward", n=4, runs=400)


def test_torchs_finite_distributions_sum_to_one() -> None:
    """In float32 they do not quite."""

    @program
    def die() -> int:
        x = sample(td.Categorical(torch.tensor([0.1, 0.2, 0.7])))
        y = sample(td.Bernoulli(0.3), proposal=td.Bernoulli(0.6))
        factor(0.3 * float(x + y))
        return int(x + y)

    assert validate(die, n=(1, 2))


def test_what_can_not_be_checked_is_said() -> None:
    with pytest.raises(TypeError, match="needs a program, got <built-in function len>; write @program above"):
        validate(len)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n= is empty"):
        validate(soft_and_hard, n=())
    with pytest.raises(TypeError, match="checked without a method, so resampling would mean nothing"):
        validate(soft_and_hard, pipeline="all", resampling="ssp")
