"""SMC that looks one step ahead before it resamples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..kernels import Kernel, SingleSite, as_kernel, move_population, stops
from ..population import Population, World, advance, record, resample, spawn
from ..replay import recording
from ..resampling import SCHEMES
from ..result import effective_sample_size, log_sum_exp
from ..rollouts import Rollouts, check_rollouts, rollouts
from ..scheduler import Task
from .base import Method, at_least_one, number, one_of, share


@dataclass(frozen=True)
class LookAhead(Method):
    """Select by weight times how well a trial of the next step fares; divide the trial's verdict out afterwards.

    Law: proper. An auxiliary particle filter (Pitt and Shephard, 1999) whose first-stage weights are estimated by
    pilot runs, drawn or greedy: any positive function of the population and of draws of its own keeps the law. The
    pilots are thrown away. ``defensive`` keeps every particle's first-stage weight positive, and the weights after it
    bounded.

    Attributes:
        n: the number of particles.
        pilots: how many trials of the next step for each particle; their evidence is averaged. ``"greedy"`` is one that
            takes the most probable value at every choice.
        defensive: the share of the first-stage weight that goes by the average of all particles' trials.
        resampling: a scheme, as for ``smc``.
        ess_threshold: resample when the effective sample size of the first-stage weights falls under this share of n.
        move: a kernel of ``ppl.kernels``, one step of which moves every particle after each of its steps, the target so
            far left invariant (resample–move). ``MH(kernel=...)`` stands for its kernel.
    """

    name = "look-ahead"
    guarantee = "proper"
    averages = False  # what a trial found is divided out again, and it may have been little
    law_variants = (
        {"ess_threshold": 1.0},
        {"n": 2, "ess_threshold": 0.9, "pilots": 2, "defensive": 0.3},
        {"ess_threshold": 1.0, "pilots": "greedy"},
        {"ess_threshold": 1.0, "pilots": "greedy", "defensive": 0.5, "resampling": "multinomial"},
        {"ess_threshold": 1.0, "pilots": "greedy", "move": SingleSite()},
    )

    n: int = 16
    pilots: Rollouts = 1
    defensive: float = 0.1
    resampling: str = "systematic"
    ess_threshold: float = 0.5
    move: Kernel | Method | None = None

    @property
    def memoryless(self) -> bool:  # type: ignore[override]
        return self.move is None  # a move looks at what was recorded

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("resampling", self.resampling, SCHEMES)
        share("ess_threshold", self.ess_threshold)
        check_rollouts("pilots", self.pilots, 1)
        if not number(self.defensive) or not 0.0 < self.defensive <= 1.0:
            raise ValueError(
                f"defensive is a share over 0 and up to 1; got {self.defensive!r}: a particle whose trials all fail "
                "could not go on, and the law would break"
            )
        if self.move is not None:
            as_kernel(self.move)

    def run(self, world: World) -> Task[Population]:
        world = world if self.move is None else recording(world)
        population = spawn(world, self.n)
        steps = 0
        while True:
            yield from advance(world, population)
            steps += 1
            if not population.running:
                break
            first_stage = yield from self._first_stage(world, population)
            if 0.0 < effective_sample_size(first_stage) < self.ess_threshold * self.n * (1 - 1e-9):
                resample(world, population, self.resampling, selection=first_stage)
            else:
                record(population, None)
            if self.move is not None:
                yield from move_population(world, population, as_kernel(self.move), stops(steps))
        record(population, None)
        return population

    def _first_stage(self, world: World, population: Population) -> Task[list[float]]:
        """Log-weights times the evidence that trials of the next step found, the hints at its end included."""
        particles = population.particles
        trials = yield from rollouts(world, particles, self.pilots, 1)
        # What is finished meets no more evidence.
        ahead = [log_sum_exp([t.selection_weight for t in row]) - math.log(len(row)) if row else 0.0 for row in trials]
        alive = [a for p, a in zip(particles, ahead, strict=True) if p.log_weight > -math.inf]
        mean = log_sum_exp(alive) - math.log(len(alive))
        if mean == -math.inf:
            return population.selection_weights
        return [p.log_weight + _mixed(a, mean, self.defensive) for p, a in zip(particles, ahead, strict=True)]


def _mixed(log_a: float, log_b: float, share: float) -> float:
    """log((1 − share)·a + share·b)."""
    return log_sum_exp([math.log1p(-share) + log_a if share < 1.0 else -math.inf, math.log(share) + log_b])
