"""Probabilistic programs that reason with language models.

Write ordinary Python with ``sample`` and ``observe`` under ``@program``; ``infer`` returns its weighted posterior.
"""

from __future__ import annotations

from . import dist
from . import intrinsics as _intrinsics  # noqa: F401 - binds what rewritten programs call
from .calibration import calibrate
from .certificate import Certificate, TooLarge, validate
from .certificate_statistical import validate_statistically
from .closed_form import goodness_of_fit, validate_evidence, validate_inverse_evidence
from .compiler import CompileError
from .conditional_evidence import validate_conditional
from .diagnostics import diagnose
from .effects import barrier, call, condition, factor, observe, sample, twist
from .geweke import geweke
from .infer import infer, infer_many, infer_stream
from .ir_text import load_ir, read_ir, to_ir
from .lm import cache_info, load_lm, table_lm, unload_lms
from .posterior import Posterior
from .program import Program, program
from .program_model import ProgramModel
from .runtime.budget import Budget
from .runtime.errors import ProgramError, WeightError
from .runtime.methods import MH, PMMH, SMC, Enumerate, Forward, Importance, Method, ParallelTempering, PGibbs
from .runtime.operands import ProposalSite
from .statistical import StatisticalCertificate
from .text import Context, Text

__version__ = "0.1.0"

__all__ = [
    "MH",
    "PMMH",
    "SMC",
    "Budget",
    "Certificate",
    "CompileError",
    "Context",
    "Enumerate",
    "Forward",
    "Importance",
    "Method",
    "PGibbs",
    "ParallelTempering",
    "Posterior",
    "Program",
    "ProgramError",
    "ProgramModel",
    "ProposalSite",
    "StatisticalCertificate",
    "Text",
    "TooLarge",
    "WeightError",
    "barrier",
    "cache_info",
    "calibrate",
    "call",
    "condition",
    "diagnose",
    "dist",
    "factor",
    "geweke",
    "goodness_of_fit",
    "infer",
    "infer_many",
    "infer_stream",
    "load_ir",
    "load_lm",
    "observe",
    "program",
    "read_ir",
    "sample",
    "table_lm",
    "to_ir",
    "twist",
    "unload_lms",
    "validate",
    "validate_conditional",
    "validate_evidence",
    "validate_inverse_evidence",
    "validate_statistically",
]
