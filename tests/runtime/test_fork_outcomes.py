"""What a run draws from among its own objects is one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from ppl import Program, ProgramError, dist, infer, program, sample, validate

uniform = dist.uniform
WANT = {(1, 1): 0.5, (2, 0): 0.25, (0, 2): 0.25}


@dataclass
class Candidate:
    """Counts by its content."""

    name: str
    score: int = 0


class Player:
    """Counts by which it is."""

    def __init__(self, name: str) -> None:
        self.name, self.score = name, 0


OUTSIDE = [Candidate("a"), Candidate("b")]
LAW = uniform(OUTSIDE)


def check(program: Program, *args: Any) -> None:
    """The same measure by every method."""
    both: list[Any] = [[], "default"]
    for passes in both:
        found = infer(program, *args, method="enumerate", passes=passes).distribution()
        assert {value: round(p, 6) for value, p in found.items()} == WANT
    for method in ("importance", "smc", "best-first"):
        options: dict[str, Any] = {} if method == "best-first" else {"n": 64, "seed": 0}
        assert set(infer(program, *args, method=method, **options).distribution()) == set(WANT)


@pytest.mark.parametrize("kind", [Candidate, Player])
def test_an_outcome_is_the_run_s_own_object(kind: Any) -> None:
    @program
    def scores() -> tuple[int, ...]:
        found = [kind("a"), kind("b")]
        for _ in range(2):
            one = sample(uniform(found))
            one.score += 1
        return tuple([one.score for one in found])

    @program
    def by_one_law() -> tuple[int, ...]:
        found = [kind("a"), kind("b")]
        law = uniform(found)
        for _ in range(2):
            one = sample(law)
            one.score += 1
        return tuple([one.score for one in found])

    check(scores)
    check(by_one_law)


def test_an_outcome_is_one_of_an_argument() -> None:
    @program
    def scores(found: list[Candidate]) -> tuple[int, ...]:
        for _ in range(2):
            one = sample(uniform(found))
            one.score += 1
        return tuple([one.score for one in found])

    @program
    def law_given(law: Any) -> Any:
        one = sample(law)
        one.score += 1
        return one.score

    found = [Candidate("a"), Candidate("b")]
    check(scores, found)
    assert infer(law_given, uniform(found), n=8, seed=0).probability(1) == 1.0
    assert [one.score for one in found] == [0, 0]


def test_the_trace_keeps_an_outcome_as_it_was_drawn() -> None:
    @program
    def scores() -> int:
        found = [Candidate("a"), Candidate("b")]
        one = sample(uniform(found))
        one.score += 1
        return sum([one.score for one in found])

    run = infer(scores, n=1, seed=0).runs[0]
    assert run.value == 1 and run.trace[0].value.score == 0


@pytest.mark.parametrize("law", [LAW, None])
def test_an_outcome_from_outside_is_copied(law: Any) -> None:
    @program
    def scores() -> int:
        one = sample(LAW if law is not None else uniform(OUTSIDE))
        one.score += 1
        return one.score

    for options in ({"n": 8, "seed": 0}, {"method": "enumerate"}):
        assert infer(scores, **options).probability(1) == 1.0
    assert [one.score for one in OUTSIDE] == [0, 0]


def test_a_chain_follows_its_own_objects() -> None:
    @program
    def scores() -> tuple[int, ...]:
        found = [Candidate("a"), Candidate("b")]
        for _ in range(2):
            one = sample(uniform(found))
            one.score += 1
        return tuple([one.score for one in found])

    assert set(infer(scores, method="mh", steps=64, seed=0).distribution()) == set(WANT)


@pytest.mark.parametrize("kind", [lambda: [], lambda: Candidate("same"), lambda: {}])
def test_objects_that_are_equal_now_are_outcomes_of_their_own(kind: Any) -> None:
    @program
    def deals() -> tuple[int, ...]:
        hands = [kind() for _ in range(3)]
        taken = [0, 0, 0]
        for _ in range(2):
            hand = sample(uniform(hands))
            taken[[one is hand for one in hands].index(True)] += 1
        return tuple(taken)

    once, twice = round(2 / 9, 6), round(1 / 9, 6)
    want = {(1, 1, 0): once, (1, 0, 1): once, (0, 1, 1): once, (2, 0, 0): twice, (0, 2, 0): twice, (0, 0, 2): twice}
    found = infer(deals, method="enumerate").distribution()
    assert {value: round(p, 6) for value, p in found.items()} == want
    assert validate(deals, method="importance", n=1) and validate(deals, method="smc", n=(1, 2))
    # A run that is run again finds its objects by what they hold, which does not tell these apart.
    with pytest.raises(ProgramError, match="Draw an index"):
        infer(deals, method="mh", steps=8, seed=0)


def test_the_density_of_a_value_is_that_of_all_outcomes_equal_to_it() -> None:
    law = uniform([[], [], [1]])
    assert math.exp(law.log_prob([])) == pytest.approx(2 / 3) and law.log_prob([2]) == -math.inf

    @program
    def proposed() -> int:
        xs: list[list[int]] = [[], [], [1]]
        return len(sample(uniform(xs), proposal=uniform([*xs, xs[2]])))

    assert validate(proposed, method="importance", n=1)
    assert infer(proposed, method="enumerate").probability(0) == pytest.approx(2 / 3)
