"""Patterns of addresses: which sites a kernel works on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_COUNTERS = re.compile(r"\[\d+\]")


def matches(pattern: str, address: str) -> bool:
    """Whether an address is meant.

    Args:
        pattern: an address (``x[2]``), a name without its counters for all of them (``x``, ``child/x``), or either
            with ``*`` for any characters (``x[*]``, ``*/line``, ``*``).
        address: of a site.
    """
    expression = _compiled(pattern)
    return bool(expression.fullmatch(address) or expression.fullmatch(_COUNTERS.sub("", address)))


def any_matches(patterns: Iterable[str] | None, address: str) -> bool:
    """Whether one of the patterns matches; ``None`` matches everything."""
    return patterns is None or any(matches(pattern, address) for pattern in patterns)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
