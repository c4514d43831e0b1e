"""Markov kernels over runs of a program: one idea a file.

``base.py`` says what a kernel is and holds the acceptance rule; ``site.py`` single sites and blocks; ``suffix.py``
regeneration from a cut; ``compose.py`` kernels made of kernels; ``conditional.py`` conditional SMC and particle Gibbs. Each leaves the target of its
:class:`Setting` invariant, and ``ppl.validate`` checks that on the kernel's exact transition matrix.
"""

from __future__ import annotations

from .base import Kernel, Power, Setting, Target, decide, joint, propose
from .compose import Cycle, Mixture, Repeat
from .conditional import ParticleGibbs, conditional_smc
from .site import Block, SingleSite
from .suffix import Regenerate

__all__ = [
    "Block",
    "Cycle",
    "Kernel",
    "Mixture",
    "ParticleGibbs",
    "Power",
    "Regenerate",
    "Repeat",
    "Setting",
    "SingleSite",
    "Target",
    "conditional_smc",
    "decide",
    "joint",
    "propose",
]
