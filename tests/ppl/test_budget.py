"""Budgets are never exceeded, what was finished by then comes back marked incomplete, and rules end runs early."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import pytest

from ppl import call, condition, dist, factor, infer, infer_many, program, sample, table_lm
from ppl.kernels import ParticleGibbs, SingleSite
from ppl.nested import nested
from ppl.runtime import population
from ppl.runtime.budget import Budget, Control
from ppl.runtime.engines.base import Completion
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.methods import (
    METHODS,
    MH,
    PMMH,
    SMC,
    SMC2,
    Beam,
    Importance,
    Method,
    ParallelTempering,
    PGibbs,
    Revision,
    Tempered,
)
from ppl.runtime.particle import Particle, Status
from ppl.runtime.population import Population
from ppl.stopping import beta_above_half, consistent, settled

lm = table_lm(["a", "b", "c", "\n"], eos=None, seed=4)
calls: list[int] = []


def reward(lines: list[str]) -> list[float]:
    calls.append(len(lines))
    return [0.9 if "a" in line else 0.3 for line in lines]


@program
def writes(steps: int) -> str:
    style = sample(dist.flip(0.5))
    context = lm.context("ab" if style else "c")
    text = ""
    for _ in range(steps):
        line = sample(context.line(max_tokens=3))
        context = context + line
        text += line
        r = call(reward, line)
        factor(math.log(r))
    return text


used: Counter[str] = Counter()
"""What was used; the library's own counters have no part in it."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count runs, copies of runs on their way, tokens and calls where they happen."""
    starts, forks, steps = population._start, Particle.fork, LocalEngine.step

    def start(world: population.World, key: int) -> Particle:
        used["particles"] += 1
        return starts(world, key)

    def fork(self: Particle, key: int) -> Particle:
        used["particles"] += self.running and key != self.key  # of the same key: the same run, written down otherwise
        return forks(self, key)

    def step(self: LocalEngine) -> list[Completion]:
        completions = steps(self)
        used["tokens"] += sum(completion.tokens for completion in completions)
        return completions

    monkeypatch.setattr(population, "_start", start)
    monkeypatch.setattr(Particle, "fork", fork)
    monkeypatch.setattr(LocalEngine, "step", step)


wanders = SingleSite(proposals={"style": lambda site: dist.flip(0.7 if site.value else 0.3)})
SETTINGS: dict[str, list[Method]] = {
    "smc": [SMC(n=4, ess_threshold=1.0), SMC(n=4, ess_threshold=1.0, move=SingleSite())],
    "smc2": [SMC2(n=3, inner=2, parameters="style", ess_threshold=1.0)],
    "tempered": [Tempered(n=4, move=SingleSite()), Tempered(n=4)],
    "pmmh": [PMMH(parameters="style", inner=SMC(n=3), steps=12, chains=2)],
    "mh": [MH(steps=12, chains=2), MH(kernel=wanders, steps=12, chains=2), MH(kernel=ParticleGibbs(3), steps=6)],
    "pgibbs": [PGibbs(n=3, steps=8, chains=2, ancestor_sampling=True)],
    "parallel-tempering": [ParallelTempering(betas=(0.5, 1.0), steps=8, chains=1)],
    "beam": [Beam(n=4, m=2), Beam(n=4, m=2, rollouts=2, depth=2), Beam(n=4, m=2, rollouts="greedy")],
    "revision": [Revision(n=3, argument=None)],
}
"""Methods whose defaults would not do what has to be looked at, or would take long."""


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("kind", ["tokens", "calls", "particles"])
@pytest.mark.parametrize("name", METHODS)
def test_no_method_exceeds_a_budget(name: str, kind: str) -> None:
    kept = 0
    four = {"n": 4} if "n" in METHODS[name].__dataclass_fields__ else {}
    for method in SETTINGS.get(name) or [METHODS[name](**four)]:
        for budget in (1, 5, 30, 150, 5000):
            used.clear()
            calls.clear()
            posterior = infer(writes, 2, method=method, seed=budget, budget={kind: budget})
            used["calls"] = sum(calls)
            assert used[kind] <= budget, (method, budget)
            assert posterior.cost.tokens == used["tokens"] and posterior.cost.calls == used["calls"]
            assert all(len(run.trace) == 3 for run in posterior.runs), "only finished runs come back"
            if posterior.empty:
                assert posterior.incomplete is not None
            kept += len(posterior.runs)
    assert kept, "some budget was enough for something"


@program
def compares(steps: int) -> bool:
    first = sample(dist.flip(0.5))
    many(steps if first else 1)
    return first


many = nested(writes, SMC(n=4, ess_threshold=1.0))


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("kind", ["tokens", "calls", "particles"])
@pytest.mark.parametrize("method", [Importance(n=4), SMC(n=3, ess_threshold=1.0)], ids=repr)
def test_inner_populations_use_the_same_budget(method: Importance | SMC, kind: str) -> None:
    for budget in (1, 5, 20, 40, 200):
        used.clear()
        calls.clear()
        posterior = infer(compares, 2, method=method, seed=budget, budget={kind: budget})
        used["calls"] = sum(calls)
        assert used[kind] <= budget
        assert posterior.incomplete or budget >= 20
    assert posterior.incomplete is None and used["particles"] >= 4 * method.n


