"""The machine: runs one particle until it needs something, and gives each effect its meaning.

This is the semantics of the language in one place. ``sample`` adds to the trace, ``observe``, ``factor`` and
``condition`` multiply the weight, ``twist`` changes only by what the particle is selected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..compiler.requests import Ask, Block, Call, Condition, Factor, Gather, Invoke, Observe, Sample, Site, Twist
from .budget import Control
from .dialogue import Dialogue, converse
from .distributions import DEFERRED, LOCAL, MODEL, Distribution, NotFound
from .engines.base import Completion, ModelDistribution, Request
from .errors import ProgramError, WeightError
from .fork import own
from .held import counterpart, held
from .operands import (
    Proposal,
    ProposalSite,
    as_drawn,
    at_once,
    density,
    given_distribution,
    number,
    proposed,
    scoring,
    truth,
    uncovered,
    variables,
    where,
)
from .particle import Fixed, Frame, Particle, Scope, Status, Trace
from .source import Source, derive
from .together import Together, in_turn, one_by_one, side_by_side
from .waiting import Act, CallRequest, Entry, Tally, Wait

_OFTEN = 255
"""How many effects, less one, a run may have between two looks at the clock."""
DEEPEST = 5_000
"""How deep programs may call each other; Python's own functions may 1,000."""


