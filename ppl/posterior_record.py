"""What a posterior was made of, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from .posterior_distribution import WeightedRuns
from .posterior_values import freeze
from .runtime.result import Cost, Death, Generation, Guarantee, Result, effective_sample_size

if TYPE_CHECKING:
    from .diagnostics import Diagnosis


class NoEvidence(ValueError):
    """The evidence was asked of a method that does not estimate it."""


class Record:
    """The account that a :class:`~ppl.posterior.Posterior` gives of itself.

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
        self._exact = result.guarantee == "exact" or result.listed

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
        """How many particles there were, dead ones and those that a search left behind included.

        Of an exact method these are the runs of the program; of Markov chains the states that were kept.
        """
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
    def incomplete(self) -> str | None:
        """Why inference ended before its end, by a budget or a rule; ``None``: it did not."""
        return self.result.incomplete

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
        if self.result.incomplete is not None:
            raise NoEvidence(
                f"{self.method} was stopped before its end ({self.result.incomplete}), and what was finished by then "
                "is no estimate of the evidence. Let it go on to its end: with a larger budget=, max_open= or the like."
            )
        if self.result.log_evidence is None:
            reason = {
                "heuristic": "it is a search, which keeps what scores well and does not account for what it drops",
                "stationary": "a Markov chain visits runs in proportion to their mass and never sees the total",
            }.get(self.guarantee, "it runs the program as if it held no evidence")
            raise NoEvidence(
                f"{self.method} has no estimate of the evidence: {reason}. "
                'method="smc" and method="importance" estimate it.'
            )
        return self.result.log_evidence

    @property
    def log_evidence_bounds(self) -> tuple[float, float]:
        """Between which numbers log Z lies, surely; for ``method="best-first"``.

        Raises:
            NoEvidence: the method knows no bounds.
        """
        if self.result.bounds is None:
            raise NoEvidence(f'{self.method} knows no bounds on the evidence; method="best-first" does')
        return self.result.bounds

    @cached_property
    def pareto_k(self) -> float:
        """The shape k̂ of the tail of the weights: how far importance sampling can be trusted (Vehtari et al., 2024).

        Under 0.5 weights are tame; over 0.7 a few runs decide, the numbers and their errors mean little, and it warns.
        It is made for independent runs, so for ``method="importance"``; after resampling it says less. NaN with fewer
        than 25 particles, too few to see a tail; 0 where all weights are equal, or so many the largest that the tail
        is flat. Needs arviz.
        """
        from .posterior_tail import pareto_k

        return pareto_k(self)

    @cached_property
    def ess(self) -> float:
        """How many independent runs these are worth, about.

        Of weighted particles it is (Σw)² / Σw² of the final weights, between 0 and the number of runs. It does not see
        that particles share ancestors, so look at :attr:`distinct` beside it.

        Of Markov chains, whose states weigh the same and are alike, it is the bulk effective sample size by arviz
        (Vehtari et al., 2021): the smallest of those of the value, of ``log_joint`` and of every choice that all runs
        make; see ``ppl.diagnose``. It is NaN where that can't be told: nothing changes along the chains, which may be
        stuck; they kept fewer than 4 states each; or arviz is not installed.
        """
        if self.result.chains is None or self.empty:
            return effective_sample_size([run.log_weight for run in self.runs])
        from .diagnostics import NoChains

        try:
            return min((row.ess_bulk for row in self._moving), default=math.nan)
        except (NoChains, ImportError):
            return math.nan

    @cached_property
    def rhat(self) -> float:
        """The largest R̂ of what changes along the chains: near 1 where they agree; over 1.01 they have not settled.

        NaN where nothing changes, or there is but one chain.

        Raises:
            NoChains: the method runs no Markov chains, or they kept fewer than 4 states each.
            ImportError: arviz is not installed.
        """
        return max((row.rhat for row in self._moving if not math.isnan(row.rhat)), default=math.nan)

    @cached_property
    def _moving(self) -> list[Diagnosis]:
        """The diagnosis of each quantity that changes along the chains."""
        from .diagnostics import diagnose

        return [row for row in diagnose(self) if row.sd > 0.0]

    @cached_property
    def distinct(self) -> int:
        """The number of distinct runs: those that differ in a choice or in what they returned."""
        return len({(freeze(r.value), tuple((c.address, freeze(c.value)) for c in r.trace)) for r in self.runs})

    @property
    def ancestry(self) -> list[tuple[int, ...]]:
        """For each resampling, in order: the index of each particle's parent.

        The last one of ``smc2`` says which filter each run belongs to; those before are of filters.
        """
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
