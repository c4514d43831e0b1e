"""Where things of different lengths lie side by side in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

_ROOM = 64
"""Memory comes in multiples of so many positions."""

Moves = Sequence[tuple[slice, slice]]
"""Pairs of where something was and where it goes."""


class Ranges:
    """Places among some positions.

    Attributes:
        at: where each is.
        positions: how many positions there are.
    """

    def __init__(self) -> None:
        self.at: dict[int, slice] = {}
        self.positions = 0

    def positions_with(self, length: int) -> int:
        """How many positions there will be with one more, of this length."""
        if self._gap(length) is not None:
            return self.positions
        return -(-(sum(at.stop - at.start for at in self.at.values()) + length) // _ROOM) * _ROOM

    def add(self, name: int, length: int) -> Moves | None:
        """Find a place.

        Returns:
            Where everything else goes before, into a new tensor of ``positions``; ``None`` if it all stays.
        """
        start, moves = self._gap(length), None
        if start is None:
            self.positions = self.positions_with(length)
            start, moves = self._side_by_side()
        self.at[name] = slice(start, start + length)
        return moves

    def drop(self, name: int) -> None:
        """Give up a place; others may have it."""
        del self.at[name]

    def _gap(self, length: int) -> int | None:
        """The first place with room for so many positions."""
        end = 0
        for at in sorted(self.at.values(), key=lambda at: at.start):
            if at.start - end >= length:
                return end
            end = at.stop
        return end if self.positions - end >= length else None

    def _side_by_side(self) -> tuple[int, list[tuple[slice, slice]]]:
        """Leave no gaps; where the last ends, and what moved where."""
        moves, end = [], 0
        for name, at in self.at.items():
            here = slice(end, end + at.stop - at.start)
            moves.append((at, here))
            self.at[name], end = here, here.stop
        return end, moves
