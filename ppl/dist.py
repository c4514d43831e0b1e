"""Small distributions over plain Python values. Torch and pyro distributions are accepted everywhere too."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from .mixtures import defensive, mixture, tempered
from .runtime.copying import OUTSIDE, SHARED, fork
from .runtime.distributions import Distribution, log_prob_among
from .runtime.source import Key, RandomSource, Source, derive, fresh_seed
from .runtime.undrawn import NoValue

__all__ = ["Finite", "categorical", "defensive", "delta", "flip", "mixture", "tempered", "uniform"]


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(
        f"ppl.dist has no {name!r}: it has {', '.join(__all__)}. Distributions of torch and pyro are taken as they "
        "are, such as torch.distributions.Normal(0.0, 1.0)"
    )


class Finite(NoValue, Distribution):
    """A distribution over listed outcomes; see :func:`categorical`, :func:`uniform`, :func:`flip`, :func:`delta`.

    Args:
        outcomes: what may be drawn.
        log_probs: with what log-probability, for each.
        alike: some may be different objects that are equal now: the density of a value is that of all equal to it.
    """

    def __init__(self, outcomes: Sequence[Any], log_probs: Sequence[float], alike: bool = False) -> None:
        self.outcomes = tuple(outcomes)
        self.log_probs = tuple(log_probs)
        self._alike = alike

    @property
    def held(self) -> tuple[Any, ...]:
        """The outcomes, as objects that may belong to a run; none if they can't change."""
        return () if SHARED.issuperset(map(type, self.outcomes)) else self.outcomes

    def __ppl_fork__(self, memo: dict[int, Any]) -> Finite:
        """A copy for another particle: its outcomes may be objects of the run."""
        outcomes = self.outcomes if id(self) in memo.get(OUTSIDE, ()) else fork(self.outcomes, memo)
        if outcomes is self.outcomes:
            return self
        new = memo[id(self)] = type(self)(outcomes, self.log_probs, self._alike)
        return new

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        chosen = source.choose(self.log_probs, key)
        value = self.outcomes[chosen]
        return value, self.log_prob(value) if self._alike else self.log_probs[chosen]

    def log_prob(self, value: Any) -> float:
        return log_prob_among(zip(self.outcomes, self.log_probs, strict=True), value)

    def support(self) -> Sequence[tuple[Any, float]]:
        pairs = zip(self.outcomes, self.log_probs, strict=True)
        return [(outcome, log_prob) for outcome, log_prob in pairs if log_prob > -math.inf]

    def sample(self, seed: int | None = None) -> Any:
        """A value, for use at the prompt; inside a program write ``sample(distribution)``."""
        return self.draw(RandomSource(), derive(0, fresh_seed() if seed is None else seed, "sample"))[0]

    def __repr__(self) -> str:
        shown = ", ".join(f"{o!r}: {math.exp(w):.4g}" for o, w in zip(self.outcomes[:6], self.log_probs, strict=False))
        return f"categorical({{{shown}{', …' if len(self.outcomes) > 6 else ''}}})"


def categorical(weights: Mapping[Any, float] | Sequence[float]) -> Finite:
    """Outcomes in proportion to weights.

    Args:
        weights: outcome → weight, or a sequence of weights whose outcomes are 0, 1, 2, ... Weights are
            normalised; they must be non-negative with a positive finite sum.

    Raises:
        TypeError: a weight is no number.
        ValueError: a weight is negative or not finite, or all are zero.
    """
    try:
        pairs = list(weights.items()) if isinstance(weights, Mapping) else list(enumerate(weights))
        numbers = [float(w) for _, w in pairs]
    except (TypeError, ValueError):
        raise TypeError(
            f"categorical() takes weights: a dict, outcome → weight, or numbers for the outcomes 0, 1, 2, ...; got "
            f"{weights!r}. Outcomes that are equally probable: uniform([...])"
        ) from None
    except OverflowError:
        numbers = [math.inf]
    top = max(numbers, default=0.0)
    if any(w < 0 or not math.isfinite(w) for w in numbers) or not top > 0:
        raise ValueError(f"categorical() needs finite weights of zero or more, not all zero; got {weights!r}")
    total = math.fsum(w / top for w in numbers)  # what is near the largest number is not added up as it is
    return Finite([o for o, _ in pairs], [_log(w / top / total) for w in numbers])


def uniform(outcomes: Iterable[Any], *more: Any) -> Finite:
    """Each of the listed outcomes with the same probability; of a tensor, its numbers.

    For an interval use ``torch.distributions.Uniform``.

    Raises:
        TypeError: it is given no list.
        ValueError: there are none.
    """
    if more or not isinstance(outcomes, Iterable):
        raise TypeError(
            "uniform() takes one list of outcomes, such as uniform([1, 2, 3]) or uniform(range(10)); for all numbers "
            "between two bounds write torch.distributions.Uniform(low, high)"
        )
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(outcomes, torch.Tensor):
        # Of a tensor come tensors, each an object of its own; its numbers are meant.
        outcomes = outcomes.reshape(-1).tolist()
    listed = list(outcomes)
    if not listed:
        raise ValueError("uniform() needs at least one outcome")
    try:
        counts = list(Counter(listed).items())
    except TypeError:  # an outcome can't be hashed
        return _uniform_objects(listed)
    return Finite([o for o, _ in counts], [math.log(c / len(listed)) for _, c in counts])


def _uniform_objects(listed: Sequence[Any]) -> Finite:
    """Objects that can change are outcomes of their own though some be equal now: what is drawn is one of them."""
    counts = Counter(map(id, listed))
    objects = list({id(o): o for o in listed}.values())
    return Finite(objects, [math.log(counts[id(o)] / len(listed)) for o in objects], alike=True)


def flip(p: float = 0.5) -> Finite:
    """True with probability ``p``, else False.

    Raises:
        ValueError: ``p`` is no probability.
    """
    try:
        probability = float(p)
    except (TypeError, ValueError):
        probability = math.nan
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"flip() needs a probability from 0 to 1, got {p!r}")
    p = probability
    return Finite([True, False], [_log(p), _log(1.0 - p)])


def delta(value: Any) -> Finite:
    """Always ``value``."""
    return Finite([value], [0.0])


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf


# By this the compiler knows them: what is made, and that making it changes nothing.
for _constructor in (flip, categorical, uniform, delta):
    vars(_constructor)["__ppl_family__"] = _constructor.__name__
