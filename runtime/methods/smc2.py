"""SMC²: a particle filter over parameters, each with a particle filter of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..budget import Stopped
from ..follow import Maker, Step, choices_of
from ..gather import gather
from ..kernels.leaning import leaning
from ..particle import Particle
from ..population import Population, World, advance, fork, record, resample, spawn, where
from ..replay import recording
from ..resampling import SCHEMES, normalise
from ..result import Generation, effective_sample_size, log_sum_exp, sum_and_size
from ..scheduler import Task
from ..source import Key, derive
from .base import Method, at_least_one, one_of, share, whole
from .pmmh import PMMH, as_drawn, given


@dataclass
class Filter:
    """An outer particle: parameters, and a population of runs that have them.

    Attributes:
        drawn: a run that has drawn the parameters and nothing else.
        world: the problem with the parameters given.
        population: the runs; its ``log_evidence`` is log Ẑ of the parameters so far, their prior density included.
        log_weight: of the outer particle, apart from Ẑ.
    """

    drawn: Particle | None
    world: World
    population: Population
    log_weight: float

    @property
    def log_mass(self) -> float:
        """Its log-weight with Ẑ."""
        return self.log_weight + self.population.log_evidence

    @property
    def parameters(self) -> list[Step]:
        """The choices that the parameters are."""
        return [] if self.drawn is None else choices_of(self.drawn)


@dataclass
class Filters:
    """The outer population.

    Attributes:
        filters: its particles.
        log_scale: the factor that their weights have in common, as in a population.
        history: its past, a generation of filters a step.
    """

    filters: list[Filter]
    log_scale: float
    history: list[Generation] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether any run of any filter may still go on."""
        return any(each.population.running for each in self.filters)

    def together(self) -> Population:
        """All runs of all filters, each with its share of its filter's weight.

        The runs of a filter have its parameters in common. So its history makes them the filter's children: whoever
        asks how much the runs are worth must not take them for independent.
        """
        particles: list[Particle] = []
        owners: list[int] = []
        for owner, each in enumerate(self.filters):
            for particle in each.population.particles:
                found = as_drawn(particle, each.parameters)
                found.log_weight = each.log_weight + each.population.log_scale + particle.log_weight
                particles.append(found)
                owners.append(owner)
        return Population(particles, self.log_scale, [*self.history, self._generation(tuple(owners))])

    def note(self, ancestors: tuple[int, ...] | None) -> None:
        """Note the filters as they are, before ``ancestors`` replace them."""
        self.history.append(self._generation(ancestors))

    def _generation(self, ancestors: tuple[int, ...] | None) -> Generation:
        weights = [each.log_mass for each in self.filters]
        log_sum, ess = sum_and_size(weights)
        site = where(particle for each in self.filters for particle in each.population.particles)
        return Generation(len(self.history), site, tuple(weights), ancestors, ess, self.log_scale + log_sum)


