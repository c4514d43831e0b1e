"""The statements of the language: requests inside a ``@program``, errors elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn, TypeVar

from .compiler.helpers import REMEDIES, kind_of
from .compiler.requests import EFFECTS
from .compiler.source import is_program

F = TypeVar("F", bound=Callable[..., Any])


class EffectOutsideProgram(RuntimeError):
    """An effect was called where no program was compiled around it."""


def _effect(function: F) -> F:
    """Mark what the compiler recognises as the effect of the same name."""
    function.__ppl_effect__ = EFFECTS[function.__name__]  # type: ignore[attr-defined]
    return function


def _refuse(word: str) -> NoReturn:
    caller = sys._getframe(2)
    where = f"{caller.f_code.co_filename}:{caller.f_lineno}, in {caller.f_code.co_name}"
    raise EffectOutsideProgram(f"{word}() was called outside a @program ({where}). {_remedy(word, caller)}")


def _remedy(word: str, caller: FrameType) -> str:
    """What to write instead, by what the caller is, as far as its code tells."""
    code = caller.f_code
    name = code.co_name
    standing = caller.f_globals.get(name)
    if is_program(standing) or any(v.startswith("·") for v in (*code.co_varnames, *code.co_freevars)):
        return f"It was handed to something that called it: call {word}() by its own name, in the program itself."
    if name.startswith("<") and name != "<lambda>":
        return "Write a function with @program above, and call it there."
    # Before Python 3.11 code does not know its class.
    path = getattr(code, "co_qualname", f"class.{name}" if code.co_varnames[:1] in (("self",), ("cls",)) else name)
    kind = "wrapped" if hasattr(standing, "__wrapped__") else kind_of(code, path)
    return REMEDIES[kind].format(name=f"def {name}", near=f" (line {code.co_firstlineno})")


@_effect
def sample(distribution: Any, proposal: Any = None, *, name: str | None = None) -> Any:
    """Draw a random variable: integrate over ``distribution``.

    Args:
        distribution: a model distribution such as ``context.line()``, one of ``ppl.dist``, or any torch or pyro
            distribution.
        proposal: where to draw the value instead; the weight accounts for the difference, so the posterior is the same.
        name: the site's name; by default the variable that the value is assigned to.

    Returns:
        The value.
    """
    _refuse("sample")


@_effect
def observe(distribution: Any, value: Any, *, name: str | None = None) -> None:
    """Evidence: multiply the measure by the density of ``distribution`` at ``value``."""
    _refuse("observe")


@_effect
def factor(log_weight: Any, *, name: str | None = None) -> None:
    """Evidence: multiply the measure by ``exp(log_weight)``."""
    _refuse("factor")


@_effect
def condition(holds: Any, *, name: str | None = None) -> None:
    """Evidence: keep only runs in which ``holds`` is true."""
    _refuse("condition")


@_effect
def twist(log_value: Any, *, name: str | None = None) -> None:
    """A hint for the inference: how promising this run looks. Divided out at the end: the posterior stays the same."""
    _refuse("twist")


@_effect
def barrier(*, name: str | None = None) -> None:
    """A point where particle methods may resample, with no evidence of its own."""
    _refuse("barrier")


@_effect
def call(function: Callable[..., Sequence[Any]], *args: Any, name: str | None = None) -> Any:
    """Run a deterministic batched function, once for all particles that wait for it.

    Args:
        function: takes one list for each argument, a row for each particle, and returns as many results. It leaves
            what it is given as it is.
        args: this particle's row.

    Returns:
        This particle's result.
    """
    _refuse("call")
