"""Conjugate pairs: what is left to draw of a parameter when its observations have been taken in exactly.

A prior is conjugate to a likelihood if the posterior is of its own kind (Raiffa and Schlaifer, 1961). The density of
an observation without the parameter then follows from the update alone, by the candidate's formula p(y) = p(y|θ) p(θ) /
p(θ|y), which holds at every θ (Besag, 1989). So a pair is one function: the posterior after an observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dist import Finite
from .runtime.distributions import Distribution, as_distribution
from .runtime.source import Key, Source, derive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Conjugate:
    """What is known of a parameter.

    Attributes:
        known: its distribution given what was observed so far, in float64.
        stand_in: a value of the parameter, to build likelihoods with before there is one.
        dtype: of the parameter.
    """

    known: torch.distributions.Distribution
    stand_in: torch.Tensor
    dtype: torch.dtype

    __ppl_immutable__ = True

    @staticmethod
    def of(prior: torch.distributions.Distribution) -> Conjugate:
        """What is known before anything was observed.

        Args:
            prior: a Beta, Dirichlet, Normal or Gamma distribution of torch or pyro, of any batch shape.
        """
        names = _PAIRS[_kind(prior)][0]
        given = [getattr(prior, name) for name in names]
        known = _torch(_kind(prior))(*(value.detach().double().clone() for value in given))
        return Conjugate(known, known.mean, given[0].dtype)

    def predictive(self, likelihood: Any) -> Predictive:
        """The distribution of an observation, the parameter integrated out.

        Args:
            likelihood: of the observation, with ``stand_in`` for the parameter.
        """
        return Predictive(self, likelihood)

    def updated(self, likelihood: Any, value: Any) -> Conjugate:
        """What is known after one more observation.

        Args:
            likelihood: as for :meth:`predictive`.
            value: what was observed, of any shape that goes with the likelihood's; of several, each is an observation.
        """
        kind = _kind(self.known)
        names, update = _PAIRS[kind]
        new = update([getattr(self.known, name) for name in names], likelihood, _tensor(value))
        return Conjugate(_torch(kind)(*new, validate_args=False), self.stand_in, self.dtype)

    def posterior(self) -> torch.distributions.Distribution:
        """The parameter's distribution given all that was observed."""
        kind = _kind(self.known)
        return _torch(kind)(*(getattr(self.known, name).to(self.dtype) for name in _PAIRS[kind][0]))


class Predictive(Distribution):
    """An observation whose parameter is integrated out.

    Args:
        state: what is known of the parameter.
        likelihood: with the state's stand-in for the parameter.
    """

    def __init__(self, state: Conjugate, likelihood: Any) -> None:
        self.state = state
        self.likelihood = likelihood

    def log_prob(self, value: Any) -> float:
        local = as_distribution(self.likelihood)
        assert local is not None
        log_prob = local.log_prob(value if isinstance(self.likelihood, Finite) else _tensor(value).double())
        if log_prob == -math.inf:  # outside the support, whatever the parameter
            return log_prob
        theta = self.state.stand_in
        after = self.state.updated(self.likelihood, value).known
        return log_prob + float(self.state.known.log_prob(theta).sum() - after.log_prob(theta).sum())

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        theta = source.draw(self.state.known, derive(key, "parameter"))
        value = _rebuilt(self.likelihood, theta)
        drawn = as_distribution(value)
        assert drawn is not None
        outcome, _ = drawn.draw(source, key)
        return outcome, self.log_prob(outcome)

    def __repr__(self) -> str:
        return f"Predictive({self.state.known!r}, {self.likelihood!r})"


Parameters = list["torch.Tensor"]
Update = Callable[[Parameters, Any, "torch.Tensor"], Parameters]


def _beta(known: Parameters, likelihood: Any, value: torch.Tensor) -> Parameters:
    """Beta–Bernoulli: successes and failures are counted."""
    a, b = known
    hits = _spread(likelihood, value)
    return [a + _gathered(hits, a), b + _gathered(1.0 - hits, b)]


def _dirichlet(known: Parameters, likelihood: Any, value: torch.Tensor) -> Parameters:
    """Dirichlet–Categorical: each outcome is counted."""
    import torch

    (a,) = known
    hits = torch.nn.functional.one_hot(_spread(likelihood, value).long(), a.shape[-1]).double()
    return [a + _gathered(hits, a)]


def _normal(known: Parameters, likelihood: Any, value: torch.Tensor) -> Parameters:
    """Normal–Normal of known scale: precisions add, and weigh the means."""
    mean, scale = known
    values = _spread(likelihood, value)
    precision = likelihood.scale.double().pow(-2).expand_as(values)
    total = scale.pow(-2) + _gathered(precision, mean)
    return [(mean * scale.pow(-2) + _gathered(precision * values, mean)) / total, total.pow(-0.5)]


def _gamma(known: Parameters, likelihood: Any, value: torch.Tensor) -> Parameters:
    """Gamma–Poisson: events and intervals are counted."""
    import torch

    shape, rate = known
    events = _spread(likelihood, value)
    return [shape + _gathered(events, shape), rate + _gathered(torch.ones_like(events), rate)]


_PAIRS: dict[str, tuple[tuple[str, ...], Update]] = {
    "Beta": (("concentration1", "concentration0"), _beta),
    "Dirichlet": (("concentration",), _dirichlet),
    "Normal": (("loc", "scale"), _normal),
    "Gamma": (("concentration", "rate"), _gamma),
}
"""A prior's parameters, in its constructor's order, and how an observation changes them."""


def _kind(distribution: Any) -> str:
    """``Beta`` for torch's and pyro's."""
    return next(name for name in _PAIRS if isinstance(distribution, _torch(name)))


def _torch(name: str) -> Any:
    import torch

    return getattr(torch.distributions, name)


def _tensor(value: Any) -> torch.Tensor:
    """An observed value, as densities read it."""
    import torch

    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=torch.float64)


def _spread(likelihood: Any, value: torch.Tensor) -> torch.Tensor:
    """Every single observation: ``value`` in the shape that it has together with the likelihood's."""
    import torch

    shape = () if isinstance(likelihood, Finite) else likelihood.batch_shape
    return value.double().expand(torch.broadcast_shapes(shape, value.shape))


def _gathered(each: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A sum over the observations that share a parameter."""
    if each.numel() == parameter.numel():
        return each.reshape(parameter.shape)
    return each.sum_to_size(parameter.shape)


def _rebuilt(likelihood: Any, theta: torch.Tensor) -> Any:
    """The likelihood with another parameter."""
    from .dist import categorical, flip

    if isinstance(likelihood, Finite):
        return flip(float(theta)) if theta.numel() == 1 else categorical(theta.tolist())
    if isinstance(likelihood, _torch("Normal")):
        return _torch("Normal")(theta, likelihood.scale.double())
    kind = next(name for name in ("Bernoulli", "Categorical", "Poisson") if isinstance(likelihood, _torch(name)))
    return _torch(kind)(theta)
