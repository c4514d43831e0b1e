"""Best-first enumeration, with bounds on the evidence at any time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..budget import Stopped
from ..engines.base import ModelDistribution, Request
from ..engines.beginnings import Beginnings
from ..looks import Looks
from ..particle import Particle, Status
from ..population import Population, World, fork, record, run_particles, show, spawn
from ..result import log_sum_exp
from ..scheduler import Task
from ..source import derive
from .base import number, whole
from .enumerate import Enumerate, Outcomes, choice_at

_MUCH = 16.0
"""How many times the mass of a branch another may have, and both are taken up together."""


@dataclass(frozen=True)
class BestFirst(Enumerate):
    """Enumerate the branches of the most mass first, until the bounds on Z have closed or enough have been opened.

    A text is opened token by token: its beginnings are branches of their own. So texts need not be few, and the most
    probable come first.

    Law: exact where it comes to its end. Where it does not, the runs that it has finished are a part of the measure,
    the posterior is marked incomplete, and says between which bounds Z lies: the mass of what is finished, and that
    plus the mass of all open branches. The upper one takes evidence to be at most ``exp(log_ahead)`` from any point on;
    where more is seen, it is infinite. A hint, ``twist``, says which branches are worth more than their mass. Runs come
    in the order of their mass.

    Attributes:
        max_open: open so many branches at most.
        gap: stop when the bounds on log Z are this close.
        log_ahead: an upper bound on the logarithm of all evidence that a run may still meet: 0 where no evidence
            exceeds 1.
        batch: take up as many as this at a time, if their mass is near that of the best, so that models compute them
            together.
    """

    FEW: ClassVar[int] = 32
    """Outcomes of a text's token that are all taken up at once, so that evidence and hints after them are seen."""

    name = "best-first"
    guarantee = "exact"
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"batch": 1}, {"ignore_evidence": True})

    max_open: int = 10_000
    gap: float = 0.0
    log_ahead: float = 0.0
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("max_open", self.max_open, "how many branches to open")
        whole("batch", self.batch, "how many branches to open at a time")
        if not number(self.gap) or not self.gap >= 0.0:
            raise ValueError(f"gap is a distance of log Z, 0 or more; got {self.gap!r}")
        if not number(self.log_ahead):
            raise ValueError(f"log_ahead is a number, the most evidence still to come; got {self.log_ahead!r}")

    def run(self, world: World) -> Task[Population]:
        world = replace(world, machine=replace(world.machine, branch=True, ignore_evidence=self.ignore_evidence))
        population = spawn(world, 1)
        search = Search(self.log_ahead)
        search.start(population.particles)
        stopped = None
        try:
            yield from self._search(world, search)
        except Stopped as stop:
            if world.control.inner:
                raise
            stopped = stop.reason
            search.settle(world)
        population.particles = sorted(search.finished, key=lambda p: -p.log_weight)
        population.begun = len(search.finished) + search.dead
        population.bounds = low, high = search.bounds()
        if stopped is not None or search.frontier:
            count = f"{search.opened} branch{'es were' if search.opened != 1 else ' was'} opened"
            reason = count if stopped is None else stopped
            population.incomplete = f"{reason}, and log Z is between {low:.6g} and {high:.6g}"
        record(population, None)
        return population

    def _search(self, world: World, search: Search) -> Task[None]:
        """Go on until nothing is open, or enough was opened."""
        looks = Looks()
        while True:
            new = len(search.ready)
            yield from run_particles(world, [particle for particle, _ in search.ready], through=True)
            search.settle(world)
            world.control.tick()
            held = len(search.finished) + len(search.frontier)
            if not search.frontier or search.opened >= self.max_open or held > self.max_runs:
                return
            if self.gap > 0.0:
                low, high = search.bounds()
                if high - low <= self.gap:
                    return
            if looks.due(new + 1, held):
                show(world, search.population(), going=True)
            yield from self._next(world, search)

    def _next(self, world: World, search: Search) -> Task[None]:
        """Take up the best branches: open them, or let particles go on with values that were found there."""
        search.pending = search.best(self.batch)
        opening: list[Branch] = []
        for branch in search.pending:
            if branch.left is None and search.opened < self.max_open:
                opening.append(branch)
                search.opened += 1
                continue
            if branch.left:
                self._take(world, branch, search)
            search.push(branch)
        found = yield from self._outcomes(world, [(b.particle, b.distribution) for b in opening])
        for branch, outcomes in zip(opening, found, strict=True):
            if branch.by_pieces:
                branch.open(outcomes)
                while branch.left and len(outcomes) <= self.FEW:
                    self._take(world, branch, search)
                search.push(branch)
            else:
                children = self._children(world, branch.particle, outcomes)
                branch.left = Beginnings.of(())
                search.start(children)
        search.pending = []

    def _take(self, world: World, branch: Branch, search: Search) -> None:
        """Take up the most probable of a branch's beginnings: a value to go on with, or a branch of its own."""
        assert branch.left
        beginning, log_prob = branch.left[-1]
        total = branch.log_prob + log_prob
        value, rest = branch.distribution.begun(beginning)
        if rest is not None:
            branch.left.pop()
            search.push(Branch(branch.particle, rest, branch.log_weight, total))
            return
        particle = branch.particle
        assert particle.ask is not None
        [child] = fork(world, particle, [derive(particle.key, search.opened, len(branch.left))])
        branch.left.pop()
        child.log_weight = branch.log_weight + total
        child.status = Status.READY
        world.machine.chosen(child, particle.ask, value, total)
        search.start([child])

    def _law(self, dist: ModelDistribution) -> Request:
        return dist.beginnings() or super()._law(dist)


