"""Parameters that are drawn after their observations: the same density at every trace.

The programs are continuous, so nothing can be enumerated. But the law is about densities: at any trace, the product of
all densities and weights of a run is the same before and after. Traces are drawn under the pass, by importance
sampling, which says what that product is; the program as written is then scored at the same trace, all its sites given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Beta, Categorical, Dirichlet, Gamma, Normal, Poisson

from ppl import Program, conjugate, dist, infer, observe, program, sample
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Pass, Remark
from ppl.compiler.passes.conjugacy import Conjugacy
from ppl.conjugate import Conjugate, Predictive
from ppl.runtime.result import Run
from ppl.runtime.source import RandomSource

from .pass_programs import FIRED, fires, outcomes
from .random_programs import Writer, compiled, indented

HEADER = """\
import torch
from torch.distributions import Bernoulli, Beta, Categorical, Dirichlet, Gamma, Normal, Poisson
from ppl import condition, dist, factor, observe, program, sample


def t(x):
    return torch.tensor(x, dtype=torch.float64)


def prior(x):
    return Normal(t(x), t(3.0))


"""
PRIORS = {
    "Beta(t(2.0), t(3.5))": [
        "Bernoulli({p})|t(1.0)",
        "Bernoulli(probs={p})|t([0.0, 1.0, 1.0])",
        "dist.flip({p})|n > 1",
    ],
    "Normal(t(0.5), t(2.0))": ["Normal({p}, t(0.7))|t(1.5)", "Normal({p}, t([0.5, 2.0]))|t([1.0, -1.0])"],
    "Gamma(t(2.0), t(1.5))": ["Poisson({p})|t(3.0)", "Poisson({p})|t([0.0, 2.0])"],
    "Dirichlet(t([1.0, 2.0, 0.5]))": [
        "Categorical({p})|t(2.0)",
        "Categorical({p})|t([0.0, 2.0])",
        "dist.categorical({p})|1",
    ],
    "Beta(t([2.0, 1.0]), t([1.0, 3.0]))": [
        "Bernoulli({p})|t([1.0, 0.0])",
        "Bernoulli({p})|t([[1.0, 0.0], [1.0, 1.0]])",
    ],
}


class Observing(Writer):
    """Writes programs with parameters and observations of them, in branches and loops, and other uses in between."""

    def body(self) -> list[str]:
        prior = self.pick(list(PRIORS))
        lines = [f"p = sample({prior})"]
        if self.draw(st.booleans()):
            lines.append("q = sample(Normal(t(0.0), t(1.0)))")
        lines.append("other = p")
        if self.pick(["observe", "observe", "anything"]) == "observe":
            likelihood, value = self.pick(PRIORS[prior]).format(p=self.pick(["p", "other"])).split("|")
            lines.append(f"observe({likelihood}, {value})")
        for _ in range(self.draw(st.integers(1, 4))):
            lines += self.step(prior, 2, ("q" if len(lines) > 1 and "q" in lines[1] else None), False)
        return lines

    def step(self, prior: str, depth: int, q: str | None, looped: bool) -> list[str]:
        kinds = ["observe"] * 5 + ["other", "look", "factor", "coin"]
        kinds += ["if", "if", "for", "for", "shared"] if depth else []
        kinds += ["leave"] if looped else ["return"]
        kind = self.pick(kinds)
        likelihood, value = self.pick(PRIORS[prior]).format(p=self.pick(["p", "other"])).split("|")
        if kind == "observe":
            return [f"observe({likelihood}, {value})"]
        if kind == "other":
            return [f"observe(Normal({q}, 0.5), t(0.3))"] if q else ["n = n + 1"]
        if kind == "look":
            return ["factor(-0.1 * float(p.sum()))"]
        if kind == "factor":
            return ["factor(0.3 * n)"]
        if kind == "coin":
            return ["n = n + int(sample(dist.flip(0.4)))"]
        if kind == "leave":
            return ["if n > 2:", f"    {self.pick(['break', 'continue'])}"]
        if kind == "return":
            return ["if n > 3:", "    return n"]
        if kind == "shared":
            name = f"d{next(self.fresh)}"
            return [f"{name} = {likelihood}", f"observe({name}, {value})", *self.step(prior, 0, q, looped),
                    self.pick([f"observe({name}, {value})", f"s = sample({name})"])]  # fmt: skip
        if kind == "if":
            then, orelse = self.step(prior, depth - 1, q, looped), self.step(prior, depth - 1, q, looped)
            return ["if n > 1:", *indented(then), "else:", *indented(orelse)]
        body = [*self.step(prior, depth - 1, q, True), *self.step(prior, depth - 1, q, True), "n = n + 1"]
        return [f"for i{next(self.fresh)} in range(2):", *indented(body)]


@st.composite
def sources(draw: Callable[[Any], Any]) -> str:
    writer = Observing(draw, 3)
    return written("\n".join([*writer.body(), "return n"]))


def written(body: str) -> str:
    return HEADER + "\n".join(["@program", "def main(n):", *indented(body.split("\n"))]) + "\n"


def alive(runs: Sequence[Run]) -> int:
    return sum(run.log_weight > -math.inf for run in runs)


def gap(prog: Program, passes: Any, runs: int = 3) -> float:
    """The largest difference of log-density at some traces, before and after.

    A run that is ruled out has no trace to compare at. But runs drawn from the program as it is written are ruled out
    as well then.
    """
    found = infer(prog, 1, method="importance", n=runs, seed=3, passes=passes)
    written = infer(prog, 1, method="importance", n=runs, seed=3, passes=[])
    if alive(found.runs) != alive(written.runs):
        return math.inf
    worst = 0.0
    for run in filter(lambda run: run.log_weight > -math.inf, found.runs):
        after = run.log_weight + math.log(runs) + sum(c.log_prob for c in run.trace)
        fixed = prog.given({c.address: c.value for c in run.trace})
        before = infer(fixed, 1, method="importance", n=1, passes=[]).runs[0]
        assert before.value == run.value and {c.address for c in before.trace} == {c.address for c in run.trace}
        worst = max(worst, abs(after - before.log_weight))
    return worst


HANDWRITTEN = [
    written(body)
    for body in (
        "p = sample(Beta(t(2.0), t(3.0)))\nfor i in range(3):\n    observe(Bernoulli(p), t(1.0))\nreturn n",
        "p = sample(Beta(t(2.0), t(3.0)))\nobserve(Normal(p, 1.0), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nobserve(Normal(p, p.exp()), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nobserve(Normal(t(1.0), p.exp()), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nobserve(Normal(p + 1.0, t(1.0)), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nobserve(Normal(p, t(1.0)), p)\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nfactor(-float(p) ** 2)\nobserve(Normal(p, t(1.0)), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nif n > 0:\n    return n\nobserve(Normal(p, t(1.0)), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nfor i in range(3):\n    observe(Normal(p, t(1.0)), t(1.0))\n"
        "    if i == 1:\n        break\nelse:\n    observe(Normal(p, t(1.0)), t(7.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\ni = 0\nwhile i < 3:\n    i += 1\n    if i == 2:\n        continue\n"
        "    observe(Normal(p, t(1.0)), t(1.0))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)))\nd = Normal(p, t(1.0))\nobserve(d, t(0.5))\ny = sample(d)\n"
        "observe(d, t(0.1))\nreturn n",
        "p = sample(Normal(t(2.0), t(3.0)), proposal=Normal(t(0.0), t(1.0)))\n"
        "observe(Normal(p, t(1.0)), t(1.0))\nreturn n",
        "q = sample(Normal(t(2.0), t(3.0)))\np = q\nobserve(Normal(p, t(1.0)), t(1.0))\nq = p\n"
        "observe(Normal(q, t(2.0)), t(0.5))\nreturn n",
        "p = sample(prior(2.0))\nobserve(Normal(p, t(1.0)), t(1.0))\nreturn n",
        "p = sample(Beta(t([2.0, 1.0]), t([3.0, 1.0])))\nobserve(Bernoulli(p), t([[1.0, 0.0], [0.0, 0.0]]))\nreturn n",
    )
]


def check(source: str) -> bool:
    prog = compiled(source)
    fired = fires(prog, [Conjugacy()])
    if fired:
        assert gap(prog, [Conjugacy()]) < 1e-9, source
    return fired


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(), lambda source: check(source))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources())
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source)


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source)


# --- bugs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ForgetsTheUpdate(Conjugacy):
    """Draws the parameter from its prior, after its observations were weighed."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        before = {e.site: dict(e.args)["distribution"] for e in ir.effects(program.body) if e.site.kind == "sample"}
        new, remarks = super().run(program, info)

        def one(node: ir.Node) -> list[ir.Node]:
            if isinstance(node, ir.Effect) and node.site in before and "conjugacy" in node.provenance:
                return [replace(node, args=(("distribution", before[node.site]),))]
            return [node]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, one)), remarks


