"""What passes believe about Python and about effects: believe more than is so, and a random program tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ppl.compiler import callees, failing, purity
from ppl.compiler.facts import Facts
from ppl.compiler.kinds import Kind, Touch
from ppl.compiler.passes import Pass, moving
from ppl.compiler.passes.batch import BatchCalls
from ppl.compiler.passes.hoist import HoistEvidence
from ppl.compiler.passes.loops import BatchLoops

from .pass_programs import (
    HARD,
    Shape,
    bound,
    check,
    counterexample,
    impossible,
    namesake,
    outcomes,
    sources,
    stateful,
    unfit,
)

PASSES: list[Pass] = [HoistEvidence(), BatchLoops(), BatchCalls()]


def test_random_programs() -> None:
    """They keep their law; most are such that the passes must leave them alone."""
    counts = outcomes(sources(HARD), lambda source: check(source, PASSES), examples=40)
    assert counts[True] > 2 and counts[False] > 2, counts


@pytest.mark.slow
@given(sources(HARD, choices=4))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, PASSES, limit=400)


def by_name(judge: Any, func: Any, node: Any) -> callees.Callee:
    """Methods that are called like a context's are one."""
    if func.attr in callees.MODEL_METHODS:
        return callees.Callee(Touch.READ, f"model.{func.attr}", Kind.TEXTS)
    return METHOD(judge, func, node)


METHOD = callees._method
BELIEFS: dict[str, tuple[Any, str, Callable[..., Any], Pass, Shape]] = {
    "looking at objects changes nothing": (
        *(purity, "inside", lambda kind: Touch.READ if kind is Kind.OTHER else Touch.NONE),
        *(HoistEvidence(), stateful),
    ),
    "methods are what they are called like": (callees, "_method", by_name, BatchCalls(), namesake),
    "functions hold nothing": (Facts, "_is_plain_function", lambda self, value: True, BatchCalls(), bound),
    "effects can't fail": (failing, "_total_effect", lambda facts, effect: True, HoistEvidence(), unfit),
    "calls can't fail": (failing, "_total_effect", lambda facts, effect: True, BatchCalls(), unfit),
    "models write everything": (moving, "surely_positive", lambda facts, effect: True, BatchCalls(), impossible),
}


@pytest.mark.parametrize("belief", BELIEFS)
def test_beliefs_that_go_too_far_are_caught(monkeypatch: pytest.MonkeyPatch, belief: str) -> None:
    where, name, wrong, pass_, shape = BELIEFS[belief]
    monkeypatch.setattr(where, name, wrong)
    print(counterexample(pass_, [], [shape]))
