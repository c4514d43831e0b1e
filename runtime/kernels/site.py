"""Metropolis–Hastings on sites: one at a time, or a block of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..follow import KEEP, REDRAW, Decision, Draw, Follow, Maker, choices_of
from ..particle import Particle
from ..scheduler import Task
from ..source import Key, derive
from .addresses import any_matches, matches
from .base import Kernel, Setting, decide, propose


@dataclass(frozen=True, repr=False)
class SingleSite(Kernel):
    """Pick one random choice of the run uniformly, draw it anew, keep the others; accept or reject.

    Choices that the new run lacks are dropped, and those that it adds are drawn. α has the number of sites of both
    runs, and what was dropped and added (Wingate, Stuhlmüller and Goodman, 2011).

    Attributes:
        sites: patterns of addresses to pick from (``"x"``, ``"x[*]"``, ``"child/*"``); all by default.
        proposals: pattern → function of a :class:`~ppl.runtime.follow.MoveSite` that returns the distribution to draw
            from, given the present value and run: ``{"x": lambda site: Normal(site.value, 0.5)}``. By default sites are
            drawn as the program draws them.
    """

    sites: tuple[str, ...] | str | None = None
    proposals: Mapping[str, Maker] = field(default_factory=dict)

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        there = _matching(run, self.sites)
        if not there:
            return run
        address = there[setting.choose(len(there), derive(key, "site"))]

        def policy(at: str, follow: Follow) -> Decision:
            return _drawn(self.proposals, at) if at == address else KEEP

        new, log_ratio = yield from propose(setting, run, policy, key)
        back = _matching(new, self.sites)
        return decide(setting, run, new, log_ratio + math.log(len(there)) - math.log(len(back) or 1), key)


@dataclass(frozen=True, repr=False)
class Block(Kernel):
    """Draw all sites of a pattern anew, together; keep the others; accept or reject.

    Attributes:
        sites: patterns of addresses, as for :class:`SingleSite`.
        proposals: pattern → function, as for :class:`SingleSite`. For a later site of the block it sees the
            distribution and the variables of the new run, and the values of the present one.
    """

    sites: tuple[str, ...] | str | None = None
    proposals: Mapping[str, Maker] = field(default_factory=dict)

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        patterns = _patterns(self.sites)

        def policy(at: str, follow: Follow) -> Decision:
            return _drawn(self.proposals, at) if any_matches(patterns, at) else KEEP

        new, log_ratio = yield from propose(setting, run, policy, key)
        return decide(setting, run, new, log_ratio, key)


def _drawn(proposals: Mapping[str, Maker], address: str) -> Decision:
    maker = next((make for pattern, make in proposals.items() if matches(pattern, address)), None)
    return REDRAW if maker is None else Draw(maker)


def _matching(run: Particle, sites: tuple[str, ...] | str | None) -> list[str]:
    patterns = _patterns(sites)
    return [step.address for step in choices_of(run) if any_matches(patterns, step.address)]


def _patterns(sites: tuple[str, ...] | str | None) -> tuple[str, ...] | None:
    return (sites,) if isinstance(sites, str) else sites
