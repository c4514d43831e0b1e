"""How many outcomes a randomised computation has, estimated without going through them."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .exact import ExactSource
from .source import Key, Source, derive, uniform

_PATIENCE = 5

METHODS_OWN = "resampling and other choices of the method"


@dataclass(frozen=True)
class Branching:
    """Where a computation branches.

    Attributes:
        site: the name of a site, with ``[·]`` for loop counters, or :data:`METHODS_OWN`.
        draws: how often it is drawn in a run, for all particles together; the mean over the probes.
        outcomes: how many outcomes a draw has, the geometric mean.
    """

    site: str
    draws: float
    outcomes: float

    def __str__(self) -> str:
        return f"{self.site} ({self.outcomes:.3g} outcomes, {self.draws:.3g} draws a run)"


@dataclass(frozen=True)
class Size:
    """An estimate of the number of sequences of random outcomes.

    Attributes:
        leaves: the estimate, unbiased.
        error: its standard error, estimated too: few probes may miss large branches.
        probes: how many paths it was made from.
        branching: where the computation branches, most first.
    """

    leaves: float
    error: float
    probes: int
    branching: tuple[Branching, ...]


class Probe(ExactSource):
    """Takes a random outcome of each choice, each as likely as the others, and notes how many there were.

    Args:
        key: what the outcomes are derived from.

    Attributes:
        branches: the key of each choice, and its number of outcomes.
        sites: the key of a draw of the program → its address, without loop counters.
    """

    def __init__(self, key: Key) -> None:
        super().__init__([])
        self.sites: dict[Key, str] = {}
        self.branches: list[tuple[Key, int]] = []
        self._key = key

    def _first(self, count: int, key: Key) -> int:
        self.branches.append((key, count))
        return int(uniform(self._key, self.made) * count)

    def boundary(self, operation: str, population: Any) -> None:
        if operation == "advance":
            for particle in population.particles:
                for choice in particle.trace.choices() if particle.trace else ():
                    self.sites[derive(particle.key, choice.address)] = re.sub(r"\[\d+\]", "[·]", choice.address)


def estimate_size(computation: Callable[[Source], Any], probes: int = 200, seconds: float = 2.0) -> Size:
    """Estimate the number of leaves of a computation's tree of outcomes.

    Each probe walks down a random path; the product of the numbers of outcomes on it has the number of leaves as its
    expectation (Knuth, 1975, Estimating the efficiency of backtrack programs).

    Args:
        computation: deterministic apart from what it draws from the source that it is given.
        probes: the most paths to try.
        seconds: start no further one after so much time of the processor, or five times as much by the clock.
    """
    started, busy = time.perf_counter(), time.thread_time()
    products: list[float] = []
    draws: Counter[str] = Counter()
    logs: Counter[str] = Counter()
    # The clock alone would leave a busy machine with few probes; the processor's time, runs that wait with too many.
    while len(products) < probes and (
        not products or (time.thread_time() - busy < seconds and time.perf_counter() - started < _PATIENCE * seconds)
    ):
        source = Probe(derive(0, "probe", len(products)))
        computation(source)
        products.append(math.prod(float(count) for _, count in source.branches))
        for key, count in source.branches:
            site = source.sites.get(key, METHODS_OWN)
            draws[site] += 1
            logs[site] += math.log(count)  # type: ignore[assignment]
    tried = len(products)
    mean = math.fsum(products) / tried
    variance = math.fsum((p - mean) ** 2 for p in products) / max(tried - 1, 1)
    branching = [Branching(s, draws[s] / tried, math.exp(log / draws[s])) for s, log in logs.most_common()]
    return Size(mean, math.sqrt(variance / tried), tried, tuple(branching))
