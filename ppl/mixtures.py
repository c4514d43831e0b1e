"""Mixtures of distributions, whose density is that of the whole mixture: what makes good proposals safe.

A proposal that is narrow where it should not be gives weights without bound. A *defensive* mixture draws from something
broad now and then, so that no weight exceeds one over its share (Hesterberg, 1995). Text at several temperatures is
the same for models: :func:`tempered`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .posterior_values import freeze
from .runtime.dialogue import Dialogue, Steps
from .runtime.distributions import Distribution, as_distribution
from .runtime.engines.base import Completion, ModelDistribution, Request
from .runtime.result import log_sum_exp
from .runtime.source import Key, Source, derive
from .text_distributions import ChoiceDistribution, TextDistribution


class Mixture(Distribution):
    """A mixture of local distributions; see :func:`mixture`."""

    def __init__(self, components: Sequence[Distribution], log_shares: Sequence[float]) -> None:
        self.components = tuple(components)
        self.log_shares = tuple(log_shares)

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        chosen = source.choose(self.log_shares, derive(key, "component"))
        value, _ = self.components[chosen].draw(source, derive(key, chosen))
        return value, self.log_prob(value)

    def log_prob(self, value: Any) -> float:
        parts = zip(self.components, self.log_shares, strict=True)
        return log_sum_exp([share + component.log_prob(value) for component, share in parts])

    def support(self) -> Sequence[tuple[Any, float]] | None:
        laws = [component.support() for component in self.components]
        if any(law is None for law in laws):
            return None
        return _merged([law for law in laws if law is not None], self.log_shares)

    def __repr__(self) -> str:
        return _shown(self.components, self.log_shares)


class ModelMixture(ModelDistribution):
    """A mixture of distributions that engines compute; see :func:`mixture`.

    A draw is asked of one component and then scored by the others; their common prefixes are computed once.
    """

    def __init__(self, components: Sequence[ModelDistribution], log_shares: Sequence[float]) -> None:
        self.components = tuple(components)
        self.log_shares = tuple(log_shares)
        self.engine = components[0].engine

    def draw(self, key: Key) -> Request:
        """The request for a value; its log-probability is that under the whole mixture."""

        def steps(source: Source) -> Steps:
            chosen = source.choose(self.log_shares, derive(key, "component"))
            component = self.components[chosen]
            drawn = yield component, component.draw(derive(key, chosen))
            value = component.value(drawn)
            return (yield from self._weighed(value, {chosen: drawn}))

        return Dialogue(steps)

    def likeliest(self) -> ModelDistribution:
        """That of the component with the largest share, since the mixture's own would take all outcomes to find."""
        return self.components[max(range(len(self.components)), key=self.log_shares.__getitem__)].likeliest()

    def score(self, value: Any) -> Request:
        """The request for the log-probability of a value under the whole mixture."""
        for component in self.components:
            component.score(value)  # refused here, where the caller can say whose value it was
        return Dialogue(lambda source: self._weighed(self.as_drawn(value), {}))

    def support(self, limit: int) -> Request:
        """The request for every outcome that some component gives, with its log-probability."""

        def steps(source: Source) -> Steps:
            laws, tokens = [], 0
            for component in self.components:
                found = yield component, component.support(limit)
                laws.append(found.value)
                tokens += found.tokens
            return Completion(found.request, _merged(laws, self.log_shares), 0.0, tokens)

        return Dialogue(steps)

    def as_drawn(self, value: Any) -> Any:
        """A value from outside as the program would see it."""
        return self.components[0].as_drawn(value)

    def as_proposed(self, value: Any) -> Any:
        """A value that a proposal drew, as the program would see it."""
        return self.components[0].as_proposed(value)

    def _weighed(self, value: Any, known: dict[int, Completion]) -> Steps:
        """Score a value under every component that has not said yet."""
        for i, component in enumerate(self.components):
            if i not in known:
                known[i] = yield component, component.score(value)
        log_prob = log_sum_exp([share + known[i].log_prob for i, share in enumerate(self.log_shares)])
        return Completion(known[0].request, value, log_prob, sum(completion.tokens for completion in known.values()))

    def __copy__(self) -> ModelMixture:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelMixture:
        return self

    def __repr__(self) -> str:
        return _shown(self.components, self.log_shares)


