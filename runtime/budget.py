"""What a run of inference may use, and when it stops before its end.

A method is a task that asks for work. :func:`controlled` stands between it and the engines: it passes on what surely
fits, holds back what might not until the true cost of what is under way is known, and when nothing more fits it raises
:class:`Stopped` inside the method. So no budget in tokens, calls or particles is ever exceeded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeVar

from .engines.base import Completion
from .engines.requests import Choose, Generate, Score, Support
from .errors import ProgramError
from .waiting import CallRequest, Wait

if TYPE_CHECKING:
    from .population import Population
    from .scheduler import Task

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """The most that a run of inference may use; ``None``: no bound.

    What would go past it is not begun. The run then ends with what it has finished, marked incomplete.

    Attributes:
        tokens: model tokens generated or scored (``posterior.cost.tokens``).
        calls: rows given to functions by ``call``: rewards, tests, tools.
        particles: runs of the program that are begun, if only to try or to score something, and copies of runs; those
            of inner populations count too, and those of a program that is nested in it.
        seconds: wall-clock time, looked at before work is begun; what is under way then is finished.
    """

    tokens: int | None = None
    calls: int | None = None
    particles: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            in_seconds = field.name == "seconds"
            whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())  # such as 1e6
            good = isinstance(value, Real) if in_seconds else whole
            if isinstance(value, bool) or not (good and value > 0):
                what = "number" if in_seconds else "whole number"
                raise ValueError(f"a budget of {field.name} is a {what} over 0, or None for no bound; got {value!r}")
            if not in_seconds:
                object.__setattr__(self, field.name, int(value))

    @classmethod
    def of(cls, given: Budget | Mapping[str, float] | None) -> Budget | None:
        """A budget as users may write it: itself, or a mapping such as ``{"tokens": 2000}``.

        Raises:
            TypeError, ValueError: it is none.
        """
        if given is None or isinstance(given, Budget):
            return given
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping):
            raise TypeError(f"budget is Budget(tokens=...) or a dict of {', '.join(known)}; got {given!r}")
        for name in given:
            if name not in known:
                raise TypeError(f"a budget has no {name!r}; it has {', '.join(known)}")
        return cls(**given)  # type: ignore[arg-type]


_UNBOUNDED = Budget()


class Stopped(Exception):
    """Raised inside a method that may not go on.

    Attributes:
        reason: in words, for users.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Control:
    """Watches one run of inference.

    Attributes:
        budget: what it may use.
        stop: called with the population after each step; true ends the run.
        population: what there is to hand back if the run is stopped.
        tokens, calls, particles: used so far.
        inner: whether it is of a population inside the run. A method that is stopped there has nothing to hand back:
            what is unfinished is no estimate for the outer one to go on with.
    """

    inner = False

    def __init__(self, budget: Budget | None = None, stop: Callable[[Population], bool] | None = None) -> None:
        self.budget = budget or Budget()
        self.stop = stop
        self.population: Population | None = None
        self.tokens = self.calls = self.particles = 0
        self._started = time.monotonic()
        self._promised: list[float] = [0, 0]  # tokens and calls: used, or reserved for what is under way
        self._reserved: dict[int, tuple[float, int, int]] = {}
        self._short = ""  # which bound did not allow what was asked for last

    def inside(self) -> Control:
        """For a population inside this run, such as an inner particle filter's.

        What that uses counts here; its steps are none of this run's, and it is not what there is to hand back.
        """
        return _Inside(self)

    def rest(self) -> None:
        """Let no time pass until :meth:`begin`: what is done meanwhile was done before."""
        self._started = math.inf

    def begin(self) -> None:
        """Let its time begin now."""
        self._started = time.monotonic()

    @property
    def timed(self) -> bool:
        """Whether its time is bounded, so that :meth:`tick` may stop it."""
        return self.budget.seconds is not None

    # --- what methods tell ---

    def claim(self, particles: int) -> None:
        """Begin some particles.

        Raises:
            Stopped: the budget has not so many left; none is begun.
        """
        if self.budget.particles is not None and self.particles + particles > self.budget.particles:
            raise Stopped(f"the budget of {self.budget.particles} particles is used up")
        self.particles += particles

    def room(self, particles: int) -> int:
        """How many of so many particles may be begun."""
        bound = self.budget.particles
        return particles if bound is None else min(particles, bound - self.particles)

    def step(self, population: Population, going: bool | None = None) -> None:
        """A step of the population has ended.

        Args:
            population: what there is by now.
            going: whether the method goes on from here; by default where some program does.

        Raises:
            Stopped: its time is over, or the rule that was given says so.
        """
        self.population = population
        if not (population.running if going is None else going):
            return
        if self._late:
            raise Stopped(f"the {self.budget.seconds} seconds are over")
        if self.stop is not None and self.stop(population):
            says = getattr(self.stop, "says", None)
            rule = f"the rule stop={getattr(self.stop, '__name__', self.stop)} holds"
            raise Stopped(rule if says is None else f"{rule}: {says}")

    def tick(self) -> None:
        """Something was done that asked no engine.

        Raises:
            Stopped: its time is over.
        """
        if self._late:
            raise Stopped(f"the {self.budget.seconds} seconds are over")

    # --- what it asks for ---

    def admit(self, held: list[Wait]) -> list[Wait]:
        """Of what is asked for, what surely fits; it is taken out of ``held``.

        Runs that are far on come first, and while something of theirs is under way none behind them goes on: better
        that some finish than that all are begun.
        """
        if self.budget == _UNBOUNDED:
            admitted, held[:] = list(held), []
            return admitted
        held.sort(key=lambda wait: -wait.particle.asked)
        first = max((asked for _, _, asked in self._reserved.values()), default=0)
        admitted = [w for w in held if w.particle.asked >= first and not self._late and self._fits(w)]
        held[:] = [wait for wait in held if id(wait.request) not in self._reserved]
        return admitted

    def settle(self, answered: Iterable[tuple[Wait, Completion]]) -> None:
        """Put the true cost in the place of what was reserved."""
        if self.budget == _UNBOUNDED:
            self.tokens += sum([completion.tokens for _, completion in answered])
            return
        for wait, completion in answered:
            tokens, calls, _ = self._reserved.pop(id(wait.request))
            self._promised[0] += completion.tokens - tokens
            self.tokens += completion.tokens
            self.calls += calls

    @property
    def reason(self) -> str:
        """Why nothing was admitted."""
        if self._late:
            return f"the {self.budget.seconds} seconds are over"
        if self._short == "tokens":
            return (
                f"{self.tokens} of {self.budget.tokens} tokens are used, and the next step may need more than the rest"
            )
        return f"the budget of {self.budget.calls} calls is used up"

    @property
    def _late(self) -> bool:
        return self.budget.seconds is not None and time.monotonic() - self._started > self.budget.seconds

    def _fits(self, wait: Wait) -> bool:
        tokens, calls = cost = most(wait)
        if tokens == math.inf and self.budget.tokens is not None:
            ask = wait.particle.ask
            raise ProgramError(
                "a budget in tokens needs to know the most that a step can take: give this text max_tokens",
                ask.site.span if ask is not None else None,
            )
        bounds = {"tokens": self.budget.tokens, "calls": self.budget.calls}
        for (name, bound), promised, more in zip(bounds.items(), self._promised, cost, strict=True):
            if bound is not None and promised + more > bound:
                self._short = name
                return False
        self._promised[0] += tokens
        self._promised[1] += calls
        self._reserved[id(wait.request)] = (*cost, wait.particle.asked)
        return True


