"""Requests in progress: which rows of logits each still needs, and what it does with the answers.

A job asks a :class:`Batch` for rows and is told what was found there; it never sees a tensor. A batch may be too small
for all that a job needs: what was not granted is asked for again in the next.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..source import Source
from .base import Completion, Request, RequestError, SupportTooLarge
from .batch import Batch, Look
from .prefix import Prefix
from .requests import PLAIN, Allowed, Choose, Ending, Finish, Generate, Generated, Law, Score


class Job(ABC):
    """A request in progress.

    Attributes:
        request: what was asked.
        completion: the answer, once there is one.
        error: why there will be none.
    """

    __slots__ = ("completion", "error", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.completion: Completion | None = None
        self.error: RequestError | None = None

    @abstractmethod
    def plan(self, batch: Batch) -> None:
        """Ask ``batch`` for what is needed next, as far as it has room. Changes nothing here."""


class Writing(Job):
    """A text being drawn: one row a step.

    Attributes:
        key: the key of its draws, of which the next has the counter ``len(tokens)``.
        node: where its next token is to be drawn.
        tokens: what was drawn so far.
        allowed: the tokens that a constraint lets come next, ``None`` for all.
    """

    __slots__ = ("_end", "_law", "_log_base", "_log_prob", "_source", "_state", "allowed", "key", "node", "tokens")

    def __init__(self, request: Generate, source: Source, ending: Ending) -> None:
        self.request = request
        self.completion = self.error = None  # one is made for each token of each particle: no call for these
        self._source = source
        self._end = ending
        self.key = request.key
        self._law = ending.law
        self._log_prob = self._log_base = 0.0
        self._state = ending.start
        self.node = request.context
        self.tokens: list[int] = []
        self.allowed: Allowed | None = None
        if ending.constrained:
            self._look_ahead()

    def plan(self, batch: Batch) -> None:
        batch.draw(self.node, self._law, self, self._source)

    def drawn(self, token: int, log_prob: float, log_base: float) -> None:
        """Take the token that was drawn; ``log_base`` is its log-probability without the constraint."""
        tokens = self.tokens
        tokens.append(token)
        self._log_prob += log_prob
        self._log_base += log_base
        self._state, finish = self._end.after(self._state, token, len(tokens))
        if finish is None:
            self.node = self.node.child(token)
            if self._end.constrained:
                self._look_ahead()
        else:
            self._finish(finish)

    @property
    def left(self) -> float:
        """How many more tokens the text may have."""
        assert isinstance(self.request, Generate)
        most = self.request.spec.max_tokens
        return math.inf if most is None else most - len(self.tokens)

    def went_on(self, tokens: Sequence[int], log_probs: Sequence[float], last: Prefix) -> None:
        """Take several tokens, of which only the last may end the text; there is no constraint.

        Args:
            tokens: what was drawn.
            log_probs: of each.
            last: where the last of them was drawn.
        """
        before = tokens[:-1]
        self.tokens += before
        for log_prob in log_probs[:-1]:
            self._log_prob += log_prob
        self._log_base = self._log_prob
        self._state = self._end.through(self._state, before)
        self.node = last
        self.drawn(tokens[-1], log_probs[-1], log_probs[-1])

    def ruled_out(self) -> None:
        """Take that no allowed token has positive probability."""
        self._log_base = -math.inf
        self._finish("dead")

    def _look_ahead(self) -> None:
        self.allowed = self._end.allowed(self._state, len(self.tokens) + 1)
        if self.allowed is not None and not self.allowed.tokens:
            self.ruled_out()

    def _finish(self, finish: Finish) -> None:
        base = self._log_base if self._end.constrained else None
        generated = Generated(tuple(self.tokens), finish)
        self.completion = Completion(self.request, generated, self._log_prob, len(self.tokens), base)


class Reading(Job):
    """Given tokens being scored, each at its own node: everything can be asked for at once."""

    __slots__ = ("_allowed", "_asks", "_found", "_law", "_todo")

    def __init__(self, request: Request, law: Law, asks: Sequence[tuple[Prefix, int]]) -> None:
        super().__init__(request)
        self._law = law
        self._asks = asks
        self._allowed: Sequence[Allowed | None] = ()
        self._found = [math.nan] * len(asks)
        self._todo: Sequence[int] = range(len(asks))

    def plan(self, batch: Batch) -> None:
        looks = None
        for slot in self._todo:
            node, token = self._asks[slot]
            row = batch.row(node)
            if row >= 0:
                if looks is None:
                    looks = batch.under(self._law).looks
                looks.append(Look(row, token, self, slot, self._allowed[slot] if self._allowed else None))

    def found(self, slot: int, log_prob: float) -> None:
        """Take the log-probability of one token."""
        self._found[slot] = log_prob

    def settle(self) -> None:
        """Finish if everything was found."""
        self._todo = [slot for slot in self._todo if math.isnan(self._found[slot])]
        if not self._todo:
            self.finish()

    @abstractmethod
    def finish(self) -> None:
        """Set the completion from what was found."""


class Scoring(Reading):
    """The log-probability of one given text."""

    __slots__ = ()

    def __init__(self, request: Score, vocab_size: int, ending: Ending) -> None:
        tokens = request.tokens
        known = all(0 <= token < vocab_size for token in tokens)
        possible = known and ending.completes(tokens)
        super().__init__(request, request.spec.law, _path(request.context, tokens) if possible else ())
        if possible and request.spec.constraint is not None:
            self._allowed = _allowed(ending, tokens)
        if not possible:
            self.completion = Completion(request, tokens, -math.inf, 0)

    def finish(self) -> None:
        assert isinstance(self.request, Score)
        tokens = self.request.tokens
        self.completion = Completion(self.request, tokens, _total(self._found), len(tokens))


class Choosing(Reading):
    """One of several given continuations; their common beginnings are looked up once."""

    __slots__ = ("_slots", "_source")

    def __init__(self, request: Choose, source: Source) -> None:
        self._source = source
        slots: dict[tuple[Prefix, int], int] = {}
        self._slots = [
            [slots.setdefault(ask, len(slots)) for ask in _path(request.context, option)] for option in request.options
        ]
        super().__init__(request, PLAIN, list(slots))
        if not slots:
            self.finish()

    def finish(self) -> None:
        request = self.request
        assert isinstance(request, Choose)
        totals = [_total([self._found[slot] for slot in slots]) for slots in self._slots]
        top = max(totals, default=-math.inf)
        if top == -math.inf:
            self.error = RequestError(
                f"none of the {len(totals)} options of a choice has positive probability after its context", request
            )
            return
        base = _tempered(totals, top, request.temperature)
        log_probs = base if request.among is None else _among(base, request.among)
        count = len(self._asks)
        if request.key is not None:
            index = self._source.choose(log_probs, request.key)
            self.completion = Completion(request, index, log_probs[index], count, base[index])
        elif request.index is not None:
            log_prob = log_probs[request.index] if request.index >= 0 else -math.inf
            self.completion = Completion(request, request.index, log_prob, count)
        else:
            outcome = request.outcome or int
            law = [(outcome(i), log_prob) for i, log_prob in enumerate(log_probs) if log_prob > -math.inf]
            if request.limit is not None and len(law) > request.limit:
                self.error = SupportTooLarge(f"a choice has {len(law)} outcomes, more than {request.limit}", request)
                return
            self.completion = Completion(request, law, 0.0, count)


def _path(node: Prefix, tokens: Sequence[int]) -> list[tuple[Prefix, int]]:
    """Each token with the node it follows."""
    asks = []
    last = len(tokens) - 1
    for i, token in enumerate(tokens):
        asks.append((node, token))
        if i < last:
            node = node.child(token)
    return asks


def _allowed(ending: Ending, tokens: Sequence[int]) -> list[Allowed | None]:
    """Before each token of a text, those that a constraint lets come next."""
    state, found = ending.start, []
    for count, token in enumerate(tokens, 1):
        found.append(ending.allowed(state, count))
        state, _ = ending.after(state, token, count)
    return found


def _among(log_probs: Sequence[float], among: frozenset[int]) -> Sequence[float]:
    """Renormalised over some of the options; all of them if those have no mass."""
    kept = [log_prob if i in among else -math.inf for i, log_prob in enumerate(log_probs)]
    if max(kept) == -math.inf:
        return log_probs
    log_mass = math.log(math.fsum(math.exp(x) for x in kept))
    return [x - log_mass for x in kept]


def _total(log_probs: Sequence[float]) -> float:
    """Their sum from left to right, as drawing adds them (``sum`` compensates in newer Pythons)."""
    total = 0.0
    for log_prob in log_probs:
        total += log_prob
    return total


def _tempered(totals: Sequence[float], top: float, temperature: float) -> list[float]:
    """Log-probabilities in proportion to exp(total / temperature); ``top`` is the largest total, and finite."""
    if temperature == 0.0:
        best = totals.index(top)
        return [0.0 if i == best else -math.inf for i in range(len(totals))]
    scaled = [(total - top) / temperature for total in totals]
    log_mass = math.log(math.fsum(math.exp(x) for x in scaled))
    return [x - log_mass for x in scaled]
