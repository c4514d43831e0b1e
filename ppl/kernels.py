"""Markov kernels over runs of a program: what to hand to ``MH(kernel=...)``, and how to write one's own.

>>> from ppl import MH, infer
>>> from ppl.kernels import Cycle, Regenerate, SingleSite
>>> infer(program, method=MH(kernel=Cycle((SingleSite("x*"), Regenerate("line")))))  # doctest: +SKIP

- :class:`SingleSite`, :class:`Block`: choices by address, drawn as the program draws them or by one's own proposals.
- :class:`Regenerate`: keep the beginning of the run, up to a choice, a line or a token; draw the rest anew.
- :class:`Propose`: the proposal is a ``@program`` that looks at the present run.
- :class:`ParticleGibbs`: a particle filter around the present run.
- :class:`Cycle`, :class:`Mixture`, :class:`Repeat`: kernels made of kernels.
- :func:`kernel`: a function that asks for moves and accepts or rejects them itself.

:func:`transitions` gives the exact transition matrix of any of them on a finite program.
"""

from __future__ import annotations

from .certificate_chains import Transitions, transitions
from .runtime.follow import MoveSite
from .runtime.kernels import (
    Block,
    Custom,
    Cycle,
    Kernel,
    Mixture,
    Move,
    Moves,
    ParticleGibbs,
    Power,
    Propose,
    Random,
    Regenerate,
    Repeat,
    RunView,
    Setting,
    SingleSite,
    Trace,
    kernel,
)

__all__ = [
    "Block",
    "Custom",
    "Cycle",
    "Kernel",
    "Mixture",
    "Move",
    "MoveSite",
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
    "Trace",
    "Transitions",
    "kernel",
    "transitions",
]
