"""Whole pipelines: one pass after the other keeps the law of the weakest, and methods keep theirs on what comes out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppl import SMC, TooLarge
from ppl.certificate import validate
from ppl.certificate_passes import validate_passes
from ppl.compiler.passes import PASSES, make_pipeline

from .pass_programs import PassWriter, compiled, fires, sources
from .test_passes_batch import HANDWRITTEN, LOOP_NAMES, LOOP_PROGRAMS, LOOP_SHAPES, SHAPES
from .test_passes_batch import NAMES as BATCH
from .test_passes_conjugacy import BUGS as CONJUGACY
from .test_passes_dead import NAMES as DEAD_NAMES
from .test_passes_dead import SHAPES as DEAD
from .test_passes_hoist import NAMES as HOIST
from .test_passes_hoist import SHAPES as LATE
from .test_passes_marginalise import BUGS as MARGINALISE
from .test_passes_marginalise import chain, latent
from .test_passes_push import BUGS as PUSH
from .test_passes_push import of_number, of_text, random
from .test_passes_split import NAMES as SPLIT
from .test_passes_split import conditioned, text


def mixed(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """One of all shapes, so that each pass finds something that others have left."""
    return list(writer.draw(st.sampled_from(ALL[1:]))(writer, loops, indent))


SUMMED, ASKED = [latent, chain], [of_text, of_number, conditioned, text]
ALL = [mixed, *SHAPES, *LOOP_SHAPES, *DEAD, *LATE, *SUMMED, *SUMMED, *ASKED]
REMOVED = {
    "dead": DEAD_NAMES,
    "conjugacy": [*CONJUGACY, "address_not_kept"],
    "marginalise": MARGINALISE,
    "push": PUSH,
    "split": [*SPLIT, "address_not_kept"],
    "hoist": HOIST,
    "loops": LOOP_NAMES,
    "batch": BATCH,
}
"""The side-conditions without which the tests of a pass find a program whose law is broken."""
QUALITY = {
    ("dead", "distribution_normalised"): "whatever may be sampled has mass one; it is for what is no distribution",
    ("conjugacy", "drawn_from_its_own"): "a proposal changes the variance only",
    ("push", "drawn_from_its_own"): "a proposal changes the variance only",
    ("push", "pattern_followed"): "what can't be followed is not held to the pattern when it runs, either",
    ("hoist", "hints_respected"): "where runs are weighed is up to the author, and no matter of the measure",
    ("batch", "hints_respected"): "where runs are weighed is up to the author, and no matter of the measure",
    ("batch", "evidence_first"): "a call that evidence would have saved costs, and changes nothing",
    ("loops", "rounds_weighed"): "where runs are weighed is no matter of the measure",
}
"""Those that guard no law, and why."""
counts: Counter[str] = Counter()


def check(source: str, limit: int) -> None:
    program = compiled(random(source))
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


@pytest.mark.parametrize("name", PASSES)
def test_every_condition_is_removed_by_a_planted_bug_or_guards_no_law(name: str) -> None:
    conditions = {condition.__name__ for condition in PASSES[name].conditions}
    exempt = {condition for of, condition in QUALITY if of == name}
    assert not exempt & set(REMOVED[name]), "it is caught"
    assert conditions == exempt | (conditions & set(REMOVED[name]))
    assert exempt <= conditions