@dataclass(frozen=True)
class WrongAddress(Conjugacy):
    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)

        def one(node: ir.Node) -> list[ir.Node]:
            wrong = isinstance(node, ir.Effect) and node.site.kind == "sample" and "conjugacy" in node.provenance
            return [replace(node, site=replace(node.site, name="other"))] if wrong else [node]  # type: ignore[attr-defined, call-arg]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, one)), remarks


BUGS: dict[str, Callable[[], Pass]] = {
    name: lambda name=name: Conjugacy().without(name)  # type: ignore[misc]
    for name in ("conjugate_pair", "linear_use", "not_used_before", "no_exit_crossed")
}
BUGS |= {"the update forgotten": ForgetsTheUpdate, "wrong address": WrongAddress}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    def breaks(source: str) -> bool:
        prog = compiled(source)
        try:
            return gap(prog, [BUGS[bug]()]) > 1e-9
        except Exception:
            return True

    found = next(filter(breaks, HANDWRITTEN), None)
    if found is None:
        chosen = settings(max_examples=200, phases=[Phase.generate], derandomize=True, deadline=None)
        found = find(sources(), breaks, settings=chosen)
    print(found)


def test_evidence_that_is_lost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every observation taken for impossible: no run is left to be compared."""
    prog = compiled(written("p = sample(Beta(t(2.0), t(3.5)))\nobserve(Bernoulli(p), t(1.0))\nreturn n"))
    assert gap(prog, [Conjugacy()]) < 1e-9
    monkeypatch.setattr(Predictive, "log_prob", lambda self, value: -math.inf)
    assert gap(prog, [Conjugacy()]) == math.inf


def test_what_is_fixed_has_to_be_left_alone() -> None:
    fixed = clicks.do(rate=torch.tensor(0.3))
    right = infer(fixed, [1.0, 0.0], method="importance", n=1, passes=[]).log_evidence
    wrong = infer(
        fixed, [1.0, 0.0], method="importance", n=1, passes=[Conjugacy().without("address_not_kept")]
    ).log_evidence
    assert abs(wrong - right) > 0.01


@pytest.mark.parametrize(("kind", "prior"), zip(["Beta", "Normal", "Gamma", "Dirichlet"], PRIORS, strict=False))
def test_a_wrong_update_is_caught(kind: str, prior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every observation counted twice."""
    likelihood, value = PRIORS[prior][0].format(p="p").split("|")
    prog = compiled(written(f"p = sample({prior})\nobserve({likelihood}, {value})\nreturn n"))
    assert gap(prog, [Conjugacy()]) < 1e-9
    names, update = conjugate._PAIRS[kind]
    monkeypatch.setitem(conjugate._PAIRS, kind, (names, lambda known, d, v: update(update(known, d, v), d, v)))
    assert gap(prog, [Conjugacy()]) > 1e-3


