"""Evidence and effective sample size beside other packages: a linear-Gaussian and a stochastic-volatility model.

    python benchmarks/evidence.py [--n 100] [--runs 100] [--no-write]

The same models, the same number of particles, the same settings (bootstrap proposals, systematic resampling under half
the effective sample size) in this package, in ``particles`` (Chopin and Papaspiliopoulos, 2020) and in Pyro. Pyro's
``SMCFilter`` keeps no evidence; here a subclass adds up what it normalises away.

Needs ``pip install 'ppl-lm[bench]'``. Prints a table and writes it into ``benchmarks/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy as np
import pyro
import pyro.distributions as pyro_dist
import torch
from pyro.infer import Importance, SMCFilter
from results import machine, table, write_section

from ppl import Posterior, infer, observe, program, sample
from ppl.runtime.distributions import Distribution
from ppl.runtime.source import Key, Source

STEPS = 25
START_SD, DECAY, STEP_SD, NOISE_SD = 1.5, 0.9, 0.6, 0.8
LEVEL, PERSISTENCE, SHAKE = -1.0, 0.95, 0.4
VOLATILITY_SD = SHAKE / math.sqrt(1.0 - PERSISTENCE**2)

Estimate = tuple[float, float]
"""log Ẑ and the effective sample size of the last weights."""


class Normal(Distribution):
    """The normal distribution in plain Python, by inversion."""

    def __init__(self, mean: float, sd: float) -> None:
        self.mean, self.sd = mean, sd

    def draw(self, source: Source, key: Key) -> tuple[float, float]:
        value = self.mean + self.sd * NormalDist().inv_cdf(max(source.offset(key, lambda: ()), 1e-300))
        return value, self.log_prob(value)

    def log_prob(self, value: float) -> float:
        return -0.5 * ((value - self.mean) / self.sd) ** 2 - math.log(self.sd) - 0.5 * math.log(2.0 * math.pi)


@program
def linear(readings: Sequence[float]) -> float:
    x = sample(Normal(0.0, START_SD), name="start")
    observe(Normal(x, NOISE_SD), readings[0])
    for reading in readings[1:]:
        x = sample(Normal(DECAY * x, STEP_SD))
        observe(Normal(x, NOISE_SD), reading)
    return x


@program
def volatility(readings: Sequence[float]) -> float:
    x = sample(Normal(LEVEL, VOLATILITY_SD), name="start")
    observe(Normal(0.0, math.exp(x / 2.0)), readings[0])
    for reading in readings[1:]:
        x = sample(Normal(LEVEL + PERSISTENCE * (x - LEVEL), SHAKE))
        observe(Normal(0.0, math.exp(x / 2.0)), reading)
    return x


@dataclass(frozen=True)
class Model:
    """A state space, as each package wants it.

    Attributes:
        title: its name.
        program: here.
        start, step, noise: from the state (or nothing) to mean and standard deviation, for numbers, arrays or tensors.
        exp: whether ``noise`` takes exponentials.
    """

    title: str
    program: Any
    start: tuple[float, float]
    step: Callable[[Any], tuple[Any, float]]
    noise: Callable[[Any, Any], tuple[Any, Any]]


MODELS = (
    Model("Linear-Gaussian", linear, (0.0, START_SD), lambda x: (DECAY * x, STEP_SD), lambda x, m: (x, NOISE_SD)),
    Model(
        "Stochastic volatility",
        volatility,
        (LEVEL, VOLATILITY_SD),
        lambda x: (LEVEL + PERSISTENCE * (x - LEVEL), SHAKE),
        lambda x, m: (0.0, m.exp(x / 2.0)),
    ),
)


def readings_of(model: Model) -> list[float]:
    """Data drawn from the model itself."""
    rng = np.random.default_rng(3)
    found = []
    x = rng.normal(*model.start)
    for t in range(STEPS):
        x = rng.normal(*model.step(x)) if t else x
        found.append(float(rng.normal(*model.noise(x, np))))
    return found


def kalman(readings: Sequence[float]) -> float:
    """The exact log-evidence of the linear-Gaussian model (Kalman, 1960)."""
    mean, variance, log_evidence = 0.0, START_SD**2, 0.0
    for t, reading in enumerate(readings):
        if t:
            mean, variance = DECAY * mean, DECAY**2 * variance + STEP_SD**2
        log_evidence += Normal(mean, math.sqrt(variance + NOISE_SD**2)).log_prob(reading)
        gain = variance / (variance + NOISE_SD**2)
        mean, variance = mean + gain * (reading - mean), (1.0 - gain) * variance
    return log_evidence


# --- the packages ---


def ours(model: Model, readings: Sequence[float], n: int, seed: int, method: str) -> Estimate:
    """This package."""
    found: Posterior = infer(model.program, readings, method=method, n=n, seed=seed)
    return found.log_evidence, found.ess


def in_particles(model: Model, readings: Sequence[float], n: int, seed: int, ess: float) -> Estimate:
    """The package ``particles``."""
    import particles
    from particles import distributions, state_space_models

    class Space(state_space_models.StateSpaceModel):
        def PX0(self) -> Any:
            return distributions.Normal(*model.start)

        def PX(self, t: int, xp: Any) -> Any:
            return distributions.Normal(*model.step(xp))

        def PY(self, t: int, xp: Any, x: Any) -> Any:
            return distributions.Normal(*model.noise(x, np))

    np.random.seed(seed)
    run = particles.SMC(fk=state_space_models.Bootstrap(ssm=Space(), data=list(readings)), N=n, ESSrmin=ess)
    run.run()
    return float(run.logLt), float(run.wgts.ESS)


class Counting(SMCFilter):
    """Pyro's filter, which normalises its weights at each step, with what it divides by added up."""

    log_evidence = 0.0

    def _update_weights(self, model_trace: Any, guide_trace: Any) -> None:
        before = self.state._log_weights.log_softmax(-1)
        super()._update_weights(model_trace, guide_trace)
        gained = sum(site["log_prob"] for site in model_trace.nodes.values() if site["type"] == "sample")
        lost = sum(site["log_prob"] for site in guide_trace.nodes.values() if site["type"] == "sample")
        self.log_evidence += float((before + gained - lost).logsumexp(-1))


