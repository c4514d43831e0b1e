"""Operations on populations of particles. Each keeps a law; methods are compositions of them.

- :func:`spawn`: n particles, each carrying 1/n of the measure.
- :func:`advance`: run every particle to its next evidence, or to its end. finish ∘ advance = finish.
- :func:`resample`: E[Σ w′ f(x′) | population] = Σ w f(x), whatever computed from the population triggered it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..compiler.link import made_in_program
from ..compiler.requests import Block
from .budget import Control
from .fork import copies
from .machine import Entry, Machine, Wait
from .outside import Outside
from .particle import Fixed, Particle, Scope, Status
from .resampling import normalise, offspring
from .result import Generation, Run, effective_sample_size, log_sum_exp, sum_and_size
from .scheduler import Task
from .source import Key, derive

_OFTEN = 1023
"""How many particles, less one, are made between two looks at the clock."""


@dataclass
class Population:
    """Weighted particles: together the measure Σ exp(log_scale + log_weight) δ_particle.

    Attributes:
        particles: the particles, dead ones included.
        log_scale: the common factor: 1/n, times the mean weight at each resampling so far.
        history: its past.
        incomplete: why inference ended before its end; ``None``: it did not.
        bounds: on log Z, where the method knows some.
        chains: how many of the particles are the states of each Markov chain, one chain after the other; ``None``: they
            are not.
        ended: whether inference has: nothing is done with it any more.
        begun: how many particles there were, where a search hands back only some; ``None``: as many as are here.
    """

    particles: list[Particle]
    log_scale: float
    history: list[Generation] = field(default_factory=list)
    incomplete: str | None = None
    bounds: tuple[float, float] | None = None
    chains: tuple[int, ...] | None = None
    ended: bool = False
    begun: int | None = None

    @property
    def running(self) -> bool:
        """Whether any program may still go on."""
        return any(p.running for p in self.particles)

    @property
    def size(self) -> int:
        """How many particles there were, those included that are dead or that were not handed back."""
        return len(self.particles) if self.begun is None else self.begun

    @property
    def log_evidence(self) -> float:
        """The estimate of log Z so far, without twists."""
        return self.log_scale + log_sum_exp([p.log_weight for p in self.particles])

    @property
    def selection_weights(self) -> list[float]:
        """The log-weights by which particles are selected: twists included."""
        return [p.log_weight + p.log_twist for p in self.particles]

    @property
    def ess(self) -> float:
        """Effective sample size of the selection weights."""
        return effective_sample_size(self.selection_weights)

    def runs(self) -> list[Run]:
        """The finished runs of positive weight."""
        return [
            Run(p.value, self.log_scale + p.log_weight, p.trace.choices() if p.trace else (), p.log_joint)
            for p in self.particles
            if p.status is Status.DONE and p.log_weight > -math.inf
        ]


class Runnable(Protocol):
    """A program as the machine sees it (``ppl.Program`` is one)."""

    @property
    def entry(self) -> Block: ...

    @property
    def fixed(self) -> Mapping[str, Fixed] | None: ...


@dataclass
class World:
    """One problem: a program with its arguments, and how its particles are run.

    Attributes:
        program: the program.
        args, kwargs: its arguments.
        machine: the semantics, the source and the proposals.
        key: everything random in this problem is derived from it.
        report: called with the population at each step, for progress displays.
        scope: the activation that the program runs in, where it is called by another; the outermost by default.
        outside: the objects that all its runs share, by ``id``.
    """

    program: Runnable
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    machine: Machine
    key: Key
    report: Callable[[Population], None] | None = None
    scope: Scope | None = None
    outside: Outside | None = None

    @property
    def control(self) -> Control:
        """Budget and early stop."""
        return self.machine.control


@dataclass(frozen=True)
class _Invocation:
    program: Runnable
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def spawn(world: World, n: int) -> Population:
    """n particles at the start of the program."""
    world.control.claim(n)
    population = Population([], -math.log(n))
    for i in range(n):
        if not i & _OFTEN:
            world.control.tick()
        population.particles.append(_start(world, derive(world.key, "particle", i)))
    world.control.population = population
    return population


def inside(world: World, key: Key) -> World:
    """The same problem for a population inside another's run, which uses that one's budget; see ``Control.inside``."""
    return replace(world, key=key, report=None, machine=replace(world.machine, control=world.control.inside()))


def begin(world: World, key: Key) -> Particle:
    """A particle at the start of the program.

    Raises:
        Stopped: the budget has no particle left.
    """
    world.control.claim(1)
    return _start(world, key)


def _start(world: World, key: Key) -> Particle:
    scope = _activation(world)
    program, args, kwargs = world.program, world.args, dict(world.kwargs)
    # Each has arguments of its own to change; and where a run defined the program, all that is that run's.
    if defined_by_run(program, scope.outside):
        program, args, kwargs = copies((program, args, kwargs), scope.outside)
    else:
        args, kwargs = copies((args, kwargs), scope.outside if world.scope else None)
    start = Entry(_Invocation(program, args, kwargs), world.machine.prepare, scope.outside)  # type: ignore[arg-type]
    return Particle(start, (), scope, key)


def defined_by_run(program: Any, outside: Outside | None) -> bool:
    """Whether a program was defined by a run, so that what it captured, and has by default, is that run's."""
    function = getattr(program, "function", None)
    if function is None:
        return False
    return made_in_program(function) or (outside is not None and id(function) not in outside.content)


