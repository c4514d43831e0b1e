"""Outcomes that are objects of the run itself: what it draws from among its own it may change, and then has changed."""

from __future__ import annotations

from typing import Any

from ..compiler.requests import Ask, Sample
from .copying import Memo, fork
from .distributions import same
from .errors import ProgramError, short
from .outside import Outside


def held(ask: Ask, value: Any, outside: Outside | None) -> Any:
    """The run's own object that a value stands for.

    A value that counts by its content is found among the outcomes of the site's distribution by that. It may come from
    an earlier run or a proposal.

    Args:
        ask: what asked for it.
        value: what was drawn; it has no hash.
        outside: what is outside of the program; of that the run has none.

    Returns:
        One of the outcomes, or ``None``: the run is to get a copy.

    Raises:
        ProgramError: it may stand for several objects that are equal now, and could differ later.
    """
    if outside is None or id(ask.distribution) in outside:  # type: ignore[attr-defined]
        return None
    outcomes = getattr(ask.distribution, "held", ())  # type: ignore[attr-defined]
    found = [outcome for outcome in outcomes if outcome is value][:1]
    if not found:
        found = [outcome for outcome in outcomes if type(outcome) is type(value) and same(outcome, value)]
    mine = {id(outcome): outcome for outcome in found if id(outcome) not in outside.content}
    if len(mine) > 1:
        raise ProgramError(
            f"{ask.site.kind} {ask.local_address!r}: its value comes from an earlier run or a proposal, and "
            f"{len(mine)} of the outcomes are equal to it, {short(value)}: which of these objects is meant can't be "
            "told. Draw an index instead: xs[sample(dist.uniform(range(len(xs))))]",
            ask.site.span,
        )
    return next(iter(mine.values()), None)


def fork_choice(ask: Ask | None, memo: Memo) -> Ask | None:
    """The choice at which a run branches, in a copy of the run: among the copies of its own objects."""
    if type(ask) is not Sample or not getattr(ask.distribution, "held", ()):
        return ask
    distribution = fork(ask.distribution, memo)
    if distribution is ask.distribution:
        return ask
    return Sample(ask.site, ask.index, distribution, ask.proposal, ask.name)


def counterpart(ask: Ask, own: Ask | None, value: Any) -> Any:
    """What an outcome of a choice is in the copy of the run that stands at the choice ``own``."""
    if type(ask) is Sample and type(own) is Sample and own is not ask:
        for outcome, mine in zip(ask.distribution.held, own.distribution.held, strict=True):
            if outcome is value:
                return mine
    return value
