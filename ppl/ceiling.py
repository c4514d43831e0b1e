"""The largest estimate of the evidence that a method can return which only averages weights.

That a mean is too small is known from samples only if no rare, large number is missing among them (``mean_test.py``),
so the statistical check needs a bound. On a finite program there is one: each step multiplies the weight of a particle
by at most the largest factor that it gives to any run, and averages over particles, resampled or not, are no larger.
"""

from __future__ import annotations

import math
from itertools import pairwise

from .certificate import without_evidence
from .expectation import Call, outcome
from .program import Program
from .runtime.exact import NotFinite, explore
from .runtime.methods import SMC, Forward, Importance, Method
from .runtime.result import Result

MOST_RUNS = 10_000


def log_ceiling(program: Program, call: Call, method: Method) -> float | None:
    """The logarithm of the largest estimate of the evidence: the largest factors of all steps, multiplied.

    One particle is put through everything that it may draw, with the stops of the method.

    Args:
        program, call: a finite program and its arguments.
        method: the method; whether it ``averages`` is taken at its word.

    Returns:
        ``None`` if the method does more than average, or the program has more than ``MOST_RUNS`` runs.
    """
    if not method.averages:
        return None
    if method.guarantee == "exact":
        return outcome(program, call, method).log_evidence
    alone = _alone(method)
    try:
        runs = [_factors(result) for _, result in explore(lambda s: outcome(program, call, alone, s), MOST_RUNS)]
    except NotFinite:
        return None
    return math.fsum(max(_factor(run, k) for run in runs) for k in range(max(map(len, runs))))


def _alone(method: Method) -> Method:
    """A method whose one particle stops where those of the other do."""
    if without_evidence(method):
        return Forward(n=1)
    if isinstance(method, Importance):
        return Importance(n=1)
    return SMC(n=1, ess_threshold=0.0, resample_at=getattr(method, "resample_at", None))


def _factors(result: Result) -> list[float]:
    """By what each step multiplied the weight of the only particle, hints included; logarithms."""
    weights = [0.0, *(generation.log_weights[0] for generation in result.history)]
    return [after - before if after > -math.inf else -math.inf for before, after in pairwise(weights)]


def _factor(run: list[float], step: int) -> float:
    """What a step weighs a run by: 1 if it has finished, 0 if it is dead."""
    return run[step] if step < len(run) else (-math.inf if run[-1] == -math.inf else 0.0)
