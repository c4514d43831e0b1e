"""Kernels made of kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from ..particle import Particle
from ..scheduler import Task
from ..source import Key, derive
from .base import Kernel, Setting


@dataclass(frozen=True, repr=False)
class Cycle(Kernel):
    """One kernel after the other. Invariant if each is; not reversible in general.

    Attributes:
        kernels: in their order.
    """

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        _check(self.kernels, "Cycle")

    @property
    def reversible(self) -> bool:
        return len(self.kernels) == 1 and self.kernels[0].reversible

    @property
    def whole_runs_only(self) -> bool:
        return any(kernel.whole_runs_only for kernel in self.kernels)

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        for i, kernel in enumerate(self.kernels):
            run = yield from kernel.step(setting, run, derive(key, i))
        return run


@dataclass(frozen=True, repr=False)
class Mixture(Kernel):
    """One of several kernels, picked with fixed probabilities. Invariant if each is, and reversible if each is.

    Attributes:
        kernels: to pick from.
        weights: in proportion to their probabilities; equal by default.

    Raises:
        ValueError: the weights don't fit.
    """

    kernels: tuple[Kernel, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check(self.kernels, "Mixture")
        weights = self.weights
        if weights is not None and (len(weights) != len(self.kernels) or not all(0 < w < math.inf for w in weights)):
            raise ValueError(f"Mixture: give each of the {len(self.kernels)} kernels a positive weight; got {weights}")

    @property
    def reversible(self) -> bool:
        return all(kernel.reversible for kernel in self.kernels)

    @property
    def whole_runs_only(self) -> bool:
        return any(kernel.whole_runs_only for kernel in self.kernels)

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        weights = self.weights or (1.0,) * len(self.kernels)
        picked = setting.world.machine.source.choose([math.log(w) for w in weights], derive(key, "kernel"))
        return (yield from self.kernels[picked].step(setting, run, derive(key, picked)))


@dataclass(frozen=True, repr=False)
class Repeat(Kernel):
    """The same kernel several times; reversible if it is.

    Attributes:
        kernel: which.
        times: how often, 1 or more.

    Raises:
        ValueError: either is something else.
    """

    kernel: Kernel
    times: int

    def __post_init__(self) -> None:
        _check((self.kernel,), "Repeat")
        if not isinstance(self.times, Integral) or self.times < 1:
            raise ValueError(f"Repeat: times is how often to step, 1 or more; got {self.times!r}")

    @property
    def reversible(self) -> bool:
        return self.kernel.reversible

    @property
    def whole_runs_only(self) -> bool:
        return self.kernel.whole_runs_only

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        for i in range(self.times):
            run = yield from self.kernel.step(setting, run, derive(key, i))
        return run


def _check(kernels: tuple[Kernel, ...], name: str) -> None:
    if not isinstance(kernels, tuple) or not kernels or not all(isinstance(kernel, Kernel) for kernel in kernels):
        raise ValueError(f"{name} takes a tuple of kernels, at least one; got {kernels!r}")
