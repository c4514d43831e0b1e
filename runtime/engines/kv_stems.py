"""Stems: beginnings that several paths go on from, kept once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from weakref import ref

from .kv_cache import SlotCache
from .prefix import Prefix

WORTH = 512
"""From how many positions saved a stem is worth its overhead in each layer."""


class Stem:
    """A beginning of paths, of fixed length, that is never written again.

    Attributes:
        cache: where it is.
        index: what the cache calls it.
        length: how many positions it has, from the start of the path.
        base: how many of the first positions belong to nodes with their home elsewhere.
        chain: weak references to the nodes of the positions from ``base`` on.
        used_at: when a row last went on from it.
    """

    __slots__ = ("base", "cache", "chain", "index", "length", "used_at")

    def __init__(
        self, cache: SlotCache, index: int, length: int, base: int, chain: list[ref[Prefix]], used_at: int
    ) -> None:
        self.cache = cache
        self.index = index
        self.length = length
        self.base = base
        self.chain = chain
        self.used_at = used_at

    @property
    def alive(self) -> bool:
        """Whether somebody still refers to one of its nodes; a node keeps its parent alive."""
        return bool(self.chain) and self.chain[0]() is not None


def worth_sharing(rows: int, own: int, length: int, worth: int = WORTH) -> bool:
    """Whether rows that go on from the end of a path should share it.

    Args:
        rows: how many.
        own: the positions that each would have to copy, and read at each step.
        length: the positions of the whole path, all of which a new stem copies once.
        worth: the least positions saved.
    """
    return rows > 1 and (rows - 1) * own >= max(worth, length)


class Stems:
    """All stems of a cache.

    Args:
        cache: the tensors.
    """

    def __init__(self, cache: SlotCache) -> None:
        self.cache = cache
        self.all: list[Stem] = []
        self._made = 0

    @property
    def positions(self) -> int:
        """How many positions they have together."""
        return sum(stem.length for stem in self.all)

    def add(
        self,
        slot: int,
        length: int,
        base: int,
        chain: list[ref[Prefix]],
        below: tuple[Stem, int] | None,
        used_at: int,
    ) -> Stem:
        """Copy a path from a slot.

        Args:
            slot: which.
            length: the positions of the path.
            base: how many of the first belong to nodes with their home elsewhere.
            chain: the nodes of the others, which get their home here.
            below: the stem that the slot goes on from, and how many of its positions come before the slot's.
            used_at: the time.
        """
        stem = Stem(self.cache, self._made, length, base, chain, used_at)
        self._made += 1
        self.cache.add_stem(stem.index, slot, length, None if below is None else (below[0].index, below[1]))
        self.all.append(stem)
        for member in chain:
            node = member()
            if node is not None:
                node.home = stem
        return stem

    def make_room(self, wanted: int, limit: int, kept: Collection[Stem]) -> None:
        """Free stems whose nodes are all gone, and the least recently used until more positions fit.

        Args:
            wanted: how many more are to fit.
            limit: how many there may be.
            kept: stems that must stay.
        """
        over = self.positions + wanted - limit
        stay = []
        for stem in sorted(self.all, key=lambda s: (s.alive, s.used_at)):
            if stem in kept or (stem.alive and over <= 0):
                stay.append(stem)
                continue
            over -= stem.length
            leave(stem.chain)
            self.cache.stems.drop(stem.index)
        self.all = stay

    def clear(self) -> None:
        """Free all; their nodes are computed again if asked for again."""
        for stem in self.all:
            leave(stem.chain)
        self.all.clear()
        self.cache.drop_stems()


def leave(chain: Iterable[ref[Prefix]]) -> None:
    """Take their home from nodes."""
    for member in chain:
        node = member()
        if node is not None:
            node.home = None
