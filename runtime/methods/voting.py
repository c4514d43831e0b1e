"""Independent runs, and what is made of them: best-of-n, self-consistency, weighted majority."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..independent import independent
from ..particle import Status
from ..population import Population, World
from ..scheduler import Task
from .base import Method, at_least_one, whole


@dataclass(frozen=True)
class Voting(Method):
    """Run n particles to the end, some at a time, and weigh them. What the three methods below have in common.

    Attributes:
        n: the number of runs.
        wave: how many run side by side; after each wave a rule ``stop=`` may end it. ``None``: all at once, or 8 where
            there is such a rule.
    """

    name = "voting"
    guarantee = "heuristic"
    evidence = False
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"wave": 1})

    n: int = 16
    wave: int | None = None

    def __post_init__(self) -> None:
        at_least_one(self.n)
        if self.wave is not None:
            whole("wave", self.wave, "how many run side by side, or None for all")

    def run(self, world: World) -> Task[Population]:
        population = yield from independent(self._seen_by_runs(world), self.n, self.wave)
        self._weigh(population)
        return population

    def _seen_by_runs(self, world: World) -> World:
        """The problem as its runs are to see it."""
        return world

    @abstractmethod
    def _weigh(self, population: Population) -> None:
        """Give the finished runs their final weights."""


@dataclass(frozen=True)
class BestOfN(Voting):
    """The run of the highest weight of n, and no other.

    Guarantee: none. With a reward r as evidence, ``factor(log r)``, it is best-of-n by r (Stiennon et al., 2020).
    """

    name = "best-of-n"
    guarantee = "heuristic"
    evidence = False

    def _weigh(self, population: Population) -> None:
        finished = [p for p in population.particles if p.status is Status.DONE]
        if finished:
            best = max(finished, key=lambda p: p.log_weight)
            best.log_weight = 0.0
            population.begun, population.particles = len(population.particles), [best]


@dataclass(frozen=True)
class SelfConsistency(Voting):
    """The vote of n runs that see no evidence: the mode is the majority's answer (Wang et al., 2023).

    Guarantee: none as to the posterior. Its shares estimate the answers' probabilities under the program without its
    evidence, without bias, unless a rule ends it early.
    """

    name = "self-consistency"
    guarantee = "heuristic"
    evidence = False

    @property
    def by_traces(self) -> bool:
        return True

    def _seen_by_runs(self, world: World) -> World:
        return replace(world, machine=replace(world.machine, ignore_evidence=True))

    def _weigh(self, population: Population) -> None:
        """Each counts the same."""


@dataclass(frozen=True)
class WeightedMajority(Voting):
    """The vote of n runs by their weights: the mode is the answer with the largest sum (Li et al., 2023).

    The weights are those of importance sampling, which a rule that ends it early biases; so it is called a search.
    """

    name = "weighted-majority"
    guarantee = "heuristic"
    evidence = False

    def _weigh(self, population: Population) -> None:
        """By the program's own weight."""
