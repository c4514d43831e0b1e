"""Searches that go on from the best partial runs: step-level beam, diverse trees, and both with a look ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..budget import Stopped
from ..particle import Particle, Status
from ..population import Population, World, advance, fork, record, spawn
from ..result import log_sum_exp
from ..rollouts import Rollouts, check_rollouts, rollouts
from ..scheduler import Task
from ..source import derive
from .base import Method, at_least_one, one_of, whole

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "mean": lambda steps: math.fsum(steps) / len(steps),
    "prod": math.fsum,
}
"""From the log-scores of a run's steps to its rank."""


class Candidate:
    """A partial run that is ranked.

    Attributes:
        particle: the run; its weight is the program's own, from the start.
        place: its index in the population when it was last looked at; of a new copy, that of its parent.
        steps: what each step added to the log-weight, with the hint that held after it.
    """

    __slots__ = ("particle", "place", "steps")

    def __init__(self, particle: Particle, place: int, steps: tuple[float, ...] = ()) -> None:
        self.particle = particle
        self.place = place
        self.steps = steps

    def copies(self, world: World, kind: str, count: int) -> list[Candidate]:
        """Copies of it that go on by themselves."""
        keys = [derive(self.particle.key, kind, len(self.steps), j) for j in range(count)]
        return [Candidate(particle, self.place, self.steps) for particle in fork(world, self.particle, keys)]

    def rank(self, aggregate: str, ahead: float | None = None) -> float:
        """How good it is, as a logarithm.

        Args:
            aggregate: see :class:`Beam`.
            ahead: the log-weight that trials came to some steps on; they count as one more step.
        """
        weight = self.particle.selection_weight if ahead is None else ahead
        if aggregate == "weight" or self.particle.log_weight == -math.inf:
            return weight
        steps = self.steps if ahead is None else (*self.steps, ahead - self.particle.log_weight)
        return AGGREGATES[aggregate](steps) if steps else weight


@dataclass(frozen=True)
class Beam(Method):
    """Keep the best n/m of n partial runs at each step, and go on from each in m ways (Snell et al., 2024).

    Guarantee: none. Runs are ranked by the program's own weight so far, with its hints. A finished run leaves with its
    place, so that at most n come back, each weighing what it ranked by. What is cut off by a budget is no answer.

    Attributes:
        n: the number of partial runs.
        m: how many of them go on from one.
        aggregate: what a run ranks by: ``weight``, its weight so far times the present hint; or its steps' scores
            (a step's evidence times the hint after it): the ``last``, the ``min``, their ``mean`` or ``prod``, in logs.
        rollouts: how many trials look ahead of a partial run: it ranks by their average weight some steps on, which an
            ``aggregate`` of steps takes as one step more. Trials are drawn like any run. ``"greedy"`` is one that
            takes the most probable value at every choice, whatever its temperature: look-ahead search (Snell et al.,
            2024).
        depth: how many steps each trial takes.
    """

    name = "beam"
    guarantee = "heuristic"
    evidence = False
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"m": 2},
        {"m": 2, "aggregate": "last"},
        {"m": 2, "aggregate": "mean"},
        {"m": 3, "aggregate": "prod", "rollouts": "greedy"},
        {"m": 2, "aggregate": "min", "rollouts": 1, "depth": 2},
    )

    n: int = 16
    m: int = 4
    aggregate: str = "weight"
    rollouts: Rollouts = 0
    depth: int = 1

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("aggregate", self.aggregate, ("weight", *AGGREGATES))
        whole("m", self.m, "how many runs go on from one")
        check_rollouts("rollouts", self.rollouts, 0)
        whole("depth", self.depth, "how many steps each trial takes")

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        finished: list[Candidate] = []
        groups = self._groups([Candidate(p, i) for i, p in enumerate(population.particles)])
        try:
            while any(groups):
                yield from self._step(world, population, [c for group in groups for c in group])
                finished += [c for group in groups for c in group if c.particle.status is Status.DONE]
                going = [c for group in groups for c in group if c.particle.running]
                ranks = yield from self._ranks(world, going)
                groups = [self._select(world, group, dict(zip(going, ranks, strict=True))) for group in groups]
                replace_by(population, [*finished, *(c for group in groups for c in group)])
        except Stopped as stop:
            population.incomplete = stop.reason
            ended = [c for group in groups for c in group if c.particle.status is Status.DONE]
            finished += [c for c in ended if c not in finished]
        for candidate in finished:
            candidate.particle.log_weight = candidate.rank(self.aggregate)
        population.begun, population.particles = self.n, [c.particle for c in finished]
        return population

    def _groups(self, candidates: list[Candidate]) -> list[list[Candidate]]:
        """Who competes with whom."""
        return [candidates]

    def _step(self, world: World, population: Population, candidates: list[Candidate]) -> Task[None]:
        """Run all to their next evidence, and note what it was."""
        before = [c.particle.log_weight for c in candidates]
        yield from advance(world, population, among=[c.particle for c in candidates])
        for candidate, old in zip(candidates, before, strict=True):
            particle = candidate.particle
            step = particle.selection_weight - old
            if particle.status is not Status.DONE or step != 0.0:  # the end by itself is no step
                candidate.steps = (*candidate.steps, step)

    def _select(self, world: World, group: list[Candidate], ranks: Mapping[Candidate, float]) -> list[Candidate]:
        """The next generation of a group."""
        running = [c for c in group if c.particle.running]
        places = len(group) - sum([c.particle.status is Status.DONE for c in group])
        if not running:
            return []
        kept = sorted(running, key=lambda c: -ranks[c])[: max(1, places // self.m)]
        children: list[Candidate] = []
        for i, parent in enumerate(kept):
            copies = (places - i + len(kept) - 1) // len(kept)
            children += [parent, *parent.copies(world, "child", copies - 1)]
        return children

    def _ranks(self, world: World, candidates: list[Candidate]) -> Task[list[float]]:
        """How good each is: by itself, or by how trials of its next steps end."""
        if not self.rollouts:
            return [c.rank(self.aggregate) for c in candidates]
        trials = yield from rollouts(world, [c.particle for c in candidates], self.rollouts, self.depth)
        ahead = [
            c.particle.log_weight + log_sum_exp([t.selection_weight for t in row]) - math.log(len(row))
            for c, row in zip(candidates, trials, strict=True)
        ]
        return [c.rank(self.aggregate, weight) for c, weight in zip(candidates, ahead, strict=True)]


def replace_by(population: Population, candidates: Sequence[Candidate]) -> None:
    """Make candidates the population, and note whom each descends from."""
    record(population, tuple(c.place for c in candidates))
    population.particles = [c.particle for c in candidates]
    for place, candidate in enumerate(candidates):
        candidate.place = place


@dataclass(frozen=True)
class DiverseTrees(Beam):
    """Diverse verifier tree search: n/m trees, each keeps the best of its own m children (Beeching et al., 2024).

    Guarantee: none. No tree is given up for another, so that answers stay different; otherwise as ``beam``.
    """

    name = "dvts"
    guarantee = "heuristic"
    evidence = False
    law_variants = ({"m": 2}, {"m": 1, "aggregate": "min"}, {"m": 2, "rollouts": "greedy", "depth": 2})

    def _groups(self, candidates: list[Candidate]) -> list[list[Candidate]]:
        return [candidates[i : i + self.m] for i in range(0, len(candidates), self.m)]
