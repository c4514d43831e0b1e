"""The exact source: explores every outcome of a randomised computation, with its probability.

Hand it to a method instead of random numbers, and the expectation of whatever the method computes is a finite sum over
the production code itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from .source import Key, Source

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class NotFinite(Exception):
    """A draw has infinitely many outcomes, or there are more outcomes in all than were allowed for."""


class ExactSource(Source):
    """Follows a given path of outcomes, then takes the first outcome of each further choice.

    Attributes:
        path: for each choice made so far, the outcome taken and how many there were.
        log_probability: of the path.
    """

    def __init__(self, path: list[tuple[int, int]]) -> None:
        self.path = path
        self.made = 0
        self.log_probability = 0.0

    def _branch(self, log_probs: Sequence[float]) -> int:
        """One outcome of a choice; log-probabilities are normalised and finite."""
        if self.made == len(self.path):
            self.path.append((0, len(log_probs)))
        taken, count = self.path[self.made]
        if count != len(log_probs):
            raise RuntimeError(
                "the computation is not a function of its random choices: a choice had "
                f"{count} outcomes and now has {len(log_probs)}"
            )
        self.made += 1
        self.log_probability += log_probs[taken]
        return taken

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        alive = [i for i, w in enumerate(log_weights) if w > -math.inf]
        top = max(log_weights)
        total = top + math.log(math.fsum(math.exp(log_weights[i] - top) for i in alive))
        if len(alive) == 1:
            return alive[0]
        return alive[self._branch([log_weights[i] - total for i in alive])]

    def choose_rows(self, log_probs: torch.Tensor, keys: Sequence[Key], counters: Sequence[int]) -> list[int]:
        return [self.choose(row, key) for row, key in zip(log_probs.tolist(), keys, strict=True)]

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        cuts = [0.0, *sorted({b for b in breaks() if 0.0 < b < 1.0}), 1.0]
        cells = [(a, b) for a, b in pairwise(cuts) if b - a > 1e-12]
        a, b = cells[self.choose([math.log(b - a) for a, b in cells], key)]
        return (a + b) / 2

    def draw(self, distribution: Any, key: Key) -> Any:
        raise NotFinite(f"{type(distribution).__name__} has no finite support, so its outcomes can't all be explored")


def explore(computation: Callable[[Source], T], limit: int = 100_000) -> Iterator[tuple[float, T]]:
    """Run a computation once for each sequence of random outcomes.

    Args:
        computation: deterministic apart from what it draws from the source that it is given.
        limit: the most runs.

    Yields:
        The log-probability of a sequence of outcomes, and the result.

    Raises:
        NotFinite: a draw has no finite support, or there are more than ``limit`` sequences.
    """
    path: list[tuple[int, int]] = []
    runs = 0
    while True:
        runs += 1
        if runs > limit:
            raise NotFinite(f"there are more than {limit} sequences of random outcomes")
        source = ExactSource(path)
        result = computation(source)
        yield source.log_probability, result
        while path and path[-1][0] == path[-1][1] - 1:
            path.pop()
        if not path:
            return
        taken, count = path[-1]
        path[-1] = (taken + 1, count)
