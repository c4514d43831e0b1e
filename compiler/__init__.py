"""The compiler: a Python function → IR → block functions that can be suspended, copied and resumed.

It knows no model and no inference. The way through: ``source`` (the function's tree) → ``lower`` and ``expressions``
(IR) → ``verify`` → ``codegen`` (blocks) → ``link`` (function objects). ``requests`` holds what the result is made of.
"""

from .errors import CompileError, Span
from .link import Compiled, compile_function
from .requests import EffectSpec, Site

__all__ = ["CompileError", "Compiled", "EffectSpec", "Site", "Span", "compile_function"]
