"""When two answers count as one: exactly, as numbers, or as arithmetic expressions."""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from .arithmetic import Unreadable, named, read_arithmetic
from .posterior_values import freeze

Same = Callable[[Any, Any], bool]

_NUMBER = re.compile(r"[-+]?[$€£]?\s*((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*%?")
_POINTS = (3, 7, 11, 13, 17, 19, 23)
_ROUNDS = 3
"""At how many points expressions with letters are compared; every letter is negative at one of two."""


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

    Expressions with letters are compared at some fixed points (Schwartz, 1980), negative ones too, to thirty digits.
    They are read by :func:`~ppl.arithmetic.read_arithmetic`; what can't be read is compared exactly, apart from white
    space. ``x = 3`` says 3, but not what ``y = 3`` says.
    """
    if exact(_plain(a), _plain(b)):
        return True
    one, other = _read(str(a)), _read(str(b))
    if one is None or other is None or (one.name and other.name and one.name != other.name):
        return False
    return one.same(other)


class _Expression(NamedTuple):
    """What an expression is compared by.

    Attributes:
        name: the letter that it is said to be the value of, or "".
        rational: the number itself, where it is one.
        values: at the fixed points, to forty digits.
        rough: the same as complex numbers, which are compared in no time.
    """

    name: str
    rational: Any
    values: tuple[Any, ...]
    rough: tuple[complex, ...]

    def same(self, other: _Expression) -> bool:
        from sympy import Rational

        if self.rational is not None and other.rational is not None:
            return bool(self.rational == other.rational)
        if any(abs(u - v) > 1e-9 * (abs(u) + abs(v)) + 1e-12 for u, v in zip(self.rough, other.rough, strict=True)):
            return False
        pairs = zip(self.values, other.values, strict=True)
        return all(abs(u - v) <= abs(u) * Rational(1, 10**25) + Rational(1, 10**30) for u, v in pairs)


@lru_cache(4096)
def _read(text: str) -> _Expression | None:
    """An expression, worked out once; ``None`` if the text is none, or has no value at one of the points."""
    from sympy import Rational

    try:
        found = read_arithmetic(text)
    except Unreadable:
        return None
    name = named(text)
    if isinstance(found, Rational):
        found_at: tuple[Any, ...] = (found.evalf(40),) * _ROUNDS
        return _Expression(name, found, found_at, tuple(map(complex, found_at)))
    values = []
    for shift in range(_ROUNDS):
        # A letter's place among the points depends on nothing else, so that a value is good for all comparisons.
        at = {}
        for symbol in found.free_symbols:
            i = ord(str(symbol))
            sign = -1 if (i + shift) % 2 else 1
            at[symbol] = Rational(sign * (_POINTS[(i + shift) % 7] + i % 26), _POINTS[(i + 2 * shift + 3) % 7])
        values.append(found.evalf(40, subs=at))
    try:
        rough = tuple(map(complex, values))
    except (OverflowError, TypeError):  # no number came out, an infinity say, or none that small numbers can tell
        return None
    return _Expression(name, None, tuple(values), rough) if all(map(cmath.isfinite, rough)) else None


def number_in(value: Any) -> float | None:
    """The number that a value is or says: ``3``, ``"1,200"``, ``"$5"``, ``"50%"``; ``None`` if it is none."""
    if isinstance(value, str):
        text = value.strip().replace("−", "-")  # the sign that models write in mathematics
        if not _NUMBER.fullmatch(text):
            return None
        number = float(re.sub(r"[$€£,%\s]", "", text)) / (100 if text.endswith("%") else 1)
    else:
        try:
            number = float(value)
        except (OverflowError, TypeError, ValueError):
            return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
