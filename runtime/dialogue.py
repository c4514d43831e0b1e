"""Several requests to engines, one after another, that together answer one question about a distribution."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .engines.base import Completion, ModelDistribution, Request
from .source import Source

if TYPE_CHECKING:
    from .machine import Wait
    from .particle import Particle

    Then = Callable[[Completion], "Wait | None"]
    Asker = Callable[[Particle, ModelDistribution, Request, Then], Wait]

Steps = Generator[tuple[ModelDistribution, Request], Completion, Completion]
"""Yields what to ask, and of whose engine; is sent the answers; returns the answer of the whole."""


@dataclass(eq=False, slots=True)
class Dialogue(Request):
    """A request that the machine takes apart: no engine sees it.

    Attributes:
        steps: begins it, given where draws come from.
    """

    steps: Callable[[Source], Steps]


def converse(ask: Asker, particle: Particle, steps: Steps, then: Then) -> Wait:
    """The wait for the first request of a dialogue.

    Args:
        ask: makes the wait for one request.
        particle: on whose behalf.
        steps: the dialogue.
        then: takes the answer of the whole.
    """

    def heard(completion: Completion) -> Wait | None:
        try:
            distribution, request = steps.send(completion)
        except StopIteration as end:
            return then(end.value)
        return ask(particle, distribution, request, heard)

    distribution, request = next(steps)
    return ask(particle, distribution, request, heard)
