"""Distributions over many numbers, which are read by intervals and moments and not value by value."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .posterior_distribution import Distribution

_FEWEST, _LARGEST = 20, 0.05
"""There are more values than this, and none has a larger share than that."""
_BINS = 8
"""About how many intervals to show."""
_HUGE = 1e100
"""Numbers from here on are shown as they are."""
_OUTER = 0.005
"""How much mass may lie outside of them at either end."""


@dataclass(frozen=True)
class Bin:
    """The numbers from ``low`` up to ``high``, which is none of them.

    Attributes:
        low, high: where it begins and ends; infinite at the ends.
        step: how far apart the ends of intervals are.
        share: its probability.
        error: the standard error of that; 0 where nothing was drawn.
        count: how many runs are in it.
    """

    low: float
    high: float
    step: float
    share: float
    error: float
    count: int

    @property
    def label(self) -> str:
        """The interval, for people."""
        low, high = _shown(self.low, self.step), _shown(self.high, self.step)
        if self.low == -math.inf:
            return f"under {high}"
        return f"{low} and more" if self.high == math.inf else f"{low} to {high}"


@dataclass(frozen=True)
class Spread:
    """A distribution over many numbers.

    Attributes:
        bins: by intervals, from low to high; those that hold nothing are left out.
        mean, sd: its moments.
        low, high: between these lie 90 % of it.
    """

    bins: tuple[Bin, ...]
    mean: float
    sd: float
    low: float
    high: float

    def __str__(self) -> str:
        low, high = self.shown(self.low), self.shown(self.high)
        return f"mean {self.shown(self.mean)}, sd {self.sd:.3g}, 90 % from {low} to {high}"

    def shown(self, number: float) -> str:
        """A number, to a small part of the standard deviation."""
        return _shown(number, self.sd / 50)


def spread(distribution: Distribution) -> Spread | None:
    """What there is to say about a distribution over many numbers; ``None`` of any other."""
    if len(distribution) <= _FEWEST or next(iter(distribution.values())) > _LARGEST:
        return None
    numbers = [_number(value) for value in distribution]
    if any(number is None or not abs(number) < _HUGE for number in numbers):
        return None
    found = sorted(
        (float(number), share, distribution.counts[value])  # type: ignore[arg-type]
        for number, (value, share) in zip(numbers, distribution.items(), strict=True)
    )
    mean = math.fsum(number * share for number, share, _ in found)
    sd = math.sqrt(math.fsum(share * (number - mean) ** 2 for number, share, _ in found))
    edges = _edges(_quantile(found, _OUTER), _quantile(found, 1.0 - _OUTER))
    return Spread(_bins(found, edges, distribution.exact), mean, sd, _quantile(found, 0.05), _quantile(found, 0.95))


Found = Sequence[tuple[float, float, int]]
"""Numbers in ascending order, each with its share and how many runs have it."""


def _number(value: Any) -> float | None:
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", 0) == 0:
        value = item()
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _shown(number: float, step: float) -> str:
    """A number, to the places that a step has."""
    if step == 0.0 or not 1e-4 <= abs(number) < 1e15 or not 1e-9 < step < 1e15:
        return f"{number:.6g}"
    text = f"{number:.{max(0, -math.floor(math.log10(step)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _quantile(found: Found, at: float) -> float:
    total = 0.0
    for number, share, _ in found:
        total += share
        if total >= at:
            return number
    return found[-1][0]


def _edges(low: float, high: float) -> list[float]:
    """Round numbers, about so many as there are to be intervals, around the given ones."""
    least = (high - low) / _BINS or abs(low) or 1.0
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * digit for digit in (1.0, 2.0, 5.0, 10.0) if power * digit >= least * (1.0 - 1e-9))
    first = math.floor(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 2)]


def _bins(found: Found, edges: Sequence[float], exact: bool) -> tuple[Bin, ...]:
    places = [bisect_right(edges, number) for number, _, _ in found]
    squares = [share * share / count for _, share, count in found]
    in_all = math.fsum(squares)
    bins = []
    for place in sorted(set(places)):
        members = [i for i, at in enumerate(places) if at == place]
        share = math.fsum(found[i][1] for i in members)
        inside = math.fsum(squares[i] for i in members)
        error = 0.0 if exact else math.sqrt((1.0 - share) ** 2 * inside + share**2 * max(in_all - inside, 0.0))
        low = edges[place - 1] if place else -math.inf
        high = edges[place] if place < len(edges) else math.inf
        bins.append(Bin(low, high, edges[1] - edges[0], share, error, sum(found[i][2] for i in members)))
    return tuple(bins)
