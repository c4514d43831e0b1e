"""What an inference method hands back: weighted runs and the record of how they came about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from ..compiler.requests import Site
from .engines.model import Usage

Guarantee = Literal["proper", "stationary", "exact", "heuristic"]
GUARANTEES: tuple[Guarantee, ...] = get_args(Guarantee)


class Choice(NamedTuple):
    """A random variable of a run.

    Attributes:
        address: where in the program it was drawn, e.g. ``solve/line[3]``.
        value: what was drawn.
        log_prob: log-density of the value under the site's own distribution, given the run so far.
        observed: the value was given, not drawn (``program.given``).
    """

    address: str
    value: Any
    log_prob: float
    observed: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of the program with its weight.

    Attributes:
        value: what the program returned.
        log_weight: its weight such that the sum of ``exp(log_weight)`` over runs estimates the evidence Z.
        trace: its random choices in order.
        log_joint: log-density of the trace and all evidence, without proposals and twists.
    """

    value: Any
    log_weight: float
    trace: tuple[Choice, ...]
    log_joint: float


@dataclass(frozen=True, slots=True)
class Generation:
    """The population at a point where it waited for all particles (and perhaps was resampled).

    Attributes:
        step: 0, 1, 2, ...
        site: the name of the site where most particles wait, or ``""`` where all had finished.
        log_weights: log-weight of each particle before resampling, twists included, on the scale of this step.
        ancestors: for each particle after this step, the index of its parent before; ``None``: not resampled.
        ess: effective sample size of ``log_weights``.
        log_evidence: the running estimate of log Z.
    """

    step: int
    site: str
    log_weights: tuple[float, ...]
    ancestors: tuple[int, ...] | None
    ess: float
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Death:
    """How many particles an effect gave weight zero, or an exception ended (``error``)."""

    site: Site
    count: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run of inference used.

    Attributes:
        tokens: model tokens generated or scored for particles.
        positions: token positions that went through a model (each distinct prefix once).
        forwards: batched forward passes of models. Shared with the problems that ran beside this one.
        model_calls: requests made to models.
        calls: rows given to ``call`` functions.
        seconds: wall-clock time. Shared with the problems that ran beside this one.
        models: what each model computed, by its name; shared as ``positions`` and ``forwards`` are, which are its sums.
    """

    tokens: int = 0
    positions: int = 0
    forwards: int = 0
    model_calls: int = 0
    calls: int = 0
    seconds: float = 0.0
    models: Mapping[str, Usage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a method on one problem.

    Attributes:
        runs: finished runs with positive weight.
        log_evidence: the estimate of log Z (``-inf`` if nothing survived); ``None`` where the method has none.
        guarantee: the law that the method obeys.
        method: the method as one would write it, e.g. ``SMC(n=32)``.
        program: the program's name.
        particles: how many particles there were, dead ones and those that a search left behind included; of Markov
            chains, how many states they kept.
        seed: what reproduces the run.
        history: populations over time.
        deaths: where particles were lost.
        cost: what it used.
        incomplete: why it ended before its end, a budget or a rule; ``None``: it did not. Then there is what was
            finished, whatever the method promises otherwise.
        bounds: on log Z, where the method knows some.
        lengths: how many of the runs are the states of each Markov chain, one chain after the other; ``None``: they are
            not.
        remedy: what the method has to offer where no run has survived, in words.
        listed: the runs were listed with their masses, not drawn: no chance is in them, whether or not all are there.
    """

    runs: Sequence[Run]
    log_evidence: float | None
    guarantee: Guarantee
    method: str
    program: str
    particles: int
    seed: int
    history: Sequence[Generation] = ()
    deaths: Sequence[Death] = ()
    cost: Cost = field(default_factory=Cost)
    incomplete: str | None = None
    bounds: tuple[float, float] | None = None
    lengths: tuple[int, ...] | None = None
    remedy: str | None = None
    listed: bool = False

    @property
    def chains(self) -> int | None:
        """Of how many Markov chains the runs are the states; ``None``: of none."""
        return None if self.lengths is None else len(self.lengths)


def log_sum_exp(values: Sequence[float]) -> float:
    """log Σ exp(v), ``-inf`` for an empty or all-``-inf`` sequence."""
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return -math.inf
    return top + math.log(math.fsum([math.exp(v - top) for v in values]))


def effective_sample_size(log_weights: Sequence[float]) -> float:
    """(Σ w)² / Σ w², 0 where all weights are zero (Kong, 1992)."""
    return sum_and_size(log_weights)[1]


def sum_and_size(log_weights: Sequence[float]) -> tuple[float, float]:
    """:func:`log_sum_exp` and :func:`effective_sample_size`, in one pass."""
    top = max(log_weights, default=-math.inf)
    if top == -math.inf:
        return -math.inf, 0.0
    weights = [math.exp(v - top) for v in log_weights]
    total = math.fsum(weights)
    return top + math.log(total), total * total / math.fsum([w * w for w in weights])
