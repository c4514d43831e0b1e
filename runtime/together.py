"""Several requests of one particle at once (``compiler.requests.Gather``).

Law: the same as asking one after the other, in their order. Each request is answered on a *slot*, a particle of its own
with the same past; when all are answered, what happened on the slots happens to the particle, in order. So the result
does not depend on which answer came first. Where requests can't go side by side, they are made one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..compiler.requests import Ask, Block, Gather, Live
from .distributions import DEFERRED
from .engines.base import Completion
from .particle import Particle, Status, Trace

if TYPE_CHECKING:
    from .machine import Machine, Wait


class OneByOne:
    """The block that a particle goes on with between the requests of a gather that are made one by one.

    Its live values are the answers so far, then what the program's own next block takes.
    """

    __slots__ = ("asks", "block", "done")

    def __init__(self, asks: tuple[Ask, ...], done: int, block: Block) -> None:
        self.asks = asks
        self.done = done
        self.block = block

    def __call__(self, answer: Any, answers: tuple[Any, ...], *live: Any) -> tuple[Any, Any, Live]:
        answers = (*answers, answer)
        if len(answers) == len(self.asks):
            return None, self.block, (list(answers), *live)
        return self.asks[len(answers)], OneByOne(self.asks, len(answers), self.block), (answers, *live)

    @property
    def __code__(self) -> Any:
        """For whoever wants the names of the live values: the answers stand in the place of the answer."""
        return self.block.__code__


def side_by_side(ask: Gather) -> bool:
    """Whether requests can be made at once: none may meet another's name, nor has a law that is still to be found."""
    for each in ask.asks:
        if each.name is not None or DEFERRED[type(getattr(each, "distribution", None))]:
            return False
    return bool(ask.asks)


def one_by_one(ask: Gather, block: Block, live: Live) -> tuple[Ask | None, Block, Live]:
    """Where a particle goes on that makes the requests one after the other."""
    if not ask.asks:
        return None, block, ([], *live)
    return ask.asks[0], OneByOne(tuple(ask.asks), 0, block), ((), *live)


def in_turn(machine: Machine, particle: Particle, asks: Sequence[Ask]) -> None:
    """Make requests that are answered at once: no slots are needed for those."""
    live = particle.live
    answers: list[Any] = []
    synced: Ask | None = None
    for ask in asks:
        particle.live = ()
        machine.answer(particle, ask)
        if particle.status is Status.DEAD:
            return
        if particle.status is Status.SYNC:
            synced = ask
        answers += particle.live
    particle.asked += len(asks) - 1
    particle.ask = synced or asks[-1]
    particle.live = (answers, *live)


class Together:
    """The requests of one particle, under way side by side."""

    def __init__(self, machine: Machine, particle: Particle, asks: tuple[Ask, ...]) -> None:
        self.machine = machine
        self.particle = particle
        self.asks = asks
        self.slots = [self._slot(ask) for ask in asks]
        self.left = len(asks)
        self.dead = False

    def _slot(self, ask: Ask) -> Particle:
        particle = self.particle
        slot = Particle(particle.block, particle.live, particle.scope, particle.key)
        slot.trace, slot.names, slot.ask = particle.trace, particle.names, ask
        return slot

    def start(self) -> Wait | None:
        """Make all requests; what the particle waits for."""
        waits = []
        for slot, ask in zip(self.slots, self.asks, strict=True):
            wait = None if self.dead else self.machine.answer(slot, ask)
            if wait is not None:
                waits.append(self._following(slot, ask, wait))
            else:
                self._answered(slot)
        if not waits:
            self._meet()
            return None
        waits[0].others = tuple(waits[1:])
        return waits[0]

    def _following(self, slot: Particle, ask: Ask, wait: Wait) -> Wait:
        """``wait`` of a slot, as a wait of the particle."""

        def then(completion: Completion) -> Wait | None:
            more = None
            if not self.dead:
                slot.status = Status.READY
                more = wait.then(completion)
            if more is not None:
                return self._following(slot, ask, more)
            self._answered(slot)
            if self.left:
                self.particle.status = Status.WAITING
            else:
                self._meet()
            return None

        return type(wait)(self.particle, wait.engine, wait.request, then, ask)

    def _answered(self, slot: Particle) -> None:
        self.left -= 1
        self.dead |= slot.status is Status.DEAD

    def _meet(self) -> None:
        """Let happen to the particle what happened on the slots."""
        particle, start = self.particle, self.particle.trace
        particle.asked += len(self.asks) - 1
        if self.dead:
            particle.status, particle.log_weight = Status.DEAD, -math.inf
            particle.live, particle.frame = (), None
            return
        particle.ask = self.asks[-1]
        particle.status = Status.READY
        for slot, ask in zip(self.slots, self.asks, strict=True):
            particle.log_weight += slot.log_weight
            particle.log_joint += slot.log_joint
            if slot.trace is not None and slot.trace is not start:
                particle.trace = Trace(*slot.trace.choice, particle.trace)
            if slot.status is Status.SYNC:
                particle.ask, particle.status = ask, Status.SYNC
        particle.live = ([slot.live[0] for slot in self.slots], *particle.live)
