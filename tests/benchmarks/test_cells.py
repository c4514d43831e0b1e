"""The comparison of all methods: cells with a remembering model are the plain ones; nothing is measured twice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cells
import numpy as np
import pytest
from cells import Cell, Entry, Store, Task, bootstrap, measure
from contenders import LEFT_OUT, LINE, METHODS, NOISE, method_for, particles, reward
from remembering import Remembering

from ppl import load_lm
from ppl.bundled.problems import problems
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.methods import METHODS as REGISTERED

ASKED = problems(2, 4)
TASK = Task("smc", "exact", 400, 4, 2, 2, 0, "code")
CELL = Cell(TASK, (2, 0), 1, 1200, 380)


@pytest.mark.parametrize("method", ["smc", "look-ahead", "beam", "a-star", "mh, suffix", "pgibbs", "revision"])
def test_a_remembered_cell_is_the_plain_one(method: str) -> None:
    lm = load_lm()
    remembering = load_lm(Remembering(cast(LogitModel, lm.model)))
    task = replace(TASK, method=method, checker="noisy")
    plain = measure(task, ASKED, lm)
    assert measure(task, ASKED, remembering) == plain
    assert measure(task, ASKED, remembering) == plain
    assert 0 < plain.most <= task.budget
    assert plain.most <= plain.tokens <= 4 * task.budget


def test_a_run_over_its_budget_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    over = SimpleNamespace(cost=SimpleNamespace(tokens=TASK.budget + 1), empty=True)
    monkeypatch.setattr(cells, "infer_many", lambda *args, **kwargs: [over] * 4)
    with pytest.raises(RuntimeError, match="smc used 401 tokens of 400"):
        measure(TASK, ASKED, load_lm())


def test_what_is_kept_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "out" / "cells.jsonl"
    assert Store(path).cell(TASK, lambda: CELL) == CELL
    assert Store(path).cell(TASK, lambda: pytest.fail("measured again")) == CELL


@pytest.mark.parametrize("change", [{"code": "other"}, {"draw": 1}, {"seeds": 3}, {"budget": 300}])
def test_what_differs_is_measured(tmp_path: Path, change: dict[str, int]) -> None:
    path = tmp_path / "cells.jsonl"
    Store(path).cell(TASK, lambda: CELL)
    other = replace(CELL, task=replace(TASK, **change), tokens=7)  # type: ignore[arg-type]
    assert Store(path).cell(other.task, lambda: other) == other
    assert Store(path).cell(TASK, lambda: pytest.fail("measured again")) == CELL


def test_a_line_that_was_cut_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    other = replace(CELL, task=replace(TASK, method="beam"))
    store = Store(path)
    store.cell(TASK, lambda: CELL)
    store.cell(other.task, lambda: other)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-20], encoding="utf-8")
    again = Store(path)
    assert again.cell(TASK, lambda: pytest.fail("measured again")) == CELL
    assert again.cell(other.task, lambda: other) == other
    assert Store(path).cell(other.task, lambda: pytest.fail("lost")) == other


def test_entries_add_up() -> None:
    longer = Cell(replace(TASK, length=5, problems=1), (1,), 0, 300, 200)
    entry = Entry((CELL, longer))
    assert entry.right.tolist() == [1.0, 0.0, 0.5]
    assert entry.accuracy == 0.5
    assert entry.silent == 1 / 6
    assert entry.tokens == 250.0
    assert entry.most == 380


def test_the_bootstrap_is_that_of_the_mean() -> None:
    values = np.arange(100) % 2.0
    low, high = bootstrap(values)
    error = 1.96 * 0.5 / math.sqrt(len(values))
    assert low == pytest.approx(0.5 - error, abs=0.015)
    assert high == pytest.approx(0.5 + error, abs=0.015)


def test_differences_are_paired() -> None:
    """Always one seed of five ahead: nothing is left to chance, however much the problems differ."""
    rng = np.random.default_rng(1)
    right = rng.integers(0, 4, 50)
    task = replace(TASK, problems=50, seeds=5)
    ours, theirs = (Entry((Cell(task, tuple(map(int, found)), 0, 1, 1),)) for found in (right + 1, right))
    ahead, (low, high) = ours.ahead_of(theirs)
    assert (ahead, low, high) == pytest.approx((0.2, 0.2, 0.2))


def test_every_method_has_a_row_or_a_reason() -> None:
    made = {method_for(name, 1000, 6).name for name in METHODS}
    own = {name for name, method in REGISTERED.items() if method.__module__.startswith("ppl.runtime.methods.")}
    assert own == made | LEFT_OUT.keys()
    assert not made & LEFT_OUT.keys()


def test_a_budget_feeds_its_particles() -> None:
    assert method_for("smc", 1000, 8).n == particles(1000, 8) == int(1000 / (8 * LINE))  # type: ignore[attr-defined]
    assert method_for("smc", 1, 8).n == particles(1, 8) == 1  # type: ignore[attr-defined]


def test_the_noisy_checker_is_wrong_as_often_as_it_says() -> None:
    question, lines = ASKED[0].question, ASKED[0].lines
    wrong = [[f"{i}+1={i + 1}"] for i in range(2000) if [f"{i}+1={i + 1}"] != [lines[0]]]
    share = sum(reward(question, each, NOISE["noisy"]) > 0.5 for each in wrong) / len(wrong)
    assert share == pytest.approx(0.15, abs=0.03)
    assert all(reward(question, each, NOISE["exact"]) == pytest.approx(0.01) for each in wrong)
    assert reward(question, lines[:1], NOISE["exact"]) == pytest.approx(0.99)
