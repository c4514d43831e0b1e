"""The expectation of what a method returns, over everything that it draws, by running the production code."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .certificate_keys import OtherSeed
from .certificate_states import States
from .infer import run_problems
from .posterior_values import freeze, shorten, show_frozen
from .program import Program
from .proposed import proposals_of
from .runtime.exact import Leaf, NotFinite, TooMany, explore_merged
from .runtime.exact_ahead import Ahead
from .runtime.exact_size import Size, estimate_size
from .runtime.methods import Forward, Method
from .runtime.methods.enumerate import NotListable
from .runtime.result import Result, Run, log_sum_exp
from .runtime.source import PreciseSource, Source
from .watching import tell

Measure = dict[Any, float]
Call = tuple[tuple[Any, ...], dict[str, Any]]

NO_RUN = ("no run",)
"""Stands for the runs of a method that end without any weight, in its posterior."""
_DATA = "if its only evidence is observe and condition, no factor"
_WORTH_A_LOOK = 2_000
"""From what limit on it pays to look ahead whether a check will reach it."""


class TooLarge(ValueError):
    """A check would have to explore more outcomes than were allowed for.

    Attributes:
        method: by which it is too large.
        size: how many there are, about, where that was asked for and there are not infinitely many.
    """

    def __init__(self, message: str, method: Method, size: Size | None = None) -> None:
        super().__init__(message)
        self.method = method
        self.size = size


@dataclass(frozen=True)
class Finding:
    """What the check of a law found.

    Attributes:
        error: how far the law is from holding.
        leaves: how many runs that took.
        reason: why it does not hold, where it does not and there is more to say than the error.
    """

    error: float
    leaves: int
    reason: str | None = None


@dataclass(frozen=True)
class Expected:
    """The expectation of what a method returns.

    Attributes:
        measure: trace → E[Σ w δ_trace].
        evidence: E[Ẑ]; ``None`` for methods that have no estimate of it.
        posterior: what was drawn → its expected share of the weight; :data:`NO_RUN` → how often nothing has weight.
        leaves: how many runs it took.
    """

    measure: Measure
    evidence: float | None
    posterior: Measure
    leaves: int

    def distance(self, other: Expected) -> float:
        """The largest difference of mass at a trace, or of the evidence; infinite if one is no number."""
        gaps = _gaps(self.measure, other.measure)
        if self.evidence is not None and other.evidence is not None:
            gaps.append(abs(self.evidence - other.evidence))
        return math.inf if any(map(math.isnan, gaps)) else max(gaps, default=0.0)

    def told_apart(self, other: Expected) -> str:
        """Where this differs most from what is right, in words."""
        told = []
        if self.evidence is not None and other.evidence is not None and abs(self.evidence - other.evidence) > 1e-12:
            told.append(f"E[Z] is {self.evidence:.6g} times Z")
        if self.measure or other.measure:
            told.append(most_apart(self.measure, other.measure))
        return "; ".join(told)

    def variation(self, other: Expected) -> float:
        """The total variation distance between the expected posteriors; infinite if a share is no number."""
        gaps = _gaps(self.posterior, other.posterior)
        return math.inf if any(map(math.isnan, gaps)) else math.fsum(gaps) / 2


def _gaps(a: Measure, b: Measure) -> list[float]:
    """How far two measures are apart at each key of either."""
    return [abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in {*a, *b}]


def most_apart(found: Measure, right: Measure) -> str:
    """The trace whose masses differ most, of two measures in units of Z that are not both empty; in words."""
    worst = max({**found, **right}, key=lambda key: abs(found.get(key, 0.0) - right.get(key, 0.0)))
    return f"{show_trace(worst)} has {found.get(worst, 0.0):.6g} of Z, not {right.get(worst, 0.0):.6g}"


def outcome(program: Program, call: Call, method: Method, source: Source | None = None, seed: int = 0) -> Result:
    """What a method returns for one sequence of random outcomes; random ones by default."""
    source = source or PreciseSource()
    return run_problems(program, [call], method, [seed], proposals_of(program), source)[0].result


def expected(
    program: Program,
    call: Call,
    method: Method,
    limit: int = 100_000,
    scale: float = 0.0,
    merge: bool = True,
) -> Expected:
    """What a method's outcome is in expectation, over everything that it draws.

    Args:
        program: a finite program.
        call: its arguments and keyword arguments.
        method: the method.
        limit: the most runs.
        scale: the logarithm of the unit of masses.
        merge: go on once from populations that are the same, where the method is ``memoryless``.

    Raises:
        TooLarge: that is not enough, or there are infinitely many outcomes.
        KeyReused: two draws have the same key, in one run or under two seeds.
    """
    counted = _Counted(program, call, method)
    total = _Sums(scale)
    for leaf in _leaves(counted, States() if merge and method.memoryless else None, limit):
        total.add(leaf)
    return total.expected(counted.runs)


def each_expected(
    program: Program, call: Call, method: Method, limit: int = 100_000, scale: float = 0.0
) -> Iterator[Expected]:
    """What a method's outcome is for each sequence of random outcomes, as if that were certain; see :func:`expected`.

    Raises:
        TooLarge: as there.
    """
    for leaf in _leaves(_Counted(program, call, method), None, limit):
        alone = _Sums(scale)
        alone.add(Leaf(0.0, 0.0, leaf.result))
        yield alone.expected(1)


class _Sums:
    """Adds up what leaves contribute to an expectation, in units of ``exp(scale)``."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.measure: Measure = defaultdict(float)
        self.posterior: Measure = defaultdict(float)
        self.evidences: list[float] = []

    def add(self, leaf: Leaf[Result]) -> None:
        """Add a leaf, by its probability."""
        runs, log_evidence = leaf.result.runs, leaf.result.log_evidence
        if log_evidence is not None:
            self.evidences.append(_exp(leaf.log_mass + log_evidence - self.scale))
        total = log_sum_exp([run.log_weight for run in runs])
        for run in runs:
            self.measure[trace_key(run)] += _exp(leaf.log_mass + run.log_weight - self.scale)
            self.posterior[trace_key(run, drawn=True)] += _exp(leaf.log_probability + run.log_weight - total)
        if not runs:
            self.posterior[NO_RUN] += math.exp(leaf.log_probability)

    def expected(self, leaves: int) -> Expected:
        """The sums."""
        evidence = math.fsum(self.evidences) if self.evidences else None
        return Expected(dict(self.measure), evidence, dict(self.posterior), leaves)


