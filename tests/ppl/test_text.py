"""Texts, contexts, and the distributions that contexts give."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

from ppl.context import Context
from ppl.lm import LM, table_lm
from ppl.runtime.engines.base import SupportTooLarge
from ppl.text import Text

VOCABULARY = ["a", "b", "ab", "\n", "b\n"]


@pytest.fixture
def lm() -> LM:
    return table_lm(VOCABULARY, eos="<end>", seed=4)


# ---- Text


def test_a_text_is_a_string(lm: LM) -> None:
    text = Text("ab\n", (0, 4), "stop", lm)
    assert text == "ab\n" and hash(text) == hash("ab\n") and repr(text) == repr("ab\n")
    assert text == Text("ab\n", (2, 3)) and "ab\n" in {text}
    assert (lm.context() + Text("ab", (), None, lm)).tokens == (2,)
    assert text.startswith("ab") and len(text) == 3 and f"{text}" == "ab\n"
    for derived in (text + "c", "c" + text, text.strip(), text[:], str(text), f"{text}"):
        assert type(derived) is str
    assert (text.tokens, text.finish, text.lm) == ((0, 4), "stop", lm)


def test_a_text_cannot_be_changed(lm: LM) -> None:
    text = Text("a", (0,), "stop", lm)
    with pytest.raises(AttributeError, match="cannot be changed"):
        text.finish = "eos"
    with pytest.raises(AttributeError):
        del text.tokens
    with pytest.raises(AttributeError):
        text.other = 1
    assert copy.copy(text) is text and copy.deepcopy([text])[0] is text


def test_a_pickled_text_forgets_its_model(lm: LM) -> None:
    text = Text("ab", (0, 1), "length", lm)
    back = pickle.loads(pickle.dumps(text))
    assert type(back) is Text and back == text
    assert (back.tokens, back.finish, back.lm) == ((0, 1), "length", None)
    assert (lm.context() + back).tokens == (2,)  # tokenised anew


# ---- Context


def test_a_context_grows_by_tokens(lm: LM) -> None:
    start = lm.context("ab")
    assert start.tokens == (2,)
    own = start + Text("ab", (0, 1), "stop", lm)
    assert own.tokens == (2, 0, 1) and str(own) == "abab" and len(own) == 3
    plain = start + "ab"
    assert plain.tokens == (2, 2) and plain != own
    other = table_lm(VOCABULARY, seed=4)
    assert (start + Text("ab", (0, 1), "stop", other)).tokens == (2, 2)
    assert start.tokens == (2,)
    assert (lm.context(Text("ab", (0, 1), None, lm))).tokens == (0, 1)


def test_contexts_are_equal_by_model_and_tokens(lm: LM) -> None:
    a, b = lm.context("a") + "b", lm.context("a") + "b"
    assert a == b and hash(a) == hash(b) and a.node is b.node and {a} == {b}
    assert a != lm.context("ab") and a != "ab"
    assert a != table_lm(VOCABULARY, eos="<end>", seed=4).context("a") + "b"
    assert copy.copy(a) is a and copy.deepcopy({"x": a})["x"] is a
    assert bool(lm.context()) and len(lm.context()) == 0


def test_what_a_context_refuses(lm: LM) -> None:
    context: Any = lm.context("a")
    with pytest.raises(TypeError, match=r"context \+ str\(other\)"):
        context + context
    for left in ("x", 3):
        with pytest.raises(TypeError, match="only be extended at its end"):
            left + context
    with pytest.raises(TypeError):
        context + 3
    with pytest.raises(AttributeError, match="cannot be changed"):
        context.node = None
    with pytest.raises(TypeError, match="pickle str"):
        pickle.dumps(context)
    with pytest.raises(ValueError, match="no token for 'z'"):
        context + "z"


def test_the_repr_of_a_context_is_short(lm: LM) -> None:
    assert repr(lm.context("ab\n")) == r"Context('ab\n', 2 tokens)"
    assert len(repr(lm.context("ab" * 500))) < 80
    many = repr(lm.context("a").choice(["a" * n for n in range(1, 50)]))
    assert "49 options" in many and len(many) < 200
    assert repr(lm.context("a").line(top_k=3)) == (
        r"TextDistribution(Context('a', 1 tokens), stop='\n', max_tokens=128, top_k=3)"
    )
    assert "stop=('a', 'b')" in repr(lm.context("a").text(["a", "b"]))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda c: c.text(stop=""), ValueError, "empty string"),
        (lambda c: c.text(stop=["a", ""]), ValueError, "empty string"),
        (lambda c: c.text(stop=[3]), TypeError, "stop holds 3"),
        (lambda c: c.text(max_tokens=0), ValueError, "max_tokens=0"),
        (lambda c: c.text(max_tokens=2.5), TypeError, "max_tokens=2.5"),
        (lambda c: c.text(max_tokens=True), TypeError, "max_tokens=True"),
        (lambda c: c.line(temperature=-0.1), ValueError, "temperature=-0.1"),
        (lambda c: c.line(temperature="hot"), TypeError, "temperature='hot'"),
        (lambda c: c.line(temperature=math.inf), ValueError, "temperature=inf"),
        (lambda c: c.token(top_p=0.0), ValueError, "top_p=0.0"),
        (lambda c: c.token(top_p=1.1), ValueError, "top_p=1.1"),
        (lambda c: c.token(top_p=None), TypeError, "top_p=None"),
        (lambda c: c.token(top_k=0), ValueError, "top_k=0"),
        (lambda c: c.choice([]), ValueError, "options is empty"),
        (lambda c: c.choice("ab"), TypeError, "give a list"),
        (lambda c: c.choice(["a", 3]), TypeError, "options holds 3"),
        (lambda c: c.choice(["a", ""]), ValueError, "empty string"),
        (lambda c: c.choice(["a", "b", "a"]), ValueError, "'a' twice"),
        (lambda c: c.choice(["a"], temperature=-1), ValueError, "temperature=-1"),
    ],
)
def test_arguments_are_checked_at_once(lm: LM, call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(lm.context("a"))


# ---- distributions


def test_a_line_drawn_scores_as_what_it_is(lm: LM) -> None:
    context = lm.context("ab")
    law = context.line(max_tokens=3, temperature=0.7)
    outcomes = law.outcomes()
    assert math.fsum(math.exp(log_prob) for _, log_prob in outcomes) == pytest.approx(1)
    for text, log_prob in outcomes:
        assert law.log_prob(text) == log_prob
        assert (text.finish == "stop") == ("\n" in text) and text.lm is lm
        assert str(context + text) == "ab" + text
    drawn = law.sample(seed=1)
    assert drawn == law.sample(seed=1) and drawn.tokens == law.sample(seed=1).tokens
    assert drawn in [text for text, _ in outcomes]
    assert len({law.sample() for _ in range(30)}) > 1


def test_a_string_scores_by_its_canonical_tokens(lm: LM) -> None:
    law = lm.context("a").line(max_tokens=4)
    by_tokens = {text.tokens: log_prob for text, log_prob in law.outcomes()}
    ab, newline, end = 2, 3, 5
    assert law.log_prob("ab\n") == by_tokens[ab, newline]
    assert law.log_prob("ab") == by_tokens[ab, end]  # can only have ended there by the end token
    assert law.log_prob("aaaa") == by_tokens[0, 0, 0, 0]  # cut at max_tokens
    assert law.log_prob("") == by_tokens[(end,)]
    assert law.log_prob("ab\na") == -math.inf
    assert law.log_prob("aaaaa") == -math.inf
    with pytest.raises(TypeError, match="not a int"):
        law.log_prob(3)  # type: ignore[arg-type]


def test_a_token_is_a_text_of_one_token(lm: LM) -> None:
    law = lm.context("a").token()
    table = lm.model
    assert {text.tokens: math.exp(p) for text, p in law.outcomes()} == {
        (t,): pytest.approx(float(table.probability((0,), t)))  # type: ignore[attr-defined]
        for t in range(6)
    }
    assert {text.finish for text, _ in law.outcomes()} == {"length", "eos"}


def test_characters_split_over_tokens_read_whole_in_the_context() -> None:
    lm = table_lm(["é", "x"], seed=0)
    lm.model.decode_bytes = lambda token: "é".encode()[token : token + 1]  # type: ignore[method-assign]
    context = lm.context() + Text("\ufffd", (0,), None, lm)
    assert str(context) == "\ufffd" and str(context + Text("\ufffd", (1,), None, lm)) == "é"


def test_a_choice(lm: LM) -> None:
    context = lm.context("b")
    two = Text("ab", (0, 1), None, lm)
    law = context.choice([two, "ab\n", "a"])
    assert [option.tokens for option in law.options] == [(0, 1), (2, 3), (0,)]
    outcomes = dict(law.outcomes())
    assert math.fsum(map(math.exp, outcomes.values())) == pytest.approx(1)
    assert law.log_prob("ab\n") == pytest.approx(outcomes[law.options[1]])
    assert law.log_prob("no") == -math.inf
    drawn = law.sample(seed=0)
    assert type(drawn) is Text and drawn in law.options and (context + drawn).tokens == (1, *drawn.tokens)
    assert context.choice(["a", "b"], temperature=0).sample() in ("a", "b")
    with pytest.raises(TypeError, match="not a int"):
        law.log_prob(0)  # type: ignore[arg-type]


def test_supports_are_bounded(lm: LM) -> None:
    with pytest.raises(SupportTooLarge):
        lm.context().text(max_tokens=3).outcomes(limit=10)
    with pytest.raises(SupportTooLarge):
        lm.context().choice(["a", "b"]).outcomes(limit=1)


def test_distributions_compare_by_what_they_mean(lm: LM) -> None:
    a, b = lm.context("a"), lm.context("b")
    assert a.line() == a.text("\n") and hash(a.line()) == hash(a.text(["\n"]))
    assert a.line() != b.line() and a.line() != a.line(top_k=2)
    assert a.choice(["a", "b"]) == a.choice(("a", "b")) != a.choice(["b", "a"])
    assert hash(a.choice(["a", "b"])) == hash(a.choice(["a", "b"]))
    law = a.line()
    assert copy.deepcopy(law) is law and law.lm is lm and law.engine is lm.engine


def test_asking_at_the_prompt_leaves_a_run_in_progress_alone(lm: LM) -> None:
    from ppl.runtime.source import RandomSource

    law = lm.context("a").line()
    lm.engine.submit(law.draw(5), RandomSource())
    law.sample()
    assert lm.engine.pending == 1
    lm.engine.cancel()


def test_equality_with_foreign_things(lm: LM) -> None:
    context: Context = lm.context("a")
    assert context != 3 and context.line() != 3 and context.choice(["a"]) != "a"
