"""Functions that rewritten programs call by name, such as ``·restricted``, and what passes ask of their provider.

The compiler knows no inference and no distribution: it only knows what these are called, what they take, and that they
change nothing. Who uses the compiler provides them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .link import HELPERS

PURE = frozenset({"·restricted", "·marginal", "·conjugate", "·pieces"})
"""Their names. They only read what they are given."""

OWN = "·own"
"""What rewritten programs call the owner of a method that is called on what one of those made, which no other code
holds. Such a method gives something new and changes nothing; only those of ``TOLD`` add to what the owner has seen."""
TOLD = frozenset({"observe", "factor", "condition"})


ASKED = frozenset({"·unfollowed"})
"""What passes themselves ask: why a text can't be held to a pattern while it is written, or ``None`` if it can."""

_answers: dict[str, Callable[..., Any]] = {}


def ask(name: str, *args: Any) -> Any:
    """The answer of one of ``ASKED``; ``None`` if nobody provides it."""
    return _answers[name](*args) if name in _answers else None


def provide(**functions: Callable[..., Any]) -> None:
    """Bind intrinsics, by their names without the dot.

    Raises:
        ValueError: the compiler makes no use of such a function.
    """
    for name, function in functions.items():
        if f"·{name}" not in PURE | ASKED:
            raise ValueError(f"the compiler knows no function ·{name}; there are {', '.join(sorted(PURE | ASKED))}")
        (_answers if f"·{name}" in ASKED else HELPERS)[f"·{name}"] = function
