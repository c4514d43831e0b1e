"""Patterns of addresses: which sites a kernel works on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

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


def patterns_of(options: Any) -> tuple[str, ...]:
    """The patterns among the options of a kernel or a method, with those of what it is made of.

    Args:
        options: a dataclass; its ``sites`` and ``parameters`` hold patterns, and its ``proposals`` or
            ``parameter_proposals`` have them as keys.
    """
    found: list[str] = []
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name in ("sites", "parameters"):
            found += [value] if isinstance(value, str) else value or ()
        elif each.name in ("proposals", "parameter_proposals"):
            found += value
        else:
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                if is_dataclass(part) and not isinstance(part, type):
                    found += patterns_of(part)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
