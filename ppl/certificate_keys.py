"""Draws under two seeds have no key in common, or runs that are to be independent would share random numbers.

Within one run the exact source sees to it that no key is used twice (``runtime/exact.py``). A key that does not come
from the seed is used but once in a run, and again in every other run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .runtime.exact import ExactSource, KeyReused, Place, describe_place
from .runtime.exact_size import Probe
from .runtime.source import Source, derive


class OtherSeed:
    """Watches an exploration: a run that draws something where no run did before is run again under another seed.

    Args:
        again: what is explored, under the other seed.
        known: where something was drawn, to share between explorations.
    """

    def __init__(self, again: Callable[[Source], Any], known: set[Place] | None = None) -> None:
        self._again = again
        self._known = set() if known is None else known

    def __call__(self, source: ExactSource) -> None:
        """Look at a run that has ended.

        Raises:
            KeyReused: under the other seed a draw has the same key.
        """
        if self._known.issuperset(source.used.values()):
            return
        self._known.update(source.used.values())
        other = ExactSource(source.path[: source.made])
        self._again(other)
        _compare(source, other)


def check_keys(run: Callable[[Source, int], Any], paths: int = 2) -> None:
    """Compare the keys that a computation uses under two seeds, where it is too large to be explored.

    Args:
        run: what to run, given where outcomes come from and a seed.
        paths: how many random sequences of outcomes to try.

    Raises:
        KeyReused: two draws have the same key, in one run or in both.
    """
    for path in range(paths):
        probes = [Probe(derive(0, "probe", path)) for _ in range(2)]
        for seed, probe in enumerate(probes):
            run(probe, seed)
        _compare(*probes)


def _compare(one: ExactSource, other: ExactSource) -> None:
    common = one.used.keys() & other.used.keys()
    if common:
        place = next(place for used, place in one.used.items() if used in common)
        raise KeyReused(
            "a draw has the same key whatever the seed, so in production all runs share its random number: in "
            f"{describe_place(place)}. Derive each key from the one that is given, world.key or that of the step"
        )
