"""Stems: beginnings that several paths go on from, kept once."""

from __future__ import annotations

from weakref import ref

from .prefix import Prefix

WORTH = 512
"""From how many positions saved a stem is worth its overhead in each layer."""


class Stem:
    """A beginning of paths, of fixed length, that is never written again.

    Attributes:
        index: what the cache calls it.
        length: how many positions it has, from the start of the path.
        base: how many of the first positions belong to nodes with their home elsewhere.
        chain: weak references to the nodes of the positions from ``base`` on.
        used_at: when a row last went on from it.
    """

    __slots__ = ("base", "chain", "index", "length", "used_at")

    def __init__(self, index: int, length: int, base: int, chain: list[ref[Prefix]], used_at: int) -> None:
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
