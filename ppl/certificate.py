"""Certificates: check that a method keeps its promise on a program, by running the production code.

For a finite program the check is exact. The exact source (``runtime/exact.py``) stands in for random numbers and
explores every outcome of everything the method draws; the expected measure that comes out is compared with what the
program denotes. Where there are too many outcomes, a statistical check with a declared false-alarm rate is offered
(``certificate_statistical.py``).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from .certificate_chains import CHAIN_LAW, check_chains
from .expectation import (
    Call,
    Expected,
    Finding,
    TooLarge,
    each_expected,
    endless,
    expected,
    most_runs,
    outcome,
    oversized,
    sized,
)
from .posterior_values import to_jsonable
from .program import Passes, Program, check_kept, needs_program
from .proposed import Proposed
from .running import Proposals, suited
from .runtime import rows
from .runtime.exact import KeyReused
from .runtime.kernels import joint
from .runtime.methods import Enumerate, Forward, Importance, Method, make_method
from .runtime.methods.chains import Chains
from .runtime.methods.enumerate import NotListable, TooManyRuns
from .runtime.result import Guarantee

LAWS = {
    "proper": "E[Z] = Z and E[Z f] = mu(f) for every trace",
    "prior": "E[f] is its expectation under the program without its evidence",
    "exact": "the population is the program's measure",
    "stationary": CHAIN_LAW,
    "heuristic": "none; the error is the total variation distance from the posterior",
}


@dataclass(frozen=True)
class Certificate:
    """The outcome of a check; true when the law holds.

    Attributes:
        program: the program's name.
        method: the methods that were checked, as one would write them.
        guarantee: what they claim.
        law: the law that was checked.
        exact: every random outcome was explored; else the check was statistical.
        holds: whether the law holds to ``tolerance`` (for heuristics, which claim nothing: always, if their draws are
            independent).
        error: the largest difference of mass at a trace, or of the evidence, as a share of the evidence; for
            heuristics a total variation distance; for statistical checks the largest deviation in standard errors.
        tolerance: what ``error`` may be.
        leaves: how many runs it took. Where a method is ``memoryless`` a run that meets another's population ends
            there; else there is one for each sequence of random outcomes.
        seconds: how long it took.
        reason: why the law does not hold, where it does not and there is more to say than the error.
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
    reason: str | None = field(default=None, kw_only=True)

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        if self.guarantee == "heuristic" and self.holds:
            return (
                f"{self.program} by {self.method} (heuristic): promises nothing; its expected posterior is "
                f"{self.error:.2g} from the true one in total variation, computed exactly, {self.leaves:,} runs, "
                f"{self.seconds:.1f} s"
            )
        verdict = "holds" if self.holds else "DOES NOT HOLD" + (f": {self.reason}" if self.reason else "")
        how = "exactly" if self.exact else "statistically"
        unit = "" if self.exact else " standard errors"
        size = f"largest error {self.error:.2g}{unit} (tolerance {self.tolerance:.2g}), "
        if self.reason and math.isinf(self.error):
            size = ""
        return (
            f"{self.program} by {self.method} ({self.guarantee}): {self.law}: {verdict}; checked {how}, {size}"
            f"{self.leaves:,} runs, {self.seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return asdict(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """The certificate as JSON, also written to ``path`` if given. An infinite error is the string ``"inf"``."""
        text = json.dumps(to_jsonable(self.to_dict()), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text


def validate(
    program: Program,
    *args: Any,
    method: str | Method | None = None,
    n: int | Sequence[int] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    limit: int = 100_000,
    tolerance: float = 1e-9,
    pipeline: Passes = None,
    keep: Iterable[str] = (),
    proposals: Proposals = None,
    **options: Any,
) -> Certificate:
    """Check a method's law on a finite program, exactly; or, with ``pipeline``, that of the compiler's passes.

    Args:
        program: a program with finitely many runs on these arguments.
        args: its arguments.
        method: a name or a method object, as for ``infer``; ``"smc"`` by default.
        n: the numbers of particles to check, for methods that have particles; by default 1, 2 and 3. Three: some bugs
            hide at two.
        kwargs: the program's keyword arguments.
        limit: the most runs at one ``n``.
        tolerance: the largest difference of mass, as a share of the evidence, that counts as rounding.
        pipeline: passes, by name or as objects, to check instead of a method: the program means the same before and
            after, at the level that they claim (see ``certificate_passes.py``).
        keep: with ``pipeline``: the addresses that the passes must leave.
        proposals: as for ``infer``: the method is checked as it runs under them, and their draws are explored too. One
            whose density is not that of its draws gets no certificate.
        options: the method's own.

    Returns:
        A certificate, true when the law holds. It does not either where draws share their keys: they are explored as
        independent, which they are not in production.

    Raises:
        TypeError, ValueError: an option makes no sense, such as a limit of 0, or an address to keep that the program
            can't have.
        TooLarge: that takes more runs than ``limit``, or there are infinitely many outcomes; says how large it is and
            what to shrink.
    """
    needs_program(program, "validate")
    if limit < 1:
        raise ValueError(f"limit is the most runs at one n, 1 or more; got {limit!r}")
    if pipeline is not None:
        given = [*(name for name, value in (("method", method), ("n", n)) if value is not None), *options]
        given += ["proposals"] if proposals else []
        if given:
            raise TypeError(f"pipeline= is checked without a method, so {', '.join(given)} would mean nothing")
        from .certificate_passes import validate_passes

        kept = check_kept(program, keep)
        return validate_passes(
            program, *args, passes=pipeline, keep=kept, kwargs=kwargs, limit=limit, tolerance=tolerance
        )
    if proposals is not None:
        program = Proposed(program, proposals)
    call: Call = (tuple(args), dict(kwargs or {}))
    recipes = recipes_of("smc" if method is None else method, options, _counts(n))
    try:
        return certificate_of(program, call, recipes, limit, tolerance)
    except TooLarge as error:
        raise sized(error, program, call, limit) from error


def certificate_of(
    program: Program, call: Call, recipes: Sequence[Method], limit: int, tolerance: float = 1e-9
) -> Certificate:
    """:func:`validate`, for a method at given numbers of particles.

    Raises:
        TooLarge: as it does, but without saying how large.
    """
    for recipe in recipes:
        recipe.check(program.sites)
    first = recipes[0]
    program = suited(program, first)
    started = time.perf_counter()
    try:
        found = _findings(program, call, recipes, limit)
    except TooManyRuns as problem:
        if getattr(first, "max_runs", limit) < limit:  # the method's own bound, of which its message tells
            raise
        raise oversized(program, call, limit, first) from problem
    except NotListable as problem:
        raise endless(program, problem, first) from problem
    finally:
        rows.forget()
    worst = max(found, key=lambda finding: finding.error)
    holds = math.isfinite(worst.error) if first.guarantee == "heuristic" else worst.error <= tolerance
    return Certificate(
        program.name,
        ", ".join(recipe.describe() for recipe in recipes),
        first.guarantee,
        law_of(first),
        True,
        holds,
        worst.error,
        tolerance,
        sum(finding.leaves for finding in found),
        time.perf_counter() - started,
        reason=None if holds else worst.reason,
    )


Check = Callable[[Program, Call, Sequence[Method], int], Sequence[Finding]]
"""A program, its arguments, the methods and the most runs of each → what was found of them."""


def _findings(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> Sequence[Finding]:
    """What the check of the methods' law finds, and whether they draw as independently as it assumes."""
    try:
        return CHECKS[recipes[0].guarantee](program, call, recipes, limit)
    except KeyReused as problem:
        return [Finding(math.inf, 0, str(problem))]


def check_measure(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> list[Finding]:
    """How far a method's expected measure is from the program's, in units of the evidence."""
    scale = log_unit(program, call, recipes[0], limit)
    exact = expected(program, call, _reference(recipes[0], limit), limit, scale)
    found = [expected(program, call, recipe, limit, scale) for recipe in recipes]
    return [_finding(each, exact, recipe, each.leaves) for each, recipe in zip(found, recipes, strict=True)]


def check_each(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> list[Finding]:
    """How far the measure of a method that is exact is from the program's, in any of its runs."""
    scale = log_unit(program, call, recipes[0], limit)
    exact = expected(program, call, _reference(recipes[0], limit), limit, scale)
    return [
        _finding(each, exact, recipe, 1)
        for recipe in recipes
        for each in each_expected(program, call, recipe, limit, scale)
    ]


def check_posterior(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> list[Finding]:
    """The total variation distance of a method's expected posterior from the exact one."""
    exact = expected(program, call, _reference(recipes[0], limit), limit)
    found = [expected(program, call, recipe, limit) for recipe in recipes]
    errors = [each.variation(exact) for each in found]
    return [
        Finding(error, each.leaves, None if math.isfinite(error) else _INFINITE)
        for error, each in zip(errors, found, strict=True)
    ]


_INFINITE = "a weight or the evidence is no finite number"


def _finding(found: Expected, exact: Expected, recipe: Method, leaves: int) -> Finding:
    error = found.distance(exact)
    apart = f"by {recipe.describe()} {found.told_apart(exact)}" if math.isfinite(error) else _INFINITE
    return Finding(error, leaves, apart)


CHECKS: dict[Guarantee, Check] = {
    "proper": check_measure,
    "exact": check_each,
    "heuristic": check_posterior,
    "stationary": check_chains,
}
"""How the law of each guarantee is checked."""


def _reference(method: Method, limit: int) -> Method:
    """Where the exact measure comes from: from a method that works another way than the one to be checked."""
    if isinstance(method, Enumerate):
        return Forward() if method.ignore_evidence else Importance(n=1)
    return Enumerate(max_runs=most_runs(limit), ignore_evidence=without_evidence(method))


def without_evidence(method: Method) -> bool:
    """Whether the target is the program without its evidence: where a proper method does not estimate it."""
    return method.guarantee == "proper" and not method.evidence


def log_unit(program: Program, call: Call, method: Method, limit: int = 100_000) -> float:
    """log Z, the unit of masses: an error counts by its share of the evidence, however small that is."""
    whole = Enumerate(max_runs=most_runs(limit), ignore_evidence=without_evidence(method))
    log_evidence = outcome(program, call, whole).log_evidence
    return log_evidence if log_evidence is not None and math.isfinite(log_evidence) else 0.0


def law_of(method: Method) -> str:
    """The law that a method claims to obey; for a chain whose options ask for another measure than the program's, with
    that measure."""
    law = LAWS["prior" if without_evidence(method) else method.guarantee]
    if isinstance(method, Chains) and method.claim is not joint:
        return f"{law}; pi = {method.claim}, normalised"
    return law


def _counts(n: int | Sequence[int] | None) -> Sequence[int]:
    """The numbers of particles to check.

    Raises:
        TypeError: ``n`` is none, nor several.
    """
    counts = (1, 2, 3) if n is None else n if isinstance(n, Sequence) and not isinstance(n, str) else (n,)
    wrong = [count for count in counts if not isinstance(count, Integral)]
    if wrong:
        raise TypeError(f"n is a number of particles or several of them, as in n=2 or n=(1, 2, 3); got {wrong[0]!r}")
    return counts


def recipes_of(method: str | Method, options: Mapping[str, Any], counts: Sequence[int]) -> list[Method]:
    """The method at each number of particles; by itself if it has no such number."""
    if not counts:
        raise ValueError("n= is empty: give the numbers of particles to check, for example n=(1, 2, 3)")
    recipe = make_method(method, dict(options))
    if all(f.name != "n" for f in fields(recipe)):
        return [recipe]
    enough = [count for count in counts if count >= recipe.least]  # of the usual ones, those that make sense
    return [replace(recipe, n=count) for count in enough or counts]  # type: ignore[call-arg]


__all__ = ["CHECKS", "Call", "Certificate", "Expected", "TooLarge", "certificate_of", "expected", "law_of", "validate"]
