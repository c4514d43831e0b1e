"""Searches rank by the program's own weight, hints included; they return finished runs only, and no evidence."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest

from ppl import call, condition, dist, factor, infer, program, sample, twist, validate
from ppl.law_programs import CORPUS
from ppl.runtime.methods import METHODS, MH, AStar, Beam, BestFirst, BestOfN, DiverseTrees, Enumerate, Method, Revision

SEARCHES = ["beam", "dvts", "a-star", "best-of-n", "self-consistency", "weighted-majority", "published"]


@program
def climb() -> tuple[int, ...]:
    """Four digits; the more they sum to, the higher the weight."""
    digits: list[int] = []
    for _ in range(4):
        digits.append(sample(dist.uniform(range(3)), name="digit"))
        factor(1.5 * digits[-1])
    return tuple(digits)


@program
def hinted() -> tuple[int, ...]:
    """All is decided at the end; on the way there are only hints."""
    digits: list[int] = []
    for _ in range(4):
        digits.append(sample(dist.uniform(range(3)), name="digit"))
        twist(1.5 * sum(digits))
    factor(1.5 * sum(digits))
    return tuple(digits)


@program
def uneven_lengths() -> int:
    steps = 0
    while steps < 4:
        if sample(dist.flip(0.3), name="stop"):
            break
        factor(-0.2)
        steps += 1
    return steps


def mean_score(method: Method, prog: Any = climb) -> float:
    """The mean over seeds of the sum of digits of the best run."""
    return sum(sum(best_value(infer(prog, method=method, seed=s))) for s in range(30)) / 30


def best_value(posterior: Any) -> Any:
    return max(posterior.runs, key=lambda run: run.log_weight).value


@pytest.mark.parametrize("prog", [climb, hinted], ids=["evidence", "hints"])
@pytest.mark.parametrize(
    "method", [Beam(n=8, m=4), DiverseTrees(n=8, m=4), AStar(n=4), Beam(n=8, m=4, rollouts=2, depth=2)], ids=repr
)
def test_searches_find_better_runs_than_the_same_number_of_samples(method: Method, prog: Any) -> None:
    samples = mean_score(BestOfN(n=2), prog)
    assert mean_score(method, prog) > samples + 0.7


def test_a_search_that_is_blind_to_hints_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above must be able to fail."""
    from ppl.runtime.particle import Particle

    monkeypatch.setattr(Particle, "selection_weight", property(lambda self: self.log_weight))
    assert mean_score(Beam(n=8, m=4), hinted) < mean_score(BestOfN(n=2), hinted) + 0.7


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("title", CORPUS)
def test_searches_run_on_any_program_and_report_no_evidence(name: str, title: str) -> None:
    prog, args = CORPUS[title]
    posterior = infer(prog, *args, method=name, n=5, seed=1)
    assert posterior.guarantee == "heuristic" and posterior.result.log_evidence is None
    if name != "self-consistency":
        assert posterior.empty == (title == "impossible")


@pytest.mark.parametrize("name", ["beam", "dvts", "a-star"])
def test_finished_runs_are_whole_and_at_most_n(name: str) -> None:
    for seed in range(10):
        posterior = infer(uneven_lengths, method=name, n=6, seed=seed)
        assert 1 <= len(posterior.runs) <= 6
        assert all(run.trace[-1].value or run.value == 4 for run in posterior.runs)


def test_a_finished_beam_leaves_with_its_place() -> None:
    posterior = infer(uneven_lengths, method="beam", n=8, m=2, seed=0)
    assert len(posterior.runs) == 8
    assert len(posterior.ancestor_lines()) == 8
    for generation in posterior.history:
        assert len(generation.log_weights) == 8


