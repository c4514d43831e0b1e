"""Markov chains over runs: what Metropolis–Hastings, particle Gibbs and their kin have in common.

A method gives the state of a chain, how it starts and how it steps; here is running many chains side by side, and which
of their states make the posterior.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

from ..budget import Stopped
from ..follow import Step, choices_of
from ..gather import gather
from ..kernels import Setting, Target, joint
from ..looks import Looks
from ..particle import Particle
from ..population import Population, World, inside, show
from ..replay import recording
from ..scheduler import Task
from ..source import Key, derive
from .base import Method
from .smc import SMC


@dataclass(frozen=True)
class Chains(Method):
    """Several Markov chains, each with its own start; the posterior is their states after burn-in, equally weighted.

    Law: stationary. One step leaves the program's measure invariant, πK = π. The states are dependent, and as good as
    the chains are long: look at R̂ and the effective sample size (``ppl.diagnose``).

    Attributes:
        steps: of each chain.
        chains: how many.
        burn_in: how many steps of each to leave out; the first half by default. Of a chain that is stopped early, at
            most half of the steps that it took; its present state is always kept.
        thin: keep every so many-th state.
        tries: with how many particles a first run is looked for, at most, over all chains (see ``first_run``).
    """

    name = "chains"
    guarantee = "stationary"
    evidence = False

    steps: int = 1000
    chains: int = 4
    burn_in: int | None = None
    thin: int = 1
    tries: int = 1024

    def __post_init__(self) -> None:
        for option in ("steps", "chains", "thin", "tries"):
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{option} is a number of 1 or more; got {value!r}")
        if self.burn_in is not None and not (isinstance(self.burn_in, Integral) and 0 <= self.burn_in < self.steps):
            raise ValueError(
                f"burn_in is a number of steps, from 0 to steps - 1 = {self.steps - 1}; got {self.burn_in!r}"
            )

    # --- what each method says ---

    @property
    def claim(self) -> Target:
        """The log-density of what the posterior is said to be: the program's own measure, unless an option asks for
        another. The exact check compares with it, and names it.
        """
        return joint

    @property
    def by_traces(self) -> bool:
        return self.claim is not joint

    @property
    def target(self) -> Target:
        """The log-density that a step leaves invariant."""
        return self.claim

    @property
    def reversible(self) -> bool:
        """Whether a step claims detailed balance."""
        return False

    def start(self, world: World, key: Key) -> Task[Any]:
        """The first state of a chain; ``None`` if no run of positive mass was found."""
        return (yield from first_run(replace(world, key=key), self.most))

    @property
    def most(self) -> int:
        """With how many particles one chain looks for its first run."""
        return max(1, self.tries // self.chains)

    @property
    def remedy(self) -> str:
        return f"a longer search for the first runs (tries={4 * self.tries})"

    @abstractmethod
    def step(self, setting: Setting, state: Any, key: Key) -> Task[Any]:
        """The next state of a chain."""

    def run_of(self, state: Any) -> Particle:
        """The run that a state holds."""
        found: Particle = state
        return found

    # --- what the exact check asks, of chains whose state is more than a run ---

    def lift(self, setting: Setting, run: Particle, key: Key) -> Task[tuple[Any, float] | None]:
        """A state with what it shares with ``run``, and its log-mass; ``None`` if it has none.

        The law that a step leaves invariant gives a state the sum, over the outcomes that lead to it, of their
        probability times this mass. By default the state is the run, and the mass is the target's.
        """
        return run, self.target(run)
        yield  # a task that waits for nothing

    def shared(self, run: Particle) -> Sequence[Step]:
        """The choices of a run that fix what :meth:`lift` does with it."""
        return choices_of(run)

    # --- what they have in common; a run that is written anew has to go by start and step, which the check replaces ---

    def run(self, world: World) -> Task[Population]:
        world = recording(world)
        setting = Setting(world, target=self.target)
        chains = [Chain(derive(world.key, "chain", i)) for i in range(self.chains)]
        deaths = incomplete = None
        try:
            yield from gather(self._begin(world, chain) for chain in chains)
            if all(chain.state is not None for chain in chains):
                deaths = world.machine.tally.deaths.copy()
                looks = Looks()
                yield from gather(self._go(setting, chain, chains, looks) for chain in chains)
            else:
                chains = []
        except Stopped as stop:
            incomplete = stop.reason
        if deaths is not None:
            world.machine.tally.deaths = deaths  # what was only proposed was not lost
        return self._population(chains, incomplete)

    def _begin(self, world: World, chain: Chain) -> Task[None]:
        chain.state = yield from self.start(world, derive(chain.key, "start"))

    def _go(self, setting: Setting, chain: Chain, chains: list[Chain], looks: Looks) -> Task[None]:
        burn_in = self.steps // 2 if self.burn_in is None else self.burn_in
        world = setting.world
        for i in range(self.steps):
            world.control.tick()
            chain.state = yield from self.step(setting, chain.state, derive(chain.key, "step", i))
            if (i - burn_in) % self.thin == 0:
                chain.kept.append((i, self.run_of(chain.state)))
            left_out = burn_in if i + 1 == self.steps else min(burn_in, (i + 1) // 2)
            while chain.kept and chain.kept[0][0] < left_out:
                chain.kept.popleft()
            if looks.due(1, sum(len(other.kept) for other in chains)):
                show(world, self._population(chains, None), going=True)
            yield []  # the other chains' turn: they stay about as long as each other

    def _population(self, chains: list[Chain], incomplete: str | None) -> Population:
        """The states that chains have kept; the present one where that is none."""
        states: list[list[Particle]] = [[run for _, run in chain.kept] for chain in chains]
        for chain, kept in zip(chains, states, strict=True):
            if not kept and chain.state is not None:
                kept.append(self.run_of(chain.state))
        particles = [particle for kept in states for particle in kept]
        for particle in particles:
            particle.log_weight = 0.0
        log_scale = -math.log(len(particles) or 1)
        return Population(particles, log_scale, incomplete=incomplete, chains=tuple(map(len, states)))


@dataclass
class Chain:
    """A chain under way.

    Attributes:
        key: what its draws are derived from.
        state: the present one; ``None`` while there is none.
        kept: the runs of the states that would be kept if it ended now, with the numbers of their steps.
    """

    key: Key
    state: Any = None
    kept: deque[tuple[int, Particle]] = field(default_factory=deque)


def first_run(world: World, most: int) -> Task[Particle | None]:
    """A run of positive mass to start a chain from: SMC with 1, 2, 4, … particles, until one survives.

    Args:
        world: the problem, on a machine that records.
        most: the most particles at a time.

    Returns:
        The run; ``None`` if there was none.
    """
    for n in _doubling(most):
        key = derive(world.key, "start", n)
        population = yield from SMC(n=n).run(inside(world, key))
        found = collapse(world, population, key)
        if found is not None:
            return found
    return None


def collapse(world: World, population: Population, key: Key) -> Particle | None:
    """One finished run, picked in proportion to its weight; ``None`` if there is none."""
    weights = [p.log_weight for p in population.particles]
    if max(weights, default=-math.inf) == -math.inf:
        return None
    return population.particles[world.machine.source.choose(weights, derive(key, "collapse"))]


def _doubling(most: int) -> Iterator[int]:
    n = 1
    while n <= most:
        yield n
        n *= 2
