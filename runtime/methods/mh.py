"""Metropolis–Hastings."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real

from ..kernels import Kernel, Power, Regenerate, Setting, SingleSite, Target, joint, refuse_whole_runs
from ..particle import Particle
from ..scheduler import Task
from ..source import Key
from .chains import Chains


@dataclass(frozen=True)
class MH(Chains):
    """Markov chains whose steps are those of a kernel (Metropolis et al., 1953; Hastings, 1970; Green, 1995).

    Attributes:
        kernel: ``SingleSite()`` by default; ``ppl.kernels`` has blocks, suffixes, mixtures and kernels of one's own.
            It must be able to reach every run: single sites can't where a condition ties two of them together.
        power: leave p(choices)^power × evidence invariant instead of the program's own measure; with
            ``Regenerate`` this is power sampling (Karan and Du, 2025).
    """

    name = "mh"
    law_variants = (
        {},
        {"power": 3.0},
        {"kernel": Regenerate("token"), "power": 0.5},
    )

    kernel: Kernel = SingleSite()  # noqa: RUF009 - kernels are immutable
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kernel, Kernel):
            raise ValueError(f"kernel is a kernel such as SingleSite() or Cycle((...)); got {self.kernel!r}")
        if isinstance(self.power, bool) or not isinstance(self.power, Real) or not 0.0 < self.power < math.inf:
            raise ValueError(f"power is the exponent of the choices' probabilities, over 0; got {self.power!r}")
        if self.power != 1.0:
            refuse_whole_runs(self.kernel, "power=")

    @property
    def as_move(self) -> Kernel:
        """What ``move=MH(kernel=...)`` stands for: one step of the kernel.

        Raises:
            ValueError: other options are given, which would mean nothing there.
        """
        others = [f.name for f in fields(self) if f.name != "kernel" and getattr(self, f.name) != f.default]
        if others:
            raise ValueError(
                f"move=MH(...) stands for one step of its kernel, so {', '.join(others)} would mean nothing there; "
                "for several steps write move=Repeat(kernel, times)"
            )
        return self.kernel

    @property
    def claim(self) -> Target:
        return joint if self.power == 1.0 else Power(self.power)

    @property
    def reversible(self) -> bool:
        return self.kernel.reversible

    def step(self, setting: Setting, state: Particle, key: Key) -> Task[Particle]:
        return self.kernel.step(setting, state, key)
