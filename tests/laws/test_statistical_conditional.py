"""Production kernels under the statistical checks: conditional SMC's inverse evidence, and kernels under Geweke."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import pytest

from ppl import ProgramModel, dist, geweke, observe, program, sample
from ppl.conditional_evidence import validate_conditional
from ppl.runtime.follow import KEEP, REDRAW, Decision, Follow
from ppl.runtime.kernels import Kernel, Setting, SingleSite, conditional, propose
from ppl.runtime.particle import Particle
from ppl.runtime.population import Population, World, resample
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Key, derive

from .normals import Normal

READINGS = (0.5, -0.3, 0.8)
STEP, NOISE = 0.7, 1.5


@program
def walk(readings: Any) -> float:
    level = 0.0
    for reading in readings:
        level = sample(Normal(level, STEP))
        observe(Normal(level, NOISE), reading, name="y")
    return level


@program
def chain(readings: Any) -> bool:
    state = False
    for reading in readings:
        state = sample(dist.flip(0.8 if state else 0.3))
        observe(dist.flip(0.7 if state else 0.2), reading)
    return state


def filtered() -> tuple[list[tuple[float, float]], float]:
    """The Kalman filter's means and variances, and log Z."""
    found, mean, variance, log_evidence = [], 0.0, 0.0, 0.0
    for reading in READINGS:
        variance += STEP**2
        log_evidence += Normal(mean, math.sqrt(variance + NOISE**2)).log_prob(reading)
        gain = variance / (variance + NOISE**2)
        mean, variance = mean + gain * (reading - mean), (1 - gain) * variance
        found.append((mean, variance))
    return found, log_evidence


def reference(seed: int) -> dict[str, float]:
    """A path from the posterior: filter forwards, sample backwards (Carter and Kohn, 1994)."""
    rng = random.Random(seed)
    moments, _ = filtered()
    path = [rng.gauss(moments[-1][0], math.sqrt(moments[-1][1]))]
    for mean, variance in reversed(moments[:-1]):
        gain = variance / (variance + STEP**2)
        path.insert(0, rng.gauss(mean + gain * (path[0] - mean), math.sqrt((1 - gain) * variance)))
    return {f"level[{t}]": level for t, level in enumerate(path)}


@pytest.mark.parametrize("ancestor_sampling", [False, True])
def test_conditional_smc_on_a_state_space(ancestor_sampling: bool) -> None:
    _, log_evidence = filtered()
    certificate = validate_conditional(
        walk, READINGS, reference=reference, log_evidence=log_evidence, ancestor_sampling=ancestor_sampling, runs=600
    )
    assert certificate, str(certificate)
    assert not validate_conditional(walk, READINGS, reference=reference, log_evidence=log_evidence + 0.2, runs=600)


def test_conditional_smc_on_a_finite_program() -> None:
    assert validate_conditional(chain, (True, False, True), runs=600)
    with pytest.raises(ValueError, match="both reference= and log_evidence="):
        validate_conditional(walk, READINGS, log_evidence=0.0)


def test_a_reference_that_may_be_lost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: resampling as in plain SMC, in which the reference has no place of its own."""

    def plain(world: World, population: Population, log_joint: float | None) -> Task[float | None]:
        for particle in population.particles:
            particle.follow = None
        resample(world, population, "multinomial")
        return log_joint
        yield

    monkeypatch.setattr(conditional, "_resample", plain)
    _, log_evidence = filtered()
    certificate = validate_conditional(walk, READINGS, reference=reference, log_evidence=log_evidence, runs=2_000)
    assert not certificate


def test_a_reference_from_elsewhere_is_caught() -> None:
    def elsewhere(seed: int) -> dict[str, float]:
        return {name: level + 1.0 for name, level in reference(seed).items()}

    _, log_evidence = filtered()
    assert not validate_conditional(walk, READINGS, reference=elsewhere, log_evidence=log_evidence, runs=600)


# --- Geweke ---


@dataclass(frozen=True)
class AlwaysAccepts(Kernel):
    """A planted bug: single-site proposals from the prior, never rejected."""

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        def policy(at: str, follow: Follow) -> Decision:
            return REDRAW if at == "level[1]" else KEEP

        new, _ = yield from propose(setting, run, policy, derive(key, "there"))
        return new


def test_single_site_under_geweke() -> None:
    model = ProgramModel(walk, READINGS)
    certificate = geweke(model, model.step(SingleSite()), runs=60, steps=6, fresh=9)
    assert certificate and certificate.program == "walk" and "SingleSite" in certificate.method


def test_a_kernel_that_always_accepts_is_caught() -> None:
    model = ProgramModel(walk, READINGS)
    certificate = geweke(model, model.step(AlwaysAccepts()), runs=300, steps=6, fresh=9, sequential=True)
    assert not certificate and certificate.leaves < 300