class Branch:
    """What is open at a random choice: all of its values, those that begin in some way, or what is left of them.

    Attributes:
        particle: the run that stands at the choice.
        distribution: over the values.
        log_weight: of the run, before the choice.
        log_prob: of the beginning of the values.
        left: once it was opened, the beginnings that were not taken up, the most probable last.
    """

    __slots__ = ("_mass", "distribution", "left", "log_prob", "log_weight", "particle")

    def __init__(self, particle: Particle, distribution: Any, log_weight: float, log_prob: float = 0.0) -> None:
        self.particle = particle
        self.distribution = distribution
        self.log_weight = log_weight
        self.log_prob = log_prob
        self.left: Beginnings | None = None
        self._mass = 0, 0.0  # of how many that are left

    @property
    def by_pieces(self) -> bool:
        """Whether it is opened piece by piece."""
        return isinstance(self.distribution, ModelDistribution) and self.distribution.beginnings() is not None

    def open(self, outcomes: Outcomes) -> None:
        """Take the beginnings."""
        self.left = Beginnings.of(outcomes).ascending()

    @property
    def log_mass(self) -> float:
        """The mass of what is open."""
        if self.left is None:
            return self.log_weight + self.log_prob
        if self._mass[0] != len(self.left):
            self._mass = len(self.left), self.left.mass
        tail = self._mass[1]
        return self.log_weight + self.log_prob + math.log(tail) if tail else -math.inf

    @property
    def priority(self) -> float:
        """The mass of what is taken up next, with the hint."""
        ahead = self.left[-1][1] if self.left else 0.0
        return self.log_weight + self.particle.log_twist + self.log_prob + ahead


class Search:
    """What is finished and what is open.

    Attributes:
        finished: runs of positive mass.
        frontier: a heap of branches, the best first.
        pending: branches that were taken out of it and are being opened.
        ready: particles on their way to their end or to their next choice, each with its log-weight at the last one.
        opened: how many branches were opened.
        dead: how many runs came to nothing.
    """

    def __init__(self, log_ahead: float) -> None:
        self.finished: list[Particle] = []
        self.frontier: list[tuple[float, int, Branch]] = []
        self.pending: list[Branch] = []
        self.ready: list[tuple[Particle, float]] = []
        self.opened = self.dead = 0
        self._log_ahead, self._ahead = log_ahead, log_ahead
        self._order = itertools.count()

    def start(self, particles: Iterable[Particle]) -> None:
        """Take in particles that are to go on."""
        self.ready += [(particle, particle.log_weight) for particle in particles]

    def settle(self, world: World) -> None:
        """Sort in those that have gone on as far as they could."""
        going = []
        for particle, before in self.ready:
            if particle.log_weight - before > self._log_ahead + 1e-12:
                self._ahead = math.inf
            if particle.status is Status.DONE:
                self.finished.append(particle)
            elif particle.status is Status.BRANCH:
                self.push(Branch(particle, choice_at(world, particle), particle.log_weight))
            elif particle.running:  # it was stopped on its way
                going.append((particle, particle.log_weight))
            else:
                self.dead += 1
        self.ready = going

    def push(self, branch: Branch) -> None:
        """Take in a branch, if anything of it is open."""
        if branch.left is None or branch.left:
            heapq.heappush(self.frontier, (-branch.priority, next(self._order), branch))

    def best(self, most: int) -> list[Branch]:
        """The best branches, which leave: at most so many, and none that has little mass beside the first."""
        least = -self.frontier[0][0] - math.log(_MUCH)
        found: list[Branch] = []
        while self.frontier and len(found) < most and -self.frontier[0][0] >= least:
            found.append(heapq.heappop(self.frontier)[2])
        return found

    def bounds(self) -> tuple[float, float]:
        """Between which numbers log Z lies: what is finished, and that with all that may still come."""
        low = log_sum_exp([p.log_weight for p in self.finished])
        open_ = [branch.log_mass for branch in self._branches()] + [p.log_weight for p, _ in self.ready]
        rest = log_sum_exp(open_)
        if rest == -math.inf or self._ahead == math.inf:
            return low, low if rest == -math.inf else math.inf
        return low, log_sum_exp([low, self._ahead + rest])

    def population(self) -> Population:
        """The finished runs, and those that stand at a choice with what is open of their mass."""
        masses: dict[Particle, list[float]] = defaultdict(list)
        for branch in self._branches():
            masses[branch.particle].append(branch.log_mass)
        for particle, open_ in masses.items():
            particle.log_weight = log_sum_exp(open_)
        return Population([*masses, *self.finished], 0.0, bounds=self.bounds())

    def _branches(self) -> Iterable[Branch]:
        """All that are open, each once."""
        branches = [branch for _, _, branch in self.frontier]
        return {id(branch): branch for branch in (*branches, *self.pending)}.values()