@dataclass
class Machine:
    """How particles of one problem are run.

    Attributes:
        source: where draws come from.
        proposals: site name or address → what makes its proposal.
        ignore_evidence: run the program forward, as if it had no evidence.
        branch: stop at every random choice instead of drawing (exact enumeration).
        on_error: ``raise`` an exception of the program, or ``kill`` the particle (weight zero) and count it.
        tally: what happened.
        prepare: from a program to its first block, where it is not to run as it was written (see ``compiler/passes``).
        control: budget and early stop.
    """

    source: Source
    proposals: Mapping[str, Proposal] = field(default_factory=dict)
    ignore_evidence: bool = False
    branch: bool = False
    on_error: str = "raise"
    tally: Tally = field(default_factory=Tally)
    prepare: Callable[[Any], Block] | None = None
    control: Control = field(default_factory=Control)
    used: set[str] = field(default_factory=set)
    """Names and addresses of proposals and fixed sites that some run reached."""
    covered: set[Site] = field(default_factory=set)
    """Sites whose proposal was seen to cover the site's own distribution."""
    failures: dict[tuple[str, int, str], Site] = field(default_factory=dict)
    """Where exceptions of the program came from, so that those of one line are counted together."""

    def run(self, particle: Particle, through: bool = False) -> Wait | None:
        """Run until the particle has passed evidence, needs an engine, branches, or is finished.

        Args:
            particle: one that is ready.
            through: do not stop after evidence.

        Returns:
            What it waits for, if it waits for an engine; else see ``particle.status``.
        """
        particle.status = Status.READY
        block, live = particle.block, particle.live
        while True:
            try:
                ask, block, live = block(*live)
            except Exception as error:
                self._failed(particle, error)
                return None
            if block is None:  # the program returned ``ask``
                frame = particle.frame
                if frame is None:
                    particle.value, particle.live = ask, ()
                    particle.log_twist = 0.0
                    particle.status = Status.DONE
                    return None
                block, live = frame.block, (ask, *frame.live)
                particle.scope, particle.frame = frame.scope, frame.parent
                continue
            if ask is None:  # the back edge of a loop
                continue
            if type(ask) is Invoke:
                block, live = self._invoke(particle, ask, block, live)
                continue
            if type(ask) is Gather and (self.branch or type(self) is not Machine or not side_by_side(ask)):
                ask, block, live = one_by_one(ask, block, live)
                if ask is None:
                    continue
            if ask.name is not None and not isinstance(ask.name, str):
                raise ProgramError(f"name= must be a string, not {ask.name!r}", ask.site.span)
            particle.asked += 1
            if not particle.asked & _OFTEN:
                self.control.tick()
            particle.ask, particle.block, particle.live = ask, block, live
            try:
                wait = self.answer(particle, ask)
            except NotFound as needed:  # before anything was answered
                wait = needed.deferred.begin(self, particle, ask)
            if wait is not None:
                particle.status = Status.WAITING
                return wait
            if particle.status is Status.READY or (particle.status is Status.SYNC and through):
                particle.status = Status.READY
                block, live = particle.block, particle.live
                continue
            return None

    # --- effects ---

    def answer(self, particle: Particle, ask: Ask) -> Wait | None:
        """Give an effect its meaning; what the particle waits for, if it waits for an engine."""
        kind = type(ask)
        if kind is Sample:
            return self._sample(particle, ask)  # type: ignore[arg-type]
        if kind is Observe:
            fixed = self._fixed(particle, ask)
            value = ask.value if fixed is None else fixed.value  # type: ignore[attr-defined]
            return self._observe(particle, ask, ask.distribution, value)  # type: ignore[attr-defined]
        if kind is Call:
            return self._call(particle, ask)  # type: ignore[arg-type]
        if kind is Condition:
            self._evidence(particle, ask, 0.0 if truth(ask) else -math.inf)
        elif kind is Factor:
            self._evidence(particle, ask, number(ask.log_weight, ask, "factor"))  # type: ignore[attr-defined]
        elif kind is Twist:
            self._twist(particle, ask)  # type: ignore[arg-type]
        elif kind is Gather:
            if not self.proposals and all(map(at_once, ask.asks)):  # type: ignore[attr-defined]
                in_turn(self, particle, ask.asks)  # type: ignore[attr-defined]
                return None
            return Together(self, particle, tuple(ask.asks)).start()  # type: ignore[attr-defined]
        elif isinstance(ask, Act):
            return ask.answer(self, particle)
        else:  # a barrier
            particle.status = Status.SYNC
        particle.live = (None, *particle.live)
        return None

    def resume(self, particle: Particle, answer: Any) -> None:
        """Hand the program what it asked for."""
        particle.live = (answer, *particle.live)

    def give(self, particle: Particle, value: Any) -> None:
        """Answer with a value that others may hold too: the run gets its own, if it may change it."""
        self.resume(particle, own(value, particle.scope.outside))

    def _invoke(self, particle: Particle, ask: Invoke, block: Block, live: tuple[Any, ...]) -> tuple[Block, Any]:
        prefix = f"{particle.scope.prefix}{ask.local_address}/"
        local = f"{ask.local_address}/"
        fixed: dict[str, Fixed] = {}
        if particle.scope.fixed:
            fixed = {a[len(local) :]: v for a, v in particle.scope.fixed.items() if a.startswith(local)}
        fixed = {**(ask.program.fixed or {}), **fixed}
        depth = 0 if particle.frame is None else particle.frame.depth + 1
        if depth >= DEEPEST:
            raise ProgramError(
                f"programs that call each other are {DEEPEST:,} deep here: a program that calls itself has to come "
                "to an end in all its runs",
                ask.site.span,
            )
        particle.frame = Frame(block, live, particle.scope, particle.frame, depth)
        particle.scope = Scope(prefix, fixed or None, particle.scope.outside)
        return Entry(ask, self.prepare, particle.scope.outside), ()

    def _sample(self, particle: Particle, ask: Sample) -> Wait | None:
        address = particle.scope.prefix + ask.local_address
        fixed = self._fixed(particle, ask) if particle.scope.fixed else None
        if fixed is not None and not fixed.observed:
            value = as_drawn(ask.distribution, fixed.value, ask)
            self._record(particle, ask, address, value, 0.0, True)
            self.give(particle, value)
            return None
        prior = self.distribution(ask, ask.distribution)
        if fixed is not None:
            return self._observe(particle, ask, prior, fixed.value)
        if self.branch:
            self._proposal(address, ask)  # a name that some run reached is not misspelt
            particle.status = Status.BRANCH
            return None
        drawn_from = self.drawn_from(particle, ask, address, prior)
        key = derive(particle.key, address)
        if LOCAL[type(drawn_from)]:
            value, log_q = drawn_from.draw(self.source, key)
            if drawn_from is prior:
                return self._drawn(particle, ask, address, value, log_q, log_q)
            return self._weigh(particle, ask, address, prior, drawn_from, value, log_q)

        def then(completion: Completion) -> Wait | None:
            self.tally.tokens += completion.tokens
            value = drawn_from.value(completion)
            if drawn_from is prior:
                return self._drawn(particle, ask, address, value, completion.log_prob, completion.log_prob)
            if completion.log_base is not None and drawn_from.base == prior:
                return self._drawn(particle, ask, address, value, completion.log_base, completion.log_prob)
            return self._weigh(particle, ask, address, prior, drawn_from, value, completion.log_prob)

        return self._wait(particle, drawn_from, drawn_from.draw(key), then)

    def drawn_from(self, particle: Particle, ask: Sample, address: str, prior: Any) -> Any:
        """The distribution that a site's value is drawn from: its proposal, if it has one."""
        maker = self._proposal(address, ask) if self.proposals else None
        if self.ignore_evidence:
            return prior
        if maker is not None:
            return self.distribution(ask, proposed(maker, ProposalSite(address, prior, variables(particle)), ask))
        return prior if ask.proposal is None else self.distribution(ask, ask.proposal)

    def _weigh(
        self, particle: Particle, ask: Sample, address: str, prior: Any, proposal: Any, value: Any, log_q: float
    ) -> Wait | None:
        """Account for a value that was drawn from a proposal."""
        if math.isnan(log_q):
            raise ProgramError(
                f"{ask.site.kind} {address!r}: the engine of its proposal does not tell how probable its draws "
                "are, so that they can't be corrected; draw from the distribution itself, or from a model that tells",
                ask.site.span,
            )
        if ask.site not in self.covered:
            self.covered.add(ask.site)
            missed = uncovered(ask, address, prior, proposal)
            if missed is not None:
                raise ProgramError(missed, ask.site.span)
        if isinstance(prior, Distribution):
            return self._drawn(particle, ask, address, value, density(prior, value, ask), log_q)
        drawn = as_drawn(prior, value, ask, proposed=True)
        return self.scored(
            particle, ask, prior, drawn, lambda log_p: self._drawn(particle, ask, address, drawn, log_p, log_q)
        )

    def chosen(self, particle: Particle, ask: Ask, value: Any, log_prob: float) -> None:
        """Go on from a random choice at which the particle branches, with one of its outcomes."""
        value = counterpart(ask, particle.ask, value)
        if particle.ask is not None:
            ask = particle.ask
        self._drawn(particle, ask, particle.scope.prefix + ask.local_address, value, log_prob, log_prob)

    def _drawn(self, particle: Particle, ask: Ask, address: str, value: Any, log_p: float, log_q: float) -> Wait | None:
        self._keep(particle, ask, address, value, log_p)
        if log_p != log_q and not math.isnan(log_q):  # a server's draw from the prior; it need not tell how probable
            self._add(particle, ask, log_p - log_q, log_p)
        else:
            particle.log_joint += log_p
        return None

    def _keep(self, particle: Particle, ask: Ask, address: str, value: Any, log_p: float) -> None:
        """Let the trace and the program have the value of a choice."""
        outside = particle.scope.outside
        mine = held(ask, value, outside) if type(value).__hash__ is None else None
        if mine is None:
            self._record(particle, ask, address, value, log_p, False)
            particle.live = (own(value, outside), *particle.live)
        else:  # the trace keeps what it is now
            self._record(particle, ask, address, own(value, outside), log_p, False)
            self.resume(particle, mine)

    def _observe(self, particle: Particle, ask: Ask, distribution: Any, value: Any) -> Wait | None:
        """Weigh by the density at ``value``; a sample site whose value was given also answers with it."""
        address = particle.scope.prefix + ask.local_address
        given = type(ask) is Sample
        answer = as_drawn(distribution, value, ask) if given else None
        if self.ignore_evidence:
            self.give(particle, answer)
            return None
        dist = self.distribution(ask, distribution)
        return self.scored(
            particle, ask, dist, value, lambda log_p: self._observed(particle, ask, address, answer, log_p)
        )

    def _observed(self, particle: Particle, ask: Ask, address: str, answer: Any, log_p: float) -> Wait | None:
        if type(ask) is Sample:
            self._record(particle, ask, address, answer, log_p, True)
        self.give(particle, answer)
        self._evidence(particle, ask, log_p)
        return None

    def scored(
        self, particle: Particle, ask: Ask, dist: Any, value: Any, then: Callable[[float], Wait | None]
    ) -> Wait | None:
        """Go on with the log-density of a value: at once, or when an engine has computed it."""
        if LOCAL[type(dist)]:
            return then(density(dist, value, ask))

        def answered(completion: Completion) -> Wait | None:
            self.tally.tokens += completion.tokens
            return then(completion.log_prob)

        return self._wait(particle, dist, scoring(dist, value, ask), answered)

    def _call(self, particle: Particle, ask: Call) -> Wait | None:
        def then(completion: Completion) -> Wait | None:
            self.tally.calls += 1
            self.give(particle, completion.value)
            return None

        return Wait(particle, None, CallRequest(ask.function, tuple(ask.args), ask.site), then)

    def _wait(
        self, particle: Particle, dist: ModelDistribution, request: Request, then: Callable[[Completion], Wait | None]
    ) -> Wait:
        """What a particle waits for that asks something of a distribution."""
        if isinstance(request, Dialogue):
            return converse(self._wait, particle, request.steps(self.source), then)
        self.tally.model_calls += 1
        return Wait(particle, dist.engine, request, then)

    # --- weights ---

    def _evidence(self, particle: Particle, ask: Ask, log_weight: float) -> None:
        if self.ignore_evidence:
            return
        particle.status = Status.SYNC
        self._add(particle, ask, log_weight, log_weight)

    def _add(self, particle: Particle, ask: Ask, log_weight: float, log_joint: float) -> None:
        total = particle.log_weight + log_weight
        if math.isnan(total) or total == math.inf:
            shown = getattr(ask, "log_weight", getattr(ask, "value", None))
            raise WeightError(
                f"the weight at {ask.site.kind} {particle.scope.prefix}{ask.local_address!r} is {log_weight}"
                + (f" (value {shown!r})" if shown is not None else "")
                + (f", which brings that of the run to {total}" if math.isfinite(log_weight) else ""),
                ask.site.span,
            )
        particle.log_weight = total
        particle.log_joint += log_joint
        if total == -math.inf:
            self.kill(particle, ask.site)

    def _twist(self, particle: Particle, ask: Twist) -> None:
        value = number(ask.log_value, ask, "twist")
        if not math.isfinite(value):
            raise WeightError(
                f"twist({value}) at {particle.scope.prefix}{ask.local_address!r}: a hint must be finite, since it is "
                "divided out again; to rule a run out write condition(False)",
                ask.site.span,
            )
        if not self.ignore_evidence:
            particle.log_twist = value
            particle.status = Status.SYNC

    def kill(self, particle: Particle, site: Site, error: str | None = None) -> None:
        """Give the particle weight zero and forget what it held."""
        particle.status = Status.DEAD
        particle.log_weight = -math.inf
        particle.live, particle.frame = (), None
        self.tally.deaths[site, error] += 1

    def _failed(self, particle: Particle, error: Exception) -> None:
        """An exception left the user's program."""
        if self.on_error == "raise" or isinstance(error, (ProgramError, WeightError)):
            raise error
        site = where(error)
        site = self.failures.setdefault((site.span.file, site.span.line, site.name), site)
        self.kill(particle, site, f"{type(error).__name__}: {error}")

    # --- helpers ---

    def _record(self, particle: Particle, ask: Ask, address: str, value: Any, log_prob: float, observed: bool) -> None:
        if ask.name is not None or particle.names:
            # Two sites of one address would draw the same value. Only computed names can meet others.
            used = particle.names or {c.address for c in (particle.trace.choices() if particle.trace else ())}
            if address in used:
                known = ", ".join(c.address for c in (particle.trace.choices() if particle.trace else ()))
                raise ProgramError(
                    f"the name {address!r} was used before in this run; give each site its own name (so far: {known})",
                    ask.site.span,
                )
            particle.names = frozenset(used | {address})
        particle.trace = Trace(address, value, log_prob, observed, particle.trace)

    def distribution(self, ask: Ask, value: Any) -> Any:
        """``value`` as a local or model distribution.

        Raises:
            ProgramError: it is none.
            NotFound: its law is still to be found.
        """
        if LOCAL[type(value)] or MODEL[type(value)]:
            return value
        if DEFERRED[type(value)] and value.law is None and type(self) is Machine:
            raise NotFound(value)  # other machines follow a run that is there already, and can't begin to answer twice
        return given_distribution(ask, value)

    def _fixed(self, particle: Particle, ask: Ask) -> Fixed | None:
        """What was fixed from outside at a sample site; at an ``observe``, data in place of its own."""
        if not particle.scope.fixed or (fixed := particle.scope.fixed.get(ask.local_address)) is None:
            return None
        self.used.add(particle.scope.prefix + ask.local_address)
        return fixed

    def _proposal(self, address: str, ask: Ask) -> Proposal | None:
        for name in (address, ask.local_address, ask.site.name):
            if name in self.proposals:
                self.used.add(name)
                return self.proposals[name]
        return None
