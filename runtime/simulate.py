"""Drawing data: a program run forward with its observations drawn, not given."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..compiler.requests import Ask, Condition, Sample
from .distributions import Distribution
from .engines.base import Completion
from .errors import ProgramError
from .machine import Machine, Wait
from .methods.base import Method
from .particle import Particle
from .population import Population, World, advance, spawn
from .scheduler import Task
from .source import derive


@dataclass
class Simulator(Machine):
    """Gives each effect the meaning that it has in a simulation.

    An ``observe``, or a sample site whose value was given, draws a value of its distribution instead, which the trace
    keeps as observed. A ``condition`` that fails ends the run. A ``factor`` is refused: it weighs data, but does not
    say how they come about. Sites set with ``do`` stay out of the trace: they are neither latent nor data.
    """

    def _observe(self, particle: Particle, ask: Ask, distribution: Any, value: Any) -> Wait | None:
        dist = self.distribution(ask, distribution)
        address = particle.scope.prefix + ask.local_address
        key = derive(particle.key, address)

        def drawn(value: Any, log_prob: float) -> None:
            super(Simulator, self)._record(particle, ask, address, value, log_prob, True)
            particle.log_joint += log_prob
            self.give(particle, value if type(ask) is Sample else None)

        if isinstance(dist, Distribution):
            drawn(*dist.draw(self.source, key))
            return None

        def then(completion: Completion) -> Wait | None:
            self.tally.tokens += completion.tokens
            drawn(dist.value(completion), completion.log_prob)
            return None

        return self._wait(particle, dist, dist.draw(key), then)

    def _evidence(self, particle: Particle, ask: Ask, log_weight: float) -> None:
        if type(ask) is not Condition:
            raise ProgramError(
                f"data can't be drawn from a program with {ask.site.kind}(): it weighs runs and does not say how they "
                "come about; write observe(distribution, value), or condition(...) for what must hold",
                ask.site.span,
            )
        if log_weight < 0.0:
            self.kill(particle, ask.site)

    def _record(self, particle: Particle, ask: Ask, address: str, value: Any, log_prob: float, observed: bool) -> None:
        if not observed:
            super()._record(particle, ask, address, value, log_prob, observed)


@dataclass(frozen=True)
class Simulate(Method):
    """One run of the program with its data drawn; none if a ``condition`` failed.

    Law: the trace, data included, is a draw from the program's joint distribution given that its conditions hold.
    """

    name = "simulate"
    guarantee = "proper"
    evidence = False

    def run(self, world: World) -> Task[Population]:
        parts = {f.name: getattr(world.machine, f.name) for f in fields(world.machine)}
        # As written: a pass may drop what is to be drawn.
        world.machine = Simulator(**{**parts, "ignore_evidence": True, "prepare": None})
        population = spawn(world, 1)
        yield from advance(world, population, through=True)
        return population
