"""Guides: the posterior stays what it is, whatever the guide; a good one needs fewer particles."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from ppl import SMC, Importance, Method, Program, condition, dist, factor, infer, observe, program, sample, table_lm
from ppl.infer import run_problems
from ppl.kernels import SingleSite
from ppl.posterior_values import freeze
from ppl.runtime.exact import explore
from ppl.runtime.guide import Told

lm = table_lm(["a", "b", "."], eos=None, seed=8)


@program
def model(p: float) -> tuple[int, ...]:
    x = sample(dist.categorical([0.6, 0.3, 0.1]))
    factor(0.8 * x)
    ys: list[int] = []
    for _ in range(x):
        ys.append(int(sample(dist.flip(p), name="y")))
        condition(sum(ys) < 2)
    z = sample(dist.flip(0.4)) if x else True
    observe(dist.flip(0.7 if z else 0.2), True)
    return (x, *ys, int(z))


@program
def guide(p: float) -> None:
    """Draws in another order, something of its own, and sites that the model may not reach."""
    hidden = sample(dist.flip(0.3))
    z = sample(dist.flip(0.9 if hidden else 0.5))
    x = sample(dist.categorical([0.2, 0.3, 0.5] if z else [0.4, 0.4, 0.2]))
    for _ in range(2):
        y = sample(dist.flip(0.3 if x == 2 else 0.5), name="y")


@program
def writes(p: float) -> str:
    text = sample(lm.context("a").text(stop=".", max_tokens=2))
    factor(0.5 * text.count("b"))
    return str(text)


@program
def writes_hot(p: float) -> None:
    text = sample(lm.context("a").text(stop=".", max_tokens=2, temperature=2.0))


def masses(prog: Program, how: Program | None, method: Method) -> dict[Any, float]:
    """The expected mass of each value, over all that is drawn."""
    found: dict[Any, float] = defaultdict(float)

    def once(source: Any) -> Any:
        return run_problems(prog, [((0.5,), {})], method, [0], how, source=source)[0].result

    for log_p, result in explore(once, 200_000):
        for run in result.runs:
            found[freeze(run.value)] += math.exp(log_p + run.log_weight)
    return found


@pytest.mark.parametrize(
    ("prog", "how", "method"),
    [
        (model, guide, Importance(n=1)),
        (model, guide, SMC(n=1, ess_threshold=1.0)),
        (writes, writes_hot, Importance(n=1)),
        (writes, writes_hot, SMC(n=2, ess_threshold=1.0)),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_a_guide_changes_no_measure(prog: Program, how: Program, method: Method) -> None:
    exact = masses(prog, None, Importance(n=1))
    found = masses(prog, how, method)
    assert found.keys() == exact.keys()
    assert all(found[value] == pytest.approx(mass, abs=1e-9) for value, mass in exact.items())


@program
def two_steps(p: float) -> int:
    x = sample(dist.flip(0.5))
    factor(0.9 if x else 0.0)
    y = sample(dist.flip(0.8 if x else 0.3))
    factor(0.4 if y else 0.0)
    return 2 * x + y


@program
def two_steps_guide(p: float) -> None:
    x = sample(dist.flip(0.7))
    y = sample(dist.flip(0.6 if x else 0.4))


def test_copies_ask_the_guide_anew_given_what_they_have_drawn() -> None:
    exact = masses(two_steps, None, Importance(n=1))
    found = masses(two_steps, two_steps_guide, SMC(n=2, ess_threshold=1.0, resampling="multinomial"))
    assert all(found[value] == pytest.approx(mass, abs=1e-9) for value, mass in exact.items())
    method = SMC(n=40, ess_threshold=1.0, resampling="multinomial")
    posterior = infer(two_steps, 0.5, method=method, seed=0, proposals=two_steps_guide)
    copies = [a for generation in posterior.ancestry[:1] for a in generation]
    assert len(set(copies)) < 40, "some were copied"
    siblings = [r.value % 2 for r, a in zip(posterior.runs, copies, strict=False) if copies.count(a) > 1]
    assert len(set(siblings)) == 2, "and went different ways"


def test_a_guide_whose_density_is_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = masses(two_steps, None, Importance(n=1))
    real = Told.draw
    monkeypatch.setattr(Told, "draw", lambda self, source, key: (real(self, source, key)[0], math.log(0.5)))
    found = masses(two_steps, two_steps_guide, Importance(n=1))
    assert any(abs(found[value] - mass) > 0.01 for value, mass in exact.items())


def test_a_good_guide_needs_fewer_particles() -> None:
    @program
    def wide(data: float) -> float:
        mean = sample(Normal(0.0, 10.0))
        observe(Normal(mean, 0.1), torch.tensor(data))
        return float(mean)

    @program
    def near(data: float) -> None:
        mean = sample(Normal(data, 0.15))

    plain = infer(wide, 7.0, method="importance", n=200, seed=0)
    guided = infer(wide, 7.0, method="importance", n=200, seed=0, proposals=near)
    assert guided.ess > 20 * plain.ess
    truth = float(Normal(0.0, math.hypot(10.0, 0.1)).log_prob(torch.tensor(7.0)))
    assert guided.log_evidence == pytest.approx(truth, abs=0.1)


def test_guides_that_make_no_sense_are_refused() -> None:
    @program
    def weighs(p: float) -> None:
        x = sample(dist.flip(0.5))
        factor(0.3)

    @program
    def other(p: float) -> None:
        w = sample(dist.flip(0.5))

    with pytest.raises(ValueError, match=r"weighs nothing, but weighs has factor at .*test_guides.py"):
        infer(model, 0.5, proposals=weighs)
    with pytest.raises(ValueError, match=r"samples w, none of which model samples: it has x, y\[i\]|it has x"):
        infer(model, 0.5, proposals=other)
    with pytest.raises(TypeError, match="or is a guide"):
        infer(model, 0.5, proposals=[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"method": "mh", "steps": 3}, {"method": "pgibbs"}, {"move": "kernel"}])
def test_markov_chains_take_no_guide(options: dict[str, Any]) -> None:
    if "move" in options:
        options = {"method": SMC(n=3, move=SingleSite())}
    with pytest.raises(ValueError, match="a guide proposes whole runs"):
        infer(model, 0.4, proposals=guide, seed=0, **options)


def test_a_guide_that_never_gives_what_the_program_does_is_warned_of() -> None:
    @program
    def drawn() -> int:
        x = sample(dist.categorical([0.2, 0.3, 0.5]))
        factor(0.3 * x)
        return int(x)

    @program
    def narrow() -> None:
        x = sample(dist.categorical([0.5, 0.5, 0.0]))

    @program
    def hidden() -> None:
        """What it draws by itself is no part of the law at the site."""
        wide = sample(dist.flip(0.5))
        x = sample(dist.categorical([0.4, 0.4, 0.2] if wide else [0.1, 0.1, 0.8]))

    with pytest.warns(UserWarning, match="the guide: the proposal at 'x' never gives 2.*test_guides.py"):
        infer(drawn, method="importance", n=8, seed=0, proposals=narrow)
    with pytest.warns(UserWarning, match="keeps top_k=1 tokens"):
        infer(tops, method="smc", n=8, seed=0, proposals=writes_top)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer(drawn, method="importance", n=8, seed=0, proposals=hidden)


@program
def tops() -> str:
    return str(sample(lm.context("a").token(), name="t"))


@program
def writes_top() -> None:
    sample(lm.context("a").token(top_k=1), name="t")
