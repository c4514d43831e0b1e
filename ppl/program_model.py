"""Programs and this package's kernels, as Geweke's test wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .calibration import Quantity, default_quantities
from .infer import run_problems
from .joint import Draw, Joint
from .program import Program, needs_program
from .runtime.machine import Machine
from .runtime.methods import Importance
from .runtime.population import World
from .runtime.scheduler import Scheduler
from .runtime.source import RandomSource, derive

if TYPE_CHECKING:
    from .runtime.kernels.base import Kernel

Values = Mapping[str, Any]
"""Address → value."""


class ProgramModel:
    """A program as a model for :func:`~ppl.geweke`: its parameters and its data are mappings from addresses::

    model = ProgramModel(regression, xs, data="y")
    geweke(model, model.step(SingleSite()))
    """

    def __init__(
        self,
        program: Program,
        *args: Any,
        data: str | Sequence[str] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Look at a program as a model.

        Args:
            program: a program whose only evidence is ``observe`` and ``condition``.
            args, kwargs: its arguments.
            data: names of sample sites that are data, besides every ``observe``.
        """
        needs_program(program, "ProgramModel")
        self.name = program.name
        self._joint = Joint(program, args, kwargs, data)
        self._call = (args, dict(kwargs or {}))

    def draw(self, seed: int) -> tuple[Values, Values]:
        """Parameters and data."""
        draw = self._joint.draw(seed)
        return draw.latent, draw.data

    def redraw(self, value: Values, seed: int) -> Values:
        """Data, given the parameters."""
        return self._joint.redraw(value, seed).data

    @cached_property
    def functions(self) -> dict[str, Callable[[Values, Values], float]]:
        """What to compare: every latent number, and the joint density."""
        latent = self._joint.draw(0).latent
        found = default_quantities(Draw(None, latent, {}, 0.0))
        return {name: self._function(quantity) for name, quantity in found.items()}

    def step(self, kernel: Kernel) -> Callable[[Values, Values, int], Values]:
        """A kernel of this package as a step.

        Args:
            kernel: such as ``SingleSite()``.
        """
        from .runtime.kernels.base import Setting
        from .runtime.replay import generate, recording

        def step(value: Values, data: Values, seed: int) -> Values:
            args, kwargs = self._call
            machine = Machine(RandomSource())
            world = recording(World(self._joint.given(data), args, kwargs, machine, derive(seed, "world")))

            def task() -> Any:
                start = yield from generate(world, value, derive(seed, "start"))
                return (yield from kernel.step(Setting(world), start.particle, derive(seed, "kernel")))

            ((_, end),) = Scheduler(1).run(iter([(task(), machine.source)]))
            return {c.address: c.value for c in end.trace.choices() if not c.observed}

        step.__name__ = repr(kernel)
        return step

    def _function(self, quantity: Quantity) -> Callable[[Values, Values], float]:
        return lambda value, data: float(quantity(Draw(None, value, data, self._log_joint(value, data))))

    def _log_joint(self, value: Values, data: Values) -> float:
        fixed = self._joint.given({**value, **data})
        found = run_problems(fixed, [self._call], Importance(n=1), [0])[0]
        return float("-inf") if found.empty else found.runs[0].log_joint
