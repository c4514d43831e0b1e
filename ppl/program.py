"""``@program``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .compiler.link import Compiled, compile_function


class Program:
    __ppl_program__ = True

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.compiled: Compiled = compile_function(fn)


def program(fn):
    return Program(fn)


program.__ppl_decorator__ = True
