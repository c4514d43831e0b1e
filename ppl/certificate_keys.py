"""Draws under two seeds have no key in common, or runs that are to be independent would share random numbers.

Within one run the exact source sees to it that no key is used twice (``runtime/exact.py``). A key that does not come
from the seed is used but once in a run, and again in every other run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .runtime.exact import KeyReused, describe_place
from .runtime.exact_size import Probe
from .runtime.source import Source, derive


def check_keys(run: Callable[[Source, int], Any], paths: int = 2) -> None:
    """Compare the keys that a computation uses under two seeds, with the same random outcomes.

    Args:
        run: what to run, given where outcomes come from and a seed.
        paths: how many sequences of random outcomes to try.

    Raises:
        KeyReused: two draws have the same key, in one run or in both.
    """
    for path in range(paths):
        probes = [Probe(derive(0, "probe", path)) for _ in range(2)]
        for seed, probe in enumerate(probes):
            run(probe, seed)
            if not probe.used:
                return
        common = probes[0].used.keys() & probes[1].used.keys()
        if common:
            place = next(place for used, place in probes[0].used.items() if used in common)
            raise KeyReused(
                "a draw has the same key whatever the seed, so in production all runs share its random number: in "
                f"{describe_place(place)}. Derive each key from the key that is given, world.key or that of the step"
            )
