"""Particles: suspended runs of a program, with their trace and weight."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..compiler.requests import Ask, Block, Live
from .copying import OUTSIDE
from .fork import CannotFork, CopyAgain, Memo, fork_values
from .held import fork_choice
from .outside import Outside
from .result import Choice
from .source import Key


class Status(enum.Enum):
    """Where a particle stands."""

    READY = "ready"
    """It can run on."""
    WAITING = "waiting"
    """It waits for an answer from an engine."""
    SYNC = "sync"
    """It has passed evidence and waits for the population."""
    BRANCH = "branch"
    """It stands at a random choice that is to be explored, not drawn."""
    DONE = "done"
    """The program returned. The particle is absorbing: it keeps its weight and is never rescored."""
    DEAD = "dead"
    """Its weight is zero."""


_DONE, _DEAD, _BRANCH = Status.DONE, Status.DEAD, Status.BRANCH
"""Looking a member up in its enumeration takes longer than all else that ``Particle.running`` does."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A site whose value was fixed from outside: ``given`` (evidence) or ``do`` (no evidence)."""

    value: Any
    observed: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """An activation of a program.

    Attributes:
        prefix: what its addresses begin with.
        fixed: the sites fixed in it, by local address.
        outside: the objects that all runs share, by ``id``: see ``outside.py``.
    """

    prefix: str = ""
    fixed: Mapping[str, Fixed] | None = None
    outside: Outside | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """A suspended caller: where it goes on when the program it called returns; ``depth``: how many callers it has."""

    block: Block
    live: Live
    scope: Scope
    parent: Frame | None
    depth: int = 0


@dataclass(eq=False, slots=True)
class Trace:
    """A run's choices so far, newest first: the fields of a ``Choice``, and what was before it.

    Never changed: forks share their common past.
    """

    address: str
    value: Any
    log_prob: float
    observed: bool
    before: Trace | None

    @property
    def choice(self) -> Choice:
        """The newest."""
        return Choice(self.address, self.value, self.log_prob, self.observed)

    def choices(self) -> tuple[Choice, ...]:
        """The choices in the order in which they were made."""
        found = []
        node: Trace | None = self
        while node is not None:
            found.append(Choice(node.address, node.value, node.log_prob, node.observed))
            node = node.before
        return tuple(reversed(found))


class Particle:
    """A run of a program, suspended between two blocks.

    Attributes:
        block, live: what to call to go on: ``block(*live)``.
        frame: the suspended callers, innermost first.
        scope: the activation that ``block`` belongs to.
        trace: the choices so far.
        names: computed addresses used so far, to find duplicates.
        key: what its draws are derived from.
        log_weight: log-weight since the last resampling, without the twist.
        log_twist: the present hint, part of the weight by which particles are selected.
        log_joint: log-density of all choices and evidence so far.
        ask: the effect it stands at, while it is not ready.
        value: what the program returned, once done.
        asked: how many requests its program made, a measure of progress.
        journal: what its program was answered so far, newest first, where the machine records that (``replay.py``).
        follow: the older run that this one follows, if it does. A fork goes its own way.
        guided: what its guide drew, by address, if it has one (``guide.py``). A fork asks its guide anew.
    """

    __slots__ = (
        "ask",
        "asked",
        "block",
        "follow",
        "frame",
        "guided",
        "journal",
        "key",
        "live",
        "log_joint",
        "log_twist",
        "log_weight",
        "names",
        "scope",
        "status",
        "trace",
        "value",
    )

    def __init__(self, block: Block, live: Live, scope: Scope, key: Key) -> None:
        self.block = block
        self.live = live
        self.frame: Frame | None = None
        self.scope = scope
        self.trace: Trace | None = None
        self.names: frozenset[str] = frozenset()
        self.key = key
        self.log_weight = 0.0
        self.log_twist = 0.0
        self.log_joint = 0.0
        self.status = Status.READY
        self.ask: Ask | None = None
        self.value: Any = None
        self.asked = 0
        self.journal: Any = None
        self.follow: Any = None
        self.guided: Mapping[str, Any] | None = None

    @property
    def selection_weight(self) -> float:
        """The log-weight by which it is resampled: its own, times the twist."""
        return self.log_weight + self.log_twist

    @property
    def running(self) -> bool:
        """Whether the program may still go on."""
        return self.status is not _DONE and self.status is not _DEAD

    def fork(self, key: Key) -> Particle:
        """Another particle with the same past and a future of its own."""
        new: Particle = object.__new__(Particle)  # each attribute is set once: methods fork at every step
        new.block, new.live, new.scope, new.frame, new.key = self.block, self.live, self.scope, self.frame, key
        new.trace, new.names = self.trace, self.names
        new.log_weight, new.log_twist, new.log_joint = self.log_weight, self.log_twist, self.log_joint
        new.status, new.ask, new.value, new.asked = self.status, self.ask, self.value, self.asked
        new.journal, new.follow, new.guided = self.journal, None, None
        if self.running:
            outside = self.scope.outside
            memo: Memo = {OUTSIDE: outside} if outside else {}
            try:
                new.live = fork_values(new.live, memo)
                if new.frame is not None:
                    new.frame = _fork_frames(new.frame, memo)
                if self.status is _BRANCH:
                    new.ask = fork_choice(self.ask, memo)
            except CopyAgain:
                return self.fork(key)
            except CannotFork as error:
                raise CannotFork(f"{error}\n  at {self.ask.site.span}" if self.ask else str(error)) from error
        return new


def _fork_frames(innermost: Frame, memo: Memo) -> Frame | None:
    frames: list[Frame] = []
    frame: Frame | None = innermost
    while frame is not None:  # not by recursion: programs may be deeper than Python's functions
        frames.append(frame)
        frame = frame.parent
    lives = [fork_values(each.live, memo) for each in frames]
    new: Frame | None = None
    for each, live in zip(reversed(frames), reversed(lives), strict=True):
        same = live is each.live and new is each.parent
        new = each if same else Frame(each.block, live, each.scope, new, each.depth)
    return new
