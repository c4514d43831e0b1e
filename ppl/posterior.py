"""The posterior: weighted runs, the evidence, and how far to trust them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from .posterior_distribution import Distribution, WeightedRuns
from .posterior_values import freeze, to_jsonable
from .runtime.result import Cost, Death, Generation, Guarantee, Result, Run, effective_sample_size

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderResult

PlotKind = Literal["answers", "genealogy", "evidence", "all"]

_WEIGHTS_LOST = (
    "a posterior has no bare list of {name}: read without their weights they are not the posterior. "
    "Write posterior.distribution() for values with probabilities, posterior.sample(k) for k values drawn by weight, "
    "posterior.expectation(f) for an average, or posterior.runs for runs that carry their log_weight."
)


class EmptyPosterior(ValueError):
    """A question was put to a posterior without mass: every run was ruled out. The text tells where."""


class NoEvidence(ValueError):
    """The evidence was asked of a method that does not estimate it."""


class Posterior:
    """The distribution over a program's return values and choices, given its evidence: weighted runs.

    Iterating gives pairs of distinct value and probability, the most probable first. ``len`` is the number of distinct
    runs; an empty posterior is false.

    Attributes:
        result: what the inference method handed back.
        runs: the runs with positive weight.
    """

    def __init__(self, result: Result) -> None:
        """Read a result.

        Args:
            result: what the inference method handed back.

        Raises:
            ValueError: a run's weight is NaN or infinite.
        """
        for run in result.runs:
            if math.isnan(run.log_weight) or run.log_weight == math.inf:
                raise ValueError(f"a run of {result.program} has log-weight {run.log_weight}; see its factors")
        alive = [run for run in result.runs if run.log_weight > -math.inf]
        top = max((run.log_weight for run in alive), default=0.0)
        scaled = [math.exp(run.log_weight - top) for run in alive]
        total = math.fsum(scaled)
        self.result = result
        self.runs = WeightedRuns(alive, [w / total for w in scaled])
        self._scaled = scaled  # the largest is 1, so that sums over all runs come out as exactly 1

    # ---- What was run

    @property
    def program(self) -> str:
        """The program's name."""
        return self.result.program

    @property
    def method(self) -> str:
        """The method as one would write it, e.g. ``SMC(n=32)``."""
        return self.result.method

    @property
    def guarantee(self) -> Guarantee:
        """The law that the method obeys: ``proper``, ``stationary``, ``exact`` or ``heuristic``."""
        return self.result.guarantee

    @property
    def seed(self) -> int:
        """What reproduces the run."""
        return self.result.seed

    @property
    def n(self) -> int:
        """How many particles there were, dead ones included."""
        return self.result.particles

    @property
    def cost(self) -> Cost:
        """Tokens, model calls and seconds."""
        return self.result.cost

    @property
    def history(self) -> Sequence[Generation]:
        """The populations over time."""
        return self.result.history

    @property
    def deaths(self) -> tuple[Death, ...]:
        """Where particles were lost, the most first."""
        return tuple(sorted(self.result.deaths, key=lambda death: -death.count))

    # ---- How far to trust it

    @property
    def empty(self) -> bool:
        """No run has positive weight."""
        return not self.runs

    @property
    def log_evidence(self) -> float:
        """The estimate of log Z; ``-inf`` if nothing survived.

        Raises:
            NoEvidence: the method has no estimate of it.
        """
        if self.result.log_evidence is None:
            reason = {
                "heuristic": "it is a search, which keeps what scores well and does not account for what it drops",
                "stationary": "a Markov chain visits runs in proportion to their mass and never sees the total",
            }.get(self.guarantee, "the method gave none")
            raise NoEvidence(
                f"{self.method} has no estimate of the evidence: {reason}. "
                'method="smc" and method="importance" estimate it.'
            )
        return self.result.log_evidence

    @cached_property
    def ess(self) -> float:
        """The effective sample size (Σw)² / Σw² of the final weights, between 0 and the number of runs.

        It does not see that particles share ancestors, so look at :attr:`distinct` beside it.
        """
        return effective_sample_size([run.log_weight for run in self.runs])

    @cached_property
    def distinct(self) -> int:
        """The number of distinct runs: those that differ in a choice or in what they returned."""
        return len({(freeze(r.value), tuple((c.address, freeze(c.value)) for c in r.trace)) for r in self.runs})

    @property
    def ancestry(self) -> list[tuple[int, ...]]:
        """For each resampling, in order: the index of each particle's parent."""
        return [generation.ancestors for generation in self.history if generation.ancestors is not None]

    def ancestor_lines(self) -> list[tuple[int, ...]]:
        """For each particle at the end, dead ones included: its index in every generation of :attr:`history`.

        Lines with the same first index descend from one particle. Empty if the method kept no history.
        """
        if not self.history:
            return []
        last = self.history[-1]
        lines = []
        for particle in range(len(last.log_weights if last.ancestors is None else last.ancestors)):
            line = []
            for generation in reversed(self.history):
                particle = particle if generation.ancestors is None else generation.ancestors[particle]
                line.append(particle)
            lines.append(tuple(reversed(line)))
        return lines

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
        """
        self._need_mass()
        terms = [w * float(f(run.value)) for run, w in zip(self.runs, self._scaled, strict=True) if w > 0.0]
        return math.fsum(terms) / math.fsum(self._scaled)

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
            raise LookupError(self._no_address(address, bool(found)))
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
        return self.distinct

    def __repr__(self) -> str:
        from .posterior_views import one_line

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
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    # ---- Private

    @property
    def _exact(self) -> bool:
        return self.guarantee == "exact"

    def _need_mass(self) -> None:
        if self.empty:
            from .posterior_views import empty_report

            raise EmptyPosterior(empty_report(self))

    def _no_address(self, address: str, underflow: bool) -> str:
        if underflow:
            return f"the runs that have {address!r} have so little weight that it rounds to zero"
        from difflib import get_close_matches

        known = self.addresses()
        close = get_close_matches(address, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
        return f"no run has the address {address!r}{hint} The addresses are: {shown or 'none'}"
