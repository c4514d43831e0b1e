"""Replay: running a program against an older run.

:class:`Recorder` is the machine that writes down every answer (a particle's ``journal``) and lets a particle with a
``follow`` decide at each sample site between its old value, a new draw and a given value. :func:`rerun` runs a particle
so, and hands back what Metropolis–Hastings needs: the new run and the densities of the move in both directions.

The meaning of the effects is the machine's own; here is only where answers come from. ``follow.py`` has the data types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..compiler.requests import Ask, Call, Observe, Sample
from .distributions import Distribution
from .engines.base import Completion, ModelDistribution
from .errors import ProgramError
from .follow import KEEP, REDRAW, STOP, Draw, Follow, Journal, MoveSite, Policy, Put, Score, Step, steps_of
from .fork import copies
from .guide import GuidedMachine
from .machine import Machine, Wait
from .operands import as_drawn, density, scoring, variables
from .particle import Particle, Status
from .population import World, begin, run_particles
from .scheduler import Task
from .source import Key, derive


@dataclass
class Recorder(Machine):
    """A machine that records what it answers, and whose particles may follow an older run."""

    # --- sample sites ---

    def _sample(self, particle: Particle, ask: Sample) -> Wait | None:
        follow: Follow | None = particle.follow
        local = ask.local_address
        if follow is None or (particle.scope.fixed and local in particle.scope.fixed):
            return super()._sample(particle, ask)
        address = particle.scope.prefix + local
        decision = follow.decide(address)
        if decision is KEEP and (step := follow.repeated(address, ask.site)) is not None:
            return self._repeat(particle, ask, step)
        if decision is STOP:
            particle.status = Status.BRANCH
            return None
        if decision is REDRAW:
            return super()._sample(particle, ask)
        prior = self.distribution(ask, ask.distribution)
        drawn_from = self.drawn_from(particle, ask, address, prior)
        if isinstance(decision, Put):
            return self._hold(particle, ask, address, prior, drawn_from, as_drawn(prior, decision.value, ask), None)
        old = follow.known[address]
        if not isinstance(decision, (Draw, Score)):
            return self._hold(particle, ask, address, prior, drawn_from, old.value, old)
        site = MoveSite(address, prior, variables(particle), follow.current[address], follow.current, drawn_from)
        proposal = self.distribution(ask, decision.make(site))
        if isinstance(decision, Score):
            return self._score(particle, ask, address, proposal)

        def then(value: Any, log_q: float) -> Wait | None:
            follow.log_forward += log_q
            return self._hold(particle, ask, address, prior, drawn_from, value, None)

        return self._draw(particle, address, proposal, then)

    def _repeat(self, particle: Particle, ask: Sample, step: Step) -> Wait | None:
        """Answer as the old run was answered."""
        particle.journal = Journal(step, particle.journal)
        return super()._drawn(particle, ask, step.address, step.value, step.log_p, step.log_q)

    def _score(self, particle: Particle, ask: Sample, address: str, proposal: Any) -> Wait | None:
        follow: Follow = particle.follow
        step = follow.repeated(address, ask.site)
        assert step is not None, "a proposal is scored against an unchanged run"

        def then(log_q: float) -> Wait | None:
            follow.log_forward += log_q
            return self._repeat(particle, ask, step)

        return self._density(particle, ask, proposal, step.value, None, then)

    def _hold(
        self, particle: Particle, ask: Sample, address: str, prior: Any, drawn_from: Any, value: Any, old: Step | None
    ) -> Wait | None:
        """Take a value that the site did not draw: ``old``'s, a proposal's or a given one."""

        def scored(log_p: float) -> Wait | None:
            if log_p == -math.inf:
                self.kill(particle, ask.site)
                return None
            if drawn_from is prior:
                return self._held(particle, ask, address, value, log_p, log_p)
            return self._density(
                particle, ask, drawn_from, value, other, lambda q: self._held(particle, ask, address, value, log_p, q)
            )

        # Under the program's proposal it was not scored before.
        other = None if old is None else replace(old, distribution=None)

        return self._density(particle, ask, prior, value, old, scored)

    def _held(
        self, particle: Particle, ask: Sample, address: str, value: Any, log_p: float, log_q: float
    ) -> Wait | None:
        value, dist = _as_it_is(particle, value, ask.distribution)
        self._write(particle, Step(address, ask.site, value, True, log_p, log_q, dist))
        self._keep(particle, ask, address, value, log_p)
        particle.log_joint += log_p
        return None

    def _density(
        self, particle: Particle, ask: Sample, dist: Any, value: Any, old: Step | None, then: Callable[[float], Any]
    ) -> Wait | None:
        """Go on with a density. An ``old`` value that the distribution can't even be asked about has density zero."""
        if old is not None and _is_still(old, dist, value):
            found: Wait | None = then(old.log_p)
            return found
        try:
            log_p = density(dist, value, ask) if isinstance(dist, Distribution) else None
            request = scoring(dist, value, ask) if log_p is None else None
        except ProgramError:
            if old is None:
                raise
            log_p, request = -math.inf, None
        if request is None:
            found = then(log_p)  # type: ignore[arg-type]
            return found

        def answered(completion: Completion) -> Wait | None:
            self.tally.tokens += completion.tokens
            found: Wait | None = then(completion.log_prob)
            return found

        return self._wait(particle, dist, request, answered)

    def _draw(
        self, particle: Particle, address: str, dist: Any, then: Callable[[Any, float], Wait | None]
    ) -> Wait | None:
        """Go on with a value drawn from a kernel's proposal, and its log-density."""
        key = derive(particle.key, address)
        if isinstance(dist, Distribution):
            return then(*dist.draw(self.source, key))

        def answered(completion: Completion) -> Wait | None:
            self.tally.tokens += completion.tokens
            return then(dist.value(completion), completion.log_prob)

        return self._wait(particle, dist, dist.draw(key), answered)

    def _drawn(self, particle: Particle, ask: Ask, address: str, value: Any, log_p: float, log_q: float) -> Wait | None:
        if particle.follow is not None:
            particle.follow.log_forward += log_q
        value, dist = _as_it_is(particle, value, ask.distribution)  # type: ignore[attr-defined]
        self._write(particle, Step(address, ask.site, value, True, log_p, log_q, dist))
        return super()._drawn(particle, ask, address, value, log_p, log_q)

    # --- evidence and calls ---

    def _observe(self, particle: Particle, ask: Ask, distribution: Any, value: Any) -> Wait | None:
        follow: Follow | None = particle.follow
        if follow is not None and not self.ignore_evidence:
            address = particle.scope.prefix + ask.local_address
            step = follow.repeated(address, ask.site)
            if step is None:
                step = follow.evidence(address)
                if step is not None and not (type(ask) is Observe and _is_still(step, distribution, value)):
                    step = None
            if step is not None:
                return self._observed(particle, ask, address, step.value, step.log_p)
        return super()._observe(particle, ask, distribution, value)

    def _observed(self, particle: Particle, ask: Ask, address: str, answer: Any, log_p: float) -> Wait | None:
        given = type(ask) is Sample
        value = answer if given else ask.value  # type: ignore[attr-defined]
        dist = ask.distribution  # type: ignore[attr-defined]
        self._write(particle, Step(address, ask.site, value, False, log_p, 0.0, dist))
        return super()._observed(particle, ask, address, answer if given else None, log_p)

    def _call(self, particle: Particle, ask: Call) -> Wait | None:
        address = particle.scope.prefix + ask.local_address
        step = None if particle.follow is None else particle.follow.repeated(address, ask.site)
        if step is not None:
            self._write(particle, step)
            self.give(particle, step.value)
            return None
        wait = super()._call(particle, ask)
        if wait is None:
            return None
        answer = wait.then

        def then(completion: Completion) -> Wait | None:
            self._write(particle, Step(address, ask.site, completion.value, False))
            return answer(completion)

        wait.then = then
        return wait

    def _write(self, particle: Particle, step: Step) -> None:
        particle.journal = Journal(step, particle.journal)


