"""Distributions over what runs returned or chose, and the runs with their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from .posterior_values import ValueMap, freeze
from .runtime.result import Run

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_TIE_DIGITS = 12  # probabilities that agree to so many digits differ by rounding alone


class Distribution(ValueMap[float]):
    """A finite distribution: an ordered mapping from value to probability, the most probable first.

    Values need not be hashable: ``d[[1, 2]]`` works. A value that it lacks has probability 0. Ties (to 12 digits)
    stand in order of first appearance. :meth:`items` gives the pairs.

    Attributes:
        standard_errors: value -> standard error of its probability, that of self-normalised importance sampling:
            ``sqrt(Σ wᵢ² (1[xᵢ = v] − p)²)`` with normalised weights; 0 for exact methods. It takes runs as independent.
            After resampling they share ancestors, and successive MCMC states are alike, so there it is a *lower
            bound*. It also knows only values that were found: 0 for the only value says nothing about what was missed.
        counts: value -> number of runs that have it.
        mass: the posterior probability of what this distribution is given: that a run has the address, for a
            ``marginal``; else 1.
        exact: the probabilities have no sampling error.
    """

    __slots__ = ("counts", "exact", "mass", "standard_errors")

    def __init__(self, values: Sequence[Any], weights: Sequence[float], exact: bool = False, mass: float = 1.0) -> None:
        """Group ``values`` and normalise.

        Args:
            values: one for each run, not necessarily distinct.
            weights: their weights, on any scale, finite, not all zero.
            exact: the weights are exact probabilities up to scale.
            mass: the posterior probability of what this is given.
        """
        groups: dict[Any, list[int]] = {}
        for i, value in enumerate(values):
            groups.setdefault(freeze(value), []).append(i)
        total = math.fsum(weights)
        squares = [(w / total) ** 2 for w in weights]
        all_squares = math.fsum(squares)
        rows = []
        for members in groups.values():
            p = math.fsum(weights[i] for i in members) / total
            inside = math.fsum(squares[i] for i in members)
            outside = max(all_squares - inside, 0.0)
            error = 0.0 if exact else math.sqrt((1.0 - p) ** 2 * inside + p**2 * outside)
            rows.append((values[members[0]], p, error, len(members)))
        rows.sort(key=lambda row: -round(row[1], _TIE_DIGITS))
        super().__init__(((row[0], row[1]) for row in rows), 0.0)
        self.standard_errors: ValueMap[float] = ValueMap(((row[0], row[2]) for row in rows), 0.0)
        self.counts: ValueMap[int] = ValueMap(((row[0], row[3]) for row in rows), 0)
        self.exact = exact
        self.mass = mass

    def mode(self) -> Any:
        """The most probable value; among equals the first that appeared."""
        return next(iter(self))

    def __repr__(self) -> str:
        from .posterior_views import distribution_text

        return distribution_text(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from .posterior_views import distribution_table

        yield distribution_table(self, options.max_width)

    def _repr_html_(self) -> str:
        from .posterior_views import distribution_html

        return distribution_html(self)


class WeightedRuns(Sequence[Run]):
    """The runs with positive weight, in the method's order. Each carries its ``log_weight``; look at no run without it.

    Attributes:
        weights: the posterior probability of each run. A slice keeps those of its runs, not renormalised.
    """

    __slots__ = ("_runs", "weights")

    def __init__(self, runs: Sequence[Run], weights: Sequence[float]) -> None:
        self._runs = tuple(runs)
        self.weights = tuple(weights)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> WeightedRuns: ...
    def __getitem__(self, index: int | slice) -> Run | WeightedRuns:
        if isinstance(index, slice):
            return WeightedRuns(self._runs[index], self.weights[index])
        return self._runs[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        from .posterior_views import runs_text

        return runs_text(self)
