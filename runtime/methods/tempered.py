"""Tempered SMC: all evidence at once, turned up by degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

from ..budget import Stopped
from ..gather import gather
from ..kernels import Block, Kernel, Setting, SingleSite, as_kernel
from ..particle import Particle
from ..population import Population, World, advance, record, resample, show, spawn
from ..replay import recording
from ..resampling import SCHEMES
from ..result import log_sum_exp
from ..scheduler import Task
from ..source import derive
from .base import Method, at_least_one, one_of, rising, whole


@dataclass(frozen=True)
class Tempered(Method):
    """Run whole, then weigh by evidence^β with β rising from 0 to 1; resample and move at each degree.

    Each next β is where the conditional effective sample size has fallen to a given share of n, found by bisection;
    the last is always 1 (Del Moral, Doucet and Jasra, 2006; Zhou, Johansen and Aston, 2016). A move leaves prior ×
    evidence^β invariant, and makes particles differ again that resampling has made alike; without one the degrees
    gain nothing over importance sampling.

    Law: proper. For that the degrees of a run that moves may not depend on its own particles: a β chosen by looking at
    them, and a kernel for that very β, together bias the estimate (Beskos et al., 2016, show that it is consistent).
    So where there is a move and no ``betas`` are given, a pilot population finds them first, at twice the cost.

    Attributes:
        n: the number of particles.
        cess: the share of n to which the conditional effective sample size may fall in one step, in (0, 1).
        resampling: a scheme, as for ``smc``.
        max_steps: at most so many degrees: the last goes to β = 1, however far that is.
        betas: the degrees after 0, rising to 1, instead of finding them.
        move: a kernel, such as ``SingleSite()``; ``MH(kernel=...)`` stands for its kernel.
        moves: how many times it is applied at each degree.
    """

    name = "tempered"
    guarantee = "proper"
    averages = False  # moves put other runs in the place of those that a proposal weighed
    law_variants = (
        {"cess": 0.7, "max_steps": 2},
        {"betas": (0.5, 1.0), "resampling": "multinomial"},
        {"n": 1, "move": SingleSite(), "max_steps": 2},
        {"n": 1, "betas": (0.4, 1.0), "move": SingleSite(), "moves": 2},
        {"n": 2, "betas": (0.4, 1.0), "move": Block()},
    )

    n: int = 32
    cess: float = 0.9
    resampling: str = "systematic"
    max_steps: int = 100
    betas: tuple[float, ...] | None = None
    move: Kernel | Method | None = None
    moves: int = 1

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("resampling", self.resampling, SCHEMES)
        if not isinstance(self.cess, Real) or not 0.0 < self.cess < 1.0:
            raise ValueError(f"cess is a share of n, between 0 and 1; got {self.cess!r}")
        whole("max_steps", self.max_steps, "the most degrees")
        if self.betas is not None and not rising(self.betas, 1):
            raise ValueError(f"betas rise from over 0 to 1.0, such as (0.1, 0.4, 1.0); got {self.betas!r}")
        if self.move is not None:
            as_kernel(self.move)
        whole("moves", self.moves, "how many times to move")

    def run(self, world: World) -> Task[Population]:
        if self.move is None or self.betas is not None:
            return (yield from self._anneal(world if self.move is None else recording(world), self.betas))[0]
        world = recording(world)
        deaths = world.machine.tally.deaths.copy()
        pilot, betas = yield from self._anneal(replace(world, key=derive(world.key, "pilot"), report=None), None, True)
        if pilot.incomplete is not None:
            return pilot
        world.machine.tally.deaths = deaths
        population, _ = yield from self._anneal(world, betas)
        if population.incomplete is not None and len(population.runs()) < len(pilot.runs()):
            pilot.incomplete = population.incomplete
            return pilot
        return population

    def _anneal(
        self, world: World, betas: Sequence[float] | None, pilot: bool = False
    ) -> Task[tuple[Population, tuple[float, ...]]]:
        """One population from β = 0 to 1, by given degrees or by its own; those that were used."""
        population, used = Population([], 0.0), [1.0]
        try:
            population = spawn(world, self.n)
            yield from advance(world, population, through=True)
            for p in _alive(population):
                p.log_weight -= log_evidence(p)  # what is left is prior over proposal
            used = [0.0]
            yield from self._rise(world, population, betas, used, pilot)
        except Stopped as stop:
            if world.control.inner:
                raise
            # What is handed back is weighed by all evidence, as if the last degree were the next.
            population.incomplete = stop.reason
            for p in _alive(population):
                p.log_weight += (1.0 - used[-1]) * log_evidence(p)
        record(population, None)
        return population, tuple(used[1:]) or (1.0,)

    def _rise(
        self, world: World, population: Population, betas: Sequence[float] | None, used: list[float], pilot: bool
    ) -> Task[None]:
        """Go from degree to degree up to 1; they are added to ``used``."""
        while _alive(population):
            if betas is not None:
                higher = betas[len(used) - 1]
            else:
                higher = 1.0 if len(used) == self.max_steps else self._next(used[-1], population)
            for p in _alive(population):
                p.log_weight += (higher - used[-1]) * log_evidence(p)
            used.append(higher)
            if higher == 1.0:
                break
            resample(world, population, self.resampling)
            yield from self._move(world, population, higher)
            if pilot:
                world.control.tick()
            else:
                show(world, population, going=True)

    def _move(self, world: World, population: Population, beta: float) -> Task[None]:
        """Move every particle, its weight untouched."""
        if self.move is None:
            return
        setting = Setting(world, target=Partly(beta))
        kernel = as_kernel(self.move)
        for round_ in range(self.moves):
            old = population.particles
            steps = [kernel.step(setting, p, derive(p.key, "move", round_)) for p in old]
            population.particles = yield from gather(steps)
            for before, after in zip(old, population.particles, strict=True):
                after.log_weight = before.log_weight
        world.machine.source.boundary("move", population)

    def _next(self, beta: float, population: Population) -> float:
        """The next β."""
        alive = _alive(population)
        return next_beta(beta, [p.log_weight for p in alive], [log_evidence(p) for p in alive], self.cess)


@dataclass(frozen=True)
class Partly:
    """The log-density of prior × evidence^β, at a finished run.

    Attributes:
        beta: in [0, 1].
    """

    beta: float

    def __call__(self, particle: Particle) -> float:
        return particle.log_joint - (1.0 - self.beta) * log_evidence(particle)


def next_beta(beta: float, log_weights: Sequence[float], log_evidence: Sequence[float], cess: float) -> float:
    """How far evidence^β may be turned up such that the conditional effective sample size stays at a share.

    That is n (Σ W u)² / Σ W u², with W the normalised weights and u = evidence^(β′ − β); it falls from n as β′ grows.

    Args:
        beta: where it is.
        log_weights: of the particles, at β.
        log_evidence: of each.
        cess: the share of n.

    Returns:
        β′, over ``beta`` and at most 1.
    """
    total = log_sum_exp(log_weights)

    def share(at: float) -> float:
        moved = [w - total + (at - beta) * e for w, e in zip(log_weights, log_evidence, strict=True)]
        squares = [2.0 * m - (w - total) for m, w in zip(moved, log_weights, strict=True)]
        return math.exp(2.0 * log_sum_exp(moved) - log_sum_exp(squares))

    if share(1.0) >= cess:
        return 1.0
    low, high = beta, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= cess else (low, middle)
    return max(low, math.nextafter(beta, 1.0))


def log_evidence(particle: Particle) -> float:
    """The logarithm of all evidence that a run met: its joint density over the prior density of what it drew."""
    choices = particle.trace.choices() if particle.trace else ()
    return particle.log_joint - math.fsum(c.log_prob for c in choices if not c.observed)


def _alive(population: Population) -> list[Particle]:
    return [p for p in population.particles if p.log_weight > -math.inf]