def _as_it_is(particle: Particle, value: Any, distribution: Any) -> tuple[Any, Any]:
    """A value and its distribution as they are now: they may be the run's own, which will change."""
    if type(value).__hash__ is not None:
        return value, distribution
    value, distribution = copies((value, distribution), particle.scope.outside)
    return value, distribution


def _is_still(old: Step, dist: Any, value: Any) -> bool:
    """Whether a density of a model is known from before: the same question, word for word."""
    return (
        isinstance(dist, ModelDistribution)
        and isinstance(old.distribution, ModelDistribution)
        and (value is old.value or _same_text(value, old.value))
        and bool(old.distribution == dist)
    )


def _same_text(value: Any, other: Any) -> bool:
    """Whether these are equal strings, with the same tokens if they have any."""
    tokens = getattr(value, "tokens", None), getattr(other, "tokens", None)
    return isinstance(value, str) and type(value) is type(other) and value == other and tokens[0] == tokens[1]


def recording(world: World) -> World:
    """The same problem, run by a machine that records.

    Raises:
        ValueError: it has a guide, whose draws depend on more than the run.
    """
    machine = world.machine
    if isinstance(machine, Recorder):
        return world
    if isinstance(machine, GuidedMachine):
        raise ValueError(
            "a guide proposes whole runs, for importance sampling and SMC without move=; kernels change a part of a "
            "run: give them proposals of their own, as in SingleSite(proposals={...}), or Propose(guide)"
        )
    return replace(world, machine=Recorder(**{f.name: getattr(machine, f.name) for f in fields(Machine)}))


