"""Constraint pushing says why it leaves a condition where it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ppl import condition, program, sample, table_lm, validate
from ppl.compiler.intrinsics import ask
from ppl.patterns import unfollowed, written

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


FIRST = 0
WORD, LETTERS = re.compile("[ab]+"), re.compile("[AB]+", re.IGNORECASE)


def polite(text: str) -> bool:
    return text.startswith("a")


@program
def asks_much(n: int) -> str:
    x = sample(lm.context("a").text(max_tokens=3))
    condition(x.startswith(f"{'ab'[FIRST]}"))
    condition(WORD.fullmatch(x))
    condition(LETTERS.fullmatch(x))
    condition(x.endswith("a"))
    condition("a" in x and not x.startswith("ba"))
    condition(x.startswith("a") or x.startswith("b"))
    condition(re.fullmatch("A.*", x, re.IGNORECASE))
    condition(polite(x))
    y = sample(lm.context("a").token())
    condition(x == y + "b")
    return x


@pytest.mark.parametrize(
    ("line", "remark"),
    [
        (2, "'x' is drawn from what line +3 allows"),
        (2, "'x' is drawn from what line +4 allows"),
        (5, "'[AB]+' has flags other than a, s, u and x"),
        (
            6,
            "`x.endswith('a')` is none of x.startswith(y), x in y, x == y and re.fullmatch(y, x); a pattern for",
        ),
        (7, "`'a' in x` is none of"),
        (7, "`not x.startswith('ba')` is none of"),
        (8, "for alternatives write x.startswith((…)), x in (…) or one pattern"),
        (9, "write its flags into the pattern, as '(?s)…'"),
        (10, "`polite(x)` is none of x.startswith(y), x in y, x == y and re.fullmatch(y, x), and what a helper asks"),
        (12, "not asked while 'x' is drawn: what it is compared with is not known before it is drawn"),
    ],
)
def test_every_condition_that_is_declined_is_told_with_its_line(line: int, remark: str) -> None:
    function: Callable[..., str] = asks_much._function
    first = function.__code__.co_firstlineno
    remark = re.sub(r"\+(\d+)", lambda found: str(first + int(found[1])), remark) if "line +" in remark else remark
    told = [
        text for text in asks_much.explain(["push"]).split("\n") if text.strip().startswith(f"line {first + line}:")
    ]
    assert any(remark in text for text in told), told


def test_a_compiled_pattern_and_what_is_computed_hold_the_sampler() -> None:
    assert validate(asks_much, 0, pipeline=["push"]) and validate(asks_much, 1, pipeline=["push"])


def test_flags_of_a_compiled_pattern() -> None:
    assert unfollowed(re.compile("(?s)a.", re.ASCII)) is None and written(re.compile("a.", re.S)) == "(?s)a."
    assert unfollowed(re.compile("a", re.IGNORECASE)) == "'a' has flags other than a, s, u and x"
    assert "bytes" in str(unfollowed(re.compile(b"a")))  # type: ignore[arg-type]
