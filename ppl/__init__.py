"""Probabilistic programs that reason with language models.

Write ordinary Python with ``sample`` and ``observe`` under ``@program``; ``infer`` returns its weighted posterior.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import dist
from . import intrinsics as _intrinsics  # noqa: F401 - binds what rewritten programs call
from .compiler import CompileError
from .context import Context
from .effects import barrier, call, condition, factor, observe, sample, twist
from .infer import infer, infer_many, infer_stream
from .lm import cache_info, load_lm, table_lm, unload_lms
from .nested import nested, posterior_of
from .posterior import Posterior
from .program import Program, program
from .runtime.budget import Budget
from .runtime.errors import ProgramError, WeightError
from .runtime.methods import Method
from .runtime.operands import ProposalSite
from .text import Text

if TYPE_CHECKING:
    from . import answers as answers
    from . import cluster as cluster
    from . import kernels as kernels
    from . import stopping as stopping
    from .calibration import calibrate
    from .certificate import Certificate, TooLarge, validate
    from .certificate_statistical import validate_statistically
    from .checkpoint import CheckpointMismatch
    from .closed_form import goodness_of_fit, validate_evidence, validate_inverse_evidence
    from .conditional_evidence import validate_conditional
    from .diagnostics import diagnose
    from .getting_it_right import geweke
    from .ir_text import load_ir, read_ir, to_ir
    from .program_model import ProgramModel
    from .runtime.methods import (
        MH,
        PMMH,
        SMC,
        SMC2,
        AStar,
        Beam,
        BestFirst,
        BestOfN,
        DiverseTrees,
        Entropic,
        Enumerate,
        Forward,
        Importance,
        LookAhead,
        ParallelTempering,
        PGibbs,
        Published,
        Revision,
        SelfConsistency,
        Steering,
        Tempered,
        WeightedMajority,
        register,
    )
    from .runtime.shared import shared
    from .statistical import StatisticalCertificate

__version__ = "0.1.0"

__all__ = [
    "MH",
    "PMMH",
    "SMC",
    "SMC2",
    "AStar",
    "Beam",
    "BestFirst",
    "BestOfN",
    "Budget",
    "Certificate",
    "CheckpointMismatch",
    "CompileError",
    "Context",
    "DiverseTrees",
    "Entropic",
    "Enumerate",
    "Forward",
    "Importance",
    "LookAhead",
    "Method",
    "PGibbs",
    "ParallelTempering",
    "Posterior",
    "Program",
    "ProgramError",
    "ProgramModel",
    "ProposalSite",
    "Published",
    "Revision",
    "SelfConsistency",
    "StatisticalCertificate",
    "Steering",
    "Tempered",
    "Text",
    "TooLarge",
    "WeightError",
    "WeightedMajority",
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
    "nested",
    "observe",
    "posterior_of",
    "program",
    "read_ir",
    "register",
    "sample",
    "shared",
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

_LATER = {
    **dict.fromkeys(
        (
            *("MH", "PMMH", "SMC", "SMC2", "AStar", "Beam", "BestFirst", "BestOfN", "DiverseTrees", "Entropic"),
            *(
                "Enumerate",
                "Forward",
                "Importance",
                "LookAhead",
                "PGibbs",
                "ParallelTempering",
                "Published",
                "Revision",
            ),
            *("SelfConsistency", "Steering", "Tempered", "WeightedMajority", "register"),
        ),
        "runtime.methods",
    ),
    "Certificate": "certificate",
    "CheckpointMismatch": "checkpoint",
    "ProgramModel": "program_model",
    "StatisticalCertificate": "statistical",
    "TooLarge": "certificate",
    "calibrate": "calibration",
    "diagnose": "diagnostics",
    "geweke": "getting_it_right",
    "goodness_of_fit": "closed_form",
    "load_ir": "ir_text",
    "read_ir": "ir_text",
    "shared": "runtime.shared",
    "to_ir": "ir_text",
    "validate": "certificate",
    "validate_conditional": "conditional_evidence",
    "validate_evidence": "closed_form",
    "validate_inverse_evidence": "closed_form",
    "validate_statistically": "certificate_statistical",
}
"""What most programs do not use, by the module that it is imported from when it is asked for."""


_MODULES = ("answers", "cluster", "kernels", "stopping")
"""Modules for users, which ``import ppl`` brings along when they are asked for."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
