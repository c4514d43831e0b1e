"""A mixture's density is that of the whole, whichever component a value came from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from ppl import condition, dist, factor, infer, observe, program, sample, table_lm, validate
from ppl.mixtures import Mixture, ModelMixture

lm = table_lm(["a", "b", "."], eos=None, seed=8)


@program
def local() -> int:
    x = sample(dist.categorical([0.5, 0.3, 0.2]), proposal=dist.mixture([dist.delta(0), dist.uniform([0, 1, 2])]))
    factor(0.7 * x)
    return x


@program
def heated() -> str:
    """Two temperatures and a point mass propose; some texts have a high density under all, some under one."""
    line = lm.context("a").text(stop=".", max_tokens=2)
    text = sample(line, proposal=dist.tempered(line, [0.0, 0.5, 1.7], [1.0, 2.0, 1.0]))
    condition(text != "aa")
    verdict = sample(
        lm.context(text).choice(["a", "b"]), proposal=dist.tempered(lm.context(text).choice(["a", "b"]), [0.3, 3.0])
    )
    factor(0.4 if verdict == "a" else -0.4)
    return text + verdict


@program
def drawn_from_mixtures() -> str:
    """As the site's own distribution, and observed."""
    line = lm.context("b").text(stop=".", max_tokens=2)
    text = sample(dist.tempered(line, [0.5, 2.0]), proposal=line)
    observe(dist.tempered(lm.context(text).token(), [1.0, 0.4]), "a")
    observe(dist.mixture([dist.flip(0.2), dist.flip(0.9)], [1, 3]), "b" in text)
    return text


@pytest.mark.parametrize("prog", [local, heated, drawn_from_mixtures], ids=lambda p: p.name)
def test_proper(prog: Any) -> None:
    assert validate(prog, method="importance", n=(1, 2), limit=60_000)
    assert validate(prog, method="smc", n=1 if prog is heated else 2, ess_threshold=1.0, limit=60_000)


def test_a_density_of_the_component_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ModelMixture._weighed

    def of_the_first(self: ModelMixture, value: Any, known: Any) -> Any:
        found = yield from original(self, value, known)
        found.log_prob = known[0].log_prob
        return found

    monkeypatch.setattr(ModelMixture, "_weighed", of_the_first)
    assert not validate(drawn_from_mixtures, method="importance", n=1)


def test_densities() -> None:
    m = dist.mixture([Normal(0.0, 1.0), Normal(5.0, 2.0)], [3, 1])
    x = torch.tensor(1.3)
    assert isinstance(m, Mixture)
    parts = [0.75 * math.exp(Normal(0.0, 1.0).log_prob(x)), 0.25 * math.exp(Normal(5.0, 2.0).log_prob(x))]
    assert m.log_prob(x) == pytest.approx(math.log(sum(parts)), rel=1e-6)
    listed = dist.mixture([dist.delta(1), dist.uniform([1, 2])])
    assert isinstance(listed, Mixture)
    law = dict(listed.support() or ())
    assert {v: math.exp(w) for v, w in law.items()} == pytest.approx({1: 0.75, 2: 0.25})


def test_the_support_of_a_mixture_of_texts_sums_to_one() -> None:
    posterior = infer(drawn_from_mixtures.do({}), method="enumerate")
    assert not posterior.empty

    @program
    def plain() -> str:
        return sample(dist.tempered(lm.context("b").text(stop=".", max_tokens=2), [0.0, 0.5, 2.0]))

    assert infer(plain, method="enumerate").log_evidence == pytest.approx(0.0, abs=1e-12)


def test_defensive_bounds_the_weights() -> None:
    @program
    def far() -> float:
        x = sample(Normal(0.0, 1.0), proposal=dist.defensive(Normal(4.0, 0.1), Normal(0.0, 1.0), share=0.2))
        return float(x)

    posterior = infer(far, method="importance", n=500, seed=0)
    assert max(run.log_weight for run in posterior.runs) + math.log(500) <= math.log(5.0) + 1e-9
    assert posterior.log_evidence == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dist.mixture([]), "at least one"),
        (lambda: dist.mixture([dist.flip(0.5)], [0.0]), "weight over 0"),
        (lambda: dist.mixture([dist.flip(0.5)], [1, 2]), "weight over 0 for each of 1"),
        (lambda: dist.mixture([dist.flip(0.5), lm.context("").token()]), "all of models or none"),
        (lambda: dist.mixture([3]), "takes distributions"),
        (lambda: dist.defensive(dist.flip(0.5), dist.flip(0.5), 1.0), "between 0 and 1"),
        (lambda: dist.tempered(dist.flip(0.5), [1.0]), r"such as ctx\.line\(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
