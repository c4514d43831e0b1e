"""Arithmetic that others wrote, read safely: a small grammar, bounded sizes, and nothing that is run.

``sympy.sympify`` evaluates its text as Python and must never see what a model wrote. Here a text is parsed by a grammar
of numbers, letters, ``+ - * / ^``, brackets, ``sqrt`` and some LaTeX, and sympy objects are built from the tree.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark

MAX_LENGTH = 300
MAX_DEGREE = 1_000
MAX_BITS = 8_000
MAX_ROOT = 12
"""Exponents p/q that are no whole numbers have p and q up to this."""

_GRAMMAR = r"""
?sum: product | sum "+" product -> add | sum "-" product -> sub
?product: signed | product "*" signed -> mul | product "/" signed -> div
?signed: power | "-" signed -> neg | "+" signed
?power: part | part "^" exponent -> pow
?exponent: power | "-" exponent -> neg
?part: NUMBER -> number | NUMBER "%" -> percent | LETTER -> letter | ("pi" | "\\pi") -> pi
    | "(" sum ")" | "{" sum "}" | "\\frac" "{" sum "}" "{" sum "}" -> div
    | "\\sqrt" "{" sum "}" -> sqrt | "sqrt" "(" sum ")" -> sqrt
NUMBER: /[0-9]+(\.[0-9]+)?|\.[0-9]+/
LETTER: /[a-zA-Z](?![a-zA-Z])/
%ignore /[ \t\n]+/
"""

_NAMED = re.compile(r"^\s*([a-zA-Z])\s*=")
_REWRITES = [
    (re.compile(r"\$|\\left|\\right|\\[,;! ]|\.\s*$"), ""),
    (re.compile(r"^\s*\\boxed\s*\{(.*)\}\s*$"), r"\1"),
    (_NAMED, ""),  # x = 3 says 3
    (re.compile(r"(\d+(?:\.\d+)?|\.\d+)[eE]\+?(-?\d{1,3})(?![\w.])"), r"(\1*10^(\2))"),
    (re.compile(r"²"), "^2"),
    (re.compile(r"³"), "^3"),
    (re.compile(r"(?<![a-zA-Z\\])([xyz])(?=[xyz]{1,2}(?![a-zA-Z]))"), r"\1*"),  # xy, but no words
    (re.compile(r"(?<=\*)([xyz])(?=[xyz](?![a-zA-Z]))"), r"\1*"),
    (re.compile(r"\\cdot|\\times|[×·]"), "*"),
    (re.compile(r"\\div|÷"), "/"),
    (re.compile(r"−"), "-"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=[\d)}])\s*(?=[(a-zA-Z]|\\sqrt|\\pi)"), "*"),
    (re.compile(r"(?<=\))\s*(?=\d)"), "*"),
    (re.compile(r"(?<![a-zA-Z])([a-zA-Z])\s*(?=\()"), r"\1*"),
]


class Unreadable(ValueError):
    """A text is no arithmetic expression, or too large a one."""


def read_arithmetic(text: str) -> Any:
    """The sympy expression that a text says.

    Args:
        text: such as ``"3/4"``, ``"1,200"``, ``"x^2 - 2x"``, ``"\\frac{1}{2}"`` or ``"x = 5"`` (which says 5).

    Returns:
        A sympy expression of rationals, ``pi``, roots, and one-letter symbols.

    Raises:
        Unreadable: it is none, it divides by zero, or a number in it would be too large.
    """
    from lark.exceptions import LarkError

    if len(text) > MAX_LENGTH:
        raise Unreadable(f"an expression of {len(text)} characters, more than {MAX_LENGTH}")
    for pattern, plain in _REWRITES:
        text = pattern.sub(plain, text)
    try:
        tree = _parser().parse(text)
    except LarkError as error:
        raise Unreadable(f"{text!r} is no arithmetic expression") from error
    return _build(tree)[0]


def named(text: str) -> str:
    """The letter whose value a text like ``x = 3`` says; "" if it names none."""
    found = _NAMED.match(text.replace("$", ""))
    return found.group(1) if found else ""


@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(_GRAMMAR, start="sum", parser="lalr")


def _build(tree: Any) -> tuple[Any, int]:
    """A sympy expression, and the largest power that its parts are raised to."""
    from sympy import Rational, Symbol, pi

    kind = tree.data
    if kind == "pi":
        return pi, 1
    if kind in ("number", "percent"):
        number = Rational(str(tree.children[0]))
        return number / 100 if kind == "percent" else number, 1
    if kind == "letter":
        return Symbol(str(tree.children[0])), 1
    parts = [_build(child) for child in tree.children]
    values, degree = [value for value, _ in parts], sum(d for _, d in parts)
    if kind == "pow":
        return _power(*parts[0], values[1])
    if kind == "sqrt":
        return _power(*parts[0], Rational(1, 2))
    if kind == "neg":
        return -values[0], degree
    a, b = values
    if kind == "div" and b == 0:
        raise Unreadable("a division by zero")
    return _bounded(
        {"add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "div": lambda: a / b}[kind]()
    ), degree


def _power(base: Any, degree: int, exponent: Any) -> tuple[Any, int]:
    from sympy import Rational

    if not isinstance(exponent, Rational):
        raise Unreadable(f"an exponent that is no number, {exponent}")
    p, q = abs(int(exponent.p)), int(exponent.q)
    if base == 0 and exponent <= 0:
        raise Unreadable("zero to a power that has no value")
    bits = int(base.p).bit_length() + int(base.q).bit_length() if isinstance(base, Rational) else 1
    large = p > MAX_ROOT or q > MAX_ROOT or bits > 128 if q > 1 else bits * p > MAX_BITS
    if large or degree * max(p, 1) > MAX_DEGREE:
        raise Unreadable(f"a power too large to work out, with the exponent {exponent}")
    return base**exponent, degree * max(p, 1)


def _bounded(value: Any) -> Any:
    """Refuse numbers of too many digits."""
    from sympy import Rational

    if isinstance(value, Rational) and int(value.p).bit_length() + int(value.q).bit_length() > MAX_BITS:
        raise Unreadable("a number too large to work with")
    return value
