"""Exact enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...compiler.requests import Site
from ..budget import Stopped
from ..distributions import Distribution
from ..engines.base import Completion, ModelDistribution, Request
from ..errors import ProgramError
from ..looks import Looks
from ..particle import Particle, Status
from ..population import Population, World, fork, record, run_particles, show, spawn
from ..scheduler import Task
from ..source import derive
from .base import Method, whole

Outcomes = Sequence[tuple[Any, float]]
"""With their log-probabilities."""


class TooManyRuns(ProgramError):
    """A program has more runs than were allowed for."""


class NotListable(ProgramError):
    """A choice has infinitely many outcomes, or more than were allowed for.

    Attributes:
        why: what is needed of the site, and is not so, in a few words.
        instead: what to put in the place of its distribution.
    """

    def __init__(self, site: Site, distribution: Distribution, method: Enumerate) -> None:
        """Tell which site it is.

        Args:
            site: where.
            distribution: its own.
            method: what was to list its outcomes.
        """
        outcomes = distribution.support()
        if outcomes is None:
            kind = type(getattr(distribution, "inner", distribution)).__name__
            self.why = f"finitely many outcomes at {site.name!r}, but {kind} can't be listed"
            self.instead, more = "a finite distribution", ""
        else:
            self.why = f"at most {method.max_outcomes:,} outcomes at {site.name!r}, but there are {len(outcomes):,}"
            self.instead, more = "a distribution of fewer outcomes", "raise max_outcomes, or "
        super().__init__(f"method={method.name!r} needs {self.why}; {more}use method='smc' or 'importance'", site.span)


@dataclass(frozen=True)
class Enumerate(Method):
    """Fork at every random choice, once for each outcome, depth first; branches of zero mass are dropped at once.

    So what is held is little more than the finished runs, and where it is stopped some are finished. Branches are taken
    up some at a time, so that models compute them together: one at first, more as runs have ended, at most ``SIDE``.

    Law: exact. The population is the program's measure.

    Attributes:
        max_runs: the most runs to hold at a time, open branches included.
        max_outcomes: the most outcomes of one random choice.
        ignore_evidence: enumerate the program as if it held no evidence.
    """

    name = "enumerate"
    guarantee = "exact"
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"ignore_evidence": True})

    SIDE: ClassVar[int] = 64

    max_runs: int = 100_000
    max_outcomes: int = 10_000
    ignore_evidence: bool = False

    def __post_init__(self) -> None:
        whole("max_runs", self.max_runs, "how many runs to hold at a time")
        whole("max_outcomes", self.max_outcomes, "the most outcomes of a choice")

    @property
    def by_traces(self) -> bool:
        return self.ignore_evidence

    def run(self, world: World) -> Task[Population]:
        world = replace(world, machine=replace(world.machine, branch=True, ignore_evidence=self.ignore_evidence))
        population = spawn(world, 1)
        ready, population.particles = population.particles, []
        try:
            yield from self._explore(world, ready, population)
        except Stopped as stop:
            if world.control.inner:
                raise
            population.incomplete = stop.reason
        record(population, None)
        return population

    def _explore(self, world: World, ready: list[Particle], population: Population) -> Task[None]:
        """Add all runs that some particles lead to to the population, which counts those that have died too."""
        done = population.particles
        stack: list[Particle] = []  # of branches; the next is the last
        looks, ended = Looks(), 0
        while ready:
            yield from run_particles(world, ready, through=True)
            world.control.tick()
            branching = [p for p in ready if p.status is Status.BRANCH]
            done += [p for p in ready if p.status is Status.DONE]
            population.begun = ended = ended + len(ready) - len(branching)
            stack += reversed(branching)
            held = len(done) + len(stack)
            self._check(held, stack)
            if looks.due(len(ready), held):
                show(world, Population([*stack, *done], 0.0), going=bool(stack))
            count = min(len(stack), self.SIDE, max(1, ended))
            parents = [stack.pop() for _ in range(count)]
            found = yield from self._outcomes(world, [(p, choice_at(world, p)) for p in parents])
            ready = [child for p, law in zip(parents, found, strict=True) for child in self._children(world, p, law)]

    def _check(self, held: int, stack: list[Particle]) -> None:
        """Raises:
        TooManyRuns: so many runs are more than ``max_runs``.
        """
        if held <= self.max_runs:
            return
        ask = stack[-1].ask if stack else None
        where = "" if ask is None else f", at the site {ask.site.name!r}"
        raise TooManyRuns(
            f"more than {self.max_runs} runs{where}; raise max_runs, shorten the program, or use method='smc'",
            None if ask is None else ask.site.span,
        )

    def _outcomes(self, world: World, choices: Sequence[tuple[Particle, Any]]) -> Task[list[Outcomes]]:
        """The outcomes of choices at which particles stand; those that a model must compute, in one batch."""
        found: list[Outcomes] = [[] for _ in choices]
        waits = []
        for place, (particle, dist) in enumerate(choices):
            if isinstance(dist, ModelDistribution):
                keep = _keeper(world, found, place)
                waits.append(world.machine._wait(particle, dist, self._law(dist), keep))
                continue
            assert isinstance(dist, Distribution) and particle.ask is not None
            outcomes = dist.support()
            if outcomes is None or len(outcomes) > self.max_outcomes:
                raise NotListable(particle.ask.site, dist, self)
            found[place] = list(outcomes)
        left = len(waits)
        while left:
            answered = yield waits
            waits = []
            for wait, completion in answered:
                more = wait.then(completion)
                if more is None:
                    left -= 1
                else:
                    waits.append(more)
        return found

    def _law(self, dist: ModelDistribution) -> Request:
        """What to ask a model for."""
        return dist.support(self.max_outcomes)

    def _children(self, world: World, parent: Particle, outcomes: Outcomes) -> list[Particle]:
        ask = parent.ask
        assert ask is not None
        outcomes = [(value, log_prob) for value, log_prob in outcomes if log_prob > -math.inf]
        children = fork(world, parent, [derive(parent.key, i) for i in range(1, len(outcomes))])
        children += [parent] if outcomes else []
        for child, (value, log_prob) in zip(children, outcomes, strict=True):
            child.log_weight += log_prob
            child.status = Status.READY
            world.machine.chosen(child, ask, value, log_prob)
        return children


def choice_at(world: World, particle: Particle) -> Any:
    """The distribution of the choice at which a particle branches."""
    ask = particle.ask
    assert ask is not None
    return world.machine.distribution(ask, ask.distribution)  # type: ignore[attr-defined]


def _keeper(world: World, found: list[Outcomes], place: int) -> Callable[[Completion], None]:
    """Notes the outcomes of a choice, and what they cost."""

    def keep(completion: Completion) -> None:
        world.machine.tally.tokens += completion.tokens
        found[place] = completion.value

    return keep
