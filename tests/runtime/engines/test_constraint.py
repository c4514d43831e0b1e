"""Constrained text and text in pieces, against laws worked out by hand from the unconstrained ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl import load_lm, table_lm
from ppl.constraints import Both, Constraint, Matches, OneOf, StartsWith, UnsupportedPattern
from ppl.lm import LM
from ppl.runtime.engines.constraint import _decoded
from ppl.runtime.engines.requests import Generated, Score, Support, TextSpec
from ppl.runtime.exact import explore
from ppl.text_distributions import TextDistribution

LMS = [table_lm(["a", "b", "ab", "\n", "<end>"], eos="<end>", seed=s, order=2) for s in (1, 2)]
LMS.append(table_lm(["é", "a", "<end>"], eos="<end>", seed=3))
STRINGS = ["".join(s) for n in range(7) for s in product("ab\né", repeat=n)]
CONSTRAINTS: list[Constraint] = [
    StartsWith("ab"),
    StartsWith(("b", "aa\n")),
    OneOf(["ab", "aab", "b\n", "éa", "é"]),
    Matches(r"(ab|b)*\n?"),
    Matches(r"[^b]{2}.?"),
    Matches(r"é?a+"),
    Both(StartsWith("a"), Matches(r"[^\n]*b")),
    OneOf(["bbbbbbbbb"]),  # longer than any text: every way is a dead end
]
SPECS = [
    TextSpec(max_tokens=3),
    TextSpec(stop=("\n",), max_tokens=3, temperature=0.7),
    TextSpec(stop=("bb",), max_tokens=4, top_k=3),
]
CASES = [(lm, c, s) for lm in LMS for c in CONSTRAINTS for s in SPECS]


def by_hand(lm: LM, constraint: Constraint, spec: TextSpec, open_: Callable[[str], bool]) -> dict[Generated, float]:
    """The law of a constrained text from the definition, dead ends included."""
    found: dict[Generated, float] = {}
    step = replace(spec, max_tokens=1, stop=())
    root = lm.context("a").node

    def go(tokens: tuple[int, ...], p: float) -> None:
        pieces = lm.compute(Support(root.extend(tokens), step, 100)).value
        ways: list[tuple[tuple[int, ...], str | None, float]] = []
        for piece, log_p in pieces:
            longer = (*tokens, *piece.tokens)
            text = lm.decode(longer)
            finish = None
            if piece.finish == "eos":
                finish = "eos"
            elif any(stop in text for stop in spec.stop):
                finish = "stop"
            elif len(longer) == spec.max_tokens:
                finish = "length"
            if constraint.allows(text) if finish else open_(text):
                ways.append((longer, finish, math.exp(log_p)))
        mass = sum(q for *_, q in ways)
        if not ways:
            found[Generated(tokens, "dead")] = p
        for longer, finish, q in ways:
            if finish is None:
                go(longer, p * q / mass)
            else:
                found[Generated(longer, finish)] = p * q / mass  # type: ignore[arg-type]

    go((), 1.0)
    return found


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_law_is_that_of_the_definition(case: int) -> None:
    lm, constraint, spec = CASES[case]
    viable = {s[:i] for s in STRINGS if constraint.allows(s) for i in range(len(s) + 1)}
    if isinstance(constraint, OneOf):
        viable |= {s[:i] for s in constraint.strings for i in range(len(s) + 1)}
    expected = by_hand(lm, constraint, spec, viable.__contains__)
    assert sum(expected.values()) == pytest.approx(1.0)

    node = lm.context("a").node
    constrained = replace(spec, constraint=constraint)
    support = {g: math.exp(w) for g, w in lm.compute(Support(node, constrained, 1000)).value}
    assert support == pytest.approx(expected)

    distribution = TextDistribution(lm.context("a"), constrained)
    drawn: dict[Generated, float] = {}
    for log_p, done in explore(lambda source: lm.compute(distribution.draw(0), source)):
        drawn[done.value] = drawn.get(done.value, 0.0) + math.exp(log_p)
        assert done.log_prob == pytest.approx(log_p)
        plain = lm.compute(Score(node, done.value.tokens, spec)).log_prob
        assert done.log_base == pytest.approx(plain)
        scored = lm.compute(Score(node, done.value.tokens, constrained)).log_prob
        assert scored == (pytest.approx(log_p) if done.value.finish != "dead" else -math.inf)
    assert drawn == pytest.approx(expected)


def test_what_is_not_allowed_has_no_density() -> None:
    distribution = LMS[0].context("a").text(max_tokens=2).restricted(StartsWith("ab"))
    assert distribution.log_prob("ab") > -math.inf
    assert distribution.log_prob("ba") == -math.inf
    assert distribution.base == LMS[0].context("a").text(max_tokens=2)


@pytest.mark.parametrize("lm", LMS)
@pytest.mark.parametrize("spec", [*SPECS, TextSpec(stop=("a\nb", "\nab"), max_tokens=4)])
@pytest.mark.parametrize("pause", ["token", "line"])
@pytest.mark.parametrize("constraint", [None, StartsWith("a"), Matches(r"(a|b|\n|é)*a?")])
def test_pieces_multiply_to_the_whole(lm: LM, spec: TextSpec, pause: str, constraint: Constraint | None) -> None:
    whole = replace(spec, constraint=constraint)
    node = lm.context("a").node
    found: dict[Generated, float] = {}

    def go(tokens: tuple[int, ...], log_p: float) -> None:
        before = b"".join(map(lm.model.decode_bytes, tokens))
        assert spec.max_tokens is not None
        piece = replace(whole, before=before, max_tokens=spec.max_tokens - len(tokens), pause=pause)  # type: ignore[arg-type]
        for generated, log_q in lm.compute(Support(node.extend(tokens), piece, 1000)).value:
            longer = (*tokens, *generated.tokens)
            if generated.finish == "pause":
                assert pause == "token" or "\n" in lm.decode(generated.tokens)
                go(longer, log_p + log_q)
            else:
                found[Generated(longer, generated.finish)] = log_p + log_q

    go((), 0.0)
    assert found == pytest.approx(dict(lm.compute(Support(node, whole, 1000)).value))


@given(st.binary(max_size=6), st.integers(0, 6))
def test_bytes_are_read_as_they_are_decoded(data: bytes, cut: int) -> None:
    first, pending = _decoded(data[:cut])
    second, rest = _decoded(pending + data[cut:])
    assert first + second + rest.decode("utf-8", "replace") == data.decode("utf-8", "replace")


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", "[a-b1]", "(?:)", "1"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}|{p[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "*?", "{2,}?"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("ab1\n-", max_size=6))
@settings(max_examples=400, deadline=None)
def test_patterns_match_as_pythons_do(pattern: str, text: str) -> None:
    assert Matches(pattern).allows(text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)b", "(?<!a)b", "(?i)a", r"a\b", "a^b", "(?i:a)", "(a{999}){999}"])
def test_patterns_that_are_more_than_regular(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern):
        Matches(pattern)


def test_a_pattern_with_anchors_around_it() -> None:
    assert Matches("^ab$").allows("ab") and not Matches("^ab$").allows("ab\n")


@pytest.mark.parametrize("constraint", [OneOf(["Yes.\n", "No.\n"]), StartsWith("Step "), Matches(r"\d+ [+*] \d+\n")])
def test_a_real_model_writes_what_is_allowed(constraint: Constraint) -> None:
    line = load_lm().context("Start with 17. Add 25.\n").line(max_tokens=12).restricted(constraint)
    for seed in range(5):
        text = line.sample(seed)
        assert constraint.allows(text) or text.finish == "dead"
