"""Following an older run: what was recorded of it, and what the new run does at each site.

- :class:`Step`: one answer that a run was given: a value drawn, a density observed, the result of a call.
- :class:`Journal`: the steps of a run, newest first; forks share their past.
- A :class:`Decision`: what to do at a sample site: ``KEEP``, ``REDRAW``, :class:`Put`, :class:`Draw`, :class:`Score`.
- :class:`Follow`: how far a run has followed another, what was decided, and the density of what it drew anew.

As long as nothing before it has changed, a step is repeated as recorded: no model call, no call of a function. From the
first change on, kept values are scored under the new distributions, and addresses that the old run lacks are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..compiler.requests import Site
from .errors import ProgramError
from .operands import ProposalSite
from .particle import Particle


@dataclass(frozen=True, slots=True)
class Step:
    """One answer that a run was given.

    Attributes:
        address: of the effect.
        site: the effect.
        value: what was drawn, observed, or returned by a call.
        drawn: whether it is a random choice; if not, it is evidence or a call.
        log_p: log-density of the value under the site's own distribution; 0 for a call.
        log_q: log-density under what the program draws it from: the site's own distribution or its proposal.
        distribution: the site's own distribution; ``None`` for a call.
    """

    address: str
    site: Site
    value: Any
    drawn: bool
    log_p: float = 0.0
    log_q: float = 0.0
    distribution: Any = None


@dataclass(frozen=True, slots=True)
class Journal:
    """The steps of a run so far, newest first."""

    step: Step
    before: Journal | None


def steps_of(particle: Particle) -> tuple[Step, ...]:
    """What was recorded of a run, in order."""
    found: list[Step] = []
    node: Journal | None = particle.journal
    while node is not None:
        found.append(node.step)
        node = node.before
    return tuple(reversed(found))


def choices_of(particle: Particle) -> list[Step]:
    """The random choices among the recorded steps, in order."""
    return [step for step in steps_of(particle) if step.drawn]


@dataclass(frozen=True, slots=True)
class MoveSite(ProposalSite):
    """What the proposal of a kernel may look at.

    Attributes:
        value: the site's value in the chain's current run.
        trace: address → value of all random choices in the chain's current run.
        drawn_from: the program's own proposal at this site, else its distribution.
    """

    value: Any
    trace: Mapping[str, Any]
    drawn_from: Any


Maker = Callable[[MoveSite], Any]
"""Makes the distribution to draw a site from, given the current run."""


class Decision:
    """What to do at a sample site."""


KEEP = Decision()
"""Keep the old value, scored anew if anything before it has changed."""
REDRAW = Decision()
"""Draw from the program's own proposal, or the site's distribution."""
STOP = Decision()
"""Wait at this site, as if to branch."""


@dataclass(frozen=True, slots=True)
class Put(Decision):
    """Take this value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Draw(Decision):
    """Draw from what ``make`` gives."""

    make: Maker


@dataclass(frozen=True, slots=True)
class Score(Decision):
    """Keep the old value, and add its density under what ``make`` gives to the density of what was drawn."""

    make: Maker


Policy = Callable[[str, "Follow"], Decision]


class Follow:
    """The state of a run that follows another.

    Attributes:
        known: the old run's random choices by address.
        current: address → value of the chain's current run, as proposals see it.
        same: nothing has changed so far.
        log_forward: log-density of all that was drawn anew.
        decided: what was decided, by address.
    """

    def __init__(self, steps: tuple[Step, ...], policy: Policy, current: Mapping[str, Any] | None = None) -> None:
        """Follow a run.

        Args:
            steps: what was recorded of it.
            policy: from an address to the decision there; an address that the old run lacks is drawn, unless ``Put``.
            current: the chain's current run, if that is another.
        """
        self.steps = steps
        self.policy = policy
        self.known = {step.address: step for step in steps if step.drawn}
        self.current = {a: step.value for a, step in self.known.items()} if current is None else current
        self.same = True
        self.log_forward = 0.0
        self.decided: dict[str, Decision] = {}
        self._position = 0
        self._evidence: dict[str, Step] | None = None

    def skip(self, count: int) -> None:
        """Begin after the first ``count`` steps: the run has them already."""
        self._position = count

    def decide(self, address: str) -> Decision:
        """What to do at a sample site."""
        decision = self.policy(address, self)
        if address not in self.known and not isinstance(decision, Put) and decision is not STOP:
            decision = REDRAW
        self.decided[address] = decision
        if decision is not KEEP and not isinstance(decision, Score):
            self.same = False
        return decision

    def repeated(self, address: str, site: Site) -> Step | None:
        """The old run's step at this point, if nothing before it has changed.

        Raises:
            ProgramError: the program took another course although it was given the same answers.
        """
        if not self.same:
            return None
        if self._position == len(self.steps):  # the old run is suspended here
            self.same = False
            return None
        step = self.steps[self._position]
        if step.address != address or step.site.kind != site.kind:
            raise ProgramError(
                f"given the same answers, the program came to {site.kind} {address!r} where an earlier run of it came "
                f"to {step.site.kind} {step.address!r}: between effects it must be deterministic, and must not change "
                "what lives outside it. Draw randomness with sample(), and build mutable values inside the program",
                site.span,
            )
        self._position += 1
        return step

    def evidence(self, address: str) -> Step | None:
        """The old run's evidence at an address."""
        if self._evidence is None:
            self._evidence = {step.address: step for step in self.steps if not step.drawn}
        return self._evidence.get(address)

    @property
    def stale(self) -> list[Step]:
        """The old run's choices at addresses that the new run has not come to."""
        return [step for address, step in self.known.items() if address not in self.decided]

    @property
    def fresh(self) -> list[str]:
        """Addresses that the old run lacks."""
        return [address for address in self.decided if address not in self.known]

    @property
    def log_backward(self) -> float:
        """Log-density of the old values that the same move would draw on the way back, by program or prior."""
        return sum(step.log_q for a, step in self.known.items() if self.decided.get(a, REDRAW) is REDRAW)
