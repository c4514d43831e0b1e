"""Probabilistic programs that reason with language models.

Write ordinary Python with ``sample`` and ``observe`` under ``@program``; ``infer`` returns its weighted posterior.
"""

from __future__ import annotations

from . import dist
from .certificate import Certificate, TooLarge, validate
from .certificate_statistical import validate_statistically
from .compiler import CompileError
from .effects import barrier, call, condition, factor, observe, sample, twist
from .infer import infer, infer_many
from .lm import load_lm, table_lm
from .posterior import Posterior
from .program import Program, program
from .runtime.errors import ProgramError, WeightError
from .runtime.methods import SMC, Enumerate, Forward, Importance, Method
from .runtime.operands import ProposalSite
from .text import Context, Text

__version__ = "0.1.0"

__all__ = [
    "SMC",
    "Certificate",
    "CompileError",
    "Context",
    "Enumerate",
    "Forward",
    "Importance",
    "Method",
    "Posterior",
    "Program",
    "ProgramError",
    "ProposalSite",
    "Text",
    "TooLarge",
    "WeightError",
    "barrier",
    "call",
    "condition",
    "dist",
    "factor",
    "infer",
    "infer_many",
    "load_lm",
    "observe",
    "program",
    "sample",
    "table_lm",
    "twist",
    "validate",
    "validate_statistically",
]
