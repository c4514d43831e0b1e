"""Randomness: every draw in the system comes from one ``Source``, as a function of a key.

A key is a 64-bit integer derived from (seed, particle, address), and a draw is a pure function of (key, counter).
So a result does not depend on how the work was batched, nor on what ran beside it. The same interface is implemented
by the exact source (``exact.py``), which explores every outcome instead of drawing one.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .lazy import lazy

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy("numpy")

Key = int

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def fresh_seed() -> int:
    """A seed from the operating system, for runs that were given none."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def derive(key: Key, part: int | str, *more: int | str) -> Key:
    """The key of a component: distinct parts give independent streams (BLAKE2b, RFC 7693)."""
    text = f"{part}"
    for another in more:
        text = f"{text}\x1f{another}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=key.to_bytes(8, "little")).digest(), "little")


def uniform(key: Key, counter: int = 0) -> float:
    """A number in [0, 1) with 53 random bits (SplitMix64: Steele, Lea and Flood, 2014)."""
    x = (key + (counter + 1) * _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ (x >> 31)) >> 11) * 2.0**-53


def stream(key: Key) -> Callable[[], float]:
    """The numbers of a key's stream one after the other, from the open interval (0, 1)."""
    counters = count()
    return lambda: uniform(key, next(counters)) or 2.0**-54


def uniforms(keys: Sequence[Key], counters: Sequence[int]) -> np.ndarray:
    """:func:`uniform` for each pair, at once. Shape [len(keys)], float64."""
    x = np.array(counters, dtype=np.uint64)  # arrays of whole numbers go around at their end without a word
    x += 1
    x *= _GOLDEN
    x += np.array(keys, dtype=np.uint64)
    x ^= x >> 30
    x *= 0xBF58476D1CE4E5B9
    x ^= x >> 27
    x *= 0x94D049BB133111EB
    x ^= x >> 31
    x >>= 11
    return x * 2.0**-53


class Laws(Protocol):
    """Distributions over the same indices, one a row."""

    def at(self, places: Sequence[int], points: np.ndarray) -> Any:
        """By the inverse of the distribution function: the index at a point of [0, 1) for some rows.

        Returns:
            int64 [places], in the kind of array that the laws work with.
        """

    def table(self, places: Sequence[int]) -> torch.Tensor:
        """All log-probabilities of some rows, normalised, float64 [places, indices]."""


class Source(ABC):
    """Where outcomes come from. Every method is a pure function of its arguments in production.

    Attributes:
        precise: whether models are to compute their laws in float64 from the logits on: a check compares them to a
            billionth, and finds what a float32 sum of a vocabulary rounds.
    """

    precise = True

    @abstractmethod
    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        """An index drawn in proportion to ``exp(log_weights)``.

        Raises:
            ValueError: none of them is finite, or one is NaN or ``inf``.
        """

    @abstractmethod
    def choose_rows(self, laws: Laws, rows: Sequence[int], keys: Sequence[Key], counters: Sequence[int]) -> Any:
        """An index drawn from each of some distributions.

        Args:
            laws: the distributions.
            rows: for each draw, the place of its distribution among them.
            keys: the key of each draw.
            counters: the position of each draw within its key's stream.

        Returns:
            int64 [rows], an array of numpy or of the kind that the laws work with.
        """

    @abstractmethod
    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        """A uniform number in [0, 1).

        Args:
            key: the key.
            breaks: called only where outcomes are explored: points in (0, 1) between which the caller's
                behaviour does not depend on the number.
        """

    @abstractmethod
    def draw(self, distribution: Any, key: Key) -> Any:
        """A value of a distribution with no finite support that could be enumerated: torch's, pyro's or a ``Known``."""

    def boundary(self, operation: str, population: Any) -> None:  # noqa: B027 - randomness does not care
        """Told after each operation on a population, so that an exploration may merge populations that are the same.

        Args:
            operation: ``advance`` or ``resample``.
            population: as it is now.
        """

    def accept(self, log_probability: float, key: Key) -> bool:
        """True with probability ``min(1, exp(log_probability))``.

        Raises:
            ArithmeticError: it is NaN.
        """
        if math.isnan(log_probability):
            raise ArithmeticError(
                "an acceptance probability is NaN: this method needs to know how probable all values are, and "
                "an engine that drew one does not tell; use method='smc' or 'importance', or a model that tells"
            )
        if log_probability >= 0.0:
            return True
        if log_probability == -math.inf:
            return False
        return self.choose((log_probability, math.log(-math.expm1(log_probability))), key) == 0


class Relative(NamedTuple):
    """Weights relative to the largest.

    Attributes:
        weights: each divided by the largest.
        total: their sum.
        top: the logarithm of the largest.
    """

    weights: list[float]
    total: float
    top: float


def relative(log_weights: Sequence[float]) -> Relative:
    """Weights from their logarithms.

    Raises:
        ValueError: none is positive, or one is no number.
    """
    top = max(log_weights, default=-math.inf)
    weights = [math.exp(w - top) for w in log_weights] if math.isfinite(top) else []
    total = math.fsum(weights)
    if not total > 0.0:  # NaN is not
        more = f" and {len(log_weights) - 6} more" if len(log_weights) > 6 else ""
        raise ValueError(f"these log-weights are no distribution: {list(log_weights[:6])}{more}")
    return Relative(weights, total, top)


_remembered = lru_cache(1024)(relative)


class RandomSource(Source):
    """Counter-based random numbers: what production runs use."""

    precise = False

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        # A distribution is drawn from again and again: its weights are a tuple, and remembered.
        weights, sum_of_weights, _ = (_remembered if type(log_weights) is tuple else relative)(log_weights)
        target = uniform(key) * sum_of_weights
        total = 0.0
        last = 0
        for i, weight in enumerate(weights):
            if weight > 0.0:
                total += weight
                last = i
                if target < total:
                    return i
        return last  # rounding left the running total a hair under the sum

    def choose_rows(self, laws: Laws, rows: Sequence[int], keys: Sequence[Key], counters: Sequence[int]) -> Any:
        return laws.at(rows, uniforms(keys, counters))

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return uniform(key)

    def draw(self, distribution: Any, key: Key) -> Any:
        from .known import Known, known

        recognised = distribution if type(distribution) is Known else known(distribution)
        if recognised is not None:
            return recognised.draw(stream(key))

        import torch

        # Torch's samplers read one global generator: borrow it for a draw and give it back as it was.
        generator = torch.default_generator
        state = generator.get_state()
        try:
            generator.manual_seed(key & (_MASK >> 1))
            return distribution.sample()
        finally:
            generator.set_state(state)


class PreciseSource(RandomSource):
    """The same for checks, which compare what it gives with what is explored."""

    precise = True
