"""Nodes that are crossed without being looked at are those to which no condition objects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ppl import Program
from ppl.compiler.names import Names
from ppl.compiler.passes import climbing, make_pipeline
from ppl.compiler.passes.moving import GUARDS, HEEDS, LEAVES, hints_respected, no_exit_crossed
from ppl.compiler.printer import to_text
from tests.laws.pass_programs import PassWriter, Shape, sources
from tests.laws.random_programs import compiled
from tests.laws.test_passes_batch import SHAPES as BATCHED
from tests.laws.test_passes_hoist import SHAPES as HOISTED

PIPELINE = make_pipeline(["hoist", "batch"])


def hinted(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Evidence after a hint and a choice."""
    line = writer.sampled("sample(dist.flip(0.25))", loops, indent)
    return [line, indent + writer.pick(["twist(0.5)", "barrier()"]), f"{indent}factor(0.25)"]


SHAPES: list[Shape] = [*BATCHED, *HOISTED, hinted]


def rewritten(program: Program) -> tuple[str, list[str]]:
    done = PIPELINE.run(program.compiled.ir, Names(program._function))
    return to_text(done.program), [str(remark) for remark in done.remarks]


def agrees(source: str) -> bool:
    """Whether it comes to the same if every condition is asked at every node."""
    program = compiled(source)
    quick = rewritten(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(climbing, "HEEDS", {})
        return rewritten(program) == quick


@given(sources(SHAPES))
@settings(
    max_examples=100, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
)
def check(source: str) -> None:
    assert agrees(source)


def test_what_no_condition_objects_to_is_crossed() -> None:
    check()


@pytest.mark.parametrize(("condition", "bits"), [(no_exit_crossed, GUARDS), (hints_respected, LEAVES)])
def test_a_condition_that_is_asked_too_seldom_is_seen(
    monkeypatch: pytest.MonkeyPatch, condition: Callable[..., str | None], bits: int
) -> None:
    monkeypatch.setitem(HEEDS, condition, lambda facts, node: bits)
    with pytest.raises(AssertionError):
        check()