@pytest.mark.usefixtures("counted")
def test_a_budget_that_inner_particles_escape_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above must be able to fail."""
    monkeypatch.setattr(Control, "inside", lambda self: Control())
    used.clear()
    infer(compares, 2, method=Importance(n=4), seed=0, budget={"particles": 8})
    assert used["particles"] > 8


def test_a_budget_that_is_large_enough_changes_nothing() -> None:
    free = infer(writes, 3, n=8, seed=1)
    bounded = infer(writes, 3, n=8, seed=1, budget=Budget(tokens=8 * 15 * 10, calls=1000, seconds=1000, particles=1000))
    assert bounded.incomplete is None and bounded.guarantee == "proper"
    assert bounded.log_evidence == free.log_evidence
    assert [r.value for r in bounded.runs] == [r.value for r in free.runs]


def test_what_fits_is_used() -> None:
    """Each line may take 5 tokens, but most take fewer: true costs, not the largest possible, use the budget up."""
    posterior = infer(writes, 1, method="importance", n=200, seed=0, budget={"tokens": 200})
    assert 195 < posterior.cost.tokens <= 200
    assert len(posterior.runs) > 40


def test_incomplete_says_so_everywhere() -> None:
    posterior = infer(writes, 2, method=Importance(n=50), seed=0, budget={"tokens": 100})
    assert posterior.runs and posterior.guarantee == "heuristic"
    assert "tokens are used" in str(posterior.incomplete)
    with pytest.raises(ValueError, match="stopped before its end"):
        _ = posterior.log_evidence
    assert "incomplete" in repr(posterior)
    assert "Incomplete" in posterior.summary()
    assert posterior.to_dict()["incomplete"] == posterior.incomplete
    short = infer(writes, 2, method=Importance(n=50), seed=0, budget={"tokens": 10**6, "calls": 2})
    assert short.incomplete == "the budget of 2 calls is used up"
    nothing = infer(writes, 2, n=2, seed=0, budget={"tokens": 1})
    with pytest.raises(ValueError, match=r"(?s)no run finished.*larger budget"):
        nothing.mode()


def test_particles() -> None:
    assert infer(writes, 1, n=8, seed=0, budget={"particles": 8}).incomplete is None
    posterior = infer(writes, 3, n=8, seed=0, ess_threshold=1.0, budget={"particles": 9})
    assert "9 particles" in str(posterior.incomplete)
    assert infer(writes, 1, n=8, seed=0, budget={"particles": 7}).empty


def test_tempered_runs_that_are_stopped_are_weighed_by_all_evidence() -> None:
    @program
    def uneven() -> bool:
        x = sample(dist.flip(0.5))
        factor(2.0 if x else 0.0)
        return x

    posterior = infer(
        uneven, method=Tempered(n=8, betas=(0.2, 1.0), resampling="multinomial"), seed=0, budget={"particles": 8}
    )
    assert posterior.incomplete and len(posterior.runs) == 8
    assert {round(run.log_weight + math.log(8), 9) for run in posterior.runs} == {0.0, 2.0}


def test_seconds() -> None:
    def slow(xs: list[int]) -> list[int]:
        time.sleep(0.02)
        return xs

    @program
    def waits() -> int:
        total = 0
        for _ in range(50):
            total += call(slow, 1)
            factor(0.0)
        return total

    started = time.perf_counter()
    # As written, one call after the other: the passes would gather them.
    posterior = infer(waits, n=2, budget={"seconds": 0.1}, passes=[])
    assert "seconds are over" in str(posterior.incomplete)
    assert time.perf_counter() - started < 0.6

    @program
    def computes() -> int:
        for _ in range(100_000):
            x = sample(dist.flip(0.5))
            factor(0.0)
        return x

    started = time.perf_counter()
    assert infer(computes, n=2, budget={"seconds": 0.1}).incomplete
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(("method", "n"), [("smc", 2), ("importance", 3), ("mh", None), ("beam", 4)])
def test_seconds_where_a_program_only_draws(method: str, n: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at within a run that comes to no end, and between runs that are many."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    @program
    def endless() -> None:
        while True:
            x = sample(dist.flip(0.5))

    @program
    def short() -> bool:
        return sample(dist.flip(0.5))

    monkeypatch.setattr("ppl.runtime.budget.time.monotonic", clock)
    options: dict[str, Any] = {} if n is None else {"n": n}
    assert infer(endless, method=method, seed=0, budget={"seconds": 1.0}, **options).incomplete
    if method == "importance":
        many = infer(short, method=method, n=10_000, seed=0, budget={"seconds": 1.0})
        assert many.incomplete and 0 < len(many.runs) < 200


def test_each_problem_has_its_own_budget() -> None:
    posteriors = infer_many(writes, [1, 3, 1], n=4, seed=0, budget={"tokens": 20})
    assert [p.incomplete is None for p in posteriors] == [True, False, True]
    assert all(p.cost.tokens <= 20 for p in posteriors)


def test_a_text_without_max_tokens_can_not_be_budgeted() -> None:
    @program
    def endless() -> str:
        return sample(lm.context("").text(stop="\n", max_tokens=None))

    with pytest.raises(Exception, match="give this text max_tokens"):
        infer(endless, n=2, budget={"tokens": 100})
    assert infer(endless, n=2, budget={"calls": 100}).incomplete is None


@pytest.mark.parametrize("wrong", [{"tokns": 3}, 100, {"tokens": 0}, {"seconds": -1.0}])
def test_what_is_no_budget_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="budget"):
        infer(writes, 1, budget=wrong)


# --- stopping early -------------------------------------------------------------------------------------------------


@program
def lengths() -> int:
    for i in range(6):
        if sample(dist.flip(0.5 if i else 0.95), name="stop"):
            break
        factor(-0.1)
    return min(i, 1)


def test_settled() -> None:
    free = infer(lengths, n=40, seed=0)
    posterior = infer(lengths, n=40, seed=0, stop=settled(0.8))
    assert posterior.mode() == free.mode() == 0
    said = "the rule stop=settled(0.8) holds: finished runs with one answer hold at least 80 % of the weight of all"
    assert said in str(posterior.incomplete) and said in posterior.summary().replace("\n", " ")
    assert settled.__doc__ and "hold at least a share of the weight of all particles" in settled.__doc__
    assert len(posterior.history) < len(free.history)
    assert infer(lengths, n=40, seed=0, stop=settled(1.0)).incomplete is None


def test_settled_stops_at_the_first_step_at_which_its_rule_holds() -> None:
    """The rule by hand, on the populations that it was asked about."""
    asked: list[tuple[float, bool]] = []

    def watched(population: Population) -> bool:
        weights = [math.exp(p.selection_weight) for p in population.particles]
        votes: Counter[int] = Counter()
        for p, weight in zip(population.particles, weights, strict=True):
            if p.status is Status.DONE:
                votes[p.value] += weight  # type: ignore[assignment]
        asked.append((max(votes.values(), default=0.0) / sum(weights), rule(population)))
        return asked[-1][1]

    for share in (0.51, 0.7, 0.99):
        rule = settled(share)
        asked.clear()
        posterior = infer(lengths, n=40, seed=3, ess_threshold=0.0, stop=watched)
        assert asked and all(holds == (held >= share) for held, holds in asked)
        assert [holds for _, holds in asked[:-1]] == [False] * (len(asked) - 1)
        assert (posterior.incomplete is not None) == asked[-1][1]
    assert len(asked) > 1


def test_a_rule_of_ones_own_is_named() -> None:
    def enough(population: Population) -> bool:
        return True

    assert infer(lengths, n=40, seed=0, stop=enough).incomplete == "the rule stop=enough holds"


def test_settled_looks_at_weights_not_counts() -> None:
    population_sizes: list[int] = []

    @program
    def rare() -> int:
        """Three in four finish at once with little weight."""
        x = sample(dist.flip(0.25))
        factor(0.0 if x else -6.0)
        if not x:
            return 0
        y = sample(dist.flip(0.5))
        factor(0.0)
        return 1 + y

    def rule(population: Population) -> bool:
        population_sizes.append(len(population.particles))
        return settled(0.6)(population)

    posterior = infer(rare, method=SMC(n=40, ess_threshold=0.0), seed=1, stop=rule)
    assert posterior.mode() != 0
    assert population_sizes


def test_beta_above_half() -> None:
    assert beta_above_half(0, 0) == 0.5
    assert beta_above_half(4, 0) == pytest.approx(1 - 0.5**5)
    assert beta_above_half(3, 3) == 0.5


def test_consistent_needs_more_votes_where_they_differ() -> None:
    @program
    def guess(p: float) -> int:
        return int(sample(dist.flip(p)))

    def spent(p: float) -> float:
        rule = consistent(0.95)
        runs = [infer(guess, p, method="self-consistency", n=64, wave=2, seed=s, stop=rule).runs for s in range(20)]
        return sum(map(len, runs)) / len(runs)

    assert spent(1.0) == 4
    assert spent(0.55) > 10


@pytest.mark.parametrize("wrong", [0.5, 1.5])
def test_rules_refuse_shares_that_make_no_sense(wrong: float) -> None:
    with pytest.raises(ValueError):
        settled(wrong)
    with pytest.raises(ValueError):
        consistent(wrong)


@program
def picky() -> int:
    x = sample(dist.uniform(range(4)))
    condition(x > 0)
    return x


def test_a_rule_that_never_holds_changes_nothing() -> None:
    plain, ruled = infer(picky, n=9, seed=0), infer(picky, n=9, seed=0, stop=lambda population: False)
    assert plain.log_evidence == ruled.log_evidence and ruled.incomplete is None
