"""What a running program waits for, and what is counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..compiler.requests import Ask, Block, Invoke, Site
from .engines.base import Completion, Engine, Request
from .particle import Particle


@dataclass(slots=True)
class Wait:
    """A particle waits for an engine; ``then`` takes the completion and may ask for more.

    ``ask`` is what it asked for, if not what it stands at; ``others`` are further waits of the same particle.
    """

    particle: Particle
    engine: Engine | None
    request: Request
    then: Callable[[Completion], Wait | None]
    ask: Ask | None = None
    others: tuple[Wait, ...] = ()


@dataclass(slots=True, eq=False)
class CallRequest(Request):
    """A row for a batched function."""

    function: Callable[..., Sequence[Any]]
    args: tuple[Any, ...]
    site: Site


class Act(Ask):
    """A request that knows by itself how a machine answers it."""

    __slots__ = ()

    def answer(self, machine: Any, particle: Particle) -> Wait | None:
        """Answer it, or begin to; what the particle waits for, if it waits for an engine."""
        raise NotImplementedError


@dataclass
class Tally:
    """What happened on the way: deaths by site, requests and tokens."""

    deaths: Counter[tuple[Site, str | None]] = field(default_factory=Counter)
    tokens: int = 0
    model_calls: int = 0
    calls: int = 0


class Entry:
    """The first block of an invoked program, its arguments bound."""

    def __init__(self, ask: Invoke, prepare: Callable[[Any], Block] | None = None) -> None:
        self.ask = ask
        self.prepare = prepare

    def __call__(self) -> Any:
        program = self.ask.program
        entry = program.entry if self.prepare is None else self.prepare(program)
        return entry(*self.ask.args, **self.ask.kwargs)
