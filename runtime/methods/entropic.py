"""Entropic annealing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..kernels import Kernel, SingleSite, as_kernel, move_population, stops
from ..population import Population, World, advance, record, resample, spawn
from ..replay import recording
from ..resampling import SCHEMES, normalise
from ..result import effective_sample_size
from ..scheduler import Task
from .base import Method, at_least_one, one_of, share, whole

Schedule = Callable[[float, float, float], float]

SCHEDULES: dict[str, Schedule] = {
    "ess": lambda ess, entropy, progress: max(1.0, (1.0 - progress) / ess),
    "entropy": lambda ess, entropy, progress: max(1.0, 1.0 / max(entropy + (1.0 - entropy) * progress, 1e-3)),
    "base": lambda ess, entropy, progress: max(1.0, 2.0 - progress),
}
"""The temperature, from ESS/n, entropy/log n and the share of steps taken."""


def temperature(schedule: str, log_weights: Sequence[float], progress: float) -> float:
    """The temperature at which the published algorithm resamples.

    Args:
        schedule: a key of ``SCHEDULES``.
        log_weights: of the particles, not all zero weight.
        progress: the share of the steps that have been taken, in [0, 1].

    Returns:
        1 past half of the way or where the ESS is at least n/2, else what the schedule says.
    """
    n = len(log_weights)
    ess = effective_sample_size(log_weights) / n
    if ess >= 0.5 or progress >= 0.5:
        return 1.0
    weights = [w for w in normalise(log_weights) if w > 0.0]
    entropy = -math.fsum(w * math.log(w) for w in weights) / math.log(n)
    return SCHEDULES[schedule](ess, entropy, progress)


@dataclass(frozen=True)
class Entropic(Method):
    """SMC whose early resampling is tempered where few particles hold the weight, so that others live on.

    Ancestors are drawn in proportion to w^(1/τ), and each child carries the residual w^(1−1/τ) that was not used.

    Law: proper. The published algorithm (entropic particle filtering, 2025) drops the residual, which changes its
    target: that form is ``method="published", weighting="entropic"``.

    Attributes:
        n: the number of particles.
        schedule: how τ is chosen: ``ess``, ``entropy`` or ``base``.
        steps: how many steps a run takes, about; only early steps are tempered.
        resampling: a scheme, as for ``smc``.
        ess_threshold: resample when the effective sample size falls under this fraction of n.
        move: a kernel of ``ppl.kernels``, one step of which moves every particle at each of its steps, the target so
            far left invariant (resample–move). ``MH(kernel=...)`` stands for its kernel.
    """

    name = "entropic"
    guarantee = "proper"
    law_variants = (
        {"steps": 6, "ess_threshold": 1.0},
        # Of two particles none is ever tempered: their ESS is at least half of their number.
        {"n": 3, "steps": 4, "ess_threshold": 1.0, "schedule": "entropy", "resampling": "stratified"},
        {"n": 3, "steps": 6, "ess_threshold": 0.9, "schedule": "base", "resampling": "residual"},
        {"steps": 6, "ess_threshold": 1.0, "move": SingleSite()},
    )

    n: int = 32
    schedule: str = "ess"
    steps: int = 40
    resampling: str = "systematic"
    ess_threshold: float = 0.5
    move: Kernel | Method | None = None

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("schedule", self.schedule, SCHEDULES)
        whole("steps", self.steps, "how many steps a run takes, about")
        one_of("resampling", self.resampling, SCHEMES)
        share("ess_threshold", self.ess_threshold)
        if self.move is not None:
            as_kernel(self.move)

    def run(self, world: World) -> Task[Population]:
        world = world if self.move is None else recording(world)
        population = spawn(world, self.n)
        step = 0
        while True:
            yield from advance(world, population)
            if not population.running:
                break
            step += 1
            log_weights = population.selection_weights
            if population.ess < self.ess_threshold * self.n * (1 - 1e-9):
                tau = temperature(self.schedule, log_weights, min(step / self.steps, 1.0))
                resample(world, population, self.resampling, selection=[w / tau for w in log_weights])
            else:
                record(population, None)
            if self.move is not None:
                yield from move_population(world, population, as_kernel(self.move), stops(step))
        record(population, None)
        return population