@pytest.mark.parametrize(
    ("aggregate", "best"), [("last", (0, 2)), ("min", (1, 1)), ("mean", (0, 2)), ("prod", (0, 2)), ("weight", (0, 2))]
)
def test_the_aggregate_is_not_ignored(aggregate: str, best: tuple[int, int]) -> None:
    """Two paths: (0, 2) ends well after a poor step, (1, 1) is even."""

    @program
    def paths() -> tuple[int, int]:
        a = sample(dist.uniform([0, 1]))
        factor([-2.0, -1.0][a])
        b = sample(dist.delta(2 if a == 0 else 1))
        factor([math.nan, -1.2, -0.1][b])
        return a, b

    posterior = infer(paths, method=Beam(n=8, m=1, aggregate=aggregate), seed=0)
    assert best_value(posterior) == best
    steps = {(0, 2): [-2.0, -0.1], (1, 1): [-1.0, -1.2]}[best]
    expected = {"last": steps[-1], "min": min(steps), "mean": sum(steps) / 2}.get(aggregate, sum(steps))
    assert max(run.log_weight for run in posterior.runs) + math.log(8) == pytest.approx(expected)


@pytest.mark.parametrize(("aggregate", "first"), [("weight", 0), ("prod", 0), ("last", 1), ("min", 1), ("mean", 0)])
def test_the_aggregate_counts_a_look_ahead_as_one_more_step(aggregate: str, first: int) -> None:
    """After 0 all is well but the last step; 1 begins badly, and gets better."""

    @program
    def paths() -> int:
        a = sample(dist.uniform([0, 1]))
        factor([0.0, -1.2][a])
        factor([-1.5, -1.0][a])
        factor(0.0)
        return a

    posterior = infer(paths, method=Beam(n=8, m=4, aggregate=aggregate, rollouts="greedy"), seed=0)
    assert {run.value for run in posterior.runs} == {first}


def test_best_of_n_returns_the_best_alone() -> None:
    everything = infer(climb, method="importance", n=20, seed=4)
    best = infer(climb, method="best-of-n", n=20, seed=4)
    assert len(best.runs) == 1 and best.mode() == best_value(everything)


def test_self_consistency_is_the_majority_of_runs_that_see_no_evidence() -> None:
    @program
    def biased() -> int:
        x = sample(dist.categorical([0.2, 0.8]))
        factor(-5.0 * x)
        return x

    assert infer(biased, method="self-consistency", n=50, seed=0).mode() == 1
    assert infer(biased, method="weighted-majority", n=50, seed=0).mode() == 0


def test_a_star_goes_on_from_the_best() -> None:
    posterior = infer(climb, method="a-star", n=3, answers=3, seed=0)
    assert len(posterior.runs) == 3
    short = infer(climb, method="a-star", n=2, max_expansions=2, seed=0)
    assert short.empty, "two steps are no run of four: an unfinished one is no answer"


# --- revision -------------------------------------------------------------------------------------------------------


@program
def guess(target: int, previous: int | None = None) -> int:
    """Guesses near the one before."""
    options = range(10) if previous is None else [max(previous - 1, 0), previous, previous + 1]
    x = sample(dist.uniform(options))
    factor(-abs(x - target))
    return x


def test_revision_tells_each_attempt_the_one_before() -> None:
    seen: list[int | None] = []

    @program
    def tells(previous: int | None = None) -> int:
        x = sample(dist.uniform(range(1000)))
        seen.append(previous)
        condition(True)
        return x

    posterior = infer(tells, method=Revision(n=3, pick="last"), seed=0)
    assert seen[0] is None and len(set(seen)) == 3
    assert posterior.mode() not in seen
    best = sum(abs(infer(guess, 9, method="revision", n=12, seed=s).mode() - 9) for s in range(20)) / 20
    first = sum(abs(infer(guess, 9, method="revision", n=1, seed=s).mode() - 9) for s in range(20)) / 20
    assert best < first - 0.8


def test_revision_needs_a_parameter_to_tell() -> None:
    with pytest.raises(ValueError, match=r"'previous', which the program lacks.*argument="):
        infer(climb, method="revision")
    assert not infer(climb, method=Revision(argument=None)).empty


@pytest.mark.parametrize("name", ["beam", "dvts", "a-star", "best-of-n", "weighted-majority"])
def test_the_distance_of_searches_is_a_figure(name: str) -> None:
    prog, args = CORPUS["soft_and_hard"]
    certificate = validate(prog, *args, method=METHODS[name](), n=2)
    assert certificate.guarantee == "heuristic" and certificate.holds and 0.0 <= certificate.error <= 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Beam(m=0),
        lambda: Beam(aggregate="sum"),
        lambda: Beam(rollouts=-1),
        lambda: AStar(answers=0),
        lambda: Revision(pick="first"),
        lambda: BestOfN(wave=0),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


