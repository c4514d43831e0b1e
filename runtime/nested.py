"""A program that is run by a method of its own wherever another program calls it.

Law: what it means is what it would mean inline. The inner method gives a population whose weights estimate the inner
measure without bias; one of its runs, picked by weight, goes on in the caller, and the caller's weight is multiplied by
the inner estimate of the evidence. So E[Ẑ δ_run] is the inner measure, and the outer weights stay proper (nested SMC:
Naesseth, Lindsten and Schön, 2015; inference as a part of proposals: Lew et al., 2023). Nothing is divided by Ẑ: that
would be biased at every number of inner particles.

What inner particles wait for, their caller waits for, so that the calls of all populations share batches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..compiler.requests import Ask, Block, Live, Site
from .engines.base import Completion
from .errors import ProgramError
from .fork import copies
from .machine import Machine
from .particle import Particle, Status, Trace
from .population import Population, Runnable, World, defined_by_run
from .source import Key, Laws, Source, derive
from .waiting import Act, Entry, Wait

if TYPE_CHECKING:
    from .methods.base import Method
    from .scheduler import Answered, Task


class Nested(Act):
    """Run a program by a method of its own; answered with what one of its runs returned.

    It is asked from within the activation of that program: the particle's scope is the inner one.
    """

    __slots__ = ("args", "kwargs", "method", "program")

    def __init__(
        self, site: Site, program: Runnable, method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.site = site
        self.index = ()
        self.name = None
        self.program = program
        self.method = method
        self.args = args
        self.kwargs = kwargs

    def answer(self, machine: Machine, particle: Particle) -> Wait | None:
        # Where runs are recorded, branch, are guided or only drawn, every choice has to be seen: there it runs inline.
        if type(machine) is not Machine or machine.branch or machine.ignore_evidence:
            outside = particle.scope.outside
            own = (self.program,) if defined_by_run(self.program, outside) else ()
            self.args, self.kwargs, *copied = copies((self.args, dict(self.kwargs), *own), outside)
            self.program = copied[0] if copied else self.program
            particle.block, particle.live = Entry(self, machine.prepare, particle.scope.outside), ()  # type: ignore[arg-type]
            return None
        return _Inside(machine, particle, self).go(None)


def returned(answer: Any) -> tuple[Any, None, Live]:
    """The block that a nested program ends with."""
    return answer, None, ()


def unfinished(why: str) -> str:
    """That an inner method did not come to its end, so that there is nothing to go on with."""
    return (
        f"the inference inside ended early ({why}), and what was finished by then is no estimate to go on with; let it "
        "come to its end, or use another method"
    )


def entry(site: Site, program: Runnable, method: Method) -> Block:
    """The first block of a program that is run by a method of its own."""

    def begin(*args: Any, **kwargs: Any) -> tuple[Any, Any, Live]:
        return Nested(site, program, method, args, kwargs), returned, ()

    return begin


@dataclass
class _Quiet(Source):
    """A source that hears of no boundaries: those of an inner population are no steps of the outer one."""

    source: Source

    @property
    def precise(self) -> bool:  # type: ignore[override]
        return self.source.precise

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        return self.source.choose(log_weights, key)

    def choose_rows(self, laws: Laws, rows: Sequence[int], keys: Sequence[Key], counters: Sequence[int]) -> Any:
        return self.source.choose_rows(laws, rows, keys, counters)

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return self.source.offset(key, breaks)

    def draw(self, distribution: Any, key: Key) -> Any:
        return self.source.draw(distribution, key)


class Errand(ABC):
    """An inner population under way, on behalf of a particle.

    Attributes:
        ask: what the particle asked for.
        task: what runs it.
    """

    task: Task[Population]

    def __init__(self, machine: Machine, particle: Particle, ask: Ask) -> None:
        self.machine = machine
        self.particle = particle
        self.ask = ask

    def inner(self) -> Machine:
        """The machine as an inner population uses it: they share the tally and the budget."""
        return replace(self.machine, source=_Quiet(self.machine.source), control=self.machine.control.inside())

    @abstractmethod
    def ended(self, population: Population) -> Wait | None:
        """Let the particle go on; what it waits for next."""

    def go(self, answered: Answered | None) -> Wait | None:
        """Run on; what the particle waits for besides what it waits for already."""
        try:
            asked = next(self.task) if answered is None else self.task.send(answered)
        except StopIteration as end:
            return self.ended(self._whole(end.value))
        self.particle.status = Status.WAITING
        waits = [self._for(wait) for wait in asked]
        if not waits:
            return None
        waits[0].others = tuple(waits[1:])
        return waits[0]

    def _whole(self, population: Population) -> Population:
        """An inner population that came to its end.

        Raises:
            ProgramError: its method left some of it out, by a bound of its own; a budget ends the whole run instead.
        """
        if population.incomplete is None:
            return population
        site = self.ask.site
        raise ProgramError(f"{site.kind} {site.name!r}: {unfinished(population.incomplete)}", site.span)

    def _for(self, wait: Wait) -> Wait:
        """A wait of an inner particle, as a wait of the caller."""

        def then(completion: Completion) -> Wait | None:
            return self.go([(wait, completion)])

        return Wait(self.particle, wait.engine, wait.request, then, wait.ask or wait.particle.ask)


class _Inside(Errand):
    """A nested program: the caller takes over one of its runs."""

    def __init__(self, machine: Machine, particle: Particle, ask: Nested) -> None:
        super().__init__(machine, particle, ask)
        self.key = derive(particle.key, particle.scope.prefix, "nested")
        world = World(ask.program, ask.args, ask.kwargs, self.inner(), self.key, scope=particle.scope)
        self.task = ask.method.run(world)

    def ended(self, population: Population) -> None:
        """Let the caller go on with one of the inner runs, picked by weight."""
        particle = self.particle
        weights = [p.log_weight for p in population.particles]
        if max(weights, default=-math.inf) == -math.inf:
            self.machine.kill(particle, self.ask.site)
            return
        run = population.particles[self.machine.source.choose(weights, derive(self.key, "pick"))]
        for choice in run.trace.choices() if run.trace else ():
            particle.trace = Trace(*choice, particle.trace)
        if particle.names or run.names:
            particle.names = frozenset(c.address for c in (particle.trace.choices() if particle.trace else ()))
        particle.asked += run.asked
        self.machine.give(particle, run.value)
        particle.status = Status.SYNC
        self.machine._add(particle, self.ask, population.log_evidence, run.log_joint)


class Finding(Errand):
    """A posterior that a program samples or observes: found by a method of its own, then asked as any distribution is.

    Args:
        machine, particle, ask: who asks what of it.
        program, args, kwargs, method: whose posterior, and how to find it.
        take: is given the population that was found; returns why it has no law, if so.
    """

    def __init__(
        self,
        machine: Machine,
        particle: Particle,
        ask: Ask,
        call: tuple[Runnable, tuple[Any, ...], Mapping[str, Any], Method],
        take: Callable[[Population], str | None],
    ) -> None:
        super().__init__(machine, particle, ask)
        self.take = take
        program, args, kwargs, method = call
        inner = replace(self.inner(), proposals={}, branch=False, ignore_evidence=False)  # of another program
        world = World(program, args, kwargs, inner, derive(0, "posterior"), outside=particle.scope.outside)
        self.task = method.run(world)

    def ended(self, population: Population) -> Wait | None:
        """Let the particle be answered now that the law is known."""
        missing = self.take(population)
        if missing is not None:
            error = ProgramError(f"{self.ask.site.kind} {self.ask.local_address!r}: {missing}", self.ask.site.span)
            if self.machine.on_error == "raise":
                raise error
            self.machine.kill(self.particle, self.ask.site, str(missing))
            return None
        self.particle.status = Status.READY
        return self.machine.answer(self.particle, self.ask)
