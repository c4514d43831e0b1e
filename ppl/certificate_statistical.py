"""Certificates by many independent runs, where there are too many outcomes to be explored."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from .certificate import Certificate, law_of, log_unit, recipes_of, without_evidence
from .expectation import Call, Measure, outcome
from .infer import run_problems
from .posterior_values import freeze
from .program import Program
from .runtime.methods import Enumerate, Method
from .runtime.result import Run

_EVIDENCE = ("the evidence",)


def validate_statistically(
    program: Program,
    *args: Any,
    method: str | Method = "smc",
    n: int = 8,
    runs: int = 2_000,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    false_alarm: float = 1e-6,
    **options: Any,
) -> Certificate:
    """Check a proper method's law on a program that can be enumerated, by many independent runs.

    The mean over runs of Ẑ, and of Ẑ times the indicator of each return value, is compared with its exact value, in
    standard errors. The largest deviation allowed is a normal quantile at ``false_alarm`` divided by the number of
    comparisons (Bonferroni). Values too rare to have been seen a hundred times are left out.

    Args:
        program, args, method, kwargs, options: as for :func:`validate`.
        n: the number of particles.
        runs: how many independent runs.
        seed: the seed of the first; the others follow.
        false_alarm: the probability, about, that a method that keeps its law fails.

    Returns:
        A certificate.
    """
    call: Call = (tuple(args), dict(kwargs or {}))
    recipe = recipes_of(method, options, [n])[0]
    started = time.perf_counter()
    scale = log_unit(program, call, recipe)
    truth = _masses(outcome(program, call, Enumerate(ignore_evidence=without_evidence(recipe))).runs, scale)
    posteriors = run_problems(program, [call] * runs, recipe, [seed + i for i in range(runs)])
    worst, compared = _deviations([_masses(posterior.runs, scale) for posterior in posteriors], truth)
    allowed = NormalDist().inv_cdf(1 - false_alarm / (2 * compared))
    return Certificate(
        program.name,
        recipe.describe(),
        recipe.guarantee,
        f"{law_of(recipe)} (false alarm {false_alarm:g})",
        False,
        worst <= allowed,
        worst,
        allowed,
        runs,
        time.perf_counter() - started,
    )


def _masses(runs: Iterable[Run], scale: float) -> Measure:
    """The mass of each return value, and of all together, in units of ``exp(scale)``."""
    masses: Measure = defaultdict(float)
    for run in runs:
        masses[freeze(run.value)] += math.exp(run.log_weight - scale)
    masses[_EVIDENCE] = math.fsum(masses.values())
    return masses


def _deviations(estimates: Sequence[Measure], truth: Measure) -> tuple[float, int]:
    """How far the mean of independent estimates is from the truth: the most standard errors, of how many masses."""
    worst, compared, count = 0.0, 0, len(estimates)
    for key in {*truth, *(key for masses in estimates for key in masses)}:
        masses = [estimate.get(key, 0.0) for estimate in estimates]
        if key is not _EVIDENCE and sum(mass > 0 for mass in masses) < 100:
            continue
        compared += 1
        mean = sum(masses) / count
        deviation = math.sqrt(max(sum(mass * mass for mass in masses) / count - mean * mean, 0.0) / count)
        gap = abs(mean - truth.get(key, 0.0))
        worst = max(worst, gap / deviation if deviation > 1e-12 else (0.0 if gap < 1e-9 else math.inf))
    return worst, compared
