"""A draft model as a proposal: its tokens are the target's where both have the same; else it is refused."""

from __future__ import annotations

import pytest

from ppl import Program, ProgramError, dist, infer, observe, program, sample, table_lm, validate
from ppl.lm import LM
from ppl.text import Text

VOCABULARY = ["a", "b", "ab"]
"""The text "ab" can be written with one token or with two."""


def target() -> LM:
    return table_lm(VOCABULARY, seed=0, eos="$")


def drafted(lm: LM, draft: LM, block: int, temperature: float = 1.0) -> Program:
    """Text written in blocks by a draft, each corrected and then judged."""

    @program
    def writes() -> str:
        context, text = lm.context("a"), ""
        for _ in range(2):
            proposal = draft.context("a" + text).text(max_tokens=block, temperature=temperature)
            step = sample(context.text(max_tokens=block), proposal=proposal)
            context, text = context + step, text + step
            observe(lm.context("b" + step).token(), "a")
        return text

    return writes


@pytest.mark.parametrize("method", ["importance", "smc"])
@pytest.mark.parametrize("n", [1, 2])
def test_blocks_of_a_draft_are_corrected_exactly(method: str, n: int) -> None:
    block = 2 if n == 1 else 1
    writes = drafted(target(), table_lm(VOCABULARY, seed=1, eos="$"), block, 0.7)
    assert validate(writes, method=method, n=n)


def test_a_draft_whose_text_is_tokenised_anew_is_seen_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the law above is for: the string of a text has a probability for each way to write it."""
    monkeypatch.setattr(Text, "tokens_for", lambda self, lm: self.tokens if self.lm is lm else None)
    monkeypatch.setattr("ppl.text_distributions.TextDistribution.as_proposed", lambda self, value: self.as_drawn(value))
    writes = drafted(target(), table_lm(VOCABULARY, seed=1, eos="$"), 2)
    assert not validate(writes, method="importance", n=1)


def test_what_was_drawn_belongs_to_the_target() -> None:
    lm, draft = target(), table_lm(VOCABULARY, seed=1, eos="$")
    [run] = infer(drafted(lm, draft, 2), method="importance", n=1, seed=0).runs
    steps = [choice.value for choice in run.trace if "step" in choice.address]
    assert len(steps) == 2 and all(isinstance(step, Text) and step.lm is lm for step in steps)


@pytest.mark.parametrize("vocabulary", [["a", "b", "ba"], ["b", "a", "ab"], ["a", "b", "ab", "c"]])
def test_tokens_of_another_kind_are_refused(vocabulary: list[str]) -> None:
    draft = table_lm(vocabulary, seed=1, eos="$")
    with pytest.raises(ProgramError, match=r"(?s)tokens are not those of 'table 0'.*same tokenizer.*context\.choice"):
        infer(drafted(target(), draft, 2), method="importance", n=1, seed=0)
    with pytest.raises(ValueError, match="same tokenizer"):
        dist.mixture([target().context("a").token(), draft.context("a").token()])


def test_choices_are_strings_whatever_their_tokens() -> None:
    lm, draft = target(), table_lm(["b", "a", "ba"], seed=1, eos="$")

    @program
    def chooses() -> str:
        options = ["a", "ab"]
        choice = sample(lm.context("b").choice(options), proposal=draft.context("b").choice(options))
        observe(lm.context(choice).token(), "a")
        return choice

    assert validate(chooses, method="importance", n=2)
