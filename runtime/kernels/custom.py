"""Kernels of one's own, written as a function that asks for moves.

    @kernel
    def jump(trace, rng):
        move = yield trace.regenerate("state[*]")
        return move.trace if rng.accept(move.log_weight) else trace

The function yields :class:`Update` and :class:`Regeneration` requests, which a :class:`Trace` makes, and is sent the
:class:`Move` that came of it. In between, the chains of one problem share the batches of their model calls. Weights are
those of Gen's trace operations (Cusumano-Towner et al., 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from ..distributions import as_distribution
from ..follow import KEEP, REDRAW, Put
from ..particle import Particle, Status
from ..replay import Rerun
from ..scheduler import Task
from ..source import Key, Source, derive
from .addresses import any_matches
from .base import Kernel, Setting
from .view import RunView


class Trace(RunView):
    """A run, and the moves that can be made from it: address → value of its random choices."""

    def update(self, constraints: Mapping[str, Any]) -> Update:
        """Ask for the run with these values, its other choices kept where the new run has them, else drawn.

        ``log_weight`` of the move is log γ(new) − log γ(old) − log q(drawn). What was drawn has its program's density
        q; what is dropped is in ``move.discard``, and ``move.log_dropped`` is the density of drawing it again.

        Args:
            constraints: address → value. Each address must be one of the new run.
        """
        return Update(self, dict(constraints))

    def regenerate(self, *sites: str) -> Regeneration:
        """Ask for the run with some choices drawn anew, as the program draws them.

        ``log_weight`` of the move is log γ(new) − log γ(old) + log q(old | new) − log q(new | old): accept with it.

        Args:
            sites: patterns of addresses (``"x"``, ``"x[2]"``, ``"child/*"``).
        """
        return Regeneration(self, sites)


@dataclass(frozen=True)
class Update:
    """What :meth:`Trace.update` asks for."""

    trace: Trace
    constraints: Mapping[str, Any]


@dataclass(frozen=True)
class Regeneration:
    """What :meth:`Trace.regenerate` asks for."""

    trace: Trace
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """What came of a request.

    Attributes:
        trace: the new run.
        log_weight: see :meth:`Trace.update` and :meth:`Trace.regenerate`; ``-inf`` if the new run has no mass.
        discard: address → old value, of the choices that were replaced or dropped.
        log_dropped: log-density with which the program would draw again what was dropped.
    """

    trace: Trace
    log_weight: float
    discard: Mapping[str, Any]
    log_dropped: float


class Random:
    """The randomness of a kernel: draws are made in order, and the exact check explores them all."""

    def __init__(self, source: Source, key: Key) -> None:
        self._source = source
        self._key = key
        self._made = 0

    def accept(self, log_probability: float) -> bool:
        """True with probability min(1, exp(log_probability))."""
        return self._source.accept(log_probability, self._next())

    def flip(self, probability: float = 0.5) -> bool:
        """True with this probability."""
        return self.accept(math.log(probability)) if probability > 0.0 else False

    def choose(self, weights: Sequence[float]) -> int:
        """An index, in proportion to the weights, which are not negative."""
        return self._source.choose([math.log(w) if w > 0.0 else -math.inf for w in weights], self._next())

    def draw(self, distribution: Any) -> Any:
        """A value of a torch, pyro or ``ppl.dist`` distribution.

        Raises:
            TypeError: it is none of these. Texts are drawn by ``trace.regenerate``.
        """
        found = as_distribution(distribution)
        if found is None:
            raise TypeError(f"rng.draw takes a torch, pyro or ppl.dist distribution, not {type(distribution).__name__}")
        return found.draw(self._source, self._next())[0]

    def _next(self) -> Key:
        self._made += 1
        return derive(self._key, self._made)


Request = Update | Regeneration
Moves = Generator[Request, Move, Trace]
"""What a kernel of one's own is to type checkers: ``def jump(trace: Trace, rng: Random) -> Moves``."""
Function = Callable[[Trace, Random], Moves | Trace]


