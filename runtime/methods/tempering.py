"""Parallel tempering."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..follow import choices_of
from ..gather import gather
from ..kernels import Block, Kernel, Setting, SingleSite, refuse_whole_runs
from ..particle import Particle, Status
from ..population import World, begin, run_particles
from ..scheduler import Task
from ..source import Key, derive
from .base import rising
from .chains import Chains, first_run
from .tempered import Partly

Replicas = tuple[Particle, ...]
"""A run at each degree, the last at β = 1."""


@dataclass(frozen=True)
class ParallelTempering(Chains):
    """Chains at several degrees β of prior × evidence^β, side by side, which swap their runs.

    A step moves each replica by a kernel under its own target, then swaps two neighbours, picked uniformly, with
    probability min(1, π_k(x_{k+1}) π_{k+1}(x_k) / (π_k(x_k) π_{k+1}(x_{k+1}))) (Geyer, 1991). It leaves the product
    of all targets invariant. The posterior is made of the runs at β = 1. Evidence that is −inf stays so at every
    degree: tempering crosses valleys, not walls.

    Attributes:
        betas: the degrees, rising to 1.
        kernel: what moves each replica.
    """

    name = "parallel-tempering"
    law_variants = ({"betas": (0.4, 1.0)}, {"betas": (0.6, 1.0), "kernel": Block()})

    betas: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    kernel: Kernel = SingleSite()  # noqa: RUF009 - kernels are immutable

    def __post_init__(self) -> None:
        super().__post_init__()
        if not rising(self.betas, 2):
            raise ValueError(f"betas are two or more degrees that rise from over 0 to 1.0; got {self.betas!r}")
        if not isinstance(self.kernel, Kernel):
            raise ValueError(f"kernel is a kernel such as SingleSite(); got {self.kernel!r}")
        refuse_whole_runs(self.kernel, "parallel tempering")

    @property
    def most(self) -> int:
        return max(1, self.tries // (self.chains * len(self.betas)))  # each replica has a start of its own

    def start(self, world: World, key: Key) -> Task[Replicas | None]:
        keys = [derive(key, k) for k in range(len(self.betas))]
        found = yield from gather(first_run(replace(world, key=each), self.most) for each in keys)
        return None if any(run is None for run in found) else tuple(run for run in found if run is not None)

    def step(self, setting: Setting, state: Replicas, key: Key) -> Task[Replicas]:
        targets = [Partly(beta) for beta in self.betas]
        moves = [
            setting.part(self._move, derive(key, "move", k), beta, run)
            for k, (beta, run) in enumerate(zip(self.betas, state, strict=True))
        ]
        runs = yield from gather(moves)
        k = setting.choose(len(runs) - 1, derive(key, "pair"))
        low, high = targets[k], targets[k + 1]
        log_alpha = low(runs[k + 1]) + high(runs[k]) - low(runs[k]) - high(runs[k + 1])
        if setting.world.machine.source.accept(log_alpha, derive(key, "swap")):
            runs[k], runs[k + 1] = runs[k + 1], runs[k]
        return tuple(runs)

    def _move(self, setting: Setting, beta: float, run: Particle, key: Key) -> Task[Particle]:
        """Move a replica under its own target."""
        return self.kernel.step(replace(setting, target=Partly(beta)), run, key)

    def run_of(self, state: Replicas) -> Particle:
        return state[-1]

    # --- what the exact check asks: the product of the targets, the other replicas drawn and weighed ---

    def lift(self, setting: Setting, run: Particle, key: Key) -> Task[tuple[Replicas, float] | None]:
        draws = [setting.part(self._drawn, derive(key, k)) for k in range(len(self.betas) - 1)]
        others = yield from gather(draws)
        if any(other.status is Status.DEAD for other in others):
            return None
        log_mass = self.target(run)
        for beta, other in zip(self.betas, others, strict=False):
            log_mass += Partly(beta)(other) - math.fsum(step.log_q for step in choices_of(other))
        return (*others, run), log_mass

    def _drawn(self, setting: Setting, key: Key) -> Task[Particle]:
        """A run as the program draws it."""
        run = begin(setting.world, key)
        yield from run_particles(setting.world, [run], through=True)
        return run