@program
def late() -> int:
    """What ends early has gained a little by then; what goes on gains more."""
    if sample(dist.flip(0.5), name="short"):
        factor(0.5)
        return 1
    factor(0.0)
    sample(dist.flip(0.5))
    factor(1.0)
    return 2


def test_a_star_with_a_bound_returns_the_best_of_its_tree_first() -> None:
    """Children's draws do not depend on the order of expansion, so a search of everything knows what is best."""
    bounded = AStar(n=2, log_ahead=lambda taken: 1.0 if taken < 2 else 0.0)
    firsts, greedy, best = [], [], []
    for seed in range(20):
        firsts.append(infer(late, method=bounded, seed=seed).mode())
        greedy.append(infer(late, method=AStar(n=2), seed=seed).mode())
        best.append(best_value(infer(late, method=AStar(n=2, answers=1000), seed=seed)))
    assert firsts == best
    assert set(greedy) - {2} and set(best) == {1, 2}, "the bound must have mattered"


def test_the_history_of_a_star_holds_each_run_once() -> None:
    posterior = infer(uneven_lengths, method=AStar(n=3, answers=4), seed=3)
    history, lines = posterior.history, posterior.ancestor_lines()
    assert len(posterior.runs) == len(lines) == 4
    assert [len(line) for line in lines] == [len(history)] * 4
    for before, after in pairwise(history):
        assert before.ancestors is not None and len(before.ancestors) == len(after.log_weights)
        assert all(0 <= parent < len(before.log_weights) for parent in before.ancestors)
    for run, line in zip(posterior.runs, lines, strict=True):
        # Where a run stood at each step tells its weight then; after its end it keeps that.
        expected = [-0.2 * min(step, run.value) for step in range(len(line))]
        assert [history[t].log_weights[i] for t, i in enumerate(line)] == pytest.approx(expected)


def test_what_a_star_finished_in_the_step_that_was_stopped_comes_back() -> None:
    @program
    def once() -> int:
        x = sample(dist.uniform([1, 2, 3]))
        return call(echo, x)

    posterior = infer(once, method=AStar(n=4, answers=4), seed=0, budget={"calls": 3})
    assert posterior.incomplete and len(posterior.runs) == 3


def echo(xs: list[int]) -> list[int]:
    return xs


@program
def hard() -> int:
    """One in four runs meets its condition."""
    a, b = sample(dist.uniform(range(4))), sample(dist.flip(0.5))
    condition(a > 1)
    condition(b)
    return a


@pytest.mark.parametrize(
    ("method", "n"),
    [
        (BestOfN(n=16), 16),
        (Revision(n=16, argument=None), 16),
        (Revision(n=16, argument=None, pick="last"), 16),
        (DiverseTrees(n=16, m=1), 16),
        (Enumerate(), 8),
        (BestFirst(), 8),
    ],
    ids=repr,
)
def test_what_a_search_leaves_behind_counts(method: Method, n: int) -> None:
    found = infer(hard, method=method, seed=0)
    assert found.n == json.loads(found.to_json())["particles"] == n > len(found.runs) > 0
    assert f"ruled out {found.deaths[0].count} of {n}\n" in found.summary() + "\n"


def test_a_tree_search_counts_every_run_that_it_began() -> None:
    """A run that goes on in four ways is one of them itself."""
    found = infer(hard, method=AStar(n=4, answers=2), seed=0)
    assert found.n % 3 == 1 and found.n >= len(found.runs) + sum(death.count for death in found.deaths)


def test_states_of_a_chain_are_not_what_died() -> None:
    """Those that died were looking for a first run, and are no share of the states that were kept later."""
    found = infer(hard, method=MH(steps=100, chains=4), seed=0)
    assert found.n == 200 and found.deaths
    assert f"ruled out {found.deaths[0].count}\n" in found.summary() + "\n"
