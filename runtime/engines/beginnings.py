"""Every token that a text may go on with: a vocabulary of them, of which few are ever looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from ..lazy import lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy")

Pair = tuple[Any, float]


class Beginnings(Sequence[Pair]):
    """Outcomes with their log-probabilities, made when they are looked at. The last may be taken off, as of a list.

    Args:
        tokens: whole numbers [n].
        log_probs: float64 [n].
        made: from a token to its outcome.
    """

    __slots__ = ("_count", "_log_probs", "_made", "_tokens")

    def __init__(self, tokens: np.ndarray, log_probs: np.ndarray, made: Callable[[int], Any]) -> None:
        self._tokens = tokens
        self._log_probs = log_probs
        self._made = made
        self._count = len(tokens)

    @classmethod
    def of(cls, outcomes: Sequence[Pair]) -> Beginnings:
        """Outcomes that are listed otherwise."""
        if isinstance(outcomes, Beginnings):
            return outcomes
        listed = list(outcomes)
        return cls(np.arange(len(listed)), np.array([p for _, p in listed], dtype=np.float64), lambda i: listed[i][0])

    def ascending(self) -> Beginnings:
        """The same, the most probable last; of equals, the first."""
        order = np.argsort(-self._log_probs[: self._count], kind="stable")[::-1]
        return Beginnings(self._tokens[order], self._log_probs[order], self._made)

    @property
    def mass(self) -> float:
        """Their probabilities in all."""
        return float(np.exp(self._log_probs[: self._count]).sum())

    def pop(self) -> Pair:
        """The last, taken off."""
        last = self[-1]
        self._count -= 1
        return last

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        at = range(self._count)[place]
        return self._made(int(self._tokens[at])), float(self._log_probs[at])
