"""Particle marginal Metropolis–Hastings.

A state is an :class:`Estimate`: the parameters, an estimate Ẑ of how much mass the program has with them, and one run
that came with that estimate. Ẑ is part of the state, and stays what it is until a proposal is accepted: a chain that
estimates it anew for its present parameters has another, unknown, invariant law.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..copying import Memo, fork
from ..errors import ProgramError
from ..follow import REDRAW, STOP, Decision, Draw, Follow, Journal, Maker, Score, Step, choices_of, steps_of
from ..kernels import Setting
from ..kernels.addresses import any_matches, matches
from ..kernels.leaning import leaning
from ..particle import Fixed, Particle, Status, Trace
from ..population import Runnable, World, begin, inside, run_particles
from ..scheduler import Task
from ..source import Key, derive
from .base import Method, patterns
from .chains import Chains, collapse, first_run
from .smc import SMC


@dataclass(frozen=True)
class Estimate:
    """A state of the chain.

    Attributes:
        run: a finished run, picked by weight from the population that gave the estimate.
        log_mass: log Ẑ of the program with the run's parameters, their prior density included.
    """

    run: Particle
    log_mass: float


@dataclass(frozen=True)
class PMMH(Chains):
    """Metropolis–Hastings on some choices, with the others integrated out by a particle filter.

    On (parameters, Ẑ, run) it leaves invariant the law whose margin on runs is the posterior, whatever the variance of
    Ẑ (Andrieu, Doucet and Holenstein, 2010). Without parameters it is particle independent Metropolis–Hastings.

    Attributes:
        inner: a proper method that estimates the evidence with the parameters fixed: ``SMC(n=...)``.
        parameters: patterns of addresses, as for ``ppl.kernels.SingleSite``; they must be drawn before the others.
        parameter_proposals: pattern → function of a ``MoveSite`` that returns the distribution to draw from, given the
            present value; by default parameters are drawn as the program draws them. These are moves of the chain; the
            ``proposals`` of ``infer`` say how the program draws, in the inner method too.
    """

    name = "pmmh"
    law_variants = (
        {"inner": SMC(n=1)},
        {"inner": SMC(n=2, ess_threshold=1.0, resampling="multinomial"), "parameters": ("start", "x", "x[0]", "a")},
        {"inner": SMC(n=1), "parameters": ("start", "x", "x[0]", "a"), "parameter_proposals": {"*": leaning}},
    )

    steps: int = 200
    inner: Method = SMC(n=16)  # noqa: RUF009 - methods are immutable
    parameters: tuple[str, ...] | str = ()
    parameter_proposals: Mapping[str, Maker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        patterns("parameters", self.parameters, "addresses")
        makers = self.parameter_proposals
        if not isinstance(makers, Mapping) or not all(isinstance(k, str) and callable(v) for k, v in makers.items()):
            raise ValueError(
                "parameter_proposals maps patterns of addresses to functions of a MoveSite that return a distribution; "
                f"got {makers!r}"
            )
        if not isinstance(self.inner, Method) or self.inner.guarantee != "proper" or not self.inner.evidence:
            raise ValueError(f"inner is a method that estimates the evidence, such as SMC(n=16); got {self.inner!r}")

    def start(self, world: World, key: Key) -> Task[Estimate | None]:
        run = yield from first_run(replace(world, key=key), self.most)
        for attempt in range(100):
            if run is None:
                return None
            found = yield from self.estimate(world, self._parameters(run), derive(key, "estimate", attempt))
            if found is not None:
                return found
        return None

    def step(self, setting: Setting, state: Estimate, key: Key) -> Task[Estimate]:
        proposed = yield from setting.part(self._proposed, derive(key, "parameters"), state.run)
        if proposed is None:
            return state
        new, log_ratio = proposed
        found = yield from setting.part(self._estimated, derive(key, "inner"), choices_of(new))
        if found is None:
            return state
        log_alpha = found.log_mass - state.log_mass + log_ratio
        return found if setting.world.machine.source.accept(log_alpha, derive(key, "accept")) else state

    def _proposed(self, setting: Setting, run: Particle, key: Key) -> Task[tuple[Particle, float] | None]:
        return self.propose(setting.world, run, key)

    def _estimated(self, setting: Setting, parameters: list[Step], key: Key) -> Task[Estimate | None]:
        return self.estimate(setting.world, parameters, key)

    def run_of(self, state: Estimate) -> Particle:
        return state.run

    # --- what the exact check asks ---

    @property
    def reversible(self) -> bool:
        return True

    def lift(self, setting: Setting, run: Particle, key: Key) -> Task[tuple[Estimate, float] | None]:
        found = yield from setting.part(self._estimated, key, self._parameters(run))
        return None if found is None else (found, found.log_mass)

    def shared(self, run: Particle) -> list[Step]:
        return self._parameters(run)

    # --- parameters ---

    def _is_parameter(self, address: str) -> bool:
        patterns = (self.parameters,) if isinstance(self.parameters, str) else self.parameters
        return any_matches(patterns, address)

    def _parameters(self, run: Particle) -> list[Step]:
        """The parameters of a run.

        Raises:
            ProgramError: one of them is drawn after something else.
        """
        choices = choices_of(run)
        found = [step for step in choices if self._is_parameter(step.address)]
        for step, parameter in zip(choices, found, strict=False):
            if step is not parameter:
                raise ProgramError(
                    f"the parameter {parameter.address!r} is drawn after {step.address!r}, which is none; draw "
                    "the parameters first, or make that one a parameter too",
                    parameter.site.span,
                )
        return found

    def check_order(self, runs: Iterable[Particle]) -> None:
        """Refuse parameters that are drawn after something else.

        Raises:
            ProgramError: naming one, in one of these runs.
        """
        for run in runs:
            self._parameters(run)

    def _decide(self, address: str, follow: Follow) -> Decision:
        if not self._is_parameter(address):
            return STOP
        make = next((make for pattern, make in self.parameter_proposals.items() if matches(pattern, address)), None)
        return REDRAW if make is None else Draw(make)

    def draw(self, world: World, key: Key) -> Task[Particle | None]:
        """A run that has drawn its parameters and nothing else; ``None`` if they have no mass."""
        run = begin(world, key)
        run.follow = Follow((), self._decide)
        yield from run_particles(world, [run], through=True)
        return None if run.status is Status.DEAD else run

    def propose(self, world: World, run: Particle, key: Key) -> Task[tuple[Particle, float] | None]:
        """New parameters, as :meth:`draw` has them, given those of a run; ``None`` if they have no mass.

        Returns:
            The new run, and log q(old | new) − log q(new | old).
        """
        new = begin(world, derive(key, "there"))
        there = new.follow = Follow(steps_of(run), self._decide)
        yield from run_particles(world, [new], through=True)
        if new.status is Status.DEAD:
            return None
        log_back = sum(
            step.log_q for step in self._parameters(run) if there.decided.get(step.address, REDRAW) is REDRAW
        )
        drawn = {a: d.make for a, d in there.decided.items() if isinstance(d, Draw)}
        if drawn:
            again = begin(world, derive(key, "back"))
            current = {step.address: step.value for step in choices_of(new)}
            back = again.follow = Follow(steps_of(run), lambda a, _: _back(self, a, drawn), current)
            yield from run_particles(world, [again], through=True)
            log_back += back.log_forward
        return new, log_back - there.log_forward

    # --- the estimate ---

    def estimate(self, world: World, parameters: list[Step], key: Key) -> Task[Estimate | None]:
        """Estimate the mass of the program with these parameters; ``None`` if that comes out as zero."""
        inner = given(world, parameters, key)
        population = yield from self.inner.run(inner)
        run = collapse(inner, population, key)
        return None if run is None else Estimate(as_drawn(run, parameters), population.log_evidence)


def _back(method: PMMH, address: str, drawn: Mapping[str, Maker]) -> Decision:
    from ..follow import KEEP

    if address in drawn:
        return Score(drawn[address])
    return KEEP if method._is_parameter(address) else STOP


def given(world: World, parameters: list[Step], key: Key) -> World:
    """The problem with parameters given, for a method that runs inside another."""
    values = {step.address: Fixed(step.value, True) for step in parameters}
    fixed: Any = _With(world.program, {**(world.program.fixed or {}), **values})
    return replace(inside(world, key), program=fixed)


class _With:
    """A program with sites fixed from outside."""

    def __init__(self, program: Runnable, fixed: Mapping[str, Fixed]) -> None:
        self._program = program
        self.fixed = fixed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def __ppl_fork__(self, memo: Memo) -> _With:
        """For a particle of its own, where the program is a run's."""
        program = fork(self._program, memo)
        return self if program is self._program else _With(program, self.fixed)


def as_drawn(run: Particle, parameters: list[Step]) -> Particle:
    """A run whose parameters were given, recorded as if they had been drawn."""
    drawn = {step.address: step for step in parameters}
    journal: Journal | None = None
    for step in steps_of(run):
        journal = Journal(drawn.get(step.address, step), journal)
    trace: Trace | None = None
    for choice in run.trace.choices() if run.trace else ():
        given = choice.address in drawn
        trace = Trace(*(choice._replace(observed=False) if given else choice), trace)
    found = run.fork(run.key)
    found.journal, found.trace = journal, trace
    return found
