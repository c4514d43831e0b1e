"""Certificates: check that a method keeps its promise on a program, by running the production code.

For a finite program the check is exact. The exact source (``runtime/exact.py``) stands in for random numbers and
explores every outcome of everything the method draws; the expected measure that comes out is compared with what the
program denotes. Where there are too many outcomes, a statistical check with a declared false-alarm rate is offered.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .infer import run_problems
from .posterior_values import freeze
from .program import Program
from .runtime.exact import NotFinite, explore
from .runtime.methods import Enumerate, Forward, Importance, Method, make_method
from .runtime.result import Result, Run, log_sum_exp

Measure = dict[Any, float]

LAWS = {
    "proper": "E[Z] = Z and E[Z f] = mu(f) for every trace",
    "prior": "E[f] is its expectation under the program without its evidence",
    "exact": "the population is the program's measure",
    "heuristic": "none; the error is the total variation distance from the posterior",
}


Call = tuple[tuple[Any, ...], dict[str, Any]]


class TooLarge(ValueError):
    """A check would have to explore more outcomes than were allowed for."""


@dataclass(frozen=True)
class Expected:
    """The expectation of what a method returns.

    Attributes:
        measure: trace → E[Σ w δ_trace].
        evidence: E[Ẑ]; NaN for methods that have no estimate of it.
        posterior: trace → its expected share of the weight.
        leaves: how many sequences of random outcomes there are.
    """

    measure: Measure
    evidence: float
    posterior: Measure
    leaves: int

    def distance(self, other: Expected) -> float:
        """The largest difference of mass at a trace, or of the evidence."""
        masses = [abs(self.measure.get(k, 0.0) - other.measure.get(k, 0.0)) for k in {*self.measure, *other.measure}]
        evidence = 0.0 if math.isnan(self.evidence) else abs(self.evidence - other.evidence)
        return max([evidence, *masses])

    def variation(self, other: Expected) -> float:
        """The total variation distance between the expected posteriors."""
        keys = {*self.posterior, *other.posterior}
        return sum(abs(self.posterior.get(k, 0.0) - other.posterior.get(k, 0.0)) for k in keys) / 2


@dataclass(frozen=True)
class Certificate:
    """The outcome of a check; true when the law holds.

    Attributes:
        program: the program's name.
        method: the methods that were checked, as one would write them.
        guarantee: what they claim.
        law: the law that was checked.
        exact: every random outcome was explored; else the check was statistical.
        holds: whether the law holds to ``tolerance`` (for heuristics, which claim nothing: always).
        error: the largest difference of mass at a trace, or of the evidence, as a share of the evidence; for
            heuristics a total variation distance; for statistical checks the largest deviation in standard errors.
        tolerance: what ``error`` may be.
        leaves: how many sequences of random outcomes were run.
        seconds: how long it took.
    """

    program: str
    method: str
    guarantee: str
    law: str
    exact: bool
    holds: bool
    error: float
    tolerance: float
    leaves: int
    seconds: float

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        how = "exactly" if self.exact else "statistically"
        unit = "" if self.exact else " standard errors"
        return (
            f"{self.program} by {self.method} ({self.guarantee}): {self.law}: {verdict}; checked {how}, "
            f"largest error {self.error:.2g}{unit} (tolerance {self.tolerance:.2g}), {self.leaves:,} runs, "
            f"{self.seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return asdict(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """The certificate as JSON, also written to ``path`` if given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text


