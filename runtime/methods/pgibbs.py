"""Particle Gibbs."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels import ParticleGibbs, Setting
from ..particle import Particle
from ..scheduler import Task
from ..source import Key
from .chains import Chains


@dataclass(frozen=True)
class PGibbs(Chains):
    """Markov chains; a step is a particle filter around the present run (Andrieu, Doucet and Holenstein, 2010).

    Attributes:
        n: the number of particles, the present run included; at least 2.
        ess_threshold: resample when the effective sample size falls under this fraction of n.
        ancestor_sampling: draw the present run's past anew at each resampling (Lindsten, Jordan and Schön, 2014).
    """

    name = "pgibbs"
    least = 2
    law_variants = ({"ess_threshold": 1.0}, {"ess_threshold": 0.7, "ancestor_sampling": True})

    steps: int = 200
    n: int = 16
    ess_threshold: float = 0.5
    ancestor_sampling: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kernel  # noqa: B018 - it checks n

    @property
    def reversible(self) -> bool:
        return self._kernel.reversible

    def step(self, setting: Setting, state: Particle, key: Key) -> Task[Particle]:
        return self._kernel.step(setting, state, key)

    @property
    def _kernel(self) -> ParticleGibbs:
        return ParticleGibbs(self.n, self.ess_threshold, self.ancestor_sampling)
