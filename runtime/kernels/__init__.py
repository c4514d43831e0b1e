"""Markov kernels over runs of a program: one idea a file.

``base.py`` says what a kernel is and holds the acceptance rule; ``site.py`` single sites and blocks; ``suffix.py``
regeneration from a cut; ``guided.py`` proposals that are programs; ``conditional.py`` conditional SMC and particle
Gibbs; ``compose.py`` kernels made of kernels; ``custom.py`` kernels of one's own; ``suspended.py`` moves on the way.
Each leaves the target of its :class:`Setting` invariant, and ``ppl.validate`` checks that on the kernel's exact
transition matrix. A new one is a file here and a row in ``ppl/law_kernels.py``; ``leaning.py`` is the proposal with
which those that take proposals are certified.
"""

from __future__ import annotations

from .base import Kernel, Power, Setting, Target, as_kernel, decide, joint, propose, refuse_whole_runs
from .compose import Cycle, Mixture, Repeat
from .conditional import ParticleGibbs, conditional_smc
from .custom import Custom, Move, Moves, Random, Trace, kernel
from .guided import Propose
from .site import Block, SingleSite
from .suffix import Regenerate
from .suspended import move_population, stops
from .view import RunView

__all__ = [
    "Block",
    "Custom",
    "Cycle",
    "Kernel",
    "Mixture",
    "Move",
    "Moves",
    "ParticleGibbs",
    "Power",
    "Propose",
    "Random",
    "Regenerate",
    "Repeat",
    "RunView",
    "Setting",
    "SingleSite",
    "Target",
    "Trace",
    "as_kernel",
    "conditional_smc",
    "decide",
    "joint",
    "kernel",
    "move_population",
    "propose",
    "refuse_whole_runs",
    "stops",
]
