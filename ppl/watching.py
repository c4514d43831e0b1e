"""What a long check tells while it goes on, to whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int], None]
"""Called with what is checked, and how many runs it took so far."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_EVERY = 0.1


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have checks tell how far they are, about ten times a second."""
    last = -1.0

    def sometimes(what: str, runs: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= _EVERY:
            last = now
            listener(what, runs)

    token = _listener.set(sometimes)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, runs: int) -> None:
    """Tell how many runs a check took so far."""
    listener = _listener.get()
    if listener is not None:
        listener(what, runs)
