"""Python's garbage collector, kept from looking through what was there before a run, again and again.

A run makes objects by the hundred thousand, nodes of the trie above all, and reference counts free them. But by their
number they let the collector go through all objects of the process, those of torch and transformers included, which
takes longer than the run's own work.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_SHARE = 0.05
"""The most of the time in runs to spend on whole collections."""
_SECONDS = 5.0
"""The first of them comes after so long in runs."""

_YOUNG = 10_000
"""By how many objects there are to be more before they are looked through. Python's 700 are what a step or two of some
particles makes, most of which is gone soon after."""

_FROZEN = 1000 if sys.version_info[:2] == (3, 12) else 0
"""Python 3.12 starts with some hundred frozen objects of its own."""

_lock = Lock()


class _State:
    """What runs share.

    Attributes:
        within: whether one is under way.
        before: the collector's thresholds, while they are others and objects are frozen.
        left: how much longer runs may take until it is time for a whole collection.
    """

    within = False
    before: tuple[int, int, int] | None = None
    left = _SECONDS


@contextmanager
def young_collections() -> Iterator[None]:
    """Collect only what was made inside of this, and less often; what was there before is looked through outside.

    Does nothing inside of another of these, in whichever thread, nor where somebody keeps the collector off or has
    frozen objects.
    """
    with _lock:
        if not _State.within:
            _put_back()  # in case the last run was interrupted while it did that
        mine = not _State.within and gc.isenabled() and hasattr(gc, "freeze") and gc.get_freeze_count() <= _FROZEN
        _State.within = _State.within or mine
    started = time.monotonic()
    try:
        if mine:
            _collect_if_due()
            _State.before = young, *older = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(max(young, _YOUNG) if young else 0, *older)
        yield
    finally:
        if mine:
            try:
                _put_back()
                _State.left -= time.monotonic() - started
            finally:
                _State.within = False


def _put_back() -> None:
    """Let the collector be as it was."""
    if _State.before is not None:
        gc.set_threshold(*_State.before)
        gc.freeze()  # which starts the counts anew: the next object made is no reason to go through all
        gc.unfreeze()
        _State.before = None


def _collect_if_due() -> None:
    """To freeze starts the collector's counts anew: where runs follow each other, it would never come to the old."""
    if _State.left <= 0.0:
        started = time.monotonic()
        gc.collect()
        _State.left = (time.monotonic() - started) / _SHARE
