"""Torch's and pyro's distributions as ours. Imported where torch is."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from .distributions import Distribution, Restricted
from .known import finite, known
from .source import Key, Source


class Torch(Distribution):
    """A torch or pyro distribution as a joint distribution over one value: batch and event shapes together."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return repr(self.inner)

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        table = self._table()
        if table is not None:
            values, log_probs = table
            chosen = source.choose(log_probs, key)
            return values[chosen], log_probs[chosen]
        recognised = known(self.inner)
        value = source.draw(self.inner if recognised is None else recognised, key)
        log_prob = None if recognised is None else recognised.log_prob(value)
        return value, float(self.inner.log_prob(value).sum()) if log_prob is None else log_prob

    def log_prob(self, value: Any) -> float:
        number = value.item() if isinstance(value, torch.Tensor) and not value.ndim else value
        if isinstance(number, (bool, int, float)) and (listed := finite(self.inner)) is not None:
            _, log_probs = listed
            return log_probs[int(number)] if number in range(len(log_probs)) else -math.inf
        if (recognised := known(self.inner)) is not None and (log_prob := recognised.log_prob(value)) is not None:
            return log_prob
        return self._torch_log_prob(value)

    def _torch_log_prob(self, value: Any) -> float:
        if not isinstance(value, torch.Tensor):
            return self._of_numbers(value)
        try:
            log_prob = float(self.inner.log_prob(value).sum())
        except ValueError:
            support = self.inner.support
            if bool(torch.as_tensor(support.check(value)).all()):
                raise
            return -math.inf  # torch refuses values outside the support; their density is zero
        if not value.ndim and self._enumerable():
            log_prob -= float(self._weights().logsumexp(0))
        return log_prob

    def _of_numbers(self, value: Any) -> float:
        """The log-density at numbers, which are not rounded to the type of the parameters if that can be."""
        exact = torch.as_tensor(value, dtype=torch.float64)
        try:
            found = self._torch_log_prob(exact)
        except RuntimeError:  # matrices of one type don't multiply vectors of another
            found = -math.inf
        # 0.1 is where a support that begins at float32's 0.1 begins.
        return found if found > -math.inf else self._torch_log_prob(exact.to(torch.get_default_dtype()))

    def support(self) -> Sequence[tuple[Any, float]] | None:
        table = self._table()
        if table is None:
            return None
        return [(v, w) for v, w in zip(*table, strict=True) if w > -math.inf]

    def missed_by(self, proposals: Sequence[Any]) -> str | None:
        """What a mixture of proposals for this distribution surely never gives; ``None`` if it may give everything.

        Only the ends of real intervals are compared.
        """
        mine = _ends(self.inner)
        others = [_ends(proposal.inner) if isinstance(proposal, Torch) else None for proposal in proposals]
        known = [ends for ends in others if ends is not None]
        if mine is None or len(known) < len(others):
            return None
        low, high = mine
        least = functools.reduce(torch.minimum, [ends[0] for ends in known])
        most = functools.reduce(torch.maximum, [ends[1] for ends in known])
        if bool((least <= low).all()) and bool((most >= high).all()):
            return None
        return f"lies in [{_shown(least)}, {_shown(most)}], the distribution in [{_shown(low)}, {_shown(high)}]"

    def likeliest(self) -> Distribution:
        if self._table() is not None:
            return super().likeliest()
        mode = self.inner.mode
        if not bool(torch.as_tensor(mode).isfinite().all()):
            raise NotImplementedError
        return Restricted([(mode, 0.0)])

    def _table(self) -> tuple[torch.Tensor, list[float]] | None:
        """Every outcome and its log-probability, if they can be listed."""
        if not self._enumerable():
            return None
        listed = finite(self.inner)
        if listed is not None:
            return listed
        weights = self._weights()
        return self.inner.enumerate_support(expand=False), (weights - weights.logsumexp(0)).tolist()

    def _enumerable(self) -> bool:
        inner = self.inner
        return inner.has_enumerate_support and not inner.batch_shape and not inner.event_shape

    def _weights(self) -> torch.Tensor:
        """The log-probability of every outcome. In float32 the masses sum to 1 but nearly."""
        return self.inner.log_prob(self.inner.enumerate_support(expand=False)).double()


def _ends(inner: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Between what a distribution's numbers lie; ``None`` if its support is no interval."""
    try:
        support = inner.support
    except NotImplementedError:
        return None
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if low is None and high is None and support is not torch.distributions.constraints.real:
        return None
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return torch.as_tensor(low), torch.as_tensor(high)


def _shown(end: torch.Tensor) -> str:
    return f"{float(end):g}" if end.numel() == 1 else str(end.tolist())