def mixture(components: Sequence[Any], weights: Sequence[float] | None = None) -> Mixture | ModelMixture:
    """One of several distributions, chosen by weight; its density is the weighted sum of theirs.

    As a proposal it makes importance sampling of several proposals at once, with the balance heuristic (Veach and
    Guibas, 1995).

    Args:
        components: distributions over the same kind of value: all of models, or none.
        weights: one each, over 0, normalised; by default all equal.

    Raises:
        TypeError: a component is no distribution, or some are of models and some are not.
        ValueError: there are none, the weights make no sense, or some are texts in other tokens than others.
    """
    if not components:
        raise ValueError("mixture() needs at least one component")
    weights = [1.0] * len(components) if weights is None else list(weights)
    if len(weights) != len(components) or any(not 0.0 < w < math.inf for w in weights):
        raise ValueError(f"mixture() needs a weight over 0 for each of {len(components)} components; got {weights!r}")
    log_shares = [math.log(w / math.fsum(weights)) for w in weights]
    of_models = [c for c in components if isinstance(c, ModelDistribution)]
    if len(of_models) == len(components):
        models = {c.lm.model for c in of_models if isinstance(c, TextDistribution)}
        if len(models) > 1 and len({model.alphabet for model in models}) > 1:
            raise ValueError("mixture() of texts by several models takes models with the same tokenizer")
        return ModelMixture(of_models, log_shares)
    local = [c for c in map(as_distribution, components) if c is not None]
    if len(local) < len(components):
        raise TypeError(f"mixture() takes distributions, all of models or none of them; got {list(components)!r}")
    return Mixture(local, log_shares)


def defensive(proposal: Any, prior: Any, share: float = 0.1) -> Mixture | ModelMixture:
    """A proposal that draws from the prior now and then, so that no weight exceeds 1/share (Hesterberg, 1995).

    Args:
        proposal: where the mass is believed to be.
        prior: the site's own distribution, or anything as broad.
        share: how often the prior is drawn from, between 0 and 1.

    Raises:
        ValueError: ``share`` is outside its range.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is how often the prior is drawn from, between 0 and 1; got {share!r}")
    return mixture([proposal, prior], [1.0 - share, share])


def tempered(distribution: Any, temperatures: Sequence[float], weights: Sequence[float] | None = None) -> ModelMixture:
    """A model's text or choice at one of several temperatures, with the density of the mixture.

    As a proposal, samples at all temperatures count together, each by prior over mixture density.

    Args:
        distribution: of text or of a choice; its own temperature plays no part.
        temperatures: 0 or more each.
        weights: how often each is used; by default all equally.

    Raises:
        TypeError: ``distribution`` has no temperature.
    """
    components: list[ModelDistribution] = []
    for temperature in temperatures:
        if isinstance(distribution, TextDistribution):
            spec = replace(distribution.spec, temperature=float(temperature))
            components.append(TextDistribution(distribution.context, spec))
        elif isinstance(distribution, ChoiceDistribution):
            components.append(distribution.context.choice(distribution.options, temperature))
        else:
            raise TypeError(f"tempered() takes a model's text or choice, such as ctx.line(); got {distribution!r}")
    found = mixture(components, weights)
    assert isinstance(found, ModelMixture)
    return found


def _merged(laws: Sequence[Sequence[tuple[Any, float]]], log_shares: Sequence[float]) -> list[tuple[Any, float]]:
    """The outcomes of several laws together; texts that read alike but differ in tokens stay apart."""
    values: dict[Any, Any] = {}
    parts: dict[Any, list[float]] = {}
    for law, share in zip(laws, log_shares, strict=True):
        for value, log_prob in law:
            key = (freeze(value), getattr(value, "tokens", None))
            values.setdefault(key, value)
            parts.setdefault(key, []).append(share + log_prob)
    return [(values[key], log_sum_exp(found)) for key, found in parts.items()]


def _shown(components: Sequence[Any], log_shares: Sequence[float]) -> str:
    return f"mixture({list(components)!r}, {[round(math.exp(share), 4) for share in log_shares]})"
