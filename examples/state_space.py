"""A linear-Gaussian state space: SMC beside the Kalman filter.

A level wanders, and noisy readings of it arrive. Torch and pyro distributions go into `sample` and `observe` as they
are. For this model the Kalman filter is exact, so that it shows how good SMC's estimates are: of the evidence and of
the last level. The filter needs every distribution to be normal; the program does not. In the last line one word is
changed: readings with heavy tails, as pyro's StudentT has them, shrug off an outlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as pyro_dist
import torch
from torch.distributions import Normal

from ppl import Posterior, infer, observe, program, sample

START_SD, STEP_SD, NOISE_SD = 2.0, 0.5, 0.8
READINGS = (0.3, -0.2, 0.9, 1.4, 1.1, 2.3, 1.9, 2.8, 2.6, 3.5)
Noise = Callable[[torch.Tensor], Any]


def normal_noise(level: torch.Tensor) -> Normal:
    return Normal(level, NOISE_SD)


def heavy_noise(level: torch.Tensor) -> pyro_dist.StudentT:
    return pyro_dist.StudentT(3.0, level, NOISE_SD)


@program
def walk(readings: Sequence[float], noise: Noise) -> float:
    level = sample(Normal(0.0, START_SD), name="start")
    for reading in readings:
        level = sample(Normal(level, STEP_SD))
        observe(noise(level), reading)
    return level.item()


def kalman(readings: Sequence[float]) -> tuple[float, float, float]:
    """Mean and standard deviation of the last level given the readings, and the log evidence."""
    mean, variance, log_evidence = 0.0, START_SD**2, 0.0
    for reading in readings:
        variance += STEP_SD**2
        spread = variance + NOISE_SD**2
        log_evidence -= 0.5 * (math.log(2 * math.pi * spread) + (reading - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (reading - mean), (1 - gain) * variance
    return mean, variance**0.5, log_evidence


def run(readings: Sequence[float] = READINGS, noise: Noise = normal_noise, n: int = 150, seed: int = 0) -> Posterior:
    return infer(walk, readings, noise, method="smc", n=n, seed=seed)


def moments(posterior: Posterior) -> tuple[float, float]:
    mean = posterior.expectation()
    return mean, posterior.expectation(lambda x: (x - mean) ** 2) ** 0.5


def main() -> None:
    torch.set_default_dtype(torch.float64)
    mean, sd, log_evidence = kalman(READINGS)
    print(f"{'':32} last level         log evidence")
    print(f"{'Kalman filter (exact)':30} {mean:6.3f} ± {sd:.3f} {log_evidence:16.3f}")
    for n in (15, 150):
        posterior = run(n=n)
        mean, sd = moments(posterior)
        print(f"{f'SMC, {n} particles':30} {mean:6.3f} ± {sd:.3f} {posterior.log_evidence:16.3f}")
    outlier = (*READINGS[:-1], 12.0)
    mean, sd, log_evidence = kalman(outlier)
    print(f"\nNow the last reading is 12, not {READINGS[-1]}:")
    print(f"{'normal noise (Kalman)':30} {mean:6.3f} ± {sd:.3f} {log_evidence:16.3f}")
    posterior = run(outlier, heavy_noise)
    mean, sd = moments(posterior)
    print(f"{'heavy-tailed noise (SMC, 150)':30} {mean:6.3f} ± {sd:.3f} {posterior.log_evidence:16.3f}")


if __name__ == "__main__":
    main()
