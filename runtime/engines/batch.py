"""One model call in the making: the distinct nodes it computes, and what is asked at each of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ..source import Source
from .prefix import Prefix
from .requests import Law

if TYPE_CHECKING:
    from .jobs import Job, Reading, Writing
    from .requests import Allowed
    from .spreading import Leaf, Spreading


class Draws:
    """Tokens to be drawn from one source: for each, its row and who asked.

    Lists side by side, not a list of pairs: a pair for each token of each particle would be work for the garbage
    collector, which scans the whole trie whenever enough was allocated.
    """

    __slots__ = ("jobs", "rows", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.rows: list[int] = []
        self.jobs: list[Writing] = []


class Look(NamedTuple):
    """The log-probability wanted of one token at a row, among ``allowed`` ones if they are told."""

    row: int
    token: int
    job: Reading
    slot: int
    allowed: Allowed | None = None


class Spread(NamedTuple):
    """All tokens of positive mass wanted at a row."""

    row: int
    job: Spreading
    leaf: Leaf


class Wanted:
    """What a batch is asked for under one law."""

    __slots__ = ("draws", "looks", "spreads")

    def __init__(self) -> None:
        self.draws: dict[int, Draws] = {}
        self.looks: list[Look] = []
        self.spreads: list[Spread] = []

    def drawn_from(self, source: Source) -> Draws:
        """Where to ask for tokens that are drawn from ``source``."""
        draws = self.draws.get(id(source))
        if draws is None:
            draws = self.draws[id(source)] = Draws(source)
        return draws

    def rows(self) -> list[int]:
        """The distinct rows concerned, in order."""
        found = {row for draws in self.draws.values() for row in draws.rows}
        found.update(ask.row for ask in self.looks)
        found.update(ask.row for ask in self.spreads)
        return sorted(found)


class Batch:
    """The distinct nodes of one model call, and what is asked at each.

    Attributes:
        rows: the row of each node.
        wanted: what is asked, by law.
    """

    __slots__ = ("_draws", "_last", "_limit", "rows", "wanted")

    def __init__(self, limit: int | None) -> None:
        self._limit = math.inf if limit is None else limit
        self.rows: dict[Prefix, int] = {}
        self.wanted: dict[Law, Wanted] = {}
        self._last: tuple[Law | None, Wanted] = None, Wanted()
        self._draws: tuple[Law | None, Draws | None] = None, None

    def row(self, node: Prefix) -> int:
        """The row of ``node``, shared by all who ask for it; -1 where the batch has no room for it."""
        row = self.rows.get(node)
        if row is None:
            row = len(self.rows)
            if row >= self._limit:
                return -1
            self.rows[node] = row
        return row

    def draw(self, node: Prefix, law: Law, job: Writing, source: Source) -> None:
        """Ask for a token after ``node``, if the batch has room for it."""
        row = self.row(node)
        if row < 0:
            return
        known, draws = self._draws  # most ask under the same law, and draw from the same source
        if law is not known or draws is None or draws.source is not source:
            draws = self.under(law).drawn_from(source)
            self._draws = law, draws
        draws.rows.append(row)
        draws.jobs.append(job)

    def askers(self, node: Prefix) -> list[Job]:
        """Who asked for something at ``node``."""
        row = self.rows[node]
        found: list[Job] = []
        for wanted in self.wanted.values():
            for draws in wanted.draws.values():
                found += [job for at, job in zip(draws.rows, draws.jobs, strict=True) if at == row]
            found += [look.job for look in wanted.looks if look.row == row]
            found += [spread.job for spread in wanted.spreads if spread.row == row]
        return list(dict.fromkeys(found))

    def under(self, law: Law) -> Wanted:
        """Where to leave what is asked under ``law``."""
        if law is self._last[0]:  # most ask under the same
            return self._last[1]
        wanted = self.wanted.get(law)
        if wanted is None:
            wanted = self.wanted[law] = Wanted()
        self._last = law, wanted
        return wanted