def _exp(log_mass: float) -> float:
    """A mass, infinite if it is too large for a float."""
    try:
        return math.exp(log_mass)
    except OverflowError:
        return math.inf


def _leaves(counted: _Counted, look: States | None, limit: int) -> Iterator[Leaf[Result]]:
    """The outcomes of a method.

    Raises:
        TooLarge: there are more than ``limit``, or infinitely many.
        KeyReused: two draws have the same key, in one run or under two seeds.
    """
    title = f"{counted.program.name} by {counted.method.describe()}"
    ahead = Ahead(counted.run, look, limit) if limit >= _WORTH_A_LOOK else None
    try:
        yield from explore_merged(counted, look, limit, OtherSeed(counted.again), ahead)
    except TooMany as error:
        raise TooLarge(f"{title}: {error}", counted.method) from error
    except NotFinite as error:
        raise TooLarge(
            f"{title}: {error}. Put a finite distribution in its place{_instead(counted.method, True)}", counted.method
        ) from error


class _Counted:
    """The computation to be explored; counts its runs, those that stop on the way included."""

    def __init__(self, program: Program, call: Call, method: Method) -> None:
        self.program, self.call, self.method = program, call, method
        self.runs = 0

    def __call__(self, source: Source) -> Result:
        self.runs += 1
        tell(f"{self.program.name} by {self.method.describe()}", self.runs)
        return self.run(source)

    def run(self, source: Source) -> Result:
        """One run that does not count."""
        return outcome(self.program, self.call, self.method, source)

    def again(self, source: Source) -> Result:
        """The computation under another seed."""
        return outcome(self.program, self.call, self.method, source, seed=1)


