"""Plain forward sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..independent import independent
from ..population import Population, World
from ..scheduler import Task
from .base import Method, at_least_one


@dataclass(frozen=True)
class Forward(Method):
    """Run n particles as if the program held no evidence: independent draws from its prior.

    Law: proper for the program without its evidence, whose total mass is 1.

    Attributes:
        n: the number of particles.
    """

    name = "forward"
    guarantee = "proper"
    memoryless = True
    evidence = False

    n: int = 1

    def __post_init__(self) -> None:
        at_least_one(self.n)

    @property
    def by_traces(self) -> bool:
        return True

    def run(self, world: World) -> Task[Population]:
        return independent(replace(world, machine=replace(world.machine, ignore_evidence=True)), self.n)