@dataclass(frozen=True)
class SMC2(Method):
    """Particles of parameters, weighed by the evidence that a particle filter of each estimates as it goes on.

    Law: proper, for any numbers of particles. An outer particle weighs Ẑ_t(θ) / q(θ); resampling copies its whole
    filter; after that each may be moved by a step of particle marginal Metropolis–Hastings, whose proposal gets a
    filter from the start up to this point (Chopin, Jacob and Papaspiliopoulos, 2013). Whether to move may not depend
    on the particles, so it is done at every ``move_every``-th step.

    Attributes:
        n: the number of outer particles.
        inner: the number of runs of each.
        parameters: patterns of addresses; they must be drawn before all other choices.
        parameter_proposals: for the moves, as for ``PMMH``.
        ess_threshold: resample, on either level, when the effective sample size falls under this fraction.
        resampling: a scheme, as for ``smc``.
        move_every: how many steps lie between moves; ``None``: no moves.
    """

    name = "smc2"
    guarantee = "proper"
    averages = False  # resampling divides by estimates without the hints
    law_variants = tuple(
        {"parameters": ("start", "x", "x[0]", "a"), "ess_threshold": 1.0, **more}
        for more in (
            {"inner": 1, "move_every": None},
            {"inner": 1},
            {"inner": 2, "move_every": None, "resampling": "multinomial"},
            {"n": 1, "inner": 1, "parameter_proposals": {"*": leaning}},
            {"n": 2, "inner": 1, "parameters": (), "move_every": None, "ess_threshold": 0.7},
        )
    )

    n: int = 16
    inner: int = 16
    parameters: tuple[str, ...] | str = ()
    parameter_proposals: Mapping[str, Maker] = field(default_factory=dict)
    ess_threshold: float = 0.5
    resampling: str = "systematic"
    move_every: int | None = 1

    def __post_init__(self) -> None:
        at_least_one(self.n)
        whole("inner", self.inner, "the number of particles of each filter, not a method")
        share("ess_threshold", self.ess_threshold)
        one_of("resampling", self.resampling, SCHEMES)
        if self.move_every is not None:
            whole("move_every", self.move_every, "a number of steps, or None")
        self._marginal()

    def _marginal(self) -> PMMH:
        """What draws the parameters, and moves them.

        Raises:
            ValueError: the parameters, or their proposals, are none.
        """
        return PMMH(parameters=self.parameters, parameter_proposals=self.parameter_proposals)

    def run(self, world: World) -> Task[Population]:
        outer = Filters([], -math.log(self.n))
        incomplete = None
        try:
            yield from self._filter_all(recording(world), outer)
        except Stopped as stop:
            if world.control.inner:
                raise
            incomplete = stop.reason
        population = outer.together()
        population.incomplete = incomplete
        record(population, None)
        if world.report is not None:
            world.report(population)
        return population

    def _filter_all(self, world: World, outer: Filters) -> Task[None]:
        """The outer particle filter."""
        marginal = self._marginal()
        outer.filters = yield from self._spawn(world, marginal)
        steps = 0
        while True:
            steps += 1
            yield from gather(self._advance(each) for each in outer.filters)
            marginal.check_order(outer.filters[0].population.particles[:1])
            if not outer.running:
                return
            weights = [each.log_mass for each in outer.filters]
            if 0.0 < effective_sample_size(weights) < self.ess_threshold * self.n * (1 - 1e-9):
                children, ancestors = self._resample(world, outer.filters, derive(world.key, "outer", steps))
                outer.note(ancestors)
                outer.filters, outer.log_scale = children, outer.log_scale + log_sum_exp(weights) - math.log(self.n)
            else:
                outer.note(None)
            if self.move_every is not None and steps % self.move_every == 0:
                key = derive(world.key, "move", steps)
                moves = [self._move(world, marginal, f, steps, derive(key, i)) for i, f in enumerate(outer.filters)]
                outer.filters = yield from gather(moves)
            self._tell(world, outer)

    def _tell(self, world: World, outer: Filters) -> None:
        """A step has ended. The runs are put together only for who looks at them."""
        if world.report is None and world.control.stop is None:
            world.control.tick()
            return
        population = outer.together()
        if world.report is not None:
            world.report(population)
        world.control.step(population)

    def _spawn(self, world: World, marginal: PMMH) -> Task[list[Filter]]:
        """Outer particles with parameters from the prior, or as the program proposes them."""
        keys = [derive(world.key, "filter", i) for i in range(self.n)]
        drawn = yield from gather(marginal.draw(world, derive(key, "parameters")) for key in keys)
        return [self._filter(world, run, key) for run, key in zip(drawn, keys, strict=True)]

    def _filter(self, world: World, drawn: Particle | None, key: Key) -> Filter:
        """A filter at the start; without parameters, of no weight."""
        if drawn is None:
            return Filter(None, world, Population([], 0.0), -math.inf)
        parameters = choices_of(drawn)
        inside = given(world, parameters, key)
        return Filter(drawn, inside, spawn(inside, self.inner), -math.fsum(step.log_q for step in parameters))

    def _advance(self, each: Filter) -> Task[None]:
        """One step of an inner particle filter."""
        population = each.population
        if not population.running:
            return
        yield from advance(each.world, population)
        if population.running and 0.0 < population.ess < self.ess_threshold * self.inner * (1 - 1e-9):
            resample(each.world, population, self.resampling)
        else:
            record(population, None)

    def _resample(self, world: World, filters: list[Filter], key: Key) -> tuple[list[Filter], tuple[int, ...]]:
        """Draw filters by their weight; each then carries the mean weight, its own Ẑ divided out.

        Returns:
            The children, and the index of each one's parent.
        """
        weights = normalise([each.log_mass for each in filters])
        ancestors = SCHEMES[self.resampling](weights, self.n, world.machine.source, key)
        children: list[Filter] = []
        for i, ancestor in enumerate(ancestors):
            parent = filters[ancestor]
            if ancestor in ancestors[:i]:
                children.append(_copy(parent, derive(key, "child", i)))
            else:  # the first child goes on in its parent's place
                children.append(replace(parent, log_weight=-parent.population.log_evidence))
        return children, tuple(ancestors)

    def _move(self, world: World, marginal: PMMH, each: Filter, steps: int, key: Key) -> Task[Filter]:
        """A step of particle marginal Metropolis–Hastings under the target so far, among filters on their way."""
        if each.drawn is None or not each.population.running or each.log_mass == -math.inf:
            return each
        proposed = yield from marginal.propose(world, each.drawn, key)
        if proposed is None:
            return each
        drawn, log_ratio = proposed
        new = self._filter(world, drawn, derive(key, "filter"))
        for _ in range(steps):
            yield from self._advance(new)
        # Filters that have finished are not moved any more, so none may be moved to there.
        if not new.population.running or new.population.log_evidence == -math.inf:
            return each
        log_alpha = new.population.log_evidence - each.population.log_evidence + log_ratio
        if not world.machine.source.accept(log_alpha, derive(key, "accept")):
            return each
        new.log_weight = each.log_mass - new.population.log_evidence
        return new


def _copy(old: Filter, key: Key) -> Filter:
    """A filter that goes on by itself, of weight 1 with its Ẑ."""
    forks = [fork(old.world, p, [derive(key, i)]) for i, p in enumerate(old.population.particles)]
    population = Population([p for [p] in forks], old.population.log_scale, list(old.population.history))
    return Filter(old.drawn, replace(old.world, key=key), population, -population.log_evidence)
