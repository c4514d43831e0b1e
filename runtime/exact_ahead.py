"""Telling early that an exploration will take more runs than were allowed for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import median
from typing import Any

from .exact import ExactSource, Look, TooMany, _Node, _Stopped
from .source import Key, Source, derive, uniform

_PROBES = 40
_SURELY = 4.0
"""By what factor the estimate must be over the limit."""


class Ahead:
    """Looks ahead from the boundaries that an exploration has yet to go on from.

    From each it takes as many runs as there are sequences of outcomes up to the next boundary. The product of the
    numbers of outcomes on a random path has that as its expectation (Knuth, 1975), so a path shows four times as many
    with probability at most 1/4, and that half of 40 do, where there are not so many, is next to impossible.
    """

    def __init__(self, computation: Callable[[Source], Any], look: Look | None, limit: int) -> None:
        """Look at an exploration.

        Args:
            computation, look, limit: as for ``explore_merged``.
        """
        self._computation, self._look, self._limit = computation, look, limit
        self._next = 0

    def __call__(self, runs: int, waiting: Callable[[], Sequence[_Node]]) -> None:
        """Note how far the exploration is; now and then, look ahead.

        Args:
            runs: how many there were.
            waiting: gives the boundaries to go on from.

        Raises:
            TooMany: there will be far more than the limit.
        """
        if runs < self._next:
            return
        self._next = max(500, runs + runs // 4)
        nodes = waiting()
        if not nodes:
            return
        keys = [derive(runs, "ahead", i) for i in range(_PROBES)]
        each = median(self._onward(nodes[int(uniform(key) * len(nodes))], key) for key in keys)
        if runs + len(nodes) * each > _SURELY * self._limit:
            raise TooMany(f"more than {self._limit} runs are needed to go through all random outcomes")

    def _onward(self, node: _Node, key: Key) -> float:
        """How many runs go on from a boundary to the next, by one random path."""
        source = _Onward(node, self._look, key)
        with suppress(_Stopped):
            self._computation(source)
        return math.prod(source.counts)


class _Onward(ExactSource):
    """Goes on from a boundary by random outcomes, each as likely as the others, and notes how many there were."""

    def __init__(self, node: _Node, look: Look | None, key: Key) -> None:
        super().__init__(list(node.path), len(node.path), look, node.boundaries)
        self.counts: list[float] = []
        self._key = key

    def _first(self, count: int, key: Key) -> int:
        self.counts.append(float(count))
        return int(uniform(self._key, self.made) * count)