# --- what it does, and what it buys -----------------------------------------------------------------------------------


@program
def clicks(data: list[float]) -> torch.Tensor:
    rate = sample(Beta(torch.tensor(1.0), torch.tensor(1.0)))
    for seen in data:
        observe(Bernoulli(rate), seen)
    return rate


def test_the_posterior_is_exact() -> None:
    data = [1.0] * 12 + [0.0] * 4
    found = infer(clicks, data, method="importance", n=100, seed=1, passes=["conjugacy"])
    assert found.ess == pytest.approx(100)
    exact = math.lgamma(13) + math.lgamma(5) - math.lgamma(18)
    assert found.log_evidence == pytest.approx(exact, abs=1e-4)
    mean = sum(float(run.value) for run in found.runs) / 100
    assert mean == pytest.approx(13 / 18, abs=0.05)
    assert found.runs[0].value.dtype is torch.float32 and found.runs[0].trace[0].address == "rate"


def test_what_is_fixed_is_left_alone() -> None:
    data = [1.0, 1.0, 0.0]
    for fixed in (clicks.do(rate=torch.tensor(0.3)), clicks.given(rate=torch.tensor(0.3))):
        a = infer(fixed, data, method="importance", n=1, passes=["conjugacy"]).log_evidence
        assert a == pytest.approx(infer(fixed, data, method="importance", n=1, passes=[]).log_evidence)


