"""What a Markov kernel is: a step from one run of a program to another that leaves a target measure invariant.

- :class:`Setting`: where a kernel works: the problem, how far runs go, and the target's log-density.
- :class:`Kernel`: a frozen dataclass with ``step(setting, run, key)``; ``reversible`` if it claims detailed balance.
- :func:`decide`: the Metropolis–Hastings rule, in one place.

The state of a chain is a recorded particle (``replay.py``); its ``log_weight`` means nothing to a kernel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..errors import WeightError
from ..follow import Policy, choices_of
from ..particle import Particle, Status
from ..population import World
from ..replay import Rerun, Stage, rerun, to_the_end, way_back
from ..scheduler import Task
from ..source import Key, derive

T = TypeVar("T")
Target = Callable[[Particle], float]
"""The log-density that a kernel leaves invariant, at a run of positive mass."""


def joint(particle: Particle) -> float:
    """The program's own measure; on the way, with the present hint, as particles are selected."""
    return particle.log_joint + particle.log_twist


@dataclass(frozen=True)
class Power:
    """The program with its choices' probabilities raised to a power: p(choices)^exponent × evidence.

    Attributes:
        exponent: 1 is the program itself; 4 sharpens as in power sampling (Karan and Du, 2025).
    """

    exponent: float

    def __str__(self) -> str:
        return f"p(choices)^{self.exponent:g} * evidence"

    def __call__(self, particle: Particle) -> float:
        return joint(particle) + (self.exponent - 1.0) * sum(step.log_p for step in choices_of(particle))


@dataclass(frozen=True)
class Setting:
    """Where a kernel works.

    Attributes:
        world: the problem, on a machine that records.
        stage: how far runs go.
        target: the log-density to leave invariant.
    """

    world: World
    stage: Stage = to_the_end
    target: Target = joint

    def rerun(self, old: Particle, policy: Policy, key: Key) -> Task[Rerun]:
        """Run the program against an older run of it."""
        return rerun(self.world, old, policy, key, self.stage)

    def way_back(self, old: Particle, there: Rerun, key: Key) -> Task[float]:
        """Log-density of the old values at sites that kernel proposals drew."""
        return way_back(self.world, old, there, key, self.stage)

    def part(self, function: Callable[..., Task[T]], key: Key, *given: Any) -> Task[T]:
        """A part of a step: ``function(setting, *given, key)``, whose law depends on nothing else than ``given``.

        The exact check finds that law once for each ``given``, where a step would otherwise have too many outcomes.
        """
        return function(self, *given, key)

    def choose(self, count: int, key: Key) -> int:
        """One of ``count``, uniformly."""
        return self.world.machine.source.choose([0.0] * count, key)


@dataclass(frozen=True, repr=False)
class Kernel(ABC):
    """A step from one run to another that leaves the setting's target invariant: πK = π."""

    def __repr__(self) -> str:
        """As one would write it, without what has its default."""
        shown = []
        for f in fields(self):
            value, default = getattr(self, f.name), f.default_factory() if callable(f.default_factory) else f.default
            if value != default:
                shown.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def reversible(self) -> bool:
        """Whether it claims detailed balance: π(x) K(x, y) = π(y) K(y, x)."""
        return True

    @property
    def whole_runs_only(self) -> bool:
        """Whether it can only move whole runs, under the program's own measure: not on their way, nor tempered."""
        return False

    @abstractmethod
    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        """One step.

        Args:
            setting: where.
            run: the present run, recorded and of positive mass; it is not changed.
            key: everything random is derived from it.

        Returns:
            A task that ends with the next run, ``run`` itself where nothing was accepted.
        """


def as_kernel(move: object) -> Kernel:
    """The kernel that ``move=`` names: a kernel, or a method that stands for its kernel (``as_move``).

    Raises:
        ValueError: it is neither, or can't move runs on their way.
    """
    found = getattr(move, "as_move", move)
    if not isinstance(found, Kernel):
        raise ValueError(f"move is a kernel such as SingleSite() or MH(kernel=...); got {move!r}")
    refuse_whole_runs(found, "move=")
    return found


def refuse_whole_runs(kernel: Kernel, option: str) -> None:
    """Raises:
    ValueError: the kernel can't move runs on their way or under another measure, as ``option`` would have it.
    """
    if kernel.whole_runs_only:
        raise ValueError(
            f"{kernel!r} moves whole runs under the program's own measure, so it makes no sense with {option}; use "
            "SingleSite(), Block() or Regenerate(), or method='pgibbs' by itself"
        )


def decide(setting: Setting, old: Particle, new: Particle, log_ratio: float, key: Key) -> Particle:
    """Accept or reject (Metropolis et al., 1953; Hastings, 1970).

    Args:
        setting: where.
        old, new: the runs; a dead one is never accepted.
        log_ratio: log q(old | new) − log q(new | old), all choices of the kernel included.
        key: what acceptance is derived from.

    Raises:
        WeightError: the ratio is no number: some engine does not tell how probable its draws are.
    """
    if new.status is Status.DEAD or log_ratio == -math.inf:
        return old
    log_alpha = setting.target(new) - setting.target(old) + log_ratio
    if math.isnan(log_alpha):
        unknown = next((step for run in (new, old) for step in choices_of(run) if math.isnan(step.log_p)), None)
        where = "" if unknown is None else f": the density of {unknown.address!r} is not known"
        raise WeightError(
            f"a move can't be accepted or rejected{where}; use a model that tells how probable its draws are",
            None if unknown is None else unknown.site.span,
        )
    return new if setting.world.machine.source.accept(log_alpha, derive(key, "accept")) else old


def propose(setting: Setting, old: Particle, policy: Policy, key: Key) -> Task[tuple[Particle, float]]:
    """Run against the present run; the new one with log q(old | new) − log q(new | old) of what was drawn."""
    there = yield from setting.rerun(old, policy, derive(key, "there"))
    if there.particle.status is Status.DEAD:
        return there.particle, -math.inf
    back = yield from setting.way_back(old, there, derive(key, "back"))
    return there.particle, there.log_backward + back - there.log_forward
