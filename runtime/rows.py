"""A check that a batched function treats its rows apart.

Which rows meet in a batch is chance: how many particles there are, and what runs beside them. A function whose result
for one row depends on the others (a reward less the mean of its batch, say) has no law that could be stated, and where
rows are explored one by one nobody would notice. So checks call it once more, with a row of another run beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .errors import ProgramError
from .waiting import CallRequest

_TRIES = 8
"""How often to look at a function; its rows differ from batch to batch."""
_FUNCTIONS = 256
"""How many functions to remember before starting over."""

Batched = Callable[[Any, Sequence[CallRequest]], Sequence[Any]]

_known: dict[Hashable, tuple[Any, CallRequest, int]] = {}
"""By what makes rows share a call: the function, a row of it, and how often it was looked at."""


def forget() -> None:
    """Forget all functions and their rows: a check has ended."""
    _known.clear()


def check_rows(name: Hashable, requests: Sequence[CallRequest], results: Sequence[Any], run: Batched) -> None:
    """Compare the results of a call with those of the same rows beside another.

    Args:
        name: what makes rows share a call.
        requests: the rows of one function.
        results: what it gave for them.
        run: calls a function on rows.

    Raises:
        ProgramError: they differ.
    """
    function = requests[0].function
    held, other, tries = _known.get(name, (function, requests[0], 0))
    if len(_known) >= _FUNCTIONS:
        _known.clear()
    same = len(other.args) != len(requests[0].args) or _alike(other.args, requests[0].args)
    if tries >= _TRIES or same:
        _known.setdefault(name, (held, other, tries))
        return
    _known[name] = (held, other, tries + 1)
    try:
        again = run(function, [*requests, other])
    except ProgramError:  # it takes rows of one step or of one shape only, say
        return
    for alone, beside in zip(results, again, strict=False):
        if not _alike(alone, beside):
            shown = getattr(function, "__name__", repr(function))
            raise ProgramError(
                f"call({shown}, ...): the result for a row depends on the rows beside it: it is {alone!r} here, and "
                f"{beside!r} beside a row of another run. Which rows meet in a batch is chance, so each has to count "
                "for itself",
                requests[0].site.span,
            )


def _alike(one: Any, other: Any) -> bool:
    """Whether two results are equal, up to what a batch of another size rounds; yes where that can't be told."""
    one, other = _plain(one), _plain(other)
    if isinstance(one, (tuple, list)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-5) or (one != one and other != other)
    known = (str, bytes, int, float, type(None))
    return one == other if isinstance(one, known) and isinstance(other, known) else True


def _plain(value: Any) -> Any:
    """The number that an array without axes holds."""
    item = getattr(value, "item", None)
    return item() if item is not None and getattr(value, "ndim", None) == 0 else value
