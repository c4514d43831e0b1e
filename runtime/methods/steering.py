"""SMC steering."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..kernels import Kernel, SingleSite, as_kernel, move_population, stops
from ..particle import Particle
from ..population import Population, World, advance, fork, record, resample, spawn
from ..replay import recording
from ..scheduler import Task
from ..source import derive
from .base import Method, at_least_one, whole


@dataclass(frozen=True)
class Steering(Method):
    """Go on from each particle in several ways, keep at most n of all these, each different from the others, repeat.

    Law: proper. The children of a particle share its weight, and the resampling without replacement gives what it keeps
    unequal weights (Lew, Zhi-Xuan, Grand and Mansinghka, 2023; Fearnhead and Clifford, 2003). It never copies a
    particle without a new draw, so it suits programs whose every step is worth several tries.

    Attributes:
        n: how many particles are kept at each step.
        factor: in how many ways each goes on.
        move: a kernel of ``ppl.kernels``, one step of which moves every particle that was kept, the target so
            far left invariant (resample–move). ``MH(kernel=...)`` stands for its kernel.
    """

    name = "steering"
    guarantee = "proper"
    law_variants = (
        {"n": 1, "factor": 3},
        {"factor": 2},
        {"factor": 2, "move": SingleSite()},
    )

    n: int = 8
    factor: int = 4
    move: Kernel | Method | None = None

    @property
    def memoryless(self) -> bool:  # type: ignore[override]
        return self.move is None  # a move looks at what was recorded

    def __post_init__(self) -> None:
        at_least_one(self.n)
        whole("factor", self.factor, "in how many ways each particle goes on")
        if self.move is not None:
            as_kernel(self.move)

    def run(self, world: World) -> Task[Population]:
        world = world if self.move is None else recording(world)
        population = spawn(world, self.n * self.factor)
        steps = 0
        while True:
            yield from advance(world, population)
            steps += 1
            if not population.running:
                break
            resample(world, population, "optimal", self.n)
            if self.move is not None:
                yield from move_population(world, population, as_kernel(self.move), stops(steps))
            self._expand(world, population)
        record(population, None)
        return population

    def _expand(self, world: World, population: Population) -> None:
        """Replace each running particle by ``factor`` children that share its weight.

        In the record that is one step with the resampling before it.
        """
        key = derive(world.key, "expand", len(population.history))
        ancestors: list[int] = []
        children: list[Particle] = []
        for i, parent in enumerate(population.particles):
            copies = self.factor if parent.running else 1
            forks = fork(world, parent, [derive(key, i, j) for j in range(1, copies)])
            for child in (parent, *forks):
                child.log_weight -= math.log(copies)
            ancestors += [i] * copies
            children += [parent, *forks]
        resampled = population.history[-1]
        assert resampled.ancestors is not None
        population.history[-1] = replace(resampled, ancestors=tuple([resampled.ancestors[i] for i in ancestors]))
        population.particles = children
