"""A model that remembers answers as the one behind it, and asks that one about every prefix once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from remembering import Remembering

from ppl import SMC, Method, factor, infer, load_lm, program, sample, table_lm
from ppl.kernels import Regenerate
from ppl.lm import LM
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.table import TableModel
from ppl.runtime.methods import MH, Beam, LookAhead

METHODS = [
    SMC(n=6),
    LookAhead(n=3),
    Beam(n=4, m=2),
    MH(kernel=Regenerate("token"), chains=2, steps=6, burn_in=0),
]


@program
def letters(lm: LM) -> str:
    text = lm.context("a")
    for _ in range(3):
        piece = sample(text.text(max_tokens=2, temperature=0.8))
        factor(-0.7 * piece.count("b"))
        text = text + piece
    return str(text)


class Counted(TableModel):
    """A table that notes what it is asked about."""

    asked: list[tuple[int, ...]]

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        self.asked += [node.tokens() for node in nodes]
        return super().logits(nodes)


class LastTokenOnly(Remembering):
    """Planted bug: it takes prefixes with the same last token for the same."""

    def __init__(self, model: LogitModel) -> None:
        super().__init__(model)
        self.first: dict[int, Prefix] = {}

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        taken = [self.first.setdefault(node.token, node) for node in nodes]
        super().logits(list(dict.fromkeys(taken)))
        return super().logits(taken)


def table() -> LogitModel:
    return cast(LogitModel, table_lm(("a", "b", "c"), seed=3, eos=".").model)


def runs(model: LogitModel, method: Method, seed: int) -> list[tuple[object, float]]:
    posterior = infer(letters, load_lm(model), method=method, seed=seed)
    return [(run.value, run.log_weight) for run in posterior.runs]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_remembered_runs_are_the_plain_ones(method: Method) -> None:
    remembering = Remembering(table())
    for seed in (0, 1, 0):
        assert runs(remembering, method, seed) == runs(table(), method, seed)
    remembering.forget()
    assert remembering.remembered == 0
    assert runs(remembering, method, 0) == runs(table(), method, 0)


def test_mixed_up_rows_would_be_seen() -> None:
    assert any(runs(LastTokenOnly(table()), METHODS[0], seed) != runs(table(), METHODS[0], seed) for seed in range(3))


def test_every_prefix_is_computed_once() -> None:
    model = cast(Counted, Counted.random(3, ("a", "b", "c"), "."))
    model.asked = []
    remembering = Remembering(model)
    for method in METHODS:
        for seed in range(3):
            runs(remembering, method, seed)
    assert len(model.asked) == len(set(model.asked)) == remembering.remembered


def test_rows_outlive_a_larger_table() -> None:
    """The table grows by copying: what was there stays."""
    model = table()
    remembering = Remembering(model)
    first = [model.root.child(0), model.root.child(1)]
    before = remembering.logits(first)
    level = first
    while remembering.remembered < 5000:
        level = [node.child(token) for node in level for token in range(3)]
        remembering.logits(level)
    assert torch.equal(remembering.logits(first), before)
    assert torch.equal(remembering.logits(first[::-1]), before.flip(0))
