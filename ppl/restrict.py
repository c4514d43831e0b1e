"""What the compiler's constraint pushing calls: distributions to draw from when a condition on the value follows."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from .constraints import Both, Constraint, Matches, OneOf, StartsWith, UnsupportedPattern
from .patterns import written
from .runtime.distributions import Restricted, as_distribution
from .text_distributions import ChoiceDistribution, TextDistribution

Test = tuple[str, Any]
"""A condition on a value ``x``: ``("startswith", y)`` for ``x.startswith(y)``, ``("in", y)`` for ``x in y``,
``("equals", y)`` for ``x == y``, ``("fullmatch", y)`` for ``re.fullmatch(y, x)``, ``y`` maybe compiled."""

MOST = 10_000
"""The most outcomes of a finite distribution to go through."""


def restricted(distribution: Any, tests: Sequence[Test]) -> Any:
    """Where to draw from when the value has to pass tests.

    Args:
        distribution: of the value.
        tests: what holds of every value that the program goes on with.

    Returns:
        A proposal that gives only values that pass (for text, as far as can be told token by token), with its density;
        ``None`` where there is no better one than the distribution itself.
    """
    if isinstance(distribution, TextDistribution):
        return _text(distribution, tests)
    if isinstance(distribution, ChoiceDistribution):
        among = [i for i, option in enumerate(distribution.options) if _passes(option, tests)]
        return distribution.restricted(among) if 0 < len(among) < len(distribution.options) else None
    local = as_distribution(distribution)
    outcomes = None if local is None else local.support()
    if outcomes is None or len(outcomes) > MOST:
        return None
    kept = [(value, log_prob) for value, log_prob in outcomes if _passes(value, tests)]
    if not all(_equals_itself(value) for value, _ in kept):
        return None  # its density could not tell such an outcome from the others
    return Restricted(kept) if 0 < len(kept) < len(outcomes) else None


def _equals_itself(value: Any) -> bool:
    """Whether a value is found by ``==``: NaN is not."""
    try:
        return bool(value == value)
    except (RuntimeError, TypeError, ValueError):
        return False


def _text(distribution: TextDistribution, tests: Sequence[Test]) -> TextDistribution | None:
    if not distribution.engine.constrains:
        return None
    constraints = [c for test in tests if (c := constraint(*test)) is not None]
    if not constraints:
        return None
    whole = constraints[0]
    for more in constraints[1:]:
        whole = Both(whole, more)
    return distribution.restricted(whole)


def constraint(test: str, operand: Any) -> Constraint | None:
    """A test of a string as a constraint; ``None`` if it can't be told as one."""
    if test == "startswith":
        strings = operand if isinstance(operand, tuple) else (operand,)
        return StartsWith(strings) if _are_strings(strings) else None
    if test == "equals":
        return OneOf([operand]) if isinstance(operand, str) else None
    if test == "in":
        known = isinstance(operand, list | tuple | set | frozenset | dict)  # in a string, "in" means another thing
        return OneOf(operand) if known and _are_strings(operand) else None
    if test == "fullmatch" and isinstance(operand, str | re.Pattern):
        try:
            return Matches(written(operand))
        except (UnsupportedPattern, re.error):
            return None
    return None


def _are_strings(values: Collection[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _passes(value: Any, tests: Sequence[Test]) -> bool:
    """Whether a value may pass. One that a test fails on may: the program is to tell the error."""
    try:
        return all(_holds(value, test, operand) for test, operand in tests)
    except Exception:
        return True


def _holds(value: Any, test: str, operand: Any) -> bool:
    if test == "startswith":
        return bool(value.startswith(operand))
    if test == "in":
        return value in operand
    if test == "equals":
        return bool(value == operand)
    return re.fullmatch(operand, value) is not None
