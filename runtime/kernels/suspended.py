"""Moving a population on its way: resample–move."""

from __future__ import annotations

import math

from ..gather import gather
from ..particle import Particle
from ..population import Population, World, run_particles
from ..replay import Stage
from ..scheduler import Task
from ..source import derive
from .base import Kernel, Setting, joint


def move_population(world: World, population: Population, kernel: Kernel, stage: Stage) -> Task[None]:
    """Move each particle that waits, by a kernel that leaves the present target invariant.

    The target is the program's measure on runs that wait after as many stops as these, times their hints. A particle
    keeps the weight by which it is selected, so E[Σ w′ f(x′)] = Σ w (Kf)(x) (Gilks and Berzuini, 2001). That gives γ(f)
    in the mean only if the population has no say in *whether* it is moved. So move at every step, not only after
    resampling; and finished runs stay as they are, and no run is moved to its end, since a population of which all
    have finished is not moved any more.

    Args:
        world: the problem, on a machine that records.
        population: changed in place.
        kernel: which; one step of it.
        stage: runs a new particle as far as those of the population have come.
    """
    setting = Setting(world, stage, waiting)
    key = derive(world.key, "move", len(population.history))
    alive = [(i, p) for i, p in enumerate(population.particles) if p.running and p.log_weight > -math.inf]
    deaths = world.machine.tally.deaths.copy()
    moved = yield from gather([kernel.step(setting, particle, derive(key, i)) for i, particle in alive])
    world.machine.tally.deaths = deaths  # what was only proposed was not lost
    for (i, old), new in zip(alive, moved, strict=True):
        population.particles[i] = _in_place_of(old, new)
    world.machine.source.boundary("move", population)


def stops(count: int) -> Stage:
    """Runs one particle as far as a population has come that has stopped so often at evidence."""

    def stage(world: World, particle: Particle) -> Task[None]:
        for _ in range(count):
            if particle.running:
                yield from run_particles(world, [particle], through=False)

    return stage


def waiting(particle: Particle) -> float:
    """The log-density of runs on their way."""
    return joint(particle) if particle.running else -math.inf


def _in_place_of(old: Particle, new: Particle) -> Particle:
    if new is not old:
        new.log_weight = old.selection_weight - new.log_twist
    return new
