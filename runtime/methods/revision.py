"""Sequential revision."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace

from ..budget import Stopped
from ..particle import Particle, Status
from ..population import Population, World, advance, record, show, spawn
from ..scheduler import Task
from ..source import derive
from .base import Method, at_least_one, one_of


@dataclass(frozen=True)
class Revision(Method):
    """Run the program n times in a row, each time telling it what it returned before (Snell et al., 2024).

    Guarantee: none. The program has a parameter for the answer before, ``previous=None`` in the first attempt, and
    puts it into its prompt.

    Attributes:
        n: the number of attempts.
        argument: the parameter for the answer before; ``None``: no attempt knows of the others.
        pick: which attempt is the answer: the ``best`` by the program's own weight, or the ``last``.
    """

    name = "revision"
    guarantee = "heuristic"
    evidence = False
    law_variants = ({"argument": None}, {"argument": None, "pick": "last"})

    n: int = 4
    argument: str | None = "previous"
    pick: str = "best"

    def __post_init__(self) -> None:
        at_least_one(self.n)
        if self.argument is not None and not isinstance(self.argument, str):
            raise ValueError(f"argument is the name of a parameter of the program, or None; got {self.argument!r}")
        one_of("pick", self.pick, ("best", "last"))

    def run(self, world: World) -> Task[Population]:
        self._check_parameter(world)
        attempts: list[Particle] = []
        begun, previous = 0, None
        population = Population([], 0.0)
        try:
            for i in range(self.n):
                population = self._attempt(world, i, previous)
                begun += 1
                yield from advance(replace(world, report=None), population, through=True)
                record(population, None)
                attempt = population.particles[0]
                if attempt.status is Status.DONE:
                    attempts.append(attempt)
                    previous = attempt.value
                show(world, Population(list(attempts), 0.0), going=i + 1 < self.n)
        except Stopped as stop:
            population.incomplete = stop.reason
        chosen = attempts[-1:] if self.pick == "last" else sorted(attempts, key=lambda p: -p.log_weight)[:1]
        for particle in chosen:
            particle.log_weight = 0.0
        population.begun, population.particles = begun, chosen
        return population

    def _attempt(self, world: World, i: int, previous: object) -> Population:
        """One particle at the start of an attempt."""
        told = {} if self.argument is None else {self.argument: previous}
        key = derive(world.key, "attempt", i)
        return spawn(replace(world, kwargs={**world.kwargs, **told}, key=key), 1)

    def _check_parameter(self, world: World) -> None:
        """Refuse programs that can't be told.

        Raises:
            ValueError: the program has no such parameter.
        """
        parameters = inspect.signature(world.program.entry).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if self.argument is not None and self.argument not in parameters and not open_ended:
            raise ValueError(
                f"method='revision' tells each attempt the answer before it, in the parameter {self.argument!r}, which "
                f"the program lacks: it has {', '.join(parameters) or 'none'}. Give it {self.argument}=None, or say "
                "argument=... for another"
            )
