"""Distributions that answer at once: the interface, and how torch's and pyro's meet it."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from .source import Key, Source


class Distribution(ABC):
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


class Torch(Distribution):
    """A torch or pyro distribution as a joint distribution over one value: batch and event shapes together."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return repr(self.inner)

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        outcomes = self.support()
        if outcomes is not None:
            return outcomes[source.choose([w for _, w in outcomes], key)]
        value = source.draw(self.inner, key)
        return value, float(self.inner.log_prob(value).sum())

    def log_prob(self, value: Any) -> float:
        import torch

        if not isinstance(value, torch.Tensor):
            value = torch.as_tensor(value, dtype=torch.get_default_dtype())
        try:
            return float(self.inner.log_prob(value).sum())
        except ValueError:
            support = self.inner.support
            if bool(torch.as_tensor(support.check(value)).all()):
                raise
            return -math.inf  # torch refuses values outside the support; their density is zero

    def support(self) -> Sequence[tuple[Any, float]] | None:
        inner = self.inner
        if not inner.has_enumerate_support or inner.batch_shape or inner.event_shape:
            return None
        values = inner.enumerate_support(expand=False)
        weights = inner.log_prob(values).double().tolist()
        return [(v, w) for v, w in zip(values, weights, strict=True) if w > -math.inf]


def as_distribution(value: Any) -> Distribution | None:
    """``value`` as a local distribution, or ``None`` if it is none."""
    if isinstance(value, Distribution):
        return value
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.distributions.Distribution):
        return Torch(value)
    return None
