"""Errors of a running program; each names the user's file and line."""

from __future__ import annotations

from typing import Any

from ..compiler.errors import Span


class ProgramError(Exception):
    """A program asked for something that has no meaning.

    Attributes:
        span: where in the user's source.
    """

    def __init__(self, message: str, span: Span | None = None) -> None:
        self.span = span
        if span is not None:
            message = f"{message}\n  at {span}" + (f":  {span.text}" if span.text else "")
        super().__init__(message)


class WeightError(ProgramError, ArithmeticError):
    """A weight became NaN or +inf."""


def short(value: Any) -> str:
    """How a message shows a value: its ``repr``, or the beginning of that."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
