"""Importance sampling."""

from __future__ import annotations

from dataclasses import dataclass

from ..independent import independent
from ..population import Population, World
from ..scheduler import Task
from .base import Method, at_least_one


@dataclass(frozen=True)
class Importance(Method):
    """Run n particles to the end; weigh each by evidence and, where it was proposed, prior over proposal.

    Law: proper. E[mean w · f(x)] = μ(f) (Kahn and Marshall, 1953).

    Attributes:
        n: the number of particles.
    """

    name = "importance"
    guarantee = "proper"
    memoryless = True

    n: int = 32

    def __post_init__(self) -> None:
        at_least_one(self.n)

    def run(self, world: World) -> Task[Population]:
        return independent(world, self.n)
