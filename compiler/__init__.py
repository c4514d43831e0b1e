"""The compiler: a Python function → IR → block functions that can be suspended, copied and resumed.

It knows no model and no inference. The way through: ``source`` and ``classify`` (the function's tree, and what its
names mean) → ``lower`` (IR; see there for its parts) → ``verify`` → ``passes`` (rewrites, each with the promise that it
keeps, by what ``facts`` and ``purity`` know) → ``codegen`` (blocks) → ``link`` (function objects). ``requests`` holds
what the result is made of, ``printer`` shows the IR as text and ``parser`` reads it, ``graph`` has its dependences.

The law: the compiled program equals CPython in its values and in the order of its effects, also after a suspended run
was copied and both copies went on.
"""

from .errors import CompileError, Span
from .link import Compiled, compile_function
from .requests import EffectSpec, Site
from .syntax_errors import IRSyntaxError

__all__ = ["CompileError", "Compiled", "EffectSpec", "IRSyntaxError", "Site", "Span", "compile_function"]
