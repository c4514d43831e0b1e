"""Linear-Gaussian state spaces: SMC beside the Kalman filter and the Rauch–Tung–Striebel smoother, which are exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import pytest

from ppl import SMC, goodness_of_fit, infer, observe, program, sample, validate_evidence
from ppl.runtime.population import Population, World, advance, record, spawn
from ppl.runtime.resampling import SCHEMES
from ppl.runtime.scheduler import Task

from .normals import Normal

START_SD, DECAY, STEP_SD, NOISE_SD = 1.5, 0.9, 0.6, 0.8
READINGS = (0.3, -0.2, 0.9, 1.8, 1.1, 2.3)


@program
def walk(readings: Sequence[float]) -> tuple[float, ...]:
    level = sample(Normal(0.0, START_SD))
    observe(Normal(level, NOISE_SD), readings[0])
    path = [level]
    for reading in readings[1:]:
        level = sample(Normal(DECAY * level, STEP_SD))
        observe(Normal(level, NOISE_SD), reading)
        path.append(level)
    return tuple(path)


@dataclass(frozen=True)
class Exact:
    """What the filter and the smoother say: log Z, and mean and variance of every level given all readings."""

    log_evidence: float
    means: tuple[float, ...]
    variances: tuple[float, ...]


def smoother(readings: Sequence[float]) -> Exact:
    """Kalman (1960) forwards, Rauch, Tung and Striebel (1965) backwards."""
    filtered, log_evidence = [], 0.0
    mean, variance = 0.0, START_SD**2
    for t, reading in enumerate(readings):
        if t:
            mean, variance = DECAY * mean, DECAY**2 * variance + STEP_SD**2
        log_evidence += Normal(mean, math.sqrt(variance + NOISE_SD**2)).log_prob(reading)
        gain = variance / (variance + NOISE_SD**2)
        mean, variance = mean + gain * (reading - mean), (1 - gain) * variance
        filtered.append((mean, variance))
    smoothed = [filtered[-1]]
    for mean, variance in reversed(filtered[:-1]):
        ahead = DECAY**2 * variance + STEP_SD**2
        gain = DECAY * variance / ahead
        next_mean, next_variance = smoothed[0]
        smoothed.insert(0, (mean + gain * (next_mean - DECAY * mean), variance + gain**2 * (next_variance - ahead)))
    return Exact(log_evidence, tuple(m for m, _ in smoothed), tuple(v for _, v in smoothed))


EXACT = smoother(READINGS)
LEVELS: dict[str, Any] = {f"level {t}": (lambda path, t=t: path[t], EXACT.means[t]) for t in range(len(READINGS))}


def deviations(n: int) -> dict[str, float]:
    """Over the standard deviations of Ẑ/Z, and of it times each level, by half: measured at n = 2, 8 and 32."""
    at_32 = (0.6, 0.4, 0.4, 0.6, 0.9, 0.9, 1.05)
    return {name: sd * {2: 7.0, 8: 2.2, 32: 1.0}[n] for name, sd in zip(("evidence", *LEVELS), at_32, strict=True)}


@pytest.mark.parametrize("n", [2, 8, 32])
def test_evidence_and_smoothing_means(n: int) -> None:
    """E[Ẑ] = Z and E[Ẑ x_t] = Z E[x_t | all readings], at every number of particles."""
    runs = 400 if n < 32 else 150
    certificate = validate_evidence(
        walk, READINGS, log_evidence=EXACT.log_evidence, means=LEVELS, n=n, runs=runs, ess_threshold=1.0,
        deviation=deviations(n),
    )  # fmt: skip
    assert certificate, str(certificate)
    assert len(certificate.comparisons) == 1 + len(READINGS)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_resampling_scheme(scheme: str) -> None:
    certificate = validate_evidence(
        walk,
        READINGS,
        log_evidence=EXACT.log_evidence,
        means=LEVELS,
        n=8,
        runs=200,
        resampling=scheme,
        ess_threshold=0.7,
        deviation=deviations(8),
    )
    assert certificate, str(certificate)


def test_more_particles_come_closer() -> None:
    def error(n: int) -> float:
        found = [infer(walk, READINGS, n=n, seed=s) for s in range(20)]
        return sum(abs(p.log_evidence - EXACT.log_evidence) for p in found) / len(found)

    assert error(100) < 0.6 * error(10)


def test_the_filter_is_the_smoothers_last_step() -> None:
    """Draws of the last level follow the filter's normal distribution."""
    last = NormalDist(EXACT.means[-1], math.sqrt(EXACT.variances[-1]))
    assert goodness_of_fit(walk, READINGS, cdf=lambda path: last.cdf(path[-1]), n=40, runs=60)
    late = NormalDist(last.mean + 0.5 * last.stdev, last.stdev)
    assert not goodness_of_fit(walk, READINGS, cdf=lambda path: late.cdf(path[-1]), n=40, runs=300, sequential=True)


# --- planted bugs ---


@dataclass(frozen=True)
class Forgets(SMC):
    """The evidence is not accumulated across resamplings."""

    name = "forgets"

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale = -math.log(self.n)
        return population


@dataclass(frozen=True)
class KeepsTheBest(SMC):
    """Resampling takes the heaviest half twice, and calls it fair."""

    name = "keeps the best"

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        while population.running:
            yield from advance(world, population)
            record(population, None)
            total = population.log_evidence
            ranked = sorted(population.particles, key=lambda p: -p.log_weight)[: self.n // 2]
            population.particles = [*ranked, *(p.fork(p.key + 1) for p in ranked)]
            for particle in population.particles:
                particle.log_weight = 0.0
            population.log_scale = total - math.log(self.n)
        return population


@pytest.mark.parametrize("method", [Forgets(n=8, ess_threshold=1.0), KeepsTheBest(n=8)], ids=lambda m: m.name)
def test_planted_bugs_are_caught(method: SMC) -> None:
    certificate = validate_evidence(
        walk,
        READINGS,
        log_evidence=EXACT.log_evidence,
        means=LEVELS,
        deviation=deviations(8),
        method=method,
        runs=400,
        sequential=True,
    )
    assert not certificate and "DOES NOT HOLD" in str(certificate)
