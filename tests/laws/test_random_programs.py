"""The laws, on random programs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, find, given, settings, target

from ppl import SMC, Enumerate, Importance, Method
from ppl.certificate import Call, TooLarge, expected

from .random_programs import HEADER, compiled, sources
from .test_proper import ForgetsEvidence, KeepsTwist

METHODS: list[Method] = [
    Importance(n=2),
    SMC(n=2, ess_threshold=1.0, resampling="multinomial"),
    SMC(n=2, ess_threshold=0.8, resampling="residual"),
    SMC(n=3, ess_threshold=1.0, resampling="systematic"),
]
TOLERANCE = 1e-9
checked: dict[str, int] = {}


def check(source: str, methods: list[Method], limit: int) -> None:
    """Enumeration agrees with running every path, and each method with enumeration in expectation."""
    program = compiled(source)
    call: Call = ((1,), {})
    try:
        exact = expected(program, call, Enumerate(), limit)
        paths = expected(program, call, Importance(n=1), limit)
    except TooLarge:
        return
    assert exact.distance(paths) < TOLERANCE
    target(float(min(paths.leaves, 12)))
    for method in methods:
        try:
            found = expected(program, call, method, limit)
        except TooLarge:
            continue
        assert found.distance(exact) < TOLERANCE, f"{method.describe()} breaks its law on\n{source}"
        checked[method.describe()] = checked.get(method.describe(), 0) + 1


@given(sources())
@settings(max_examples=220, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_programs(source: str) -> None:
    check(source, METHODS, limit=150)


def test_most_random_programs_were_small_enough() -> None:
    assert len(checked) == len(METHODS) and min(checked.values()) > 50, checked


@pytest.mark.parametrize("bug", [ForgetsEvidence, KeepsTwist])
def test_random_programs_find_planted_bugs(bug: type[SMC]) -> None:
    method = bug(n=2, ess_threshold=1.0, resampling="multinomial")

    def breaks(source: str) -> bool:
        program = compiled(source)
        call: Call = ((1,), {})
        try:
            return expected(program, call, method, 60).distance(expected(program, call, Enumerate(), 60)) > TOLERANCE
        except TooLarge:
            return False

    example = find(sources(), breaks, settings=settings(max_examples=400, derandomize=True, deadline=None))
    print(example)  # a runnable counterexample, as small as it gets
    assert ("twist" in example) if bug is KeepsTwist else ("factor" in example or "observe" in example)
    assert len(example.splitlines()) <= len(HEADER.splitlines()) + 9


@pytest.mark.slow
@given(sources(choices=4))
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, METHODS, limit=3_000)
