"""Certificates by many independent runs, where the method has too many outcomes to explore and the program has not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .ceiling import log_ceiling
from .certificate import recipes_of, without_evidence
from .expectation import Call, Measure, endless, most_runs, outcome, oversized
from .infer import run_problems
from .posterior_values import freeze, show_frozen
from .program import Program, needs_program
from .runtime.methods import Enumerate, Method
from .runtime.methods.enumerate import NotListable, TooManyRuns
from .runtime.result import Run, log_sum_exp
from .runtime.source import derive
from .statistical import StatisticalCertificate, Trial, exp
from .watching import tell

LAW = "E[Z] = Z and E[Z f] = mu(f) for every return value"
PRIOR = "E[f] is its expectation under the program without its evidence, for every return value"
EVIDENCE, OTHERS = "evidence", "all other values"
_MOST_VALUES = 20
_TOGETHER = 50
"""How many runs share their batches."""


def validate_statistically(
    program: Program,
    *args: Any,
    method: str | Method = "smc",
    n: int = 8,
    runs: int = 2_000,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    false_alarm: float = 1e-6,
    sequential: bool = False,
    bound: float | None = None,
    limit: int = 100_000,
    **options: Any,
) -> StatisticalCertificate:
    """Check a proper method's law on a program that can be enumerated, by many independent runs.

    The means over runs of Ẑ/Z, and of Ẑ/Z times the indicator of each return value, are compared with what they should
    be, by bets whose rate of false alarms holds however skewed the estimates are (:mod:`ppl.mean_test`). To tell that
    masses are too large needs no assumption. To tell that the evidence is too small needs one, that no run returns more
    than a bound: it might be a rare, large estimate that is missing. For a method that ``averages`` weights the bound
    follows from the program (:func:`~ppl.ceiling.log_ceiling`). The certificate says what it is, and whether the runs
    were enough to tell. The 20 most probable values are compared, and all others together.

    Args:
        program, args, method, kwargs, options: as for :func:`validate`.
        n: the number of particles.
        runs: how many independent runs; at most so many, if sequential.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that a method that keeps its law fails.
        sequential: stop as soon as the law is rejected.
        bound: the largest that Ẑ/Z can be; by default it is worked out where that can be done.
        limit: the most runs of the program to enumerate.

    Returns:
        A certificate, true when nothing speaks against the law.

    Raises:
        ValueError: the method is a Markov chain or a search, or an argument makes no sense.
        TooLarge: the program itself can't be enumerated; says what can be done.
    """
    needs_program(program, "validate_statistically")
    call: Call = (tuple(args), dict(kwargs or {}))
    recipe = recipes_of(method, options, [n])[0]
    _refuse(recipe)
    recipe.check(program.sites)
    law = PRIOR if without_evidence(recipe) else LAW
    trial = Trial(program.name, recipe.describe(), recipe.guarantee, law, runs, seed, false_alarm, sequential)
    found = _enumerated(program, call, recipe, limit)
    log_evidence = log_sum_exp([run.log_weight for run in found])
    unit = log_evidence if log_evidence > -math.inf else 0.0
    truth = _masses(found, unit)
    if bound is None:
        ceiling = log_ceiling(program, call, recipe)
        bound = None if ceiling is None else exp(ceiling - unit)
    told = dict(sorted(truth.items(), key=lambda entry: -entry[1])[:_MOST_VALUES])
    names = {value: f"mass of value {i}, {show_frozen(value)}" for i, value in enumerate(told, 1)}
    rest = max(0.0, math.fsum(truth.values()) - math.fsum(told.values()))
    expected = {EVIDENCE: math.fsum(truth.values())}
    expected |= {names[value]: mass for value, mass in told.items()}
    expected |= {OTHERS: rest if len(truth) > len(told) else 0.0}

    def estimates() -> Iterator[dict[str, float]]:
        for found in _runs(program, call, recipe, runs, seed):
            masses = _masses(found, unit)
            others = math.fsum(mass for value, mass in masses.items() if value not in told)
            yield {
                EVIDENCE: math.fsum(masses.values()),
                **{name: masses.get(value, 0.0) for value, name in names.items()},
                OTHERS: others,
            }

    return trial.means(estimates(), expected, bound if bound is None or bound < math.inf else None, told_by="bound=")


def _refuse(method: Method) -> None:
    """Only a law about expectations of estimates can be checked by their means.

    Raises:
        ValueError: naming what to use instead.
    """
    if method.guarantee == "stationary":
        raise ValueError(
            f"{method.describe()} is a Markov chain: it estimates no evidence whose mean could be checked. Use "
            "validate(...), which works out its transition matrix on a finite program, or geweke(...) on any"
        )
    if method.guarantee == "heuristic":
        raise ValueError(
            f"{method.describe()} is a search and promises nothing that could be checked. validate(...) computes how "
            "far its expected posterior is from the true one"
        )


def _enumerated(program: Program, call: Call, method: Method, limit: int) -> list[Run]:
    """All runs of the program with their masses.

    Raises:
        TooLarge: there are too many.
    """
    whole = Enumerate(max_runs=most_runs(limit), ignore_evidence=without_evidence(method))
    try:
        return list(outcome(program, call, whole).runs)
    except TooManyRuns as problem:
        raise oversized(program, call, limit, method) from problem
    except NotListable as problem:
        raise endless(program, problem, method) from problem


def _runs(program: Program, call: Call, method: Method, runs: int, seed: int) -> Iterator[Iterable[Run]]:
    """What independent runs of the method return, some at a time."""
    keys = [derive(seed % 2**64, "statistically", i) for i in range(runs)]
    for start in range(0, runs, _TOGETHER):
        tell(f"{program.name} by {method.describe()}", start)
        some = keys[start : start + _TOGETHER]
        for posterior in run_problems(program, [call] * len(some), method, some):
            yield posterior.runs


def _masses(runs: Iterable[Run], unit: float) -> Measure:
    """The mass of each return value, in units of ``exp(unit)``."""
    masses: Measure = defaultdict(float)
    for run in runs:
        masses[freeze(run.value)] += exp(run.log_weight - unit)
    return masses