def validate(
    program: Program,
    *args: Any,
    method: str | Method = "smc",
    n: int | Sequence[int] = (1, 2, 3),
    kwargs: Mapping[str, Any] | None = None,
    limit: int = 100_000,
    tolerance: float = 1e-9,
    **options: Any,
) -> Certificate:
    """Check a method's law on a finite program, exactly.

    Args:
        program: a program with finitely many runs on these arguments.
        args: its arguments.
        method: a name or a method object, as for ``infer``.
        n: the numbers of particles to check, for methods that have particles. Three: some bugs hide at two.
        kwargs: the program's keyword arguments.
        limit: the most sequences of random outcomes to run at one ``n``.
        tolerance: the largest difference of mass, as a share of the evidence, that counts as rounding.
        options: the method's own.

    Returns:
        A certificate, true when the law holds.

    Raises:
        TooLarge: there are more outcomes than ``limit``, or infinitely many; says what to shrink.
    """
    call: Call = (tuple(args), dict(kwargs or {}))
    counts = [n] if isinstance(n, int) else list(n)
    recipes = _recipes(method, options, counts)
    started = time.perf_counter()
    scale = _scale(program, call, recipes[0])
    exact = expected(program, call, _reference(recipes[0]), limit, scale)
    error, leaves = 0.0, 0
    for recipe in recipes:
        recipe.check(program.sites)
        found = expected(program, call, recipe, limit, scale)
        leaves += found.leaves
        error = max(error, found.variation(exact) if recipe.guarantee == "heuristic" else found.distance(exact))
    guarantee = recipes[0].guarantee
    return Certificate(
        program.name,
        ", ".join(recipe.describe() for recipe in recipes),
        guarantee,
        law_of(recipes[0]),
        True,
        guarantee == "heuristic" or error <= tolerance,
        error,
        tolerance,
        leaves,
        time.perf_counter() - started,
    )


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
    from statistics import NormalDist

    call: Call = (tuple(args), dict(kwargs or {}))
    recipe = _recipes(method, options, [n])[0]
    started = time.perf_counter()
    scale = _scale(program, call, recipe)
    truth = _masses(_result(program, call, Enumerate(ignore_evidence=not recipe.evidence)).runs, scale)
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


def _reference(method: Method) -> Method:
    """Where the exact measure comes from: from a method that works another way than the one to be checked."""
    if isinstance(method, Enumerate):
        return Forward() if method.ignore_evidence else Importance(n=1)
    return Enumerate(ignore_evidence=not method.evidence)


def _scale(program: Program, call: Call, method: Method) -> float:
    """log Z, the unit of masses: an error counts by its share of the evidence, however small that is."""
    log_evidence = _result(program, call, Enumerate(ignore_evidence=not method.evidence)).log_evidence
    return log_evidence if log_evidence is not None and math.isfinite(log_evidence) else 0.0


def law_of(method: Method) -> str:
    """The law that a method claims to obey."""
    return LAWS[method.guarantee] if method.evidence or method.guarantee != "proper" else LAWS["prior"]


_EVIDENCE = ("the evidence",)


def _recipes(method: str | Method, options: dict[str, Any], counts: Sequence[int]) -> list[Method]:
    recipe = make_method(method, options)
    if all(f.name != "n" for f in fields(recipe)):
        return [recipe]
    return [replace(recipe, n=count) for count in counts]  # type: ignore[call-arg]


def _result(program: Program, call: Call, method: Method) -> Result:
    return run_problems(program, [call], method, [0])[0].result


def expected(program: Program, call: Call, method: Method, limit: int = 100_000, scale: float = 0.0) -> Expected:
    """What a method's outcome is in expectation, over everything that it draws.

    Args:
        program: a finite program.
        call: its arguments and keyword arguments.
        method: the method.
        limit: the most sequences of random outcomes to run.
        scale: the logarithm of the unit of masses.

    Raises:
        TooLarge: there are more, or infinitely many.
    """
    measure: Measure = defaultdict(float)
    posterior: Measure = defaultdict(float)
    evidence, leaves = 0.0, 0
    try:
        for log_p, result in explore(
            lambda source: run_problems(program, [call], method, [0], source=source)[0].result, limit
        ):
            leaves += 1
            evidence += math.nan if result.log_evidence is None else math.exp(log_p + result.log_evidence - scale)
            total = log_sum_exp([run.log_weight for run in result.runs])
            for run in result.runs:
                key = trace_key(run)
                measure[key] += math.exp(log_p + run.log_weight - scale)
                posterior[key] += math.exp(log_p + run.log_weight - total)
    except NotFinite as error:
        raise TooLarge(
            f"{program.name} by {method.describe()}: {error}. To check it exactly, shrink the program (fewer steps, "
            "fewer outcomes, shorter texts), check fewer particles (n=(1, 2)) or raise limit=; else use "
            "validate_statistically"
        ) from error
    return Expected(dict(measure), evidence, dict(posterior), leaves)


def trace_key(run: Run) -> Any:
    """A run as something that can be looked up: its value and every choice, addresses included."""
    return (freeze(run.value), tuple((c.address, freeze(c.value)) for c in run.trace))