def _activation(world: World) -> Scope:
    """Where the program runs, with what is fixed in it; methods that fix sites know them by their whole addresses."""
    if world.scope is None:
        if world.outside is None:
            world.outside = Outside(getattr(world.program, "function", world.program.entry))
        return Scope("", world.program.fixed, world.outside)
    prefix = world.scope.prefix
    own = {address.removeprefix(prefix): fixed for address, fixed in (world.program.fixed or {}).items()}
    return Scope(prefix, {**own, **(world.scope.fixed or {})} or None, world.scope.outside)


def advance(
    world: World,
    population: Population,
    through: bool = False,
    among: Sequence[Particle] | None = None,
    going: bool | None = None,
) -> Task[None]:
    """Run every particle to its next evidence, or to its end.

    Args:
        world: the problem.
        population: changed in place.
        through: do not stop at evidence.
        among: run only these of its particles.
        going: whether the method goes on after that; by default where some program does.
    """
    among = population.particles if among is None else among
    yield from run_particles(world, [p for p in among if p.running], through)
    world.machine.source.boundary("advance", population)
    show(world, population, going)


def show(world: World, population: Population, going: bool | None = None) -> None:
    """Let those who watch see a population after a step: progress displays, and a rule that may end it.

    Args:
        world: the problem.
        population: what there is by now.
        going: whether the method goes on from here; by default where some program does.

    Raises:
        Stopped: the rule holds, or the time is over.
    """
    if world.report is not None:
        world.report(population)
    world.control.step(population, going)


def fork(world: World, parent: Particle, keys: Sequence[Key]) -> list[Particle]:
    """Copies of a particle, each with a future of its own.

    Raises:
        Stopped: the budget has not so many particles left.
    """
    world.control.claim(len(keys))
    return [parent.fork(key) for key in keys]


def run_particles(world: World, particles: Sequence[Particle], through: bool) -> Task[None]:
    """Run particles until each is finished, branches, or (unless ``through``) has passed evidence."""
    machine, control = world.machine, world.control
    ready = list(particles)
    timed = control.timed
    waits: list[Wait] = []
    outstanding = 0
    while True:
        for particle in ready:
            if timed:
                control.tick()
            wait = machine.run(particle, through)
            if wait is not None:
                waits.append(wait)
                waits += wait.others
        outstanding += len(waits)
        if not outstanding:
            return
        answered = yield waits
        outstanding -= len(answered)
        waits, ready = [], []
        for wait, completion in answered:
            particle = wait.particle
            particle.status = Status.READY
            more = wait.then(completion)
            if more is not None:
                particle.status = Status.WAITING
                waits.append(more)
                waits += more.others
            elif particle.status is Status.READY or (through and particle.status is Status.SYNC):
                ready.append(particle)


def scout(world: World, particles: Sequence[Particle]) -> Task[None]:
    """Run particles to their next evidence that are only to be looked at: what they use counts, their deaths do not."""
    deaths = world.machine.tally.deaths.copy()
    yield from run_particles(world, particles, through=False)
    world.machine.tally.deaths = deaths


def record(population: Population, ancestors: tuple[int, ...] | None) -> None:
    """Note the population as it is, before ``ancestors`` replace it."""
    particles = population.particles
    site = where(particles)
    weights = population.selection_weights
    log_sum, ess = sum_and_size(weights)
    if any(p.log_twist for p in particles):
        log_sum = log_sum_exp([p.log_weight for p in particles])  # hints are no part of the evidence
    log_evidence = population.log_scale + log_sum
    population.history.append(Generation(len(population.history), site, tuple(weights), ancestors, ess, log_evidence))


def where(particles: Iterable[Particle]) -> str:
    """The name of the site where most particles wait; empty where all have finished."""
    sites = Counter([p.ask.site.name for p in particles if p.running and p.ask is not None])
    return max(sites, key=sites.__getitem__) if sites else ""


def resample(
    world: World,
    population: Population,
    scheme: str,
    n: int | None = None,
    selection: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """Replace the particles by draws from among them.

    Selection goes by weight times twist, or by whatever is asked for; a child then carries weight over selection, so
    that any selection which is positive where the weight is keeps the law.

    Args:
        world: the problem.
        population: changed in place; at least one selection weight must be positive.
        scheme: a key of ``resampling.SCHEMES`` or ``resampling.WEIGHTED``.
        n: the number of children, with weighted schemes the most; as many as there are particles by default.
        selection: log-weights to select by instead.

    Returns:
        The index of each child's parent.
    """
    parents = population.particles
    n = len(parents) if n is None else n
    log_weights = population.selection_weights if selection is None else selection
    key = derive(world.key, "resample", len(population.history))
    ancestors, shares = offspring(scheme, normalise(log_weights), n, world.machine.source, key)
    world.control.claim(len(ancestors) - len(set(ancestors)))
    record(population, tuple(ancestors))
    population.log_scale += log_sum_exp(log_weights) - math.log(n)
    if selection is None:
        carried = [-p.log_twist for p in parents]
    else:
        carried = [p.log_weight - s if s > -math.inf else -math.inf for p, s in zip(parents, selection, strict=True)]
    taken: set[int] = set()
    population.particles = []
    for i, (ancestor, share) in enumerate(zip(ancestors, shares, strict=True)):
        child_key = derive(key, "child", i)
        parent = parents[ancestor]
        if ancestor in taken:
            child = parent.fork(child_key)
        else:  # the first child goes on in its parent's place
            taken.add(ancestor)
            child = parent
            child.key = child_key
        child.log_weight = carried[ancestor] + share + math.log(n)
        population.particles.append(child)
    world.machine.source.boundary("resample", population)
    return tuple(ancestors)