def sized(error: TooLarge, program: Program, call: Call, limit: int) -> TooLarge:
    """The error, saying how large the check is, and what to shrink."""
    if not isinstance(error.__cause__, TooMany):
        return error
    method = error.method
    size = estimate_size(lambda source: outcome(program, call, method, source))
    merged = ", also where equal populations are merged" if method.memoryless else ""
    return TooLarge(
        f"{program.name} by {method.describe()} takes more than limit={limit:,} runs to check exactly{merged}: it has "
        f"{_described(size, limit)} (fewer steps, fewer outcomes, shorter texts){_fewer(method)} or raise limit="
        f"{_instead(method, True)}",
        method,
        size,
    )


def _fewer(method: Method) -> str:
    """Which fewer particles to check, if there are any."""
    counts = list(range(method.least, getattr(method, "n", method.least)))[:2]
    if not counts:
        return ""
    return f", check fewer particles (n={counts[0] if len(counts) == 1 else tuple(counts)})"


def _instead(method: Method, enumerable: bool) -> str:
    """What checks the law where it can't be checked exactly, and where that applies.

    Args:
        method: the method.
        enumerable: the program's own runs can be enumerated.
    """
    if method.guarantee == "heuristic":
        return ""  # a distance that nothing but the exact check knows
    if method.guarantee == "stationary":
        return f"; else use geweke for its kernel, or calibrate, {_DATA}"
    if enumerable:
        return "; else use validate_statistically"
    return f"; else use calibrate, {_DATA}, or validate_evidence, if you know log Z"


def most_runs(limit: int) -> int:
    """The most runs of the program itself to enumerate: that is cheap, so a small ``limit`` does not stop it."""
    return max(limit, 10_000)


def oversized(program: Program, call: Call, limit: int, method: Method) -> TooLarge:
    """The error for a program whose own runs are too many, however it is run."""
    size = estimate_size(lambda source: outcome(program, call, Forward(n=1), source))
    return TooLarge(
        f"{program.name} has more than {most_runs(limit):,} runs, too many to check exactly: "
        f"{_described(size, most_runs(limit))} (fewer steps, fewer outcomes, shorter texts) or raise limit="
        f"{_instead(method, False)}",
        method,
        size,
    )


def _described(size: Size, least: int) -> str:
    """An estimate in words, with where the tree branches; it is known that there are more than ``least``."""
    where = f" It branches most at {', '.join(map(str, size.branching[:3]))}." if size.branching else ""
    about = f"about {size.leaves:.2g} sequences of random outcomes (± {size.error:.1g}, estimated by "
    about += f"{size.probes} random probes)"
    if size.leaves <= least:  # too few probes found the large branches
        about = f"more than {least:,} sequences of random outcomes"
    return f"{about}.{where} Shrink the program{' there' if where else ''}"


def endless(program: Program, problem: NotListable, method: Method) -> TooLarge:
    """The error for a program that can't be enumerated: at which choice, and what to do."""
    return TooLarge(
        f"{program.name} can't be checked exactly: that needs {problem.why}\n  at {problem.span}\nPut "
        f"{problem.instead} in its place{_instead(method, False)}",
        method,
    )


def trace_key(run: Run, drawn: bool = False) -> Any:
    """A run as something that can be looked up: its value and every choice, addresses included.

    Texts that read the same are told apart by their tokens: densities are over token sequences.

    Args:
        run: the run.
        drawn: leave out what was given, which methods that ignore evidence do not record.
    """
    return (freeze(run.value), tuple((c.address, *exactly(c.value)) for c in run.trace if not (drawn and c.observed)))


def show_trace(key: Any) -> str:
    """What :func:`trace_key` gave, for people."""
    if not key:
        return "no run at all"
    value, choices = key
    drawn = ", ".join(f"{address}={show_frozen(frozen, 20)}" for address, frozen, _ in choices)
    return f"the run of {shorten(drawn, 100) or 'no choices'}, which returns {show_frozen(value, 40)},"


def exactly(value: Any) -> tuple[Any, Any]:
    """What tells a value from others. Texts that read the same may differ in their tokens."""
    return freeze(value), getattr(value, "tokens", None)
