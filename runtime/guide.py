"""Guides: programs that propose.

A guide is run to its end, from the same arguments, before a particle begins; what it drew at an address becomes the
proposal there. Each value is weighed by its density under the program over its density under the guide, given what the
guide had drawn before. Draws that the program never asks for are auxiliary: their densities cancel from the weight,
whichever they are. So the law of the method stays what it is, as long as the guide covers what the program can draw.
A copy of a particle on its way has its guide run anew, with what the particle has drawn so far set in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..compiler.requests import Ask, Sample, Site
from .distributions import Distribution
from .engines.base import Completion
from .errors import ProgramError
from .machine import Machine, Wait
from .operands import uncovered
from .particle import Fixed, Particle, Scope, Status
from .result import Choice
from .source import Key, Source, derive

if TYPE_CHECKING:
    from .population import World


class Told(Distribution):
    """The value that a guide drew, with its log-density there.

    Attributes:
        choice: both.
        law: what the guide drew it from.
    """

    def __init__(self, choice: Choice, law: Any) -> None:
        self.choice = choice
        self.law = law

    def draw(self, source: Source, key: Key) -> tuple[Any, float]:
        return self.choice.value, self.choice.log_prob

    def log_prob(self, value: Any) -> float:
        raise NotImplementedError("a guide's density is known at what it drew alone")


@dataclass
class GuideMachine(Machine):
    """Runs guides.

    Attributes:
        laws: what each run that goes on has drawn from, by address.
    """

    laws: dict[Particle, dict[str, Any]] = field(default_factory=dict)

    def _record(self, particle: Particle, ask: Ask, address: str, value: Any, log_prob: float, observed: bool) -> None:
        super()._record(particle, ask, address, value, log_prob, observed)
        self.laws.setdefault(particle, {})[address] = ask.distribution  # type: ignore[attr-defined]


@dataclass
class GuidedMachine(Machine):
    """Runs particles of a program whose sites are proposed by a guide.

    Attributes:
        guide: the guide with its arguments, on a ``GuideMachine``.
        missed: by site, what the guide never gives there though the program does, in words.
    """

    guide: World | None = field(default=None)
    missed: dict[Site, str] = field(default_factory=dict)

    def run(self, particle: Particle, through: bool = False) -> Wait | None:
        if particle.guided is None and not self.ignore_evidence and not self.branch:
            wait = self._on(particle, self._runner(particle))
            if wait is not None:
                particle.status = Status.WAITING
                return wait
        return super().run(particle, through)

    def drawn_from(self, particle: Particle, ask: Sample, address: str, prior: Any) -> Any:
        told = (particle.guided or {}).get(address)
        return super().drawn_from(particle, ask, address, prior) if told is None else told

    def _weigh(
        self, particle: Particle, ask: Sample, address: str, prior: Any, proposal: Any, value: Any, log_q: float
    ) -> Wait | None:
        if ask.site not in self.covered and isinstance(proposal, Told):
            self.covered.add(ask.site)
            # No error, as it is for other proposals: guides may look at the data, or draw in another order.
            missed = uncovered(ask, address, prior, self.distribution(ask, proposal.law))
            if missed is not None:
                self.missed[ask.site] = missed
        return super()._weigh(particle, ask, address, prior, proposal, value, log_q)

    def _runner(self, particle: Particle) -> Particle:
        """A run of the guide that agrees with what the particle has drawn."""
        from .population import begin

        assert self.guide is not None
        runner = begin(self.guide, derive(particle.key, "guide"))
        drawn = particle.trace.choices() if particle.trace else ()
        fixed = {**(runner.scope.fixed or {}), **{c.address: Fixed(c.value, False) for c in drawn}}
        runner.scope = Scope("", fixed, runner.scope.outside)
        return runner

    def _on(self, particle: Particle, runner: Particle) -> Wait | None:
        """Run a particle's guide on; what it waits for, or nothing once it has ended."""
        assert self.guide is not None
        before = runner.asked
        wait = self.guide.machine.run(runner, through=True)
        particle.asked += runner.asked - before  # how far a run is on, its guide counts too
        if wait is not None:
            return self._for(particle, runner, wait)
        if runner.status is not Status.DONE or runner.log_weight != 0.0:
            raise ProgramError("a guide draws and weighs nothing", runner.ask.site.span if runner.ask else None)
        choices = runner.trace.choices() if runner.trace else ()
        assert isinstance(self.guide.machine, GuideMachine)
        laws = self.guide.machine.laws.pop(runner, {})
        particle.guided = {c.address: Told(c, laws[c.address]) for c in choices if not c.observed}
        return None

    def _for(self, particle: Particle, runner: Particle, wait: Wait) -> Wait:
        """A wait of the guide, as a wait of its particle."""

        def then(completion: Completion) -> Wait | None:
            runner.status = Status.READY
            more = wait.then(completion)
            return self._on(particle, runner) if more is None else self._for(particle, runner, more)

        return Wait(particle, wait.engine, wait.request, then, wait.ask or runner.ask)
