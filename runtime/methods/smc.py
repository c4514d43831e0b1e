"""Sequential Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...compiler.requests import Site
from ..kernels import Kernel, SingleSite, as_kernel, move_population
from ..particle import Particle, Status
from ..population import Population, World, advance, record, resample, run_particles, spawn
from ..replay import Stage, recording
from ..resampling import SCHEMES
from ..scheduler import Task
from .base import Method, at_least_one, one_of, patterns, share

_EVIDENCE = ("observe", "factor", "condition", "twist", "barrier")


@dataclass(frozen=True)
class SMC(Method):
    """Advance all particles to their next evidence, resample where the weights have grown uneven, repeat.

    Law: proper. E[Ẑ f] = μ(f) for every scheme and threshold (Del Moral, 2004; Gordon, Salmond and Smith, 1993).
    Finished particles keep their weight and stay in the resampling; they are never rescored. After the last step
    there is no resampling: it could only lose samples.

    Attributes:
        n: the number of particles.
        resampling: ``systematic``, ``stratified``, ``residual``, ``multinomial``, ``ssp`` or ``killing``.
        ess_threshold: resample when the effective sample size falls under this fraction of n; 1.0 resamples at
            every step at which the weights differ, 0.0 never.
        resample_at: names or patterns (``condition``, ``step*``) of the sites at which to wait and resample; by
            default every ``observe``, ``factor``, ``condition``, ``twist`` and ``barrier``.
        move: a kernel of ``ppl.kernels``, one step of which moves every particle at each of these sites, the target
            so far left invariant (resample–move: Gilks and Berzuini, 2001). ``MH(kernel=...)`` stands for its kernel.
    """

    name = "smc"
    guarantee = "proper"
    law_variants = (
        {"resample_at": "*[nr]", "ess_threshold": 1.0},  # condition, factor and barrier, but not factor#2 or observe
        {"ess_threshold": 0.7},
        {"resampling": "multinomial", "ess_threshold": 0.7},
        *({"resampling": s, "ess_threshold": 1.0} for s in SCHEMES),
        {"move": SingleSite(), "ess_threshold": 0.9},
    )

    n: int = 32
    resampling: str = "systematic"
    ess_threshold: float = 0.5
    resample_at: tuple[str, ...] | str | None = None
    move: Kernel | Method | None = None

    @property
    def memoryless(self) -> bool:  # type: ignore[override]
        return self.move is None  # a move looks at what was recorded

    def __post_init__(self) -> None:
        at_least_one(self.n)
        one_of("resampling", self.resampling, SCHEMES)
        share("ess_threshold", self.ess_threshold)
        if self.resample_at is not None:
            patterns("resample_at", self.resample_at, "sites")
        if self.move is not None:
            as_kernel(self.move)

    def check(self, sites: Sequence[Site]) -> None:
        if self.resample_at is None or any(site.kind == "program" or site.dynamic for site in sites):
            return
        for pattern in self._patterns:
            if not any(fnmatchcase(site.name, pattern) for site in sites):
                known = ", ".join(site.name for site in sites if site.kind in _EVIDENCE) or "none"
                raise ValueError(f"resample_at={pattern!r} matches no site; evidence and barriers here: {known}")

    def run(self, world: World) -> Task[Population]:
        world = world if self.move is None else recording(world)
        population = spawn(world, self.n)
        steps = 0
        while population.running:
            yield from self._advance(world, population)
            steps += 1
            if not population.running:
                break
            # Equal weights have ESS n up to rounding: nothing to gain.
            if 0.0 < population.ess < self.ess_threshold * self.n * (1 - 1e-9):
                resample(world, population, self.resampling)
            else:
                record(population, None)
            if self.move is not None:
                yield from move_population(world, population, as_kernel(self.move), self._stage(steps))
        record(population, None)
        return population

    def _stage(self, steps: int) -> Stage:
        """Runs one particle as far as this population has come."""

        def stage(world: World, particle: Particle) -> Task[None]:
            for _ in range(steps):
                if particle.running:
                    yield from run_particles(world, [particle], through=False)
                    yield from self._pass(world, [particle])

        return stage

    def _advance(self, world: World, population: Population) -> Task[None]:
        yield from advance(world, population)
        yield from self._pass(world, population.particles)

    def _pass(self, world: World, particles: Sequence[Particle]) -> Task[None]:
        """Run on those that wait where this method does not."""
        while self.resample_at is not None:
            passing = [p for p in particles if p.status is Status.SYNC and not self._stops(p)]
            if not passing:
                return
            yield from run_particles(world, passing, through=False)

    def _stops(self, particle: Particle) -> bool:
        assert particle.ask is not None
        return any(fnmatchcase(particle.ask.site.name, pattern) for pattern in self._patterns)

    @property
    def _patterns(self) -> tuple[str, ...]:
        return (self.resample_at,) if isinstance(self.resample_at, str) else self.resample_at or ()
