"""Putting the steps of Markov chains through all their outcomes, each part of a step only once.

A step of parallel tempering moves several replicas, and one of PMMH estimates an evidence: put through everything that
may happen, the outcomes of parts multiply. But the law of a part depends only on what the step gives it
(``Setting.part``): a replica, or parameters. So a part is explored once for what it is given, and from then on its
outcomes are drawn from the law that was found, equal ones together. The step itself is the production code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from .certificate_keys import OtherSeed
from .expectation import Call, TooLarge, exactly
from .program import Program
from .proposed import proposals_of
from .running import machine_for
from .runtime.exact import NotFinite, Place, explore
from .runtime.follow import Step
from .runtime.kernels import Setting
from .runtime.methods import Method
from .runtime.particle import Particle, Status
from .runtime.population import World
from .runtime.replay import recording
from .runtime.result import log_sum_exp
from .runtime.scheduler import Scheduler, Task
from .runtime.source import Key, Source, derive
from .watching import tell

T = TypeVar("T")
Law = list[tuple[float, Any]]
"""Log-probabilities and outcomes."""

COMBINED = 25
"""How many outcomes of a step whose parts are known count as one that runs the program."""


class Explorer:
    """Runs tasks of one program through all their outcomes, up to a limit in all.

    Args:
        program, call: the program and its arguments.
        limit: the most sequences of outcomes that run the program.
        method: which method's.

    Attributes:
        leaves: how many there were.
        part: how many of how many rows, or runs, have been explored.
    """

    def __init__(self, program: Program, call: Call, limit: int, method: Method) -> None:
        self.program, self.call, self.limit, self.method = program, call, limit, method
        self.leaves = 0
        self.part = (0, 1)
        self._combined = 0
        self._laws: dict[Any, Law] = {}
        self._asked = False
        self._drawn: set[Place] = set()

    @property
    def size(self) -> str:
        """How many steps there are, as far as can be told."""
        done, of = self.part
        about = f", about {float(f'{self.leaves * of / done:.1g}'):,.0f} by what was seen" if done else ""
        return f"{done:,} of {of:,} states were done{about}"

    def explore(self, task: Callable[[Setting, Key], Task[T]]) -> Iterator[tuple[float, T]]:
        """Each outcome of a task with its log-probability.

        Raises:
            TooLarge: there are more than the limit, or infinitely many.
            KeyReused: two draws have the same key, in one run or under two seeds.
        """

        def run(source: Source) -> T:
            self._asked = False
            found = alone(self.program, self.call, within, source)
            self._count()
            return found

        def again(source: Source) -> T:
            return alone(self.program, self.call, within, source, seed=1)

        def within(world: World) -> Task[T]:
            setting = _Remembering(recording(world), target=self.method.target, explorer=self)  # type: ignore[attr-defined]
            return task(setting, derive(world.key, "step"))

        try:
            yield from explore(run, self.limit * COMBINED + 1, OtherSeed(again, self._drawn))
        except NotFinite as error:
            raise TooLarge(f"{self.program.name} by {self.method.describe()}: {error}", self.method) from error

    def law(self, setting: Setting, function: Callable[..., Task[Any]], given: tuple[Any, ...]) -> Law:
        """The law of a part, from the second time on as it was found the first time."""
        name = (function.__qualname__, identity(given))
        if name not in self._laws:
            outcomes: dict[Any, tuple[list[float], Any]] = {}
            for log_p, outcome in self.explore(lambda s, k: function(replace(s, stage=setting.stage), *given, k)):
                outcomes.setdefault(identity(outcome), ([], outcome))[0].append(log_p)
            self._laws[name] = [(log_sum_exp(log_ps), outcome) for log_ps, outcome in outcomes.values()]
        self._asked = True
        return self._laws[name]

    def _count(self) -> None:
        """Count a sequence of outcomes that was run."""
        self.leaves += not self._asked
        self._combined += self._asked
        tell(f"{self.program.name} by {self.method.describe()}", self.leaves)
        if self.leaves + self._combined / COMBINED > self.limit:
            raise TooLarge(
                f"{self.program.name} by {self.method.describe()}: more than {self.limit:,} steps are needed to write "
                f"down its transition matrix: {self.size}. Shrink the program (fewer choices, fewer outcomes, shorter "
                "texts), take fewer particles or raise limit=; else test it by calibrate or geweke",
                self.method,
            )


@dataclass(frozen=True)
class _Remembering(Setting):
    """Where parts are drawn from their laws."""

    explorer: Explorer | None = None

    def part(self, function: Callable[..., Task[T]], key: Key, *given: Any) -> Task[T]:
        assert self.explorer is not None
        law = self.explorer.law(self, function, given)
        found: T = law[self.world.machine.source.choose([log_p for log_p, _ in law], key)][1]
        return found
        yield  # a task that waits for nothing


def alone(program: Program, call: Call, task: Callable[[World], Task[T]], source: Source, seed: int = 0) -> T:
    """Run a task on one problem."""
    prepare = None if program.pipeline is None else program.prepared(program.pipeline)
    machine = machine_for(source, proposals_of(program), *call, prepare=prepare)
    world = World(program, *call, machine, derive(seed, "law"))
    [(_, found)] = Scheduler(1).run([(task(world), source)])
    return found


def identity(state: Any) -> Any:
    """What tells a state of a chain, or what a part is given, from others: choices, and numbers up to rounding."""
    if isinstance(state, Particle):
        return key_of(state) if state.status is not Status.DEAD else "dead"
    if isinstance(state, Step):
        return state.address, *exactly(state.value)
    if isinstance(state, float):
        return round(state, 9)
    if isinstance(state, (tuple, list)):
        return tuple(map(identity, state))
    if is_dataclass(state):
        return tuple(identity(getattr(state, field.name)) for field in fields(state))
    return state


def key_of(run: Particle) -> Any:
    """What tells a finished run from others: every choice."""
    return tuple((c.address, *exactly(c.value)) for c in (run.trace.choices() if run.trace else ()))