class Custom(Kernel):
    """A kernel of one's own; see :func:`kernel`.

    Attributes:
        function: what makes a step.
    """

    def __init__(self, function: Function, reversible: bool = False) -> None:
        self.function = function
        self._reversible = reversible
        self.__doc__ = function.__doc__

    @property
    def reversible(self) -> bool:
        return self._reversible

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", "kernel")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and self.function is other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        rng = Random(setting.world.machine.source, derive(key, "rng"))
        asked = self.function(Trace(run), rng)
        if isinstance(asked, Generator):
            asked = yield from self._answered(setting, asked, key)
        if not isinstance(asked, Trace):
            raise TypeError(f"the kernel {self!r} must return a trace: the old one, or a move's; got {asked!r}")
        if asked.particle.status is Status.DEAD:
            raise ValueError(f"the kernel {self!r} returned a run of no mass; accept with rng.accept(move.log_weight)")
        return asked.particle

    def _answered(self, setting: Setting, asked: Generator[Request, Move, Trace], key: Key) -> Task[Any]:
        made = 0
        try:
            request = next(asked)
            while True:
                made += 1
                move = yield from _move(setting, request, derive(key, "move", made), self)
                request = asked.send(move)
        except StopIteration as stop:
            return stop.value


@overload
def kernel(function: Function) -> Custom: ...
@overload
def kernel(*, reversible: bool = False) -> Callable[[Function], Custom]: ...
def kernel(function: Function | None = None, *, reversible: bool = False) -> Custom | Callable[[Function], Custom]:
    """Make a Markov kernel of a function (a decorator).

    The function is given the present run, a :class:`Trace`, and ``rng``, a :class:`Random`. It yields what
    ``trace.update(...)`` and ``trace.regenerate(...)`` return, is given a :class:`Move`, and returns the next run: the
    old one, or one that it was given. All its randomness comes from ``rng``. Check it with
    ``validate(program, method=MH(kernel=...))``: that it leaves the posterior invariant is its writer's to get right.

    Args:
        function: as above.
        reversible: claim detailed balance, which is then checked too.
    """
    if function is None:
        return lambda found: Custom(found, reversible)
    return Custom(function, reversible)


def _move(setting: Setting, request: Request, key: Key, asker: Custom) -> Task[Move]:
    """Do what was asked for."""
    old = getattr(request, "trace", None)
    if not isinstance(request, (Update, Regeneration)) or not isinstance(old, Trace):
        raise TypeError(f"the kernel {asker!r} may yield trace.update(...) or trace.regenerate(...), not {request!r}")
    if isinstance(request, Update):
        values = request.constraints
        there = yield from setting.rerun(old.particle, lambda at, _: Put(values[at]) if at in values else KEEP, key)
        log_ratio = -there.log_forward
        _check_used(values, there)
    else:
        sites = request.sites
        there = yield from setting.rerun(old.particle, lambda at, _: REDRAW if any_matches(sites, at) else KEEP, key)
        log_ratio = there.log_backward - there.log_forward
    new, follow = there.particle, there.follow
    changed = [a for a, step in follow.known.items() if follow.decided.get(a, REDRAW) is not KEEP]
    discard = {a: follow.known[a].value for a in changed}
    if new.status is Status.DEAD:
        return Move(Trace(new), -math.inf, discard, -math.inf)
    log_weight = setting.target(new) - setting.target(old.particle) + log_ratio
    return Move(Trace(new), log_weight, discard, math.fsum(step.log_q for step in follow.stale))


def _check_used(values: Mapping[str, Any], there: Rerun) -> None:
    unused = [address for address in values if address not in there.follow.decided]
    if unused and there.particle.status is not Status.DEAD:
        raise ValueError(
            f"update: the new run has no choice at {', '.join(map(repr, unused))}; it has "
            f"{', '.join(there.follow.decided) or 'none'}"
        )
