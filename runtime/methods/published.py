"""Particle filters for reasoning with the weights that were published, so that published figures can be repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..particle import Particle, Status
from ..population import Population, World, advance, record, resample, spawn
from ..resampling import SCHEMES
from ..scheduler import Task
from .base import Method, at_least_one, number, one_of, whole
from .entropic import SCHEDULES, temperature

Weighting = Callable[["Published", Sequence[float], Sequence[float], float], list[float]]
"""Log-weights to resample by, from the last rewards, the products of rewards so far, and the share of steps taken."""


def _softmax(method: Published, last: Sequence[float], products: Sequence[float], progress: float) -> list[float]:
    """softmax(r): the algorithm of Puri et al. (2025) as printed; r less the largest, which may be over all floats."""
    top = max(last)
    return [0.0 if log_r == top else -_exp(top + math.log(-math.expm1(log_r - top))) for log_r in last]


def _logit(method: Published, last: Sequence[float], products: Sequence[float], progress: float) -> list[float]:
    """softmax(logit r / τ): their code."""
    return [_logit_of(r) / method.temperature for r in last]


def _products(method: Published, last: Sequence[float], products: Sequence[float], progress: float) -> list[float]:
    """All rewards of the prefix, counted anew at each step although each resampling has used them already."""
    return list(products)


def _entropic(method: Published, last: Sequence[float], products: Sequence[float], progress: float) -> list[float]:
    """softmax(logit r), tempered on the way (entropic particle filtering, 2025), with no residual weight."""
    log_weights = _logit(method, last, products, progress)
    tau = temperature(method.schedule, log_weights, progress)
    return [w / tau for w in log_weights]


WEIGHTINGS: dict[str, Weighting] = {
    "softmax": _softmax,
    "logit": _logit,
    "products": _products,
    "entropic": _entropic,
}


@dataclass(frozen=True)
class Published(Method):
    """Resample at each step by a published function of the rewards, then forget the weights.

    The reward r of a step is what its evidence multiplied the weight by: a program for this method writes
    ``factor(log r)`` once a step. Guarantee: none; the target is not the program's posterior. ``method="smc"`` has the
    same steps with the weights that are right. At the end a run weighs its last reward, so that the posterior's mode is
    the weighted vote, and the run with the highest weight the choice by last reward (Puri et al., 2025).

    Attributes:
        n: the number of particles.
        weighting: ``softmax`` of r, ``logit`` (softmax of logit r / temperature), ``products`` (of all rewards so far),
            or ``entropic`` (logit, tempered by a schedule).
        temperature: for ``logit`` and ``entropic``.
        schedule: for ``entropic``: ``ess``, ``entropy`` or ``base``.
        steps: for ``entropic``: how many steps a run takes, about.
        resampling: a scheme, as for ``smc``.
    """

    name = "published"
    guarantee = "heuristic"
    evidence = False
    law_variants = (
        {"weighting": "softmax"},
        {"weighting": "products", "resampling": "residual"},
        {"weighting": "logit", "temperature": 0.5},
        *({"n": 3, "weighting": "entropic", "schedule": s, "steps": 6} for s in SCHEDULES),
    )

    n: int = 32
    weighting: str = "softmax"
    temperature: float = 1.0
    schedule: str = "ess"
    steps: int = 40
    resampling: str = "systematic"

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("weighting", self.weighting, WEIGHTINGS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("resampling", self.resampling, SCHEMES)
        whole("steps", self.steps, "how many steps a run takes, about")
        if not number(self.temperature) or not 0.0 < self.temperature < math.inf:
            raise ValueError(f"temperature is a number over 0; got {self.temperature!r}")

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        last, products = [0.0] * self.n, [0.0] * self.n  # logarithms of rewards
        step = 0
        while True:
            running = [p.running for p in population.particles]
            for p in population.particles:
                p.log_weight = 0.0 if p.log_weight > -math.inf else p.log_weight
            yield from advance(world, population)
            for i, p in enumerate(population.particles):
                if running[i] and _rewarded(p):
                    last[i] = p.log_weight
                    products[i] += p.log_weight
                p.log_weight = p.log_weight if p.log_weight == -math.inf else last[i]
            if not population.running:
                break
            step += 1
            weights = WEIGHTINGS[self.weighting](self, last, products, min(step / self.steps, 1.0))
            alive = [
                w if p.log_weight > -math.inf else w - math.inf
                for w, p in zip(weights, population.particles, strict=True)
            ]
            ancestors = resample(world, population, self.resampling, selection=alive)
            last, products = [last[a] for a in ancestors], [products[a] for a in ancestors]
        record(population, None)
        return population


def _rewarded(particle: Particle) -> bool:
    """Whether a step met evidence: a barrier or a hint is no reward, and neither is the end by itself."""
    if particle.status is Status.DONE or particle.log_weight != 0.0:
        return particle.log_weight != 0.0
    return particle.ask is not None and particle.ask.site.kind not in ("barrier", "twist")


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.0 else math.inf


def _logit_of(log_r: float) -> float:
    """logit r of a reward given as log r; rewards of 1 and more count as all but 1."""
    log_r = min(log_r, math.log1p(-1e-6))
    return log_r - math.log(-math.expm1(log_r)) if log_r > -math.inf else -math.inf
