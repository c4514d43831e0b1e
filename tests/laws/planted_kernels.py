"""Wrong Markov kernels, each a few lines away from the right one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ppl import SMC, Program, factor, program, sample
from ppl.certificate_chains import Transitions, method_transitions, transitions
from ppl.dist import categorical, flip
from ppl.law_programs import hidden_markov
from ppl.runtime.follow import KEEP, REDRAW, Follow, MoveSite, Step, choices_of, steps_of
from ppl.runtime.kernels import Block, Kernel, ParticleGibbs, Regenerate, Setting, decide
from ppl.runtime.methods import PMMH
from ppl.runtime.methods.pmmh import Estimate
from ppl.runtime.particle import Particle
from ppl.runtime.population import Population, World, advance, inside, record, spawn
from ppl.runtime.replay import Rerun, way_back
from ppl.runtime.resampling import multinomial, normalise, systematic
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Key, Source, derive

from .planted import PlantedBug


@dataclass(frozen=True, repr=False)
class Suffix(Regenerate):
    """Regeneration from a cut with its ratio written out; the wrong ones change a line."""

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        there = self.cuts(run)
        address, _ = there[setting.choose(len(there), derive(key, "cut"))]
        cut = yield from setting.rerun(
            run, lambda at, follow: KEEP if at != address and follow.same else REDRAW, derive(key, "there")
        )
        back = self.cuts(cut.particle)
        kept = there.index((address, 0))
        old, new = ([step.log_q for step in choices_of(p)][kept:] for p in (run, cut.particle))
        return decide(setting, run, cut.particle, self.ratio(old, new, len(there), len(back)), key)

    def ratio(self, old: list[float], new: list[float], cuts: int, cuts_back: int) -> float:
        """log q(old | new) − log q(new | old).

        Args:
            old, new: the log-densities of the two tails.
            cuts, cuts_back: the numbers of cuts of the two runs.
        """
        return math.fsum(old) - math.fsum(new) + math.log(cuts) - math.log(cuts_back or 1)


class NoCutTerm(Suffix):
    def ratio(self, old: list[float], new: list[float], cuts: int, cuts_back: int) -> float:
        return math.fsum(old) - math.fsum(new)


class TruncatedTails(Suffix):
    def ratio(self, old: list[float], new: list[float], cuts: int, cuts_back: int) -> float:
        length = min(len(old), len(new))
        return super().ratio(old[:length], new[:length], cuts, cuts_back)


class MeanLogProbability(Suffix):
    def ratio(self, old: list[float], new: list[float], cuts: int, cuts_back: int) -> float:
        def mean(tail: list[float]) -> float:
            return math.fsum(tail) / (len(tail) or 1)

        return mean(old) - mean(new) + math.log(cuts) - math.log(cuts_back or 1)


@dataclass(frozen=True, repr=False)
class Conditional(ParticleGibbs):
    """Conditional SMC with its steps written out; the wrong ones change one of them."""

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        world = inside(setting.world, key)
        population = spawn(world, self.n)
        population.particles[0].follow = Follow(steps_of(run), lambda at, follow: KEEP)
        while population.running:
            before = population.particles[0].log_weight
            yield from advance(world, population)
            self.weigh(population.particles[0], before)
            if population.running:
                self.resample(world, population, steps_of(run))
        weights = [p.log_weight for p in population.particles]
        picked = population.particles[world.machine.source.choose(weights, derive(key, "pick"))]
        picked.follow = None
        return picked

    def resample(self, world: World, population: Population, reference: tuple[Step, ...]) -> None:
        parents = population.particles
        weights = normalise(population.selection_weights)
        key = derive(world.key, "resample", len(population.history))
        ancestors = self.ancestors(weights, world.machine.source, key)
        record(population, (0, *ancestors))
        children = [parents[a].fork(derive(key, i)) for i, a in enumerate(ancestors)]
        for ancestor, child in zip(ancestors, children, strict=True):
            if ancestor == 0 and child.running:
                self.bear(child, reference)
        population.particles = [parents[0], *children]
        for particle in population.particles:
            particle.log_weight = -particle.log_twist

    def weigh(self, reference: Particle, before: float) -> None:
        """After a step of the reference, whose log-weight was ``before``."""

    def ancestors(self, weights: Sequence[float], source: Source, key: Key) -> list[int]:
        """The parents of all particles but the reference."""
        return multinomial(weights, self.n - 1, source, key)

    def bear(self, child: Particle, reference: tuple[Step, ...]) -> None:
        """A child of the reference goes on."""


class ClonesReference(Conditional):
    """Children of the reference go its way, instead of their own."""

    def bear(self, child: Particle, reference: tuple[Step, ...]) -> None:
        child.follow = Follow(reference, lambda at, follow: KEEP)
        child.follow.skip(len(steps_of(child)))


class RescoresReference(Conditional):
    """The reference is scored again at its own step."""

    def weigh(self, reference: Particle, before: float) -> None:
        reference.log_weight += reference.log_weight - before


class UnconditionalScheme(Conditional):
    """The others are resampled by a scheme that knows of no reference."""

    def ancestors(self, weights: Sequence[float], source: Source, key: Key) -> list[int]:
        return systematic(weights, self.n - 1, source, key)


class _FromDiscarded(Setting):
    def way_back(self, old: Particle, there: Rerun, key: Key) -> Task[float]:
        return way_back(self.world, old, replace(there, particle=old), key, self.stage)


class BackFromDiscarded(Block):
    """The proposal of the way back looks at the choices that the move discards, not at those it leads to."""

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        return super().step(_FromDiscarded(setting.world, setting.stage, setting.target), run, key)


class EstimatesAnew(PMMH):
    """The evidence with the present parameters is estimated anew at each step."""

    def step(self, setting: Setting, state: Estimate, key: Key) -> Task[Estimate]:
        parameters = [step for step in choices_of(state.run) if self._is_parameter(step.address)]
        again = yield from self.estimate(setting.world, parameters, derive(key, "again"))
        state = replace(state, log_mass=again.log_mass if again is not None else state.log_mass)
        return (yield from super().step(setting, state, key))


@program
def lengths() -> int:
    """Runs of one to three choices; without the number of cuts the long ones come out wrong."""
    count = 0
    while count < 3:
        count += 1
        if sample(flip(0.6), name="stop"):
            break
    factor(0.4 * count)
    return count


@program
def scored_on_the_way() -> tuple[bool, bool]:
    x = sample(flip(0.4))
    factor(1.0 if x else 0.0)
    y = sample(flip(0.2 if x else 0.9), proposal=flip(0.5))  # weighs without a stop
    return x, y


@program
def ladder() -> tuple[int, int]:
    x = sample(categorical([0.5, 0.2, 0.3]))
    y = sample(categorical([0.2, 0.2, 0.6]))
    factor(0.7 if x == y else 0.0)
    return x, y


def nearby(site: MoveSite) -> Any:
    """A step to a neighbour, more likely up than down, from where the run is now."""
    return categorical([[0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7]][site.value])


def _on(prog: Program, *args: Any) -> Callable[[Any], Transitions]:
    def check(thing: Kernel | PMMH) -> Transitions:
        if isinstance(thing, Kernel):
            return transitions(prog, *args, kernel=thing)
        return method_transitions(prog, (args, {}), thing)

    return check


def _suffix(bug: type[Suffix], number: int, name: str, reference: str) -> PlantedBug:
    return PlantedBug(number, name, reference, lambda n: bug(), lambda n: Suffix(), _on(lengths), sizes=(1,))


def _conditional(bug: type[Conditional], name: str, hides_at: tuple[int, ...]) -> PlantedBug:
    return PlantedBug(
        5,
        name,
        "particle Gibbs",
        lambda n: bug(n, 1.0),
        lambda n: ParticleGibbs(n, 1.0),
        _on(scored_on_the_way),
        sizes=(2, 3),
        hides_at=hides_at,
    )


BUGS = (
    _suffix(NoCutTerm, 3, "suffix move without the number of cuts", "power sampling, QUEST"),
    _suffix(TruncatedTails, 3, "suffix move with tails cut to one length", "power sampling"),
    _suffix(MeanLogProbability, 4, "mean log-probability in the ratio", "power sampling"),
    _conditional(ClonesReference, "children of the reference are clones of it", (2,)),
    _conditional(UnconditionalScheme, "reference unknown to the resampling of the others", (2,)),
    _conditional(RescoresReference, "reference scored again at its own step", ()),
    PlantedBug(
        6,
        "proposal of the way back from discarded choices",
        "Metropolis–Hastings with proposals that look at the present value",
        lambda n: BackFromDiscarded(proposals={"*": nearby}),
        lambda n: Block(proposals={"*": nearby}),
        _on(ladder),
        sizes=(1,),
    ),
    PlantedBug(
        7,
        "evidence of the present parameters estimated anew",
        "particle marginal Metropolis–Hastings",
        lambda n: EstimatesAnew(inner=SMC(n, "multinomial", 1.0), parameters="start"),
        lambda n: PMMH(inner=SMC(n, "multinomial", 1.0), parameters="start"),
        _on(hidden_markov, [True]),
        sizes=(1,),
    ),
)
