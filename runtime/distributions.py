"""Distributions that answer at once: the interface (how torch's and pyro's meet it: ``torch_distributions.py``)."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from .engines.base import ModelDistribution
from .result import log_sum_exp
from .source import Key, Source
from .undrawn import Undrawn


class Distribution(Undrawn, ABC):
    """A normalised distribution over Python values, computed in this process."""

    @abstractmethod
    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        """A value, a pure function of ``source`` and ``key``, and its log-density."""

    @abstractmethod
    def log_prob(self, value: Any) -> float:
        """Log-density at ``value``, ``-inf`` outside the support."""

    def support(self) -> Sequence[tuple[Any, float]] | None:
        """Every outcome of positive mass with its log-probability, or ``None`` where there are too many to list."""
        return None

    def likeliest(self) -> Distribution:
        """All mass on the most probable value, among equals the first.

        Raises:
            NotImplementedError: it is not known which that is.
        """
        outcomes = self.support()
        if not outcomes:
            raise NotImplementedError
        return Restricted([max(outcomes, key=lambda outcome: outcome[1])])


class Deferred(ABC):
    """A distribution whose law takes inference to find: a posterior, say.

    Where a program samples or observes it the machine lets it :meth:`begin`, so that what is asked of models on the way
    joins the batches of everything else. Elsewhere it is found on the spot.

    Attributes:
        law: what it is, once that is found.
    """

    law: Distribution | None = None

    @abstractmethod
    def found(self) -> Distribution:
        """The law; found now, apart from any run, if it is not known."""

    @abstractmethod
    def begin(self, machine: Any, particle: Any, ask: Any) -> Any:
        """Find the law on behalf of a particle, which is then answered; what the particle waits for meanwhile."""


class NotFound(Exception):
    """A law is needed that is still to be found.

    Attributes:
        deferred: whose.
    """

    def __init__(self, deferred: Deferred) -> None:
        super().__init__()
        self.deferred = deferred


class Restricted(Distribution):
    """A finite distribution renormalised over some of its outcomes, to draw from instead of it.

    It may leave out only what the program rules out itself, right after the draw: then the weight makes up for it.

    Args:
        outcomes: those that are left, with their log-probabilities under the whole distribution; at least one.
    """

    def __init__(self, outcomes: Sequence[tuple[Any, float]]) -> None:
        top = max(log_prob for _, log_prob in outcomes)
        log_mass = top + math.log(math.fsum(math.exp(log_prob - top) for _, log_prob in outcomes))
        self.outcomes = tuple((value, log_prob - log_mass) for value, log_prob in outcomes)

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        value, log_prob = self.outcomes[source.choose([log_prob for _, log_prob in self.outcomes], key)]
        return value, self.log_prob(value) if type(value).__hash__ is None else log_prob

    def log_prob(self, value: Any) -> float:
        return log_prob_among(self.outcomes, value)

    def support(self) -> Sequence[tuple[Any, float]]:
        return self.outcomes

    def __repr__(self) -> str:
        return f"Restricted({list(self.outcomes)!r})"


def log_prob_among(outcomes: Iterable[tuple[Any, float]], value: Any) -> float:
    """The log-probability of a value among listed outcomes. NaN is what it was drawn as, though it equals nothing.

    Several may be equal to it if it can change: such objects are outcomes of their own, since they may not stay equal.
    """
    if type(value).__hash__ is None:
        return log_sum_exp([log_prob for outcome, log_prob in outcomes if same(outcome, value)])
    is_nan = value != value
    for outcome, log_prob in outcomes:
        if outcome == value or (is_nan and outcome != outcome):
            return log_prob
    return -math.inf


def same(one: Any, other: Any) -> bool:
    """Whether one object is another or equals it; arrays equal only themselves."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except (TypeError, ValueError, RuntimeError):
        return False


class _Subclasses(dict[type, bool]):
    """Whether a type is a subclass of an abstract one, which takes long to find, and is asked at each effect."""

    def __init__(self, abstract: type) -> None:
        super().__init__()
        self.abstract = abstract

    def __missing__(self, kind: type) -> bool:
        found = self[kind] = issubclass(kind, self.abstract)
        return found


LOCAL = _Subclasses(Distribution)
MODEL = _Subclasses(ModelDistribution)
DEFERRED = _Subclasses(Deferred)


def is_distribution(value: Any) -> bool:
    """Whether a program could sample from it."""
    kind = type(value)
    if LOCAL[kind] or MODEL[kind] or DEFERRED[kind]:
        return True
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.distributions.Distribution)


def as_distribution(value: Any) -> Distribution | None:
    """``value`` as a local distribution, or ``None`` if it is none."""
    if LOCAL[type(value)]:
        return value
    if DEFERRED[type(value)]:
        return value.found()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.distributions.Distribution):
        from .torch_distributions import Torch

        return Torch(value)
    return None
