"""Trials of what comes next: what a search ranks a partial run by, or what a filter selects by.

They are looked at, never kept. Where they are greedy every choice takes its most probable value and adds nothing to the
weight; evidence weighs as always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..compiler.requests import Sample
from .errors import ProgramError
from .machine import Machine, Wait
from .particle import Particle
from .population import World, fork, scout
from .scheduler import Task
from .source import derive

Rollouts = int | Literal["greedy"]
"""How many trials of what comes next, drawn as the program draws; or one that takes the most probable values."""


@dataclass
class Greedy(Machine):
    """A machine whose particles take the most probable value at every choice, whatever is proposed there."""

    def drawn_from(self, particle: Particle, ask: Sample, address: str, prior: Any) -> Any:
        try:
            return prior.likeliest()
        except NotImplementedError:
            raise ProgramError(
                f"{ask.site.kind} {address!r}: a greedy rollout takes the most probable value, and {prior!r} does not "
                "tell which that is; give a number of rollouts, which are drawn",
                ask.site.span,
            ) from None

    def _weigh(
        self, particle: Particle, ask: Sample, address: str, prior: Any, proposal: Any, value: Any, log_q: float
    ) -> Wait | None:
        return self._drawn(particle, ask, address, value, log_q, log_q)


def rollouts(world: World, particles: Sequence[Particle], count: Rollouts, steps: int) -> Task[list[list[Particle]]]:
    """Trials of the next steps of some runs, which are thrown away afterwards; what they use counts, deaths do not.

    Args:
        world: the problem.
        particles: the runs; those that have ended have no trials.
        count: how many for each.
        steps: how far each goes: to so many pieces of evidence.

    Returns:
        For each run its trials. Their log-weight is that of the evidence that they met, and they stand at a hint.
    """
    if count == "greedy":
        parts = {f.name: getattr(world.machine, f.name) for f in fields(Machine)}
        world = replace(world, machine=Greedy(**parts))
    number = 1 if count == "greedy" else count
    trials = [
        fork(world, p, [derive(p.key, "trial", p.asked, i) for i in range(number)]) if p.running else []
        for p in particles
    ]
    for trial in (trial for row in trials for trial in row):
        trial.log_weight = 0.0
    for _ in range(steps):
        yield from scout(world, [trial for row in trials for trial in row if trial.running])
    return trials


def check_rollouts(option: str, count: object, least: int) -> None:
    """Raises:
    ValueError: ``count`` is no number of rollouts.
    """
    if count != "greedy" and not (isinstance(count, int) and count >= least):
        raise ValueError(f"{option} is a number of trials, {least} or more, or 'greedy' for one; got {count!r}")
