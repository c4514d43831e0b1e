"""Independent runs of a program: as many as may be begun, some at a time."""

from __future__ import annotations

import math

from .budget import Stopped
from .population import Population, World, advance, begin, record
from .scheduler import Task
from .source import derive


def independent(world: World, n: int, wave: int | None = None) -> Task[Population]:
    """n particles, each run to its end by itself, and each carrying 1/n of the measure.

    Where that is stopped, what has ended by then is the population, marked incomplete.

    Args:
        world: the problem.
        n: how many.
        wave: how many run side by side; a rule that may end it is asked after each wave. By default all do; 8 where
            there is such a rule.
    """
    if wave is None:
        wave = n if world.control.stop is None else 8
    population = world.control.population = Population([], 0.0)
    try:
        for first in range(0, n, wave):
            wanted = min(wave, n - first)
            fitting = world.control.room(wanted) or wanted  # where none fits, the first says so
            begun = [begin(world, derive(world.key, "particle", first + i)) for i in range(fitting)]
            population.particles += begun
            population.log_scale = -math.log(len(population.particles))
            yield from advance(world, population, True, begun, going=first + wanted < n)
            world.control.claim(wanted - fitting)
    except Stopped as stop:
        if world.control.inner:
            raise
        population.incomplete = stop.reason
        population.particles = [p for p in population.particles if not p.running]
        population.log_scale = -math.log(len(population.particles) or 1)
    record(population, None)
    return population
