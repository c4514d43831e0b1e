"""The posterior: weighted runs, the evidence, and how far to trust them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from .posterior_distribution import Distribution
from .posterior_record import NoEvidence, Record
from .posterior_values import show
from .runtime.result import Run

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Distribution", "EmptyPosterior", "NoEvidence", "Posterior"]

PlotKind = Literal["answers", "genealogy", "evidence", "all"]

_INSTEAD = {
    "mean": "posterior.expectation()",
    "std": "posterior.expectation(lambda x: (x - mean) ** 2) ** 0.5",
    "var": "posterior.expectation(lambda x: (x - mean) ** 2)",
    "log_prob": "posterior.probability(value)",
    "prob": "posterior.probability(value)",
    "bounds": "posterior.log_evidence_bounds",
    "traces": "posterior.runs, each with its trace and its log_weight",
}
"""What people look for by another name."""

_WEIGHTS_LOST = (
    "a posterior has no bare list of {name}: read without their weights they are not the posterior. "
    "Write posterior.distribution() for values with probabilities, posterior.sample(k) for k values drawn by weight, "
    "posterior.expectation(f) for an average, or posterior.runs for runs that carry their log_weight."
)


class EmptyPosterior(ValueError):
    """A question was put to a posterior without mass: every run was ruled out. The text tells where."""


class Posterior(Record):
    """The distribution over a program's return values and choices, given its evidence: weighted runs.

    Iterating gives pairs of distinct value and probability, the most probable first. ``len`` is the number of distinct
    runs; an empty posterior is false. How it came about, and how far to trust it, is in :class:`Record`.
    """

    # ---- Questions

    def distribution(self, key: Callable[[Any], Any] | None = None) -> Distribution:
        """The distribution over what the program returned.

        Args:
            key: look at ``key(value)`` instead, e.g. ``str.lower`` or ``lambda v: v["answer"]``.

        Raises:
            EmptyPosterior: there is no mass.
        """
        if key is None:
            return self._answers
        self._need_mass()
        return Distribution([key(run.value) for run in self.runs], self._scaled, self._exact)

    @cached_property
    def _answers(self) -> Distribution:
        self._need_mass()
        return Distribution([run.value for run in self.runs], self._scaled, self._exact)

    def probability(self, predicate_or_value: Any) -> float:
        """The probability of an event.

        Args:
            predicate_or_value: a callable for P(predicate(value)), anything else for P(value = it).

        Raises:
            EmptyPosterior: there is no mass.
        """
        self._need_mass()
        if not callable(predicate_or_value):
            return self._answers[predicate_or_value]
        hits = [w for run, w in zip(self.runs, self._scaled, strict=True) if predicate_or_value(run.value)]
        return math.fsum(hits) / math.fsum(self._scaled)

    def expectation(self, f: Callable[[Any], Any] = float) -> float:
        """The mean of ``f(value)``.

        Args:
            f: gives a number for what the program returned; by default the value itself.

        Raises:
            EmptyPosterior: there is no mass.
            TypeError: what the program returned is no number, and no ``f`` was given.
        """
        self._need_mass()
        if f is float:
            f = self._number
        terms = [w * float(f(run.value)) for run, w in zip(self.runs, self._scaled, strict=True) if w > 0.0]
        return math.fsum(terms) / math.fsum(self._scaled)

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self.program} returned {show(value)}, which is no number to average: give a function of it, as in "
                f"posterior.expectation(len), or ask for posterior.probability({show(value)})"
            ) from None

    def mode(self) -> Any:
        """The most probable value; among equals the first that appeared.

        Raises:
            EmptyPosterior: there is no mass.
        """
        return self._answers.mode()

    def sample(self, k: int | None = None, seed: int | None = None) -> Any:
        """Values drawn by weight, with replacement.

        Args:
            k: how many; ``None`` for one value rather than a list.
            seed: the same seed gives the same values; ``None`` for a fresh one.

        Returns:
            A value, or a list of ``k`` values.

        Raises:
            EmptyPosterior: there is no mass.
            ValueError: ``k`` is negative.
        """
        from .posterior_draws import draw

        if k is not None and k < 0:
            raise ValueError(f"sample({k}): give the number of values, 0 or more, or nothing for one value")
        self._need_mass()
        chosen = [self.runs[i].value for i in draw(self._scaled, 1 if k is None else k, seed)]
        return chosen[0] if k is None else chosen

    def addresses(self) -> list[str]:
        """The addresses of the random choices in any run, in order of first appearance."""
        return list(dict.fromkeys(choice.address for run in self.runs for choice in run.trace))

    def marginal(self, address: str) -> Distribution:
        """The distribution of one random choice, given that the run makes it.

        Args:
            address: one of :meth:`addresses`.

        Returns:
            A distribution over the runs that have the address. Its ``mass`` is their share of the posterior.

        Raises:
            LookupError: no run has the address.
            EmptyPosterior: there is no mass.
        """
        from .posterior_report import unknown_address

        self._need_mass()
        found = [
            (choice.value, w)
            for run, w in zip(self.runs, self._scaled, strict=True)
            for choice in run.trace
            if choice.address == address
        ]
        weights = [w for _, w in found]
        inside = math.fsum(weights)
        if not inside > 0.0:
            raise LookupError(unknown_address(address, self.addresses()))
        mass = inside / math.fsum(self._scaled)
        return Distribution([value for value, _ in found], weights, self._exact, mass)

    def best_run(self) -> Run:
        """The run with the highest ``log_joint``: the most probable single trace found.

        Its value need not be the :meth:`mode`, whose probability is summed over traces.

        Raises:
            EmptyPosterior: there is no mass.
        """
        self._need_mass()
        return max(self.runs, key=lambda run: run.log_joint)

    # ---- Showing and saving

    def summary(self) -> str:
        """What there is to know on one screen, as plain text."""
        from .posterior_views import summary_text

        return summary_text(self)

    def plot(self, path: str | Path | None = None, kind: PlotKind = "all") -> Figure:
        """Draw it.

        Args:
            path: where to save the picture; the suffix gives the format (``.png``, ``.svg``, ``.pdf``).
            kind: ``answers`` (probabilities with error bars), ``genealogy`` (who descends from whom), ``evidence``
                (log Z and the effective sample size over time) or ``all``.

        Returns:
            A matplotlib figure, which notebooks show.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: ``kind`` is unknown, or the method kept no history to draw.
            EmptyPosterior: ``answers`` of a posterior without mass.
        """
        from .plots import plot

        return plot(self, path, kind)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it: see :meth:`to_json`."""
        from .posterior_export import posterior_dict

        return posterior_dict(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON: answers, runs with traces and weights, history, deaths, cost, method and seed.

        Values that JSON cannot hold appear as their ``repr``; infinities and NaN as ``"inf"``, ``"-inf"``, ``"nan"``.

        Args:
            path: where to write it too.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")
        return text

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        return iter(self.distribution().items())

    def __len__(self) -> int:
        """How many distinct values have positive probability: as many as iterating gives."""
        return 0 if self.empty else len(self.distribution())

    def __repr__(self) -> str:
        from .posterior_report import one_line

        return one_line(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from .posterior_views import panel

        yield panel(self, options.max_width)

    def _repr_html_(self) -> str:
        from .posterior_views import posterior_html

        return posterior_html(self)

    if not TYPE_CHECKING:  # so that type checkers still know which attributes there are

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("samples", "values"):
                raise AttributeError(_WEIGHTS_LOST.format(name=name), name=name, obj=self)
            hint = f"; write {_INSTEAD[name]}" if name in _INSTEAD else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    # ---- Private

    def _need_mass(self) -> None:
        if self.empty:
            from .posterior_report import empty_report

            raise EmptyPosterior(empty_report(self))
