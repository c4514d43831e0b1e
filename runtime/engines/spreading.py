"""A request in progress for every text of positive mass, or for every token that a text may begin with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .base import Completion, SupportTooLarge
from .batch import Batch, Spread
from .beginnings import Beginnings
from .constraint import State
from .jobs import Job
from .prefix import Prefix
from .requests import Allowed, Ending, Generated, Support


class Leaf:
    """An unfinished text of a support."""

    __slots__ = ("allowed", "log_prob", "node", "open", "state")

    def __init__(self, node: Prefix, state: State, log_prob: float, allowed: Allowed | None) -> None:
        self.node = node
        self.state = state
        self.log_prob = log_prob
        self.allowed = allowed
        self.open = True


class Spreading(Job):
    """Every complete text of positive mass, by breadth-first search."""

    __slots__ = ("_computed", "_end", "_law", "_leaves", "_outcomes", "_pieces", "_too_many", "limit")

    def __init__(self, request: Support, ending: Ending) -> None:
        super().__init__(request)
        self.limit = request.limit
        self._end = ending
        self._law = request.spec.law
        self._leaves = [Leaf(request.context, ending.start, 0.0, ending.allowed(ending.start, 1))]
        self._outcomes: list[tuple[Generated, float]] = []
        self._pieces: Beginnings | None = None
        self._computed = 0
        self._too_many = False

    def plan(self, batch: Batch) -> None:
        for leaf in self._leaves:
            row = batch.row(leaf.node)
            if row >= 0:
                batch.under(self._law).spreads.append(Spread(row, self, leaf))

    def spread(self, leaf: Leaf, tokens: np.ndarray, log_probs: np.ndarray) -> None:
        """Take the tokens that may follow ``leaf`` (only one more than ``limit`` of them, if there are that many).

        Args:
            leaf: an unfinished text.
            tokens: int64 [n].
            log_probs: of each, float64 [n].
        """
        leaf.open = False
        self._computed += 1
        if len(tokens) + len(self._outcomes) > self.limit:
            self._too_many = True
            return
        assert isinstance(self.request, Support)
        before = leaf.node.tokens(since=self.request.context)
        if not len(tokens):
            self._outcomes.append((Generated(before, "dead"), leaf.log_prob))
        elif self.request.spec.pause == "token":  # each is all of its piece
            made = partial(_piece, self._end, self.request.outcome)
            self._pieces = Beginnings(tokens.astype(np.int32), log_probs, made)
            return
        for token, log_prob in zip(tokens.tolist(), log_probs.tolist(), strict=True):
            state, finish = self._end.after(leaf.state, token, len(before) + 1)
            total = leaf.log_prob + log_prob
            if finish is None:
                allowed = self._end.allowed(state, len(before) + 2)
                self._leaves.append(Leaf(leaf.node.child(token), state, total, allowed))
            else:
                self._outcomes.append((Generated((*before, token), finish), total))

    def settle(self) -> None:
        """Finish if nothing is open, or give up: each open leaf leads to at least one text of its own."""
        request = self.request
        assert isinstance(request, Support)
        self._leaves = [leaf for leaf in self._leaves if leaf.open]
        if self._too_many or len(self._leaves) + len(self._outcomes) > self.limit:
            self.error = SupportTooLarge(
                f"a text distribution has more than {self.limit} outcomes; lower max_tokens, or raise the limit (for "
                "method='enumerate': max_outcomes)",
                request,
            )
        elif self._pieces is not None:
            self.completion = Completion(request, self._pieces, 0.0, self._computed)
        elif not self._leaves:
            self._outcomes.sort(key=lambda pair: (len(pair[0].tokens), pair[0].tokens))
            outcome = request.outcome or (lambda generated: generated)
            law = [(outcome(generated), log_prob) for generated, log_prob in self._outcomes]
            self.completion = Completion(request, law, 0.0, self._computed)


def _piece(end: Ending, outcome: Callable[[Generated], Any] | None, token: int) -> Any:
    """The outcome of a text of one token, with which it ends or pauses."""
    _, finish = end.after(end.start, token, 1)
    assert finish is not None
    generated = Generated((token,), finish)
    return generated if outcome is None else outcome(generated)
