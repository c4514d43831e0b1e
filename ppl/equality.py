"""When two answers count as one: exactly, as numbers, or as arithmetic expressions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from .arithmetic import Unreadable, read_arithmetic
from .posterior_values import freeze

Same = Callable[[Any, Any], bool]

_NUMBER = re.compile(r"[-+]?[$€£]?\s*((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*%?")
_POINTS = (3, 7, 11, 13, 17, 19, 23)


def exact(a: Any, b: Any) -> bool:
    """Equal as values of programs are: ``posterior.distribution()`` groups in the same way."""
    return freeze(a) == freeze(b)


def numeric(tolerance: float = 1e-6) -> Same:
    """Equal as numbers, to a relative tolerance; what is no number is compared exactly, apart from white space.

    Args:
        tolerance: relative, or absolute where a number is under 1.
    """

    def same(a: Any, b: Any) -> bool:
        x, y = number_in(a), number_in(b)
        if x is None or y is None:
            return exact(_plain(a), _plain(b))
        return abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))

    return same


def symbolic(a: Any, b: Any) -> bool:
    """Equal as arithmetic expressions, such as ``1/2`` and ``0.5``, or ``x(x+1)`` and ``x^2 + x``.

    Expressions with letters are compared at some fixed points (Schwartz, 1980), to forty digits. They are read by
    :func:`~ppl.arithmetic.read_arithmetic`; what can't be read is compared exactly, apart from white space.
    """
    from sympy import Rational

    if exact(_plain(a), _plain(b)):
        return True
    try:
        x, y = read_arithmetic(str(a)), read_arithmetic(str(b))
    except Unreadable:
        return False
    if isinstance(x, Rational) and isinstance(y, Rational):
        return bool(x == y)
    symbols = sorted(x.free_symbols | y.free_symbols, key=str)
    for shift in range(3 if symbols else 1):
        at = {
            s: Rational(_POINTS[(i + shift) % 7] + i, _POINTS[(i + 2 * shift + 3) % 7]) for i, s in enumerate(symbols)
        }
        u, v = x.evalf(40, subs=at), y.evalf(40, subs=at)
        try:
            if not abs(u - v) <= abs(u) * Rational(1, 10**25) + Rational(1, 10**30):
                return False
        except TypeError:  # no number came out, an infinity say
            return False
    return True


def number_in(value: Any) -> float | None:
    """The number that a value is or says: ``3``, ``"1,200"``, ``"$5"``, ``"50%"``; ``None`` if it is none."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return None
        number = float(re.sub(r"[$€£,%\s]", "", text))
        return number / 100 if text.endswith("%") else number
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
