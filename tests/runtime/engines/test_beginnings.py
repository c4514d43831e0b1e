"""Outcomes of a vocabulary's size: made when they are looked at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ppl import condition, infer, program, sample, table_lm
from ppl.runtime.engines.beginnings import Beginnings
from ppl.runtime.engines.requests import Generated

PAIRS = [("a", math.log(0.2)), ("b", math.log(0.5)), ("c", math.log(0.2)), ("d", math.log(0.1))]


def test_they_are_a_sequence_of_pairs() -> None:
    found = Beginnings.of(PAIRS)
    assert list(found) == PAIRS and found[1:3] == PAIRS[1:3] and found[-1] == PAIRS[-1] and len(found) == 4
    assert Beginnings.of(found) is found and found.mass == pytest.approx(1.0)
    with pytest.raises(IndexError):
        found[4]


def test_the_most_probable_are_taken_off_first_and_of_equals_the_first() -> None:
    found = Beginnings.of(PAIRS).ascending()
    assert [found.pop()[0] for _ in range(3)] == ["b", "a", "c"]
    assert len(found) == 1 and found.mass == pytest.approx(0.1)
    assert found.pop()[0] == "d" and not found and found.mass == 0.0
    assert len(Beginnings.of(())) == 0


def test_nothing_is_made_that_nobody_looks_at() -> None:
    made: list[int] = []

    def make(token: int) -> int:
        made.append(token)
        return token

    many = Beginnings(np.arange(50_000), np.linspace(-20.0, -1.0, 50_000), make)
    assert many.ascending().pop() == (49_999, -1.0) and made == [49_999]


def test_a_search_makes_few_of_a_large_vocabulary_s_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*(f"<{i}>" for i in range(3000)), "\n"]
    lm = table_lm(words, {(): {**dict.fromkeys(words[:-1], 1), words[7]: 3000, "\n": 3000}})
    made = 0
    plain = Generated.__new__

    def counted(cls: type, *args: Any) -> Generated:
        nonlocal made
        made += 1
        return plain(cls, *args)

    @program
    def writes() -> str:
        line = sample(lm.context().line(max_tokens=3))
        condition(line.startswith("<7>"))
        return str(line)

    monkeypatch.setattr(Generated, "__new__", counted)
    found = infer(writes, method="best-first", max_open=12)
    assert found.mode() == "<7>\n" and found.result.bounds is not None
    assert made < 3000, "each branch has 3,001 beginnings"
