"""Regenerating a run from a cut on: how reasoning written by a model is moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..engines.base import ModelDistribution
from ..follow import KEEP, REDRAW, Decision, Draw, Follow, MoveSite, choices_of
from ..particle import Particle
from ..scheduler import Task
from ..source import Key, derive
from .addresses import any_matches
from .base import Kernel, Setting, decide, propose

_UNITS = ("site", "line", "token")


@dataclass(frozen=True, repr=False)
class Regenerate(Kernel):
    """Pick a cut of the run uniformly, keep what is before it, draw all that follows anew; accept or reject.

    The ratio has the number of cuts of both runs, and the density of both tails over their full lengths, whatever
    these are. With a target p^α it is power sampling (Karan and Du, 2025); with evidence exp(r/β) it is QUEST (Faria
    et al., 2024).

    Attributes:
        unit: what may be kept of the run: whole choices (``site``), or the leading lines (``line``) or tokens
            (``token``) of a model's text too.
        sites: patterns of addresses in which cuts may lie; all by default. What comes after the cut is drawn anew
            wherever it is.
    """

    unit: str = "site"
    sites: tuple[str, ...] | str | None = None

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ValueError(f"unit is one of {', '.join(_UNITS)}; got {self.unit!r}")

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        there = self.cuts(run)
        if not there:
            return run
        address, count = there[setting.choose(len(there), derive(key, "cut"))]

        def kept(site: MoveSite) -> Any:
            proposal = site.drawn_from
            cuts = proposal.cuts(site.value, self.unit) if isinstance(proposal, ModelDistribution) else ()
            # A proposal that can't go on from there, a mixture say, leaves that to the site's own distribution.
            return (proposal if count in cuts else site.distribution).continued(site.value, count)

        def policy(at: str, follow: Follow) -> Decision:
            if at == address and count:
                return Draw(kept)
            return KEEP if at != address and follow.same else REDRAW

        new, log_ratio = yield from propose(setting, run, policy, key)
        # The same cut exists in the new run: up to it they are one.
        return decide(setting, run, new, log_ratio + math.log(len(there)) - math.log(len(self.cuts(new)) or 1), key)

    def cuts(self, run: Particle) -> list[tuple[str, int]]:
        """Where a run may be cut: the address of a choice, and how many of its tokens are kept."""
        patterns = (self.sites,) if isinstance(self.sites, str) else self.sites
        found: list[tuple[str, int]] = []
        for step in choices_of(run):
            if any_matches(patterns, step.address):
                dist = step.distribution
                split = self.unit != "site" and isinstance(dist, ModelDistribution)
                found += [(step.address, count) for count in (dist.cuts(step.value, self.unit) if split else (0,))]
        return found
