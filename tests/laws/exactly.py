"""Expected measures of inference methods, computed by exploring every random outcome of the production code."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from ppl import Method, Program
from ppl.infer import run_problems
from ppl.runtime.exact import explore
from ppl.runtime.result import Run

Measure = dict[Any, float]


def trace_of(run: Run) -> Any:
    """A run as a key: its return value and every choice, addresses included."""
    return (repr(run.value), tuple((c.address, repr(c.value)) for c in run.trace))


def denotation(prog: Program, args: tuple[Any, ...]) -> Measure:
    """The program's measure over traces, by enumeration through one importance particle: every path once."""
    from ppl import Importance

    return expected_measure(prog, args, Importance(n=1))[0]


def expected_measure(
    prog: Program, args: tuple[Any, ...], method: Method, limit: int = 200_000
) -> tuple[Measure, float]:
    """E[Σ w δ_trace] and E[Ẑ] of a method, over everything it draws."""
    measure: Measure = defaultdict(float)
    evidence = 0.0
    outcomes = explore(lambda source: run_problems(prog, [(args, {})], method, [0], source=source)[0].result, limit)
    for log_p, result in outcomes:
        assert result.log_evidence is not None
        evidence += math.exp(log_p + result.log_evidence)
        for run in result.runs:
            measure[trace_of(run)] += math.exp(log_p + run.log_weight)
    return dict(measure), evidence


def distance(left: Measure, right: Measure) -> float:
    """The largest difference of mass at any trace."""
    return max((abs(left.get(k, 0.0) - right.get(k, 0.0)) for k in {*left, *right}), default=0.0)
