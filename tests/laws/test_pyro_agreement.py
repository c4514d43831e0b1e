"""The same model in Pyro, by its importance sampling and its NUTS, and here: the same posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as pyro_dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, EmpiricalMarginal
from pyro.infer import Importance as PyroImportance

from ppl import Posterior, infer, observe, program, sample

DOSES = torch.tensor([-1.5, -0.7, 0.2, 0.9, 1.6, 2.0])
CURED = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])


@program
def logistic(doses: Any, cured: Any) -> tuple[float, float]:
    slope = sample(pyro_dist.Normal(0.0, 1.5))
    offset = sample(pyro_dist.Normal(0.0, 1.0))
    observe(pyro_dist.Bernoulli(logits=slope * doses + offset).to_event(1), cured)
    return slope.item(), offset.item()


def in_pyro(doses: torch.Tensor, cured: torch.Tensor) -> torch.Tensor:
    slope = pyro.sample("slope", pyro_dist.Normal(0.0, 1.5))
    offset = pyro.sample("offset", pyro_dist.Normal(0.0, 1.0))
    pyro.sample("cured", pyro_dist.Bernoulli(logits=slope * doses + offset).to_event(1), obs=cured)
    return torch.stack([slope, offset])


@pytest.fixture(scope="module")
def ours() -> Posterior:
    return infer(logistic, DOSES, CURED, method="importance", n=4_000, seed=0)


FUNCTIONS: dict[str, Callable[[tuple[float, float]], float]] = {
    "slope": lambda value: value[0],
    "offset": lambda value: value[1],
    "slope²": lambda value: value[0] ** 2,
}


def moments(posterior: Posterior) -> dict[str, float]:
    return {name: posterior.expectation(f) for name, f in FUNCTIONS.items()}


def errors(posterior: Posterior) -> dict[str, float]:
    """Standard errors of :func:`moments`, by the delta method."""
    means, pairs = moments(posterior), list(zip(posterior.runs.weights, posterior.runs, strict=True))
    return {
        name: math.sqrt(sum((w * (f(run.value) - means[name])) ** 2 for w, run in pairs))
        for name, f in FUNCTIONS.items()
    }


def test_pyros_importance_sampling(ours: Posterior) -> None:
    pyro.set_rng_seed(0)
    theirs = PyroImportance(in_pyro, num_samples=2_500).run(DOSES, CURED)
    log_weights = torch.tensor(theirs.log_weights, dtype=torch.float64)
    weights = (log_weights - log_weights.logsumexp(0)).exp()
    values = torch.stack([trace.nodes["_RETURN"]["value"] for trace in theirs.exec_traces]).double()
    evidence = float(log_weights.logsumexp(0)) - math.log(len(log_weights))
    assert evidence == pytest.approx(ours.log_evidence, abs=4 * math.sqrt(float((weights**2).sum()) + 1 / ours.ess))
    means = (weights[:, None] * values).sum(0)
    spread = (weights[:, None] ** 2 * (values - means) ** 2).sum(0).sqrt()
    own, own_errors = moments(ours), errors(ours)
    for i, name in enumerate(("slope", "offset")):
        assert abs(float(means[i]) - own[name]) < 4 * math.hypot(float(spread[i]), own_errors[name])
    assert EmpiricalMarginal(theirs).mean.shape == (2,)


def test_pyros_nuts(ours: Posterior) -> None:
    pyro.set_rng_seed(0)
    chain = MCMC(NUTS(in_pyro, jit_compile=False), num_samples=300, warmup_steps=100, disable_progbar=True)
    chain.run(DOSES, CURED)
    draws = chain.get_samples()
    theirs = {"slope": draws["slope"], "offset": draws["offset"], "slope²": draws["slope"] ** 2}
    own, own_errors = moments(ours), errors(ours)
    for name, values in theirs.items():
        error = math.hypot(_batch_error(values.double()), own_errors[name])
        assert abs(float(values.mean()) - own[name]) < 4 * error, name


def test_a_different_model_does_not_agree(ours: Posterior) -> None:
    """The comparison can fail: with a narrower prior the slopes are 4 standard errors apart by far."""
    narrow = infer(logistic.do(offset=torch.tensor(0.5)), DOSES, CURED, method="importance", n=2_000, seed=0)
    gap = abs(moments(narrow)["slope"] - moments(ours)["slope"])
    assert gap > 4 * math.hypot(errors(narrow)["slope"], errors(ours)["slope"])


def _batch_error(values: torch.Tensor, batches: int = 15) -> float:
    """Standard error of the mean of a chain, by batch means."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(1)
    return float(means.std() / math.sqrt(batches))
