"""A chain's run as kernels written by users see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..follow import Step, choices_of
from ..particle import Particle


class RunView(Mapping[str, Any]):
    """A run: address → value of its random choices, in the order in which they were made.

    Attributes:
        particle: the run itself.
    """

    __ppl_immutable__ = True  # a program that is given one shares it among its particles

    def __init__(self, particle: Particle) -> None:
        self.particle = particle
        self._steps: dict[str, Step] = {step.address: step for step in choices_of(particle)}

    @property
    def value(self) -> Any:
        """What the program returned."""
        return self.particle.value

    @property
    def log_joint(self) -> float:
        """Log-density of all choices and evidence."""
        return self.particle.log_joint

    def log_prob(self, address: str) -> float:
        """Log-density of a choice under its site's own distribution."""
        return self._step(address).log_p

    def distribution(self, address: str) -> Any:
        """The distribution of a choice, given those before it."""
        return self._step(address).distribution

    def __getitem__(self, address: str) -> Any:
        return self._step(address).value

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"<run of {dict(self)!r}>"

    def _step(self, address: str) -> Step:
        step = self._steps.get(address)
        if step is None:
            raise KeyError(f"the run has no choice at {address!r}; it has {', '.join(self._steps) or 'none'}")
        return step
