"""What a running program waits for, and what is counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import is_
from types import FunctionType
from typing import Any

from ..compiler.requests import Ask, Block, Invoke, Site
from .copying import SHARED
from .engines.base import Completion, Engine, Request
from .fork import copies
from .outside import Outside
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

    def __init__(
        self,
        ask: Invoke,
        prepare: Callable[[Any], Block] | None = None,
        outside: Outside | None = None,
    ) -> None:
        self.ask = ask
        self.prepare = prepare
        self.outside = outside

    def __call__(self) -> Any:
        program = self.ask.program
        entry = program.entry if self.prepare is None else self.prepare(program)
        if isinstance(entry, FunctionType) and _has_defaults(entry) and not self._is_own(program):
            entry = _with_own_defaults(entry, self.outside)
        return entry(*self.ask.args, **self.ask.kwargs)

    def _is_own(self, program: Any) -> bool:
        """Whether the run itself has defined a program, whose defaults are then the run's own already."""
        return self.outside is not None and id(getattr(program, "function", None)) not in self.outside.content


def _has_defaults(entry: FunctionType) -> bool:
    """Whether some could be changed."""
    defaults = (*(entry.__defaults__ or ()), *(entry.__kwdefaults__ or {}).values())
    return not SHARED.issuperset(map(type, defaults))


def _with_own_defaults(entry: FunctionType, outside: Outside | None) -> FunctionType:
    """The same, with copies of the default arguments that could be changed: one run must not see another's changes."""
    defaults, named = entry.__defaults__, entry.__kwdefaults__
    own, own_named = copies((defaults or (), tuple((named or {}).values())), outside)
    if all(map(is_, own, defaults or ())) and all(map(is_, own_named, (named or {}).values())):
        return entry
    new = FunctionType(entry.__code__, entry.__globals__, entry.__name__, own, entry.__closure__)
    new.__kwdefaults__ = dict(zip(named or {}, own_named, strict=True)) or None
    return new
