"""Passes: rewrites of the IR, each with the promise that it keeps (see ``base``), one a file.

``PASSES`` is the registry; its order is the order in which they run. ``README.md`` one folder up says how to add one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .base import Condition, Info, Level, Pass, Remark, Step
from .batch import BatchCalls
from .conjugacy import Conjugacy
from .dead import DeadSamples
from .hoist import HoistEvidence
from .loops import BatchLoops
from .marginalise import Marginalise
from .pipeline import Optimised, Pipeline, optimise
from .push import PushConstraints
from .split import SplitTexts

PASSES: dict[str, Pass] = {
    p.name: p
    for p in (
        DeadSamples(),
        Conjugacy(),
        Marginalise(),
        PushConstraints(),
        SplitTexts(),
        HoistEvidence(),
        BatchLoops(),
        BatchCalls(),
    )
}


def register(new: Pass, before: str | None = None) -> Pass:
    """Make a pass known by its name.

    Args:
        new: the pass.
        before: the name of the pass that it is to run before, where order is not asked for; by default it runs last.

    Raises:
        ValueError: the name is taken, or there is no pass ``before``.
    """
    if new.name in PASSES:
        raise ValueError(f"there is a pass called {new.name!r} already: {type(PASSES[new.name]).__name__}")
    if before is not None and before not in PASSES:
        raise ValueError(f"no pass {before!r}; there are {', '.join(map(repr, PASSES))}")
    rows = list(PASSES.items())
    place = len(rows) if before is None else list(PASSES).index(before)
    rows.insert(place, (new.name, new))
    PASSES.clear()
    PASSES.update(rows)
    return new


def make_pipeline(passes: str | Pass | Sequence[str | Pass] | Pipeline | None, keep: Iterable[str] = ()) -> Pipeline:
    """The pipeline that a user named.

    Args:
        passes: names and pass objects in the order in which they are to run; ``"default"`` (or ``None``) for those
            that keep all addresses, ``"all"`` for every registered pass, ``[]`` for none.
        keep: addresses that passes must leave; ``"*"`` for all.

    Raises:
        ValueError: there is no pass of that name.
    """
    if isinstance(passes, Pipeline):
        return passes.keeping(keep)
    if passes is None or passes == "default":
        chosen = [p for p in PASSES.values() if p.default]
    elif passes == "all":
        chosen = list(PASSES.values())
    else:
        chosen = [_named(p) for p in ([passes] if isinstance(passes, str | Pass) else passes)]
    return Pipeline(tuple(chosen)).keeping([keep] if isinstance(keep, str) else keep)


def _named(which: str | Pass) -> Pass:
    if isinstance(which, Pass):
        return which
    if isinstance(which, type) and issubclass(which, Pass):
        raise ValueError(f"passes= takes objects, not classes: write {which.__name__}()")
    found = PASSES.get(which) if isinstance(which, str) else None
    if found is None:
        raise ValueError(
            f"no pass {which!r}; there are {', '.join(map(repr, PASSES))}, 'default' and 'all', or give a Pass object"
        )
    return found


__all__ = [
    "PASSES",
    "Condition",
    "Info",
    "Level",
    "Optimised",
    "Pass",
    "Pipeline",
    "Remark",
    "Step",
    "make_pipeline",
    "optimise",
    "register",
]