@dataclass(frozen=True, slots=True)
class Rerun:
    """A run that followed another.

    Attributes:
        particle: the new run; dead if it lost all mass.
        log_forward: log-density of what was drawn anew, given the old run.
        log_backward: log-density of what the same move would draw on the way back; for sites that a kernel's own
            proposal drew see :func:`way_back`.
        follow: what was decided where.
    """

    particle: Particle
    log_forward: float
    log_backward: float
    follow: Follow


Stage = Callable[[World, Particle], Task[None]]
"""How far runs go: to the end, or to a point on the way where a population waits."""


def to_the_end(world: World, particle: Particle) -> Task[None]:
    """Run a particle until the program returns."""
    yield from run_particles(world, [particle], through=True)


def rerun(world: World, old: Particle, policy: Policy, key: Key, stage: Stage = to_the_end) -> Task[Rerun]:
    """Run the program against an older run of it.

    Args:
        world: the problem, on a machine that records.
        old: the older run, recorded.
        policy: what to do at each sample site.
        key: what new draws are derived from.
        stage: how far to run.
    """
    particle = begin(world, key)
    follow = particle.follow = Follow(steps_of(old), policy)
    yield from stage(world, particle)
    particle.follow = None
    return Rerun(particle, follow.log_forward, follow.log_backward, follow)


def way_back(world: World, old: Particle, there: Rerun, key: Key, stage: Stage = to_the_end) -> Task[float]:
    """Log-density of the old values at the sites that kernel proposals drew, were the new run the current one.

    The proposals are made anew along the old run (whose distributions and variables the way back would see), looking at
    the *new* run's values. Nothing is scored but the proposals.
    """
    drawn = {a: d.make for a, d in there.follow.decided.items() if isinstance(d, Draw)}
    if not drawn:
        return 0.0
    particle = begin(world, key)
    current = {step.address: step.value for step in steps_of(there.particle) if step.drawn}
    follow = Follow(steps_of(old), lambda a, _: Score(drawn[a]) if a in drawn else KEEP, current)
    particle.follow = follow
    yield from stage(world, particle)
    return follow.log_forward


def generate(world: World, values: Mapping[str, Any], key: Key, stage: Stage = to_the_end) -> Task[Rerun]:
    """Run the program with some choices given: address → value. The others are drawn."""
    particle = begin(world, key)
    follow = particle.follow = Follow((), lambda a, _: Put(values[a]) if a in values else REDRAW)
    yield from stage(world, particle)
    particle.follow = None
    return Rerun(particle, follow.log_forward, 0.0, follow)
