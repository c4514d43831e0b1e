"""Programs on their way to another process.

A program that a module holds goes by name, as functions do. Any other takes its function along, for which pickle itself
is not enough (Ray's cloudpickle is), and its source, since it is compiled again where it arrives.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .program import Program

Source = tuple[str, list[str]]


def reduced(program: Program) -> str | tuple[Any, ...]:
    """What pickle is told about a program."""
    if _is_importable(program):
        return program.__qualname__
    # In two steps: a function's globals may hold the program itself.
    state = (program.function, _source(program.function), program.fixed, program.compiler, program.pipeline)
    return _empty, (type(program),), state


def restore(program: Program, state: tuple[Any, ...]) -> None:
    """Make an empty program what it was where it came from.

    Raises:
        CompileError: it can't be compiled here.
    """
    function, source, fixed, compiler, pipeline = state
    if source is not None:
        file, lines = source
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
    program.__init__(function, fixed, compiler, pipeline)  # type: ignore[misc]


def _empty(kind: type[Program]) -> Program:
    return kind.__new__(kind)


def _is_importable(program: Program) -> bool:
    """Whether another process finds the program where its name says."""
    module = program.__module__
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for name in program.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is program


def _source(function: Callable[..., Any]) -> Source | None:
    """The file that a function stands in, as its compiler reads it."""
    try:
        lines, _ = inspect.findsource(function)
    except (OSError, TypeError):
        return None
    return function.__code__.co_filename, lines
