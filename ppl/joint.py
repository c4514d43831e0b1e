"""A program as a joint distribution over what is latent and what is data, to draw from and to condition on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .infer import run_problems
from .program import Program
from .runtime.kernels.addresses import matches
from .runtime.particle import Fixed
from .runtime.result import Run
from .runtime.simulate import Simulate
from .runtime.source import derive

_ATTEMPTS = 1_000


class NeverHeld(ValueError):
    """The conditions of a program held in no simulation."""


@dataclass(frozen=True)
class Draw:
    """A run with its data: ``draw["slope"]`` is the value at an address, be it latent or data.

    Attributes:
        value: what the program returned.
        latent: address → value of the random choices that are not data.
        data: address → value of the data.
        log_joint: log-density of the latents and the data together.
    """

    value: Any
    latent: Mapping[str, Any]
    data: Mapping[str, Any]
    log_joint: float

    def __getitem__(self, address: str) -> Any:
        if address in self.latent:
            return self.latent[address]
        if address in self.data:
            return self.data[address]
        raise KeyError(f"no {address!r}; there are {', '.join((*self.latent, *self.data)) or 'none'}")


class Joint:
    """The joint distribution of a program's latents and data.

    Data are the values of every ``observe``, of the sites that were ``given``, and of the sample sites named here.
    """

    def __init__(
        self,
        program: Program,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        data: str | Sequence[str] = (),
    ) -> None:
        """Look at a program as a joint distribution.

        Args:
            program: a program whose only evidence is ``observe`` and ``condition``.
            args, kwargs: its arguments; what they say of the data's values does not matter, only how many there are.
            data: names of sample sites that are data: ``"y"`` stands for ``y``, ``y[0]``, ``y[1]`` …
        """
        self.program = as_inferred(program, keep=("*",))
        self._call = (tuple(args), dict(kwargs or {}))
        self._names = (data,) if isinstance(data, str) else tuple(data)

    def draw(self, seed: int) -> Draw:
        """Latents and data, drawn together.

        Args:
            seed: what the draw is a function of.

        Raises:
            ValueError: a name of data is none of a sample site.
            NeverHeld: the program's conditions held in no simulation.
            ProgramError: data can't be drawn from the program: it has a ``factor``.
        """
        run = self._simulate(self.program, seed)
        draw = self._split(run)
        for name in self._names:
            if not any(matches(name, address) for address in draw.data):
                known = ", ".join(choice.address for choice in run.trace[:8]) or "none"
                raise ValueError(f"data={name!r}: a run of {self.program.name} has no such sample site; it has {known}")
        return draw

    def redraw(self, latent: Mapping[str, Any], seed: int) -> Draw:
        """The same latents with data drawn anew.

        Args:
            latent: address → value, of all latents.
            seed: what the draw is a function of.
        """
        return self._split(self._simulate(self._fix(latent, observed=False), seed), latent)

    def given(self, data: Mapping[str, Any]) -> Program:
        """The program with these data."""
        return self._fix(data, observed=True)

    def reread(self, run: Run, data: Mapping[str, Any]) -> Draw:
        """A run of :meth:`given`'s program as a draw."""
        latent = {choice.address: choice.value for choice in run.trace if not choice.observed}
        return Draw(run.value, latent, data, run.log_joint)

    def _fix(self, values: Mapping[str, Any], observed: bool) -> Program:
        # Not given(): data may stand at an observe, where users have arguments for it.
        return self.program.with_fixed({address: Fixed(value, observed) for address, value in values.items()})

    def _simulate(self, program: Program, seed: int) -> Run:
        for attempt in range(_ATTEMPTS):
            runs = run_problems(program, [self._call], Simulate(), [derive(seed, "simulate", attempt)])[0].runs
            if runs:
                return runs[0]
        raise NeverHeld(f"the conditions of {self.program.name} held in none of {_ATTEMPTS:,} simulations")

    def _split(self, run: Run, latent: Mapping[str, Any] | None = None) -> Draw:
        data = {c.address: c.value for c in run.trace if c.observed or any(matches(n, c.address) for n in self._names)}
        rest = {c.address: c.value for c in run.trace if c.address not in data}
        return Draw(run.value, rest if latent is None else latent, data, run.log_joint)


def as_inferred(program: Program, keep: Sequence[str] = ()) -> Program:
    """The program under the passes that ``infer`` runs it under, so that what is checked is what is used.

    Args:
        program: any program.
        keep: addresses that the passes must leave; ``"*"`` for all.
    """
    return program.with_passes(program.pipeline, keep)
