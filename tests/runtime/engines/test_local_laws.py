"""The local engine draws and scores by laws enumerated by hand from exact probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch

from ppl.runtime.engines import local
from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import PLAIN, Choose, Ending, Generate, Score, Support, TextSpec
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource, derive

from .enumerated import SPECS, check_support, chi_square, draw_counts, models, run, texts


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("which", range(3))
def test_support_is_the_enumerated_law(which: int, spec: TextSpec) -> None:
    check_support(models()[which], (0, 3), spec)


@pytest.mark.parametrize("spec", SPECS[:6], ids=str)
def test_score_of_every_sequence(spec: TextSpec) -> None:
    model = models()[0]
    assert spec.max_tokens is not None
    longest = min(3, spec.max_tokens + 1)
    sequences = [s for n in range(longest + 1) for s in product(range(model.vocab_size), repeat=n)]
    node = model.root.extend((2,))
    expected = texts(model, (2,), spec)
    for completion in run(LocalEngine(model), [Score(node, s, spec) for s in sequences]):
        tokens = completion.value
        if tokens in expected:
            assert completion.log_prob == pytest.approx(math.log(expected[tokens][1]), abs=1e-9)
        else:
            assert completion.log_prob == -math.inf


def test_score_of_unknown_tokens() -> None:
    model = models()[0]
    (completion,) = run(LocalEngine(model), [Score(model.root, (99,), TextSpec(max_tokens=1))])
    assert completion.log_prob == -math.inf


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_draws_score_as_they_were_drawn(spec: TextSpec) -> None:
    model = models()[2]
    node = model.root.extend((1,))
    drawn = run(LocalEngine(model), [Generate(node, spec, derive(0, i)) for i in range(40)])
    scored = run(LocalEngine(model), [Score(node, c.value.tokens, spec) for c in drawn])
    assert [c.log_prob for c in drawn] == [c.log_prob for c in scored]
    law = texts(model, (1,), spec)
    assert all(law[c.value.tokens][0] == c.value.finish and c.tokens == len(c.value.tokens) for c in drawn)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[4], SPECS[5]], ids=str)
def test_draws_follow_the_law(spec: TextSpec) -> None:
    model = models()[0]
    law = {tokens: p for tokens, (_, p) in texts(model, (1, 1), spec).items()}
    chi_square(draw_counts(model, spec, 4000), law, alpha=1e-4)


def test_greedy_takes_the_first_of_equals() -> None:
    model = TableModel(["x", "y", "z"], {(): {"x": 1, "y": 2, "z": 2}})
    (completion,) = run(LocalEngine(model), [Generate(model.root, TextSpec(max_tokens=2, temperature=0.0), 1)])
    assert completion.value.tokens == (1, 1)
    assert completion.log_prob == 0.0


def test_a_tiny_temperature_is_no_infinity() -> None:
    model = TableModel(["x", "y"], {(): {"x": 1, "y": 2}})
    (completion,) = run(LocalEngine(model), [Generate(model.root, TextSpec(max_tokens=2, temperature=1e-300), 1)])
    assert completion.value.tokens == (1, 1)


def test_a_nucleus_of_equals_takes_the_first() -> None:
    names = [f"<{i}>" for i in range(40)]
    model = TableModel(names, {(): dict.fromkeys(names, 1)})
    for top_p, size in ((0.5, 20), (0.51, 21), (1e-13, 1)):
        (completion,) = run(LocalEngine(model), [Support(model.root, TextSpec(max_tokens=1, top_p=top_p), 40)])
        assert [g.tokens for g, _ in completion.value] == [(i,) for i in range(size)]
        assert [p for _, p in completion.value] == pytest.approx([-math.log(size)] * size)


# ---- a law's test must fail for a wrong law


def test_planted_bugs_in_the_law_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class NotRenormalised(NextTokens):
        def table(self, places: Sequence[int] | None = None) -> torch.Tensor:
            right, logits = super().table(places), self._found.rows.logits
            return torch.where(right == -torch.inf, -torch.inf, NextTokens(logits, PLAIN).table(places))

    bugs: list[Callable[..., NextTokens]] = [
        lambda x, law, rows: NextTokens(x, (1.0, law[1], law[2]), rows),
        lambda x, law, rows: NextTokens(x, (law[0], 1.0, law[2]), rows),
        lambda x, law, rows: NextTokens(x, (law[0], law[1], None), rows),
        NotRenormalised,
    ]
    for bug in bugs:
        monkeypatch.setattr(local, "NextTokens", bug)
        with pytest.raises(AssertionError):
            check_support(models()[0], (0, 3), SPECS[5])


def test_a_planted_bug_in_the_stops_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Ending.after
    monkeypatch.setattr(Ending, "after", lambda self, tail, token, count: right(self, tail[1:], token, count))
    with pytest.raises(AssertionError):
        check_support(models()[0], (0, 3), SPECS[1])


def test_a_planted_bug_in_the_draws_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RandomSource.choose_rows

    def always_the_first(self: RandomSource, laws: Any, rows: Any, keys: Any, counters: Any) -> Any:
        return right(self, laws, rows, keys, [0] * len(keys))

    monkeypatch.setattr(RandomSource, "choose_rows", always_the_first)
    model = models()[0]
    law = {tokens: p for tokens, (_, p) in texts(model, (1, 1), SPECS[0]).items()}
    with pytest.raises(AssertionError):
        chi_square(draw_counts(model, SPECS[0], 4000), law, alpha=1e-4)


# ---- choices


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 0.0])
def test_the_law_of_a_choice(temperature: float) -> None:
    model = models()[0]
    context = (0, 1)
    options = ((0,), (0, 1), (2, 3, 3), (1,))
    node = model.root.extend(context)
    joint = [
        math.prod(float(model.probability(context + option[:i], option[i])) for i in range(len(option)))
        for option in options
    ]
    powered = [p ** (1 / temperature) if temperature else float(p == max(joint)) for p in joint]
    law = [w / sum(powered) for w in powered]
    engine = LocalEngine(model)
    scored = run(engine, [Choose(node, options, index=i, temperature=temperature) for i in range(4)])
    assert [math.exp(c.log_prob) for c in scored] == pytest.approx(law)
    drawn = run(engine, [Choose(node, options, key=derive(3, i), temperature=temperature) for i in range(2000)])
    assert all(math.exp(c.log_prob) == pytest.approx(law[c.value]) for c in drawn)
    if temperature:
        chi_square(Counter((c.value,) for c in drawn), {(i,): p for i, p in enumerate(law)}, alpha=1e-4)
    (whole,) = run(engine, [Choose(node, options, temperature=temperature)])
    assert [i for i, _ in whole.value] == [i for i, p in enumerate(law) if p > 0]
    (none,) = run(engine, [Choose(node, options, index=-1)])
    assert none.log_prob == -math.inf


def test_a_choice_among_the_impossible_is_an_error_of_its_own() -> None:
    model = TableModel(["x", "y", "z"], {(): {"x": 1, "y": 1}})
    engine = LocalEngine(model)
    fine = Generate(model.root, TextSpec(max_tokens=1), 1)
    for request in (Choose(model.root, ((2,), (0, 2)), key=1), fine):
        engine.submit(request, RandomSource())
    with pytest.raises(ValueError, match="none of the 2 options"):
        engine.step()
    (completion,) = engine.step()
    assert completion.request is fine and len(completion.value.tokens) == 1
    assert engine.pending == 0 and model.usage.forwards == 1
