"""What was found for a batch of logits, before anyone is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..source import Source
from .batch import Look, Wanted
from .jobs import Reading, Writing
from .laws import Array, NextTokens
from .requests import Allowed
from .spreading import Leaf, Spreading

_BLOCK = 1 << 24
"""The most entries of a table of what constraints allow at a time (64 MiB in float32)."""


class _Drawn(NamedTuple):
    """Tokens for some texts, with the log-probability of each, and the same without the texts' constraints."""

    jobs: Sequence[Writing]
    tokens: list[int]
    log_probs: list[float]
    bases: list[float]


class Answers:
    """Answers to a batch, law by law; :meth:`tell` hands them on, and only then is anything changed."""

    def __init__(self) -> None:
        self._drawn: list[_Drawn] = []
        self._dead: list[Writing] = []
        self._found: list[tuple[Look, float]] = []
        self._spread: list[tuple[Spreading, Leaf, np.ndarray, np.ndarray]] = []

    def add(self, laws: NextTokens, rows: Sequence[int], wanted: Wanted) -> None:
        """Answer what is asked under one law.

        Args:
            laws: the distributions.
            rows: of which row of the batch each of them is.
            wanted: what is asked.
        """
        at = {row: place for place, row in enumerate(rows)}
        for draws in wanted.draws.values():
            places = [at[row] for row in draws.rows]
            free = [i for i, job in enumerate(draws.jobs) if job.allowed is None]
            if len(free) == len(places):
                self._draw(laws, places, draws.jobs, draws.source)
                continue
            if free:
                self._draw(laws, [places[i] for i in free], [draws.jobs[i] for i in free], draws.source)
            bound = [i for i, job in enumerate(draws.jobs) if job.allowed is not None]
            self._draw_among(laws, [places[i] for i in bound], [draws.jobs[i] for i in bound], draws.source)
        self._look(laws, [(at[look.row], look) for look in wanted.looks])
        for row, job, leaf in wanted.spreads:
            some = laws.table([at[row]]) if leaf.allowed is None else laws.among([at[row]], [leaf.allowed]).table([0])
            tokens = (some[0] > -torch.inf).nonzero()[: job.limit + 1, 0]
            self._spread.append((job, leaf, tokens.numpy(force=True), some[0, tokens].numpy(force=True)))

    def _draw(self, laws: NextTokens, places: Sequence[int], jobs: Sequence[Writing], source: Source) -> None:
        tokens = _choose(laws, places, jobs, source)
        found = laws.log_probs(places, tokens).tolist()
        self._drawn.append(_Drawn(jobs, tokens.tolist(), found, found))

    def _draw_among(self, laws: NextTokens, places: Sequence[int], jobs: Sequence[Writing], source: Source) -> None:
        """Draw where constraints rule tokens out."""
        size = _size(laws)
        for start in range(0, len(places), size):
            some, writing = places[start : start + size], jobs[start : start + size]
            narrow, within = _restricted(laws, some, [job.allowed for job in writing])
            alive = narrow.alive.tolist()
            self._dead += [job for job, place in zip(writing, within, strict=True) if not alive[place]]
            kept = [i for i, place in enumerate(within) if alive[place]]
            if not kept:
                continue
            some, within, writing = [some[i] for i in kept], [within[i] for i in kept], [writing[i] for i in kept]
            tokens = _choose(narrow, within, writing, source)
            found, bases = narrow.log_probs(within, tokens), laws.log_probs(some, tokens)
            self._drawn.append(_Drawn(writing, tokens.tolist(), found.tolist(), bases.tolist()))

    def _look(self, laws: NextTokens, looks: Sequence[tuple[int, Look]]) -> None:
        free = [(place, look) for place, look in looks if look.allowed is None]
        bound = [(place, look) for place, look in looks if look.allowed is not None]
        if free:
            self._find(laws, [place for place, _ in free], [look for _, look in free])
        size = _size(laws)
        for start in range(0, len(bound), size):
            some = bound[start : start + size]
            narrow, within = _restricted(laws, [place for place, _ in some], [look.allowed for _, look in some])
            self._find(narrow, within, [look for _, look in some])

    def _find(self, laws: NextTokens, places: Sequence[int], looks: Sequence[Look]) -> None:
        found = laws.log_probs(places, [look.token for look in looks])
        self._found += zip(looks, found.tolist(), strict=True)

    def tell(self) -> None:
        """Hand everything to its job."""
        for jobs, tokens, found, bases in self._drawn:
            for job, token, log_prob, base in zip(jobs, tokens, found, bases, strict=True):
                job.drawn(token, log_prob, base)
        for job in self._dead:
            job.ruled_out()
        for look, log_prob in self._found:
            look.job.found(look.slot, log_prob)
        for spreading, leaf, ids, log_probs in self._spread:
            spreading.spread(leaf, ids, log_probs)
        for touched in self._settling():
            touched.settle()

    def _settling(self) -> Iterator[Reading | Spreading]:
        jobs: dict[Reading | Spreading, None] = {look.job: None for look, _ in self._found}
        jobs.update((job, None) for job, *_ in self._spread)
        return iter(jobs)


def _choose(laws: NextTokens, places: Sequence[int], jobs: Sequence[Writing], source: Source) -> Array:
    return source.choose_rows(laws, places, [job.key for job in jobs], [len(job.tokens) for job in jobs])


def _restricted(
    laws: NextTokens, places: Sequence[int], allowed: Sequence[Allowed | None]
) -> tuple[NextTokens, list[int]]:
    """The distributions among allowed tokens, each once, and for each place which of them is meant."""
    number: dict[tuple[int, int], int] = {}
    distinct: list[tuple[int, Allowed]] = []
    within = []
    for place, some in zip(places, allowed, strict=True):
        assert some is not None
        at = number.setdefault((place, id(some)), len(distinct))
        if at == len(distinct):
            distinct.append((place, some))
        within.append(at)
    return laws.among([place for place, _ in distinct], [some for _, some in distinct]), within


def _size(laws: NextTokens) -> int:
    """How many restricted distributions to make at a time."""
    return max(1, _BLOCK // laws.vocabulary)
