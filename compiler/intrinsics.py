"""Functions that rewritten programs call by name, such as ``·restricted``.

The compiler knows no inference and no distribution: it only knows what these are called, what they take, and that they
change nothing. Who uses the compiler provides them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .link import HELPERS

PURE = frozenset({"·restricted", "·marginal", "·conjugate", "·pieces"})
"""Their names. They only read what they are given."""


def provide(**functions: Callable[..., Any]) -> None:
    """Bind intrinsics, by their names without the dot.

    Raises:
        ValueError: the compiler makes no use of such a function.
    """
    for name, function in functions.items():
        if f"·{name}" not in PURE:
            raise ValueError(f"the compiler knows no function ·{name}; there are {', '.join(sorted(PURE))}")
        HELPERS[f"·{name}"] = function
