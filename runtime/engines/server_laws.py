"""From what a server reports to the log-probability under the law that was sampled from.

Servers report log-probabilities of the model itself, or of what temperature, top-k and top-p made of it, by make and by
option. Where it is the model itself, the law can still be computed from the most probable tokens alone, if it keeps no
others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .requests import PLAIN, Law

_ROUNDING = 1e-6
"""Servers compute in float32: masses this close to ``top_p`` have reached it."""


@dataclass(frozen=True)
class Reported:
    """Which law a server's log-probabilities belong to.

    Attributes:
        tempered: they are those after division by the temperature.
        truncated: they are those after top-k and top-p.
        best: how many of the most probable tokens it reports at each position, at most.
    """

    tempered: bool
    truncated: bool
    best: int

    def needed(self, law: Law) -> int | None:
        """How many of the most probable tokens must be reported to know a law's log-probabilities.

        Args:
            law: (temperature, top_p, top_k).

        Returns:
            The number; 0 if that of the drawn token is enough; ``None`` if they can't be known.
        """
        temperature, top_p, top_k = law
        # A temperature that the reports leave out changes all tokens, so that all would have to be known.
        untold = temperature != 1.0 and not self.tempered
        cut = (top_k is not None or top_p < 1.0) and not self.truncated
        if temperature == 0.0 or not (untold or cut):
            return 0
        return top_k if top_k is not None and top_k <= self.best else None

    def log_prob(self, token: int, log_prob: float, best: Mapping[int, float], law: Law) -> float:
        """The log-probability of a drawn token.

        Args:
            token: its id.
            log_prob: what the server reports for it.
            best: the log-probabilities of the most probable tokens, as many as :meth:`needed`.
            law: what it was drawn from.

        Returns:
            It, or NaN if the server did not tell all the tokens that are needed.
        """
        temperature, top_p, top_k = law
        if temperature == 0.0:
            return 0.0
        if not self.needed(law):
            return log_prob
        inner = 1.0 if self.tempered else temperature
        all_best = {**best, token: log_prob}
        return kept(all_best, (inner, top_p, top_k)).get(token, -math.inf) if known(all_best, law) else math.nan


RAW = Reported(tempered=False, truncated=False, best=20)
"""Log-probabilities of the model itself, as those of given tokens are."""


def known(best: Mapping[int, float], law: Law) -> bool:
    """Whether as many of the most probable tokens are known as top-k keeps; temperature 0 takes one."""
    temperature, _, top_k = law
    return len(best) >= (1 if temperature == 0.0 or top_k is None else top_k)


def kept(best: Mapping[int, float], law: Law) -> dict[int, float]:
    """The distribution that ``law`` makes of a model, from its most probable tokens.

    Args:
        best: token → log-probability; holds every token that top-k keeps.
        law: (temperature, top_p, top_k); ``top_k`` is a number unless the temperature is 0.

    Returns:
        Token → log-probability, normalised, of the tokens that are kept.
    """
    temperature, top_p, top_k = law
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    if temperature == 0.0:
        return {ordered[0][0]: 0.0}
    assert top_k is not None
    least = ordered[min(top_k, len(ordered)) - 1][1]
    scaled = {token: log_prob / temperature for token, log_prob in ordered if log_prob >= least}
    probs = _normalised(scaled)
    if top_p == 1.0:
        return probs
    nucleus: dict[int, float] = {}
    mass = 0.0
    for token, log_prob in sorted(probs.items(), key=lambda item: (-item[1], item[0])):
        if nucleus and mass >= top_p - _ROUNDING:
            break
        nucleus[token] = log_prob
        mass += math.exp(log_prob)
    return _normalised(nucleus)


def _normalised(log_weights: Mapping[int, float]) -> dict[int, float]:
    top = max(log_weights.values())
    log_mass = top + math.log(math.fsum(math.exp(x - top) for x in log_weights.values()))
    return {token: x - log_mass for token, x in log_weights.items()}


def told(law: Law) -> str:
    """A law as a user would write it."""
    temperature, top_p, top_k = law
    named = [("temperature", temperature, PLAIN[0]), ("top_p", top_p, PLAIN[1]), ("top_k", top_k, PLAIN[2])]
    return ", ".join(f"{name}={value}" for name, value, default in named if value != default) or "temperature=1"
