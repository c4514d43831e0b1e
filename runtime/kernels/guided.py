"""A proposal that is a program: it looks at the present run and draws new values for some of its choices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..budget import Control
from ..follow import KEEP, REDRAW, Decision, Follow, Put, choices_of, steps_of
from ..particle import Particle, Status
from ..population import World, begin, run_particles
from ..scheduler import Task
from ..source import Key, derive
from .base import Kernel, Setting, decide
from .view import RunView

_EVIDENCE = ("observe", "factor", "condition")


@dataclass(frozen=True, repr=False)
class Propose(Kernel):
    """Run a program on the present run; what it draws are the new values at the addresses of the same names.

    The other choices are kept, and those that the run then lacks are drawn. The acceptance ratio is computed: the
    program is run once more on the new run, to score the old values (Cusumano-Towner et al., 2019: Gen's ``mh`` with a
    generative function as its proposal).

    Attributes:
        proposal: a ``@program`` of one argument, a mapping from address to value of the present run; it has no
            evidence.

    Raises:
        ValueError: the program has evidence.
    """

    proposal: Any

    def __post_init__(self) -> None:
        for site in getattr(self.proposal, "sites", ()):
            if site.kind in _EVIDENCE:
                raise ValueError(f"a proposal only draws, but {self.proposal!r} has {site.kind}() at {site.span}")

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        world = setting.world
        drawn = yield from self._run(world, run, lambda at, follow: REDRAW, derive(key, "proposal"))
        values = {step.address: step.value for step in choices_of(drawn)}
        there = yield from setting.rerun(
            run, lambda at, follow: Put(values[at]) if at in values else KEEP, derive(key, "there")
        )
        new = there.particle
        if new.status is Status.DEAD:
            return run
        missing = [address for address in values if address not in there.follow.decided]
        if missing:
            raise ValueError(
                f"the proposal {self.proposal!r} gives {', '.join(map(repr, missing))}, which the new run does not "
                f"draw; it draws {', '.join(there.follow.decided) or 'nothing'}"
            )
        old = {step.address: step for step in choices_of(run)}

        def recall(at: str, follow: Follow) -> Decision:
            return Put(old[at].value) if at in old else REDRAW

        back = yield from self._run(world, new, recall, derive(key, "back"))
        recalled = {step.address for step in choices_of(back)}
        if back.status is Status.DEAD or recalled - old.keys() or (values.keys() & old.keys()) - recalled:
            return run  # there is no way back
        log_forward = _density(drawn) + there.log_forward
        log_back = _density(back) + sum(s.log_q for s in there.follow.stale if s.address not in recalled)
        return decide(setting, run, new, log_back - log_forward, key)

    def _run(self, world: World, run: Particle, policy: Callable[[str, Follow], Decision], key: Key) -> Task[Particle]:
        """Run the proposal on a run."""
        machine = replace(world.machine, proposals={}, control=Control())  # it begins no run of the program
        inside = replace(world, program=self.proposal, args=(RunView(run),), kwargs={}, machine=machine)
        particle = begin(inside, key)
        particle.follow = Follow((), policy)
        yield from run_particles(inside, [particle], through=True)
        return particle


def _density(proposed: Particle) -> float:
    """Log-density of what a proposal drew, as it drew it."""
    return math.fsum(step.log_q for step in steps_of(proposed) if step.drawn)
