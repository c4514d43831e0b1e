"""Metropolis–Hastings."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels import Kernel, Power, Regenerate, Setting, SingleSite, Target, joint
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

    @property
    def target(self) -> Target:
        return joint if self.power == 1.0 else Power(self.power)

    @property
    def reversible(self) -> bool:
        return self.kernel.reversible

    def step(self, setting: Setting, state: Particle, key: Key) -> Task[Particle]:
        return self.kernel.step(setting, state, key)
