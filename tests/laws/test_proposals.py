"""Certificates of proposals and guides: a method keeps its law under them, unless their densities are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from ppl import TooLarge, dist, factor, observe, program, sample, table_lm, validate
from ppl.law_programs import CORPUS, hidden_markov, judges, proposed
from ppl.runtime.distributions import Distribution
from ppl.runtime.operands import ProposalSite
from ppl.runtime.source import Key, Source

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


@program
def two() -> tuple[int, bool]:
    x = sample(dist.categorical([0.5, 0.2, 0.3]))
    factor(0.6 * x)
    y = sample(dist.flip(0.3 if x else 0.8))
    observe(dist.flip(0.9 if y else 0.2), True)
    return x, y


class Weighted(Distribution):
    """Draws a number as some weights have it.

    Args:
        weights: of 0, 1, ….
        told: the density that it tells, if that is another.
    """

    def __init__(self, weights: list[float], told: list[float] | None = None) -> None:
        self.weights, self.told = weights, told or weights

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        value = source.choose([math.log(w) for w in self.weights], key)
        return value, self.log_prob(value)

    def log_prob(self, value: Any) -> float:
        return math.log(self.told[value])


@program
def guide() -> None:
    lean = sample(dist.flip(0.4))  # auxiliary: the program has no such site
    x = sample(Weighted([0.2, 0.2, 0.6] if lean else [0.6, 0.2, 0.2]))
    y = sample(dist.flip(0.6 if x else 0.5))


MAKERS: dict[str, Callable[[ProposalSite], Any]] = {
    "x": lambda site: Weighted([0.2, 0.3, 0.5]),
    "y": lambda site: dist.flip(0.7 if site.variables["x"] else 0.4),
}
METHODS = ["smc", "importance", "forward", "entropic", "enumerate", "mh"]


@pytest.mark.parametrize("method", METHODS)
def test_a_law_holds_under_proposals(method: str) -> None:
    assert validate(two, method=method, n=(1, 2), proposals=MAKERS)


@pytest.mark.parametrize("method", ["smc", "importance", "forward", "enumerate"])
def test_a_law_holds_under_a_guide(method: str) -> None:
    certificate = validate(two, method=method, n=(1, 2), proposals=guide)
    assert certificate and certificate.error < 1e-12


def test_the_draws_of_proposals_are_explored() -> None:
    """Each draw of the guide, its auxiliary ones too, is an outcome like any other."""
    plain, guided = (validate(two, method="importance", n=1, proposals=p).leaves for p in (None, guide))
    assert plain == 3 * 2 and guided == 2 * 3 * 2


@pytest.mark.parametrize("wrong", [{"told": [0.2, 0.2, 0.6]}, {"told": [0.7, 0.4, 0.4]}])
@pytest.mark.parametrize("method", ["smc", "importance", "mh"])
def test_a_proposal_with_a_wrong_density_gets_no_certificate(method: str, wrong: dict[str, list[float]]) -> None:
    lies: dict[str, Callable[[ProposalSite], Any]] = {"x": lambda site: Weighted([0.6, 0.2, 0.2], **wrong)}
    certificate = validate(two, method=method, n=1, proposals=lies)
    assert not certificate and certificate.error > 1e-3


def test_a_guide_with_a_wrong_density_gets_no_certificate() -> None:
    @program
    def lies() -> None:
        x = sample(Weighted([0.6, 0.2, 0.2], told=[0.2, 0.2, 0.6]))

    certificate = validate(two, method="smc", n=(1, 2), proposals=lies)
    assert not certificate and certificate.error > 1e-2


def test_a_wrong_density_at_one_address_is_enough() -> None:
    """The lie is told at one address of a site, the last of three that are drawn."""

    def last(site: ProposalSite) -> Any:
        told = [0.3, 0.7] if site.address == "state[1]" else [0.6, 0.4]
        return Weighted([0.6, 0.4], told)

    assert not validate(hidden_markov, [True, False], n=1, proposals={"state": last})


@pytest.mark.parametrize("name", ["ends_early", "twisted", "nested", "soft_and_hard"])
def test_proposals_on_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]

    def tilted(site: ProposalSite) -> Any:
        outcomes = site.distribution.support()
        weights = [math.exp(log_prob) + 0.2 * i for i, (_, log_prob) in enumerate(outcomes)]
        return dist.categorical({v: w / sum(weights) for (v, _), w in zip(outcomes, weights, strict=True)})

    names = [site.name for site in prog.sites if site.kind == "sample"] or ["side"]  # of the program that it calls
    makers = dict.fromkeys(names, tilted)
    assert validate(prog, *args, n=(1, 2), ess_threshold=1.0, proposals=makers, limit=20_000)


def test_a_model_proposes_a_text() -> None:
    def shorter(site: ProposalSite) -> Any:
        return lm.context("ab").text(max_tokens=2, temperature=1.5)

    assert validate(judges, n=1, proposals={"text": shorter})


def test_a_program_that_proposes_itself_is_proposed_for_from_outside() -> None:
    assert validate(proposed, n=(1, 2), proposals={"x": MAKERS["x"]})
    assert validate(proposed.given(y=True), n=(1, 2), proposals={"x": MAKERS["x"]})
    assert validate(two.with_passes("all"), n=1, proposals=MAKERS)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="has no sample site 'z'"):
        validate(two, proposals={"z": MAKERS["x"]})
    with pytest.raises(TypeError, match="give a function of a ProposalSite"):
        validate(two, proposals={"x": dist.flip(0.5)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="kernels change a part of a run: give them proposals of their own"):
        validate(two, method="mh", proposals=guide)
    with pytest.raises(TypeError, match="without a method, so proposals would mean nothing"):
        validate(two, pipeline="all", proposals=MAKERS)
    with pytest.raises(TooLarge, match="more than limit=5 runs"):
        validate(two, proposals=guide, limit=5)
