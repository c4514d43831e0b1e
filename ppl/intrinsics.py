"""What the compiler's passes ask and leave to be called, bound to its names; loaded when it is first called."""

from __future__ import annotations

from typing import Any

from .compiler.intrinsics import provide


def restricted(distribution: Any, tests: Any) -> Any:
    """See :func:`ppl.restrict.restricted`."""
    from .restrict import restricted

    return restricted(distribution, tests)


def marginal(distribution: Any) -> Any:
    """See :class:`ppl.marginal.Marginal`."""
    from .marginal import Marginal

    return Marginal(distribution)


def conjugate(prior: Any) -> Any:
    """See :class:`ppl.conjugate.Conjugate`."""
    from .conjugate import Conjugate

    return Conjugate.of(prior)


def pieces(whole: Any, by: str, sampler: Any = None) -> Any:
    """See :class:`ppl.pieces.Pieces`."""
    from .pieces import Pieces

    return Pieces(whole, by, sampler)


def unfollowed(pattern: Any) -> str | None:
    """See :func:`ppl.patterns.unfollowed`."""
    from .patterns import unfollowed

    return unfollowed(pattern)


provide(restricted=restricted, marginal=marginal, conjugate=conjugate, pieces=pieces, unfollowed=unfollowed)
