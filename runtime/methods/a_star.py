"""A* over partial runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..budget import Stopped
from ..particle import Status
from ..population import Population, World, advance, spawn
from ..scheduler import Task
from .base import Method, at_least_one
from .beam import Candidate, replace_by


@dataclass(frozen=True)
class AStar(Method):
    """Always go on from the best partial run of all, in n ways, until a finished one is the best (Hart et al., 1968).

    Guarantee: none. A run's f = g + h is the program's own log-weight so far, g, plus its present hint, h: a program
    for it says by ``twist(log_v)`` what is still to be expected. Of equals the one that is furthest on comes first.
    Children are drawn, not enumerated. A*-decoding of language models (2025) does this under a budget of tokens:
    ``budget={"tokens": ...}``.

    Attributes:
        n: in how many ways a run goes on.
        answers: how many finished runs to wait for.
        max_expansions: go on from so many runs at most.
    """

    name = "a-star"
    guarantee = "heuristic"
    evidence = False
    law_variants = ({"max_expansions": 4},)

    n: int = 4
    answers: int = 1
    max_expansions: int = 256

    def __post_init__(self) -> None:
        at_least_one(self.n)
        if self.answers < 1 or self.max_expansions < 1:
            raise ValueError(
                f"answers and max_expansions are numbers over 0; got {self.answers!r} and {self.max_expansions!r}"
            )

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, 1)
        frontier = [Candidate(population.particles[0], 0)]
        finished: list[Candidate] = []
        try:
            for _ in range(self.max_expansions + self.answers):
                if not frontier or len(finished) == self.answers:
                    break
                best = max(frontier, key=lambda c: (c.particle.selection_weight, c.particle.asked))
                frontier.remove(best)
                if best.particle.status is Status.DONE:
                    finished.append(best)
                    continue
                children = [best, *best.copies(world, "child", self.n - 1)]
                replace_by(population, [*finished, *frontier, *children])
                yield from advance(world, population, among=[c.particle for c in children])
                for child in children:
                    child.steps = (*child.steps, child.particle.selection_weight)
                frontier += [c for c in children if c.particle.status is not Status.DEAD]
        except Stopped as stop:
            population.incomplete = stop.reason
        # What is finished is an answer, also where something better might still have come.
        done = [c for c in frontier if c.particle.status is Status.DONE]
        done.sort(key=lambda c: -c.particle.log_weight)
        replace_by(population, [*finished, *done[: self.answers - len(finished)]])
        return population
