"""Conditional SMC, a particle filter in which one run (the reference) is kept; particle Gibbs, the kernel made of it.

The reference is the first particle. It follows its recorded past (``replay.py``), so nothing of it is drawn or scored
again; at each resampling it goes on itself, and may have children besides, which go their own ways. With ancestor
sampling its past is drawn anew at each resampling, among all particles that its future fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from ..follow import KEEP, STOP, Decision, Follow, Step, steps_of
from ..particle import Particle, Status
from ..population import Population, World, advance, fork, inside, record, run_particles, spawn
from ..replay import to_the_end
from ..resampling import multinomial, normalise
from ..result import log_sum_exp
from ..scheduler import Task
from ..source import Key, derive
from .base import Kernel, Setting, joint, refuse_whole_runs


@dataclass(frozen=True, repr=False)
class ParticleGibbs(Kernel):
    """Run conditional SMC around the present run, and pick one of its particles by weight.

    πK = π for every n ≥ 2 (Andrieu, Doucet and Holenstein, 2010); without ancestor sampling it is reversible (Chopin
    and Singh, 2015). Resampling is multinomial: other schemes need other conditional laws.

    Attributes:
        n: the number of particles, the reference included; at least 2.
        ess_threshold: resample when the effective sample size falls under this fraction of n.
        ancestor_sampling: draw the reference's past anew at each resampling (Lindsten, Jordan and Schön, 2014), at the
            cost of scoring its future after every particle. It mixes where early choices would otherwise be stuck.
    """

    n: int = 16
    ess_threshold: float = 0.5
    ancestor_sampling: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.n, Integral) or self.n < 2:
            raise ValueError(f"n is the number of particles, the present run and at least one more; got {self.n!r}")
        if not isinstance(self.ess_threshold, Real) or not 0.0 <= self.ess_threshold <= 1.0:
            raise ValueError(f"ess_threshold is a fraction of n, from 0 to 1; got {self.ess_threshold!r}")

    @property
    def reversible(self) -> bool:
        return not self.ancestor_sampling

    @property
    def whole_runs_only(self) -> bool:
        return True

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        if setting.target is not joint or setting.stage is not to_the_end:
            refuse_whole_runs(self, "another target or runs on their way")
        population = yield from conditional_smc(
            setting.world, run, self.n, key, self.ess_threshold, self.ancestor_sampling
        )
        weights = [p.log_weight for p in population.particles]
        picked = population.particles[setting.world.machine.source.choose(weights, derive(key, "pick"))]
        picked.follow = None
        return picked


def conditional_smc(
    world: World, reference: Particle, n: int, key: Key, ess_threshold: float = 0.5, ancestor_sampling: bool = False
) -> Task[Population]:
    """SMC given that its first particle is a certain run.

    If the reference is drawn from the posterior, then E[f / Ẑ] is E[f 1{Ẑ > 0}] of plain SMC, divided by Z; so
    E[1/Ẑ] = 1/Z wherever SMC can't lose all its particles.

    Args:
        world: the problem, on a machine that records.
        reference: a finished run of positive mass.
        n: the number of particles.
        key: everything random is derived from it.
        ess_threshold, ancestor_sampling: as for :class:`ParticleGibbs`.

    Returns:
        The finished population; its ``log_evidence`` is log Ẑ. The reference comes first.
    """
    world = inside(world, key)
    population = spawn(world, n)
    population.particles[0].follow = Follow(steps_of(reference), _keep)
    log_joint = reference.log_joint if ancestor_sampling else None
    while population.running:
        yield from advance(world, population)
        if not population.running:
            break
        if population.ess < ess_threshold * n * (1 - 1e-9):
            log_joint = yield from _resample(world, population, log_joint)
        else:
            record(population, None)
    record(population, None)
    return population


def _resample(world: World, population: Population, log_joint: float | None) -> Task[float | None]:
    """Multinomial resampling in which the reference goes on; given its final density, from a past drawn anew.

    Returns:
        The reference's final density from there, if it was given.
    """
    parents, n = population.particles, len(population.particles)
    log_weights = population.selection_weights
    key = derive(world.key, "resample", len(population.history))
    first = 0
    if log_joint is not None:
        first, reference, log_joint = yield from _past(world, parents, log_joint, derive(key, "past"))
    else:
        reference = parents[0]
    ancestors = [first, *multinomial(normalise(log_weights), n - 1, world.machine.source, key)]
    record(population, tuple(ancestors))
    population.log_scale += log_sum_exp(log_weights) - math.log(n)
    children = [fork(world, parents[a], [derive(key, "child", i)]) for i, a in enumerate(ancestors[1:])]
    population.particles = [reference, *(child for [child] in children)]
    for child in population.particles:
        child.log_weight = -child.log_twist
    return log_joint


def _past(world: World, parents: list[Particle], log_joint: float, key: Key) -> Task[tuple[int, Particle, float]]:
    """Draw which particle the reference's future goes on from: in proportion to w · γ(past and future) / γ(past)."""
    reference: Follow = parents[0].follow
    future = reference.steps[len(steps_of(parents[0])) :]
    log_weights = [p.log_weight for p in parents]
    log_weights[0] += log_joint - parents[0].log_joint
    joined: list[Particle] = [parents[0]]
    for i, parent in enumerate(parents[1:], 1):
        joined += fork(world, parent, [derive(key, i)])
        joined[i].follow = follow = Follow(future, _fits)
        follow.same = False
    alive = [i for i, parent in enumerate(parents) if i and parent.log_weight > -math.inf]
    deaths = world.machine.tally.deaths.copy()
    yield from run_particles(world, [joined[i] for i in alive if joined[i].running], through=True)
    world.machine.tally.deaths = deaths  # these runs were only tried out
    for i in range(1, len(parents)):
        fits = i in alive and joined[i].status is Status.DONE and not joined[i].follow.stale
        log_weights[i] = log_weights[i] + joined[i].log_joint - parents[i].log_joint if fits else -math.inf
    picked = world.machine.source.choose(log_weights, derive(key, "pick"))
    if picked == 0:
        return 0, parents[0], log_joint
    return picked, _follower(world, parents[picked], steps_of(joined[picked]), key), joined[picked].log_joint


def _follower(world: World, past: Particle, steps: tuple[Step, ...], key: Key) -> Particle:
    """A particle that goes on from ``past`` as was recorded when its future was tried out."""
    [particle] = fork(world, past, [derive(key, "reference")])
    particle.follow = Follow(steps, _keep)
    particle.follow.skip(len(steps_of(past)))
    return particle


def _keep(address: str, follow: Follow) -> Decision:
    return KEEP


def _fits(address: str, follow: Follow) -> Decision:
    """A future does not fit a past with which the program would draw something else."""
    return KEEP if address in follow.known else STOP
