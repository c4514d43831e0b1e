"""Whole pipelines: one pass after the other keeps the law of the weakest, and methods keep theirs on what comes out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from ppl import SMC, TooLarge
from ppl.certificate import validate
from ppl.certificate_passes import validate_passes
from ppl.compiler.passes import PASSES, make_pipeline

from .pass_programs import compiled, fires, sources
from .test_passes_batch import HANDWRITTEN, LOOP_PROGRAMS, LOOP_SHAPES, SHAPES
from .test_passes_dead import SHAPES as DEAD
from .test_passes_hoist import SHAPES as LATE

ALL = [*SHAPES, *LOOP_SHAPES, *DEAD, *LATE]
counts: Counter[str] = Counter()


def check(source: str, limit: int) -> None:
    program = compiled(source)
    for name in ("default", "all"):
        pipeline = make_pipeline(name)
        if not fires(program, pipeline.passes):
            continue
        try:
            certificate = validate_passes(program, 1, passes=pipeline, limit=limit)
        except TooLarge:
            continue
        assert certificate, f"{certificate}\non\n{source}"
        counts[name] += 1


@given(sources(ALL))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_programs(source: str) -> None:
    check(source, 100)


def test_pipelines_fired_on_enough_of_them() -> None:
    assert counts["default"] > 80 and counts["all"] > 120, counts


@pytest.mark.slow
@given(sources(ALL, choices=5))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, 400)


@pytest.mark.parametrize("source", [*HANDWRITTEN, *LOOP_PROGRAMS])
def test_smc_keeps_its_law_under_the_default_passes(source: str) -> None:
    program = compiled(source).with_passes()
    try:
        assert validate(program, 1, method=SMC(ess_threshold=1.0), n=(1, 2), limit=4_000)
    except TooLarge:
        assert validate(program, 1, method=SMC(ess_threshold=1.0), n=1, limit=4_000)


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_has_tests_of_its_law(name: str) -> None:
    """A pass without a certificate on random programs, and planted bugs, is not done."""
    from pathlib import Path

    kind = type(PASSES[name]).__name__
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_passes_*.py")]
    mine = [text for text in texts if f"import {kind}" in text or f", {kind}" in text]
    assert any("planted_bugs" in text and "outcomes(sources(" in text for text in mine), name