class Stepwise:
    """A model as Pyro's filter wants it, or with ``readings`` left out its bootstrap guide."""

    def __init__(self, model: Model, observed: bool) -> None:
        self.model, self.observed = model, observed

    def init(self, state: Any, reading: float) -> None:
        self._one(state, reading, self.model.start)

    def step(self, state: Any, reading: float) -> None:
        self._one(state, reading, self.model.step(state["x"]))

    def _one(self, state: Any, reading: float, law: tuple[Any, Any]) -> None:
        self.t = getattr(self, "t", -1) + 1
        x = pyro.sample(f"x{self.t}", pyro_dist.Normal(*law))
        if self.observed:
            state["x"] = x
            pyro.sample(f"y{self.t}", pyro_dist.Normal(*self.model.noise(x, torch)), obs=torch.tensor(reading))


def in_pyro_filter(model: Model, readings: Sequence[float], n: int, seed: int) -> Estimate:
    """Pyro's particle filter."""
    pyro.set_rng_seed(seed)
    run = Counting(Stepwise(model, True), Stepwise(model, False), n, 0, ess_threshold=0.5)
    run.init(readings[0])
    for reading in readings[1:]:
        run.step(reading)
    weights = run.state._log_weights.log_softmax(-1).exp()
    return run.log_evidence, float(1.0 / weights.dot(weights))


def in_pyro_importance(model: Model, readings: Sequence[float], n: int, seed: int) -> Estimate:
    """Pyro's importance sampling."""

    def whole() -> None:
        state: dict[str, Any] = {}
        steps = Stepwise(model, True)
        steps.init(state, readings[0])
        for reading in readings[1:]:
            steps.step(state, reading)

    pyro.set_rng_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it has no guide
        run = Importance(whole, num_samples=n).run()
    return float(run.get_log_normalizer()), float(run.get_ESS())


Estimator = Callable[[Model, Sequence[float], int, int], Estimate]

ESTIMATORS: dict[str, tuple[Estimator, float]] = {
    "SMC, ppl": (lambda m, y, n, seed: ours(m, y, n, seed, "smc"), 1.0),
    "SMC, particles": (lambda m, y, n, seed: in_particles(m, y, n, seed, 0.5), 1.0),
    "SMC, Pyro": (in_pyro_filter, 0.5),
    "importance, ppl": (lambda m, y, n, seed: ours(m, y, n, seed, "importance"), 1.0),
    "importance, particles": (lambda m, y, n, seed: in_particles(m, y, n, seed, 0.0), 1.0),
    "importance, Pyro": (in_pyro_importance, 0.1),
}
"""Each with the share of the runs that it is given: some are slow."""


def rows_of(model: Model, n: int, runs: int) -> tuple[float, list[tuple[str, ...]]]:
    """log Z, and a row for each estimator."""
    readings = readings_of(model)
    if model.title == "Linear-Gaussian":
        truth = kalman(readings)
    else:
        logs = [in_particles(model, readings, 50_000, 10_000 + seed, 0.5)[0] for seed in range(10)]
        truth = max(logs) + math.log(fmean(math.exp(each - max(logs)) for each in logs))
    rows: list[tuple[str, ...]] = []
    for name, (estimate, share) in ESTIMATORS.items():
        estimate(model, readings, n, 0)  # the first is slow
        count = max(2, round(runs * share))
        started = time.process_time()
        found = [estimate(model, readings, n, seed) for seed in range(count)]
        seconds = (time.process_time() - started) / count
        errors = [log_z - truth for log_z, _ in found]
        ratios = [math.exp(each) for each in errors]
        rows.append(
            (
                name,
                f"{count}",
                f"{fmean(errors):+.2f} ± {stdev(errors) / math.sqrt(count):.2f}",
                f"{stdev(errors):.2f}",
                f"{fmean(ratios):.2f} ± {stdev(ratios) / math.sqrt(count):.2f}",
                f"{fmean(ess for _, ess in found):.1f}",
                f"{1000 * seconds:.0f}",
            )
        )
    return truth, rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    parts = [
        "## Evidence beside other packages\n",
        f"`python benchmarks/evidence.py`: n = {options.n} particles, {STEPS} steps, {machine()}. *bias* and *sd*: of "
        "log Ẑ, which is biased downwards for every proper method; Ẑ / Z has mean 1. *ESS*: of the last weights. "
        "`particles` and Pyro's filter work on arrays of all particles, ours on one run of the program at a time; "
        "Pyro's resamples after the last step too. After ± is one standard error.\n",
    ]
    heads = ("estimator", "runs", "bias of log Ẑ", "sd of log Ẑ", "mean of Ẑ / Z", "ESS", "ms a run")
    for model in MODELS:
        truth, rows = rows_of(model, options.n, options.runs)
        source = "Kalman filter" if model.program is linear else "`particles`, 10 runs of n = 50,000"
        parts.append(f"### {model.title}: log Z = {truth:.2f} ({source})\n\n{table(heads, rows)}\n")
    text = "\n".join(parts)
    print(text)
    if not options.no_write:
        write_section("evidence", text)


if __name__ == "__main__":
    main()
