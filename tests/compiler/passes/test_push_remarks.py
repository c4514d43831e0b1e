"""Constraint pushing says why it leaves a condition where it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ppl import condition, program, sample, table_lm, validate
from ppl.compiler.intrinsics import ask
from ppl.patterns import unfollowed

lm = table_lm(["a", "b", "ab", "<eos>"], eos="<eos>", seed=7)

PATTERNS = {
    r"(a|b)\1": "a reference back to a group",
    r"(?=a)..": "a look ahead or back",
    r"a\bb": "an anchor that is not at its beginning or end",
    r"(?i)ab": "flags other than a, s, u and x",
    r"(a": "is no pattern: missing ), unterminated subpattern at position 0",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_that_a_text_can_not_be_held_to(pattern: str) -> None:
    reason = unfollowed(pattern)
    assert reason is not None and repr(pattern) in reason and PATTERNS[pattern] in reason
    assert ask("·unfollowed", pattern) == reason and ask("·unfollowed", "a+b?") is None


@program
def doubled() -> str:
    x = sample(lm.context("a").text(max_tokens=3))
    condition(re.fullmatch(r"(a|b)\1", x))
    return x


@program
def sifted() -> str:
    x = sample(lm.context("a").choice(["aa", "ab"]))
    condition(re.fullmatch(r"(a|b)\1", x))
    return x


def test_a_declined_pattern_is_told_with_its_line() -> None:
    told = doubled.explain(["push"])
    first: Callable[..., str] = doubled._function
    line = first.__code__.co_firstlineno + 3
    reason = r"'(a|b)\\1' holds a reference back to a group, which can't be followed while a text is written"
    assert f"line {line}: not done: not asked while 'x' is drawn: {reason}" in told
    assert validate(doubled, pipeline=["push"])


def test_a_choice_is_sifted_by_any_pattern() -> None:
    assert "'x' is drawn from what line" in sifted.explain(["push"])
    assert validate(sifted, pipeline=["push"])