def test_remarks() -> None:
    @program
    def main(n: int) -> Any:
        m = sample(Normal(torch.tensor(0.0), torch.tensor(1.0)))
        observe(Normal(2 * m, 1.0), 0.5)
        k = sample(Gamma(torch.tensor(1.0), torch.tensor(1.0)))
        observe(Normal(k, 1.0), 0.5)
        return m, k

    text = main.explain(["conjugacy"])
    assert "it is not as it is the 'loc' of Normal" in text
    assert "Normal has no known conjugate in Gamma" in text


def _integral(prior: Any, likelihood: Callable[[torch.Tensor], Any], value: Any, low: float, high: float) -> float:
    """log ∫ p(θ) p(value|θ) dθ, by the midpoint rule."""
    points = torch.linspace(low, high, 200_001, dtype=torch.float64)
    middle = (points[1:] + points[:-1]) / 2
    value = torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1)
    log_density = prior.log_prob(middle) + likelihood(middle).log_prob(value).sum(0)
    return float(log_density.logsumexp(0)) + math.log((high - low) / 200_000)


def double(*x: float) -> torch.Tensor:
    return torch.tensor(x if len(x) > 1 else x[0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("prior", "likelihood", "value", "low", "high"),
    [
        (Beta(double(2.0), double(3.0)), Bernoulli, [1.0, 0.0, 0.0], 0.0, 1.0),
        (Normal(double(1.0), double(2.0)), lambda m: Normal(m, 0.5), [0.5, 2.0], -20.0, 20.0),
        (Gamma(double(2.0), double(1.5)), Poisson, [3.0, 0.0], 0.0, 60.0),
    ],
)
def test_predictive_densities_are_integrals(prior: Any, likelihood: Any, value: Any, low: float, high: float) -> None:
    state = Conjugate.of(prior)
    found = state.predictive(likelihood(state.stand_in)).log_prob(double(*value))
    assert found == pytest.approx(_integral(prior, likelihood, value, low, high), abs=1e-6)


def test_counts_of_categories() -> None:
    state = Conjugate.of(Dirichlet(double(1.0, 2.0, 3.0)))
    assert state.predictive(Categorical(state.stand_in)).log_prob(double(1, 1)) == pytest.approx(
        math.log(2 / 6 * 3 / 7)
    )
    weights: Any = state.stand_in
    assert state.predictive(dist.categorical(weights)).log_prob(1) == pytest.approx(math.log(2 / 6))
    assert state.predictive(dist.categorical(weights)).log_prob(3) == -math.inf


@pytest.mark.parametrize("likelihood", [Bernoulli, lambda p: dist.flip(float(p))])
def test_data_drawn_from_the_predictive(likelihood: Any) -> None:
    state = Conjugate.of(Beta(double(2.0), double(6.0)))
    predictive: Predictive = state.predictive(likelihood(state.stand_in))
    draws = [float(predictive.draw(RandomSource(), key)[0]) for key in range(1000)]
    assert sum(draws) / 1000 == pytest.approx(0.25, abs=0.05)
