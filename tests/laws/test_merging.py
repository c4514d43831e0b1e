"""Going on once from equal populations changes no expectation, and equal means: nothing can tell them apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ppl import SMC, Enumerate, Importance, Method, Program, condition, dist, factor, program, sample
from ppl.certificate import Expected, TooLarge, expected
from ppl.certificate_states import States
from ppl.law_programs import CORPUS, hidden_markov, proposed, writes
from ppl.laws import variants
from ppl.runtime.exact import ExactSource, explore, explore_merged
from ppl.runtime.methods import METHODS
from ppl.runtime.particle import Particle, Scope, Status
from ppl.runtime.population import Population, World, advance, record, resample, spawn
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Source

from .planted_bugs import ReadsUnweighted

TOLERANCE = 1e-12


@program
def chain(steps: int) -> bool:
    state = True
    for _ in range(steps):
        state = sample(dist.flip(0.7 if state else 0.2))
        factor(0.5 if state else -0.5)
    return state


def both(prog: Program, args: tuple[Any, ...], method: Method, limit: int = 3_000) -> tuple[Expected, Expected]:
    return tuple(expected(prog, (args, {}), method, limit, merge=merge) for merge in (False, True))  # type: ignore[return-value]


def same(a: Expected, b: Expected) -> bool:
    return a.distance(b) < TOLERANCE and a.variation(b) < TOLERANCE


@pytest.mark.parametrize("scheme", ["multinomial", "systematic"])
@pytest.mark.parametrize("name", [name for name in CORPUS if name != "writes"])
def test_merged_is_unmerged(name: str, scheme: str) -> None:
    prog, args = CORPUS[name]
    for threshold in (0.8, 1.0):
        assert same(*both(prog, args, SMC(n=2, resampling=scheme, ess_threshold=threshold)))


def memoryless(name: str) -> list[Method]:
    """A registered method with options with which it says so, at one and two particles."""
    return [method for method in variants(METHODS[name], counts=(1, 2)) if method.memoryless]


@pytest.mark.parametrize("name", [name for name in METHODS if memoryless(name)])
def test_who_says_to_be_memoryless_is(name: str) -> None:
    compared = 0
    for method in memoryless(name):
        for prog, args in ((chain, (2,)), (proposed, ())):
            try:
                pair = both(prog, args, method, 1_500)
            except TooLarge:
                continue
            assert same(*pair)
            compared += 1
    assert compared >= 2


class Alternates(SMC):
    """Resamples at every other step, by a count of its own: two populations that look the same are not."""

    memoryless = True  # a lie

    def run(self, world: World) -> Task[Population]:
        population, resampled = spawn(world, self.n), 0
        while population.running:
            yield from advance(world, population)
            if population.running and population.ess > 0 and resampled < 1:
                resampled += population.particles[0].log_weight > population.particles[-1].log_weight
                resample(world, population, "multinomial")
        for p in population.particles:
            p.log_weight += 0.1 * resampled
        record(population, None)
        return population


def test_a_method_that_lies_about_it_shows() -> None:
    assert not same(*both(hidden_markov, ([True, False],), Alternates(n=2), 20_000))


def test_a_subclass_says_it_again() -> None:
    class Other(SMC):
        pass

    assert SMC().memoryless and not Other().memoryless


def test_it_makes_the_infeasible_feasible() -> None:
    method = SMC(n=2, ess_threshold=1.0, resampling="multinomial")
    with pytest.raises(TooLarge):
        expected(chain, ((4,), {}), method, 2_000, merge=False)
    found = expected(chain, ((4,), {}), method, 2_000)
    assert found.distance(expected(chain, ((4,), {}), Enumerate())) < TOLERANCE and found.leaves < 2_000


def test_a_bug_is_caught_through_it() -> None:
    prog, args = CORPUS["proposed"]
    method = ReadsUnweighted(n=2, ess_threshold=1.0, resampling="multinomial")
    apart, merged = both(prog, args, method)
    assert same(apart, merged) and merged.leaves < apart.leaves
    assert merged.distance(expected(prog, (args, {}), Enumerate())) > 0.01


# --- what tells populations apart -----------------------------------------------------------------------------------


def block() -> Any:
    raise NotImplementedError


def particle(*live: Any, weight: float = 0.0) -> Particle:
    made = Particle(block, live, Scope(), 0)
    made.status, made.log_weight = Status.SYNC, weight
    return made


def state(*particles: Particle, scale: float = 0.0, look: States | None = None) -> Any:
    found = (look or States())("resample", Population(list(particles), scale))
    return found and found[0]


def aliased() -> Any:
    xs = [1]
    return [xs, xs]


def closure(start: list[int]) -> Callable[[], list[int]]:
    def inner() -> list[int]:
        return start

    return inner


class Thing:
    def __init__(self, content: Any) -> None:
        self.content = content


DIFFERENT: list[tuple[Any, Any]] = [
    (1, True),
    (1, 1.0),
    ("1", 1),
    (0.0, -0.0),
    ([1, 2], [2, 1]),
    ([1], (1,)),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (aliased(), [[1], [1]]),
    (("list", [1]), [1]),
    (Thing([1]), Thing([2])),
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])),
    (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64)),
    (closure([1]), closure([2])),
    (dist.flip(0.5), dist.flip(0.25)),
    (writes, hidden_markov),
]
ALIKE: list[Callable[[], Any]] = [
    lambda: [1, {"a": (2.5, None)}, {3}],
    aliased,
    lambda: Thing([Thing("x")]),
    lambda: iter([1, 2, 3]),
    lambda: torch.tensor([[1.0, 2.0]]),
    lambda: dist.categorical({"a": 1, "b": 2}),
    lambda: [1].append,
    lambda: len,
    lambda: chain,
]


@pytest.mark.parametrize(("a", "b"), DIFFERENT, ids=[str(i) for i in range(len(DIFFERENT))])
def test_different_values_are_told_apart(a: Any, b: Any) -> None:
    look = States()
    assert state(particle(a), look=look) != state(particle(b), look=look)
    assert state(particle(a), look=look) is not None


@pytest.mark.parametrize("make", ALIKE)
def test_equal_values_are_alike(make: Callable[[], Any]) -> None:
    look = States()
    assert state(particle(make()), look=look) == state(particle(make()), look=look) is not None


def test_aliases_between_particles_count() -> None:
    shared: list[int] = []
    assert state(particle(shared), particle(shared)) != state(particle([]), particle([]))


def test_weights_and_places_count_and_the_scale_does_not() -> None:
    heavy, light = particle(1, weight=0.5), particle(2)
    assert state(heavy, light) != state(light, heavy)
    assert state(heavy) != state(particle(1))
    assert state(heavy, scale=1.0) == state(heavy, scale=-7.0)


def test_what_can_not_be_seen_is_like_nothing() -> None:
    view = torch.arange(4.0)
    for value in ((x for x in [1]), view[:2], torch.ones(1, requires_grad=True)):
        assert state(particle(value)) is None
    loop: list[Any] = []
    loop.append(loop)
    assert state(particle(loop)) is not None


def test_dead_particles_are_all_the_same() -> None:
    alive, a, b = particle(1), particle(1), particle([2])
    a.status = b.status = Status.DEAD
    look = States()
    assert state(alive, a, look=look) == state(alive, b, look=look) is not None


# --- exploring ------------------------------------------------------------------------------------------------------


def walk(source: Source, steps: int = 3) -> int:
    """A walk on three places; its boundary tells the place."""
    place = 0
    for step in range(steps):
        place = (place + source.choose([math.log(0.25), math.log(0.75)], step)) % 3
        source.boundary("advance", place)
    return place


def test_the_probability_of_merged_paths_adds_up() -> None:
    masses = dict.fromkeys(range(3), 0.0)
    merged = dict.fromkeys(range(3), 0.0)
    for log_p, place in explore(lambda s: walk(s, 6)):
        masses[place] += math.exp(log_p)
    leaves = list(explore_merged(lambda s: walk(s, 6), lambda operation, place: (place, 0.0)))
    for leaf in leaves:
        merged[leaf.result] += math.exp(leaf.log_probability)
    assert len(leaves) == 3 and merged == pytest.approx(masses, abs=1e-15)


def test_scales_are_carried() -> None:
    """Each path's result is its scale; merged, one stands for all."""

    def computation(source: Source) -> float:
        log_scale = -5.0 * source.choose([0.0, 0.0], 0)
        source.boundary("advance", log_scale)
        return log_scale

    (leaf,) = explore_merged(computation, lambda operation, log_scale: ("same", log_scale))
    assert math.exp(leaf.log_mass + leaf.result) == pytest.approx((1 + math.exp(-5)) / 2)
    assert leaf.log_probability == pytest.approx(0.0)


def test_runs_stop_only_where_they_are_told_apart() -> None:
    leaves = list(explore_merged(lambda s: walk(s, 4), lambda operation, place: None))
    assert len(leaves) == 16
    ExactSource([]).boundary("advance", None)  # without anyone to look, it never stops


def test_conditions_that_kill_merge_what_is_left() -> None:
    @program
    def narrow() -> int:
        x = sample(dist.uniform(range(4)))
        condition(x == 3)
        y = sample(dist.flip(0.5))
        return int(y)

    apart, merged = both(narrow, (), Importance(n=2))
    assert same(apart, merged)
    apart, merged = both(narrow, (), SMC(n=2))
    assert same(apart, merged) and merged.leaves < apart.leaves
