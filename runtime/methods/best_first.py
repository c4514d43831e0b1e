"""Best-first enumeration, with bounds on the evidence at any time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..particle import Particle, Status
from ..population import Population, World, record, run_particles, spawn
from ..result import log_sum_exp
from ..scheduler import Task
from .enumerate import Enumerate, TooManyRuns


@dataclass(frozen=True)
class BestFirst(Enumerate):
    """Enumerate the branches of the most mass first, until the bounds on Z have closed or enough have been opened.

    Law: exact where it comes to its end. Where it does not, the runs that it has finished are a part of the measure,
    the posterior is marked incomplete, and says between which bounds Z lies: the mass of what is finished, and that
    plus the mass of all open branches. The upper one takes evidence to be at most ``exp(log_ahead)`` from any point on;
    where more is seen, it is infinite. A hint, ``twist``, says which branches are worth more than their mass.

    Attributes:
        max_open: open so many branches at most.
        gap: stop when the bounds on log Z are this close.
        log_ahead: an upper bound on the logarithm of all evidence that a run may still meet: 0 where no evidence
            exceeds 1.
        batch: open so many branches at a time, so that models compute them together.
    """

    name = "best-first"
    guarantee = "exact"
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"batch": 1}, {"ignore_evidence": True})

    max_open: int = 10_000
    gap: float = 0.0
    log_ahead: float = 0.0
    batch: int = 16

    def __post_init__(self) -> None:
        if self.max_open < 1 or self.batch < 1 or not self.gap >= 0.0:
            raise ValueError(
                f"max_open and batch are 1 or more and gap is 0 or more; got max_open={self.max_open!r}, "
                f"batch={self.batch!r}, gap={self.gap!r}"
            )

    def run(self, world: World) -> Task[Population]:
        world = replace(world, machine=replace(world.machine, branch=True, ignore_evidence=self.ignore_evidence))
        population = spawn(world, 1)
        frontier: list[tuple[float, int, Particle]] = []
        order = itertools.count()
        children, opened, ahead = list(population.particles), 0, self.log_ahead
        finished: list[Particle] = []
        while True:
            before = [p.log_weight for p in children]
            yield from run_particles(world, children, through=True)
            for particle, mass in zip(children, before, strict=True):
                if particle.log_weight - mass > self.log_ahead + 1e-12:
                    ahead = math.inf
                if particle.status is Status.DONE:
                    finished.append(particle)
                elif particle.status is Status.BRANCH:
                    heapq.heappush(frontier, (-particle.selection_weight, next(order), particle))
            population.particles = [*finished, *(particle for _, _, particle in frontier)]
            if len(population.particles) > self.max_runs:
                raise TooManyRuns(f"more than {self.max_runs} runs and branches; raise max_runs or lower max_open")
            low, high = bounds(finished, [p for _, _, p in frontier], ahead)
            population.bounds = low, high
            world.control.tick()
            if not frontier or high - low <= self.gap or opened >= self.max_open:
                break
            count = min(self.batch, self.max_open - opened, len(frontier))
            parents = [heapq.heappop(frontier)[2] for _ in range(count)]
            outcomes = yield from self._outcomes(world, parents)
            children = [child for p in parents for child in self._children(world, p, outcomes[id(p)])]
            opened += count
        record(population, None)
        if frontier:
            population.incomplete = f"{opened} branches were opened, and log Z is between {low:.6g} and {high:.6g}"
        return population


def bounds(finished: list[Particle], opened: list[Particle], log_ahead: float) -> tuple[float, float]:
    """Between which numbers log Z lies: what is finished, and that with all that may still come."""
    low = log_sum_exp([p.log_weight for p in finished])
    rest = log_sum_exp([p.log_weight for p in opened])
    if rest == -math.inf or log_ahead == math.inf:
        return low, low if rest == -math.inf else math.inf
    return low, log_sum_exp([low, log_ahead + rest])
