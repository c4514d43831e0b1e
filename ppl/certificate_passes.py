"""Certificates for the compiler's passes: the program means the same before and after, at the level that they claim.

Before, the program as written is enumerated. After, it is run under the passes by importance sampling with one
particle, every random outcome explored: E[w δ(trace)] is its measure, also where a pass draws values from another
distribution, and the requests of a particle go side by side as they do in production. It is enumerated too, but for
PROPER passes, whose law is about the expectation of the weight.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .certificate import Certificate, TooLarge
from .compiler.passes import Level, Pipeline, make_pipeline, optimise
from .expectation import endless, exactly, most_apart, most_runs, oversized
from .infer import run_problems
from .pieces import joined
from .posterior_values import freeze
from .program import Passes, Program
from .runtime.exact import NotFinite, explore
from .runtime.methods import Enumerate, Importance
from .runtime.methods.enumerate import NotListable, TooManyRuns
from .runtime.result import Run, log_sum_exp
from .runtime.source import PreciseSource
from .text import Text

Masses = list[tuple[Any, float]]
"""What a measure gives: a key of runs, and the logarithm of a mass. A key may come more than once."""
Call = tuple[tuple[Any, ...], dict[str, Any]]
Pieces = frozenset[tuple[str, int]]
"""Sites whose values are made of pieces, by name and number of loops around (``Pass.pieces``)."""

LAWS = {
    Level.TRACE: "the same measure over traces, in the same order",
    Level.JOINT: "the same measure over traces",
    Level.MARGINAL: "the same measure over the return value and the kept addresses",
    Level.PROPER: "the same expected measure over the return value and the kept addresses",
}


def validate_passes(
    program: Program,
    *args: Any,
    passes: Passes = "all",
    keep: Iterable[str] = (),
    level: Level | None = None,
    kwargs: Mapping[str, Any] | None = None,
    limit: int = 10_000,
    tolerance: float = 1e-9,
) -> Certificate:
    """Check on a finite program that passes preserve what they claim, exactly.

    Args:
        program: a program with finitely many runs on these arguments.
        args: its arguments.
        passes: names and pass objects, as for ``infer``.
        keep: addresses that passes must leave, and that are compared; a ``*`` stands for anything.
        level: the level to check; by default that of the weakest pass.
        kwargs: the program's keyword arguments.
        limit: the most sequences of random outcomes to run.
        tolerance: the largest difference of mass at a trace, as a share of the evidence, that counts as rounding.

    Returns:
        A certificate, true when the law holds.

    Raises:
        TooLarge: there are more outcomes than ``limit``, or infinitely many.
        InvalidIR: a pass broke the IR's rules.
    """
    kept = (keep,) if isinstance(keep, str) else tuple(keep)
    pipeline = make_pipeline(passes, kept)
    level = pipeline.level if level is None else level
    call: Call = (tuple(args), dict(kwargs or {}))
    started = time.perf_counter()
    rewritten = program.with_passes(pipeline)
    try:
        steps = optimise(program._function, program.compiled, pipeline)[1].steps
        # The sites whose values are made of pieces under the pipeline.
        whole = frozenset(site for step in steps for site in step.pass_.pieces(step.before, step.after))
        before = enumerated(program.with_passes([]), call, level, kept, limit=limit)
        after = explored(rewritten, call, level, kept, limit, whole)
        ways = [after]
        if level is not Level.PROPER:
            ways.append(enumerated(rewritten, call, level, kept, whole, limit))
        error, wrong = max([(distance(before, way), way) for way in ways], key=lambda found: found[0])
    except NotListable as problem:
        raise endless(program, problem, Importance(n=1)) from problem
    except TooManyRuns as problem:
        raise oversized(program, call, limit, Importance(n=1)) from problem
    except NotFinite as problem:
        raise TooLarge(f"{program.name} under {describe(pipeline)}: {problem}", Importance(n=1)) from problem
    return Certificate(
        program=program.name,
        method=describe(pipeline),
        guarantee=level.name.lower(),
        law=LAWS[level]
        if any(step.after is not step.before for step in steps)
        else f"{LAWS[level]} (trivially: no pass changes the program)",
        exact=True,
        holds=error <= tolerance,
        error=error,
        tolerance=tolerance,
        leaves=len(after),
        seconds=time.perf_counter() - started,
        reason=None if error <= tolerance else _apart(wrong, before),
    )


def describe(pipeline: Pipeline) -> str:
    """The passes by name."""
    return ", ".join(p.name for p in pipeline.passes) or "no passes"


def enumerated(
    program: Program,
    call: Call,
    level: Level,
    keep: tuple[str, ...],
    whole: Pieces = frozenset(),
    limit: int = 100_000,
) -> Masses:
    """The measure of a program by enumeration, as far as a level says something about it."""
    method = Enumerate(max_runs=most_runs(limit))
    runs = run_problems(program, [call], method, [0], source=PreciseSource())[0].runs
    return [(key_of(run, level, keep, whole), run.log_weight) for run in runs]


def explored(
    program: Program, call: Call, level: Level, keep: tuple[str, ...], limit: int, whole: Pieces = frozenset()
) -> Masses:
    """E[w δ(trace)] of one particle that is weighted by importance: an entry for each sequence of random outcomes.

    Raises:
        NotFinite: there are more than ``limit``.
    """
    found: Masses = []
    method = Importance(n=1)
    for log_p, runs in explore(lambda source: run_problems(program, [call], method, [0], source=source)[0].runs, limit):
        found += [(key_of(run, level, keep, whole), log_p + run.log_weight) for run in runs] or [((), -math.inf)]
    return found


def key_of(run: Run, level: Level, keep: tuple[str, ...], whole: Pieces = frozenset()) -> Any:
    """What of a run a level preserves: its value, and its choices in order, in no order, or those that are kept.

    Args:
        run: the run.
        level: the level.
        keep: patterns of addresses.
        whole: sites whose pieces are to be put together first.
    """
    choices = [(address, *exactly(value)) for address, value in _whole(run, whole)]
    if level > Level.JOINT:
        choices = [c for c in choices if any(c[0] == k or k == "*" or fnmatchcase(c[0], k) for k in keep)]
    return freeze(run.value), tuple(choices if level is Level.TRACE else sorted(choices, key=lambda c: c[0]))


def _whole(run: Run, sites: Pieces) -> list[tuple[str, Any]]:
    """The choices of a run, those of a piece each put together where the last piece stands."""
    found: dict[str, Any] = {}
    pieces: dict[str, tuple[Text, ...]] = {}
    for choice in run.trace:
        counters = re.search(r"(\[\d+\])*$", choice.address)
        assert counters is not None
        name = choice.address[: counters.start()].rpartition("/")[2]
        if (name, counters.group().count("[") - 1) in sites:
            address = choice.address.rpartition("[")[0]
            pieces[address] = (*pieces.get(address, ()), choice.value)
            found[address] = joined(pieces[address])
        else:
            found[choice.address] = choice.value
    return list(found.items())


def distance(one: Masses, other: Masses) -> float:
    """The largest difference of mass at a trace, or in all, as a share of the larger total."""
    scale = max((log_mass for _, log_mass in (*one, *other)), default=-math.inf)
    if scale == -math.inf:
        return 0.0
    a, b = _totals(one, scale), _totals(other, scale)
    in_all = math.fsum(a.values()), math.fsum(b.values())
    gaps = [abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in {*a, *b}]
    return max([abs(in_all[0] - in_all[1]), *gaps]) / max(in_all)


def _apart(found: Masses, right: Masses) -> str:
    """Where the masses of traces differ most, in words."""
    total = log_sum_exp([log_mass for _, log_mass in right])
    scale = total if total > -math.inf else 0.0
    return most_apart(_totals(found, scale), _totals(right, scale))


def _totals(masses: Masses, scale: float) -> dict[Any, float]:
    found: dict[Any, float] = defaultdict(float)
    for key, log_mass in masses:
        found[key] += math.exp(log_mass - scale)
    return found
