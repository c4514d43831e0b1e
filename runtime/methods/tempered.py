"""Tempered SMC: all evidence at once, turned up by degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..particle import Particle
from ..population import Population, World, advance, record, resample, spawn
from ..resampling import SCHEMES
from ..result import log_sum_exp
from ..scheduler import Task
from .base import Method, at_least_one, one_of


@dataclass(frozen=True)
class Tempered(Method):
    """Run whole, then weigh by evidence^β with β rising from 0 to 1, resampling at each degree.

    Each next β is where the conditional effective sample size has fallen to a given share of n, found by bisection;
    the last is always 1 (Del Moral, Doucet and Jasra, 2006; Zhou, Johansen and Aston, 2016).

    Law: proper.

    Attributes:
        n: the number of particles.
        cess: the share of n to which the conditional effective sample size may fall in one step, in (0, 1).
        resampling: a scheme, as for ``smc``.
        max_steps: at most so many degrees: the last goes to β = 1, however far that is.
    """

    name = "tempered"
    guarantee = "proper"
    law_variants = ({"cess": 0.7, "max_steps": 2},)

    n: int = 32
    cess: float = 0.9
    resampling: str = "systematic"
    max_steps: int = 100

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("resampling", self.resampling, SCHEMES)
        if not 0.0 < self.cess < 1.0:
            raise ValueError(f"cess is a share of n, between 0 and 1; got {self.cess!r}")
        if self.max_steps < 1:
            raise ValueError(f"max_steps is the most degrees, 1 or more; got {self.max_steps!r}")

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        yield from advance(world, population, through=True)
        for p in _alive(population):
            p.log_weight -= log_evidence(p)  # what is left is prior over proposal
        beta = 0.0
        for step in range(self.max_steps):
            if not _alive(population):
                break
            last = step == self.max_steps - 1
            higher = 1.0 if last else self._next(beta, population)
            for p in _alive(population):
                p.log_weight += (higher - beta) * log_evidence(p)
            beta = higher
            if beta == 1.0:
                break
            resample(world, population, self.resampling)
        record(population, None)
        return population

    def _next(self, beta: float, population: Population) -> float:
        """The next β."""
        alive = _alive(population)
        return next_beta(beta, [p.log_weight for p in alive], [log_evidence(p) for p in alive], self.cess)


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
