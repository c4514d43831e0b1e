"""Rules that end a run of inference early: ``infer(..., stop=settled(0.9))``.

A rule is asked after each step of methods whose particles go on side by side (SMC and its like, beams, A*), after each
degree of tempering, each attempt of revision, and each wave of independent runs (votes, importance sampling). Markov
chains and enumeration ask after each step at first, later whenever their population has grown by a sixteenth. What
comes back is marked ``posterior.incomplete``, which says the rule. Any function of a population is a rule.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from .posterior_values import freeze
from .runtime.particle import Particle, Status
from .runtime.population import Population
from .runtime.result import effective_sample_size


@dataclass(frozen=True)
class Rule:
    """When to stop.

    Attributes:
        name: as one would write it.
        says: what holds when it stops a run, in words for the posterior.
        holds: whether that is so.
    """

    name: str
    says: str
    holds: Callable[[Population], bool]

    def __call__(self, population: Population) -> bool:
        return self.holds(population)

    def __repr__(self) -> str:
        return self.name


def settled(share: float = 0.9, key: Callable[[Any], Any] | None = None) -> Rule:
    """Stop when finished runs with one answer hold at least a share of the weight of all particles.

    The weight is that by which particles are selected, hints included; unfinished particles count with what they weigh
    now. So what is unfinished can hold no more than the rest, whatever it comes to, if weights stay as they are;
    evidence that is still to come may change that. For SMC and its like, where all particles go on side by side.

    Args:
        share: of the weight, over 0.5 and at most 1.
        key: which part of the returned value is the answer; by default all of it.

    Raises:
        ValueError: ``share`` is outside its range.
    """
    if not 0.5 < share <= 1.0:
        raise ValueError(f"share is over 0.5 and at most 1, so that one answer alone can hold it; got {share!r}")

    def holds(population: Population) -> bool:
        total = math.fsum(_weights(population.particles, population.particles))
        votes = _votes(population, key)
        return bool(votes) and max(votes.values()) >= share * total

    says = f"finished runs with one answer hold at least {100 * share:g} % of the weight of all particles"
    return Rule(f"settled({share})", says, holds)


def consistent(confidence: float = 0.95, key: Callable[[Any], Any] | None = None) -> Rule:
    """Stop when further votes are unlikely to change the leader (adaptive consistency: Aggarwal et al., 2023).

    With a votes for the leading answer and b for the second, that is when a Beta(a + 1, b + 1) variable is over 1/2
    with probability ``confidence``. Weighted runs count as votes of their share, their number being the effective
    sample size, rounded down. For methods whose runs are independent and come in waves (``wave=``).

    Args:
        confidence: over 0.5 and under 1.
        key: which part of the returned value is the answer; by default all of it.

    Raises:
        ValueError: ``confidence`` is outside its range.
    """
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"confidence is over 0.5 and under 1; got {confidence!r}")

    def holds(population: Population) -> bool:
        votes = _votes(population, key)
        if not votes:
            return False
        ess = effective_sample_size([p.log_weight for p in population.particles if p.status is Status.DONE])
        scale = ess / math.fsum(votes.values())
        first, second, *_ = [*sorted((math.floor(v * scale + 1e-9) for v in votes.values()), reverse=True), 0]
        return beta_above_half(first, second) >= confidence

    says = f"the leading answer keeps its lead over the second with probability {confidence:g} by the votes so far"
    return Rule(f"consistent({confidence})", says, holds)


def beta_above_half(a: int, b: int) -> float:
    """The probability that a Beta(a + 1, b + 1) variable is over 1/2: a binomial tail."""
    tosses = a + b + 1
    return sum(math.comb(tosses, k) for k in range(a + 1)) / 2**tosses


def _votes(population: Population, key: Callable[[Any], Any] | None) -> dict[Hashable, float]:
    """The weight of each answer among the finished runs, on the scale of :func:`_weights`."""
    done = [p for p in population.particles if p.status is Status.DONE]
    votes: dict[Hashable, float] = defaultdict(float)
    for p, weight in zip(done, _weights(done, population.particles), strict=True):
        if weight > 0.0:
            votes[freeze(p.value if key is None else key(p.value))] += weight
    return votes


def _weights(particles: list[Particle], among: list[Particle]) -> list[float]:
    """Selection weights, the largest of all being 1."""
    top = max((p.selection_weight for p in among), default=-math.inf)
    return [math.exp(p.selection_weight - top) if top > -math.inf else 0.0 for p in particles]