class _Inside(Control):
    """See :meth:`Control.inside`."""

    inner = True

    def __init__(self, outer: Control) -> None:
        super().__init__()
        self.outer = outer

    @property
    def timed(self) -> bool:
        return self.outer.timed

    def claim(self, particles: int) -> None:
        self.outer.claim(particles)

    def room(self, particles: int) -> int:
        return self.outer.room(particles)

    def step(self, population: Population, going: bool | None = None) -> None:
        self.outer.tick()

    def tick(self) -> None:
        self.outer.tick()


def most(wait: Wait) -> tuple[float, int]:
    """The most tokens and calls that a request can cost."""
    request = wait.request
    if isinstance(request, CallRequest):
        return 0, 1
    if isinstance(request, Generate):
        return math.inf if request.spec.max_tokens is None else request.spec.max_tokens, 0
    if isinstance(request, Score):
        return len(request.tokens), 0
    if isinstance(request, Choose):
        return sum(map(len, request.options)), 0
    if isinstance(request, Support) and request.spec.pause == "token":
        return 1, 0
    if isinstance(request, Support) and request.spec.max_tokens is not None:
        # Each beginning of a text costs one, and is the beginning of an outcome of its own.
        words = getattr(getattr(wait.engine, "model", None), "vocab_size", math.inf)
        beginnings = sum(words**i for i in range(min(request.spec.max_tokens, 64)))
        return min(beginnings, request.limit * request.spec.max_tokens), 0
    return math.inf, 0


def controlled(task: Task[Population], control: Control) -> Task[Population]:
    """A method's task under control.

    Returns:
        What the method returns; where it was stopped and made nothing of that itself, the population as it was.
    """
    held: list[Wait] = []
    outstanding = 0
    try:
        asked = next(task)
        while True:
            held += asked
            admitted = control.admit(held)
            outstanding += len(admitted)
            if held and not outstanding:
                held.clear()
                asked = task.throw(Stopped(control.reason))
                continue
            answered = yield admitted
            outstanding -= len(answered)
            control.settle(answered)
            asked = task.send(answered)
    except StopIteration as end:
        found: Population = end.value
        return found
    except Stopped as stop:
        from .population import Population

        population = control.population or Population([], 0.0)
        population.incomplete = stop.reason
        return population
