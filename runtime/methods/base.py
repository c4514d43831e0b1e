"""What an inference method is: a guarantee, and a way to run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ..population import Population, World
from ..result import Guarantee
from ..scheduler import Task


@dataclass(frozen=True)
class Method(ABC):
    """A recipe for a weighted population, as a frozen dataclass whose fields are its options.

    Attributes:
        name: what ``infer(method=...)`` calls it.
        guarantee: the law it obeys: ``proper`` (E[Ẑ f] = μ(f)), ``stationary``, ``exact`` or ``heuristic``.
        evidence: whether its population estimates the evidence.
    """

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    evidence: ClassVar[bool] = True

    @abstractmethod
    def run(self, world: World) -> Task[Population]:
        """A task that ends with a finished population."""


def at_least_one(n: int) -> None:
    """Raises:
    ValueError: ``n`` is no positive number of particles.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is the number of particles, 1 or more; got {n!r}")
