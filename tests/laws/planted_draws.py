"""Methods that are right if draws are independent and uniform where they are not, or if strings stand for tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ppl import MH, SMC, Enumerate, Importance, Method, factor, program, sample, table_lm
from ppl.kernels import SingleSite
from ppl.law_programs import ends_early, soft_and_hard
from ppl.runtime.kernels import Setting
from ppl.runtime.looks import Looks
from ppl.runtime.methods.chains import Chain
from ppl.runtime.particle import Particle
from ppl.runtime.population import Population, World
from ppl.runtime.result import log_sum_exp
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Key, Laws, Source, derive

from .planted import PlantedBug
from .planted_bugs import law_on


class Changed(Source):
    """A source of which one method is another; the rest is passed on."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        return self.source.choose(log_weights, key)

    def choose_rows(self, laws: Laws, rows: Sequence[int], keys: Sequence[Key], counters: Sequence[int]) -> Any:
        return self.source.choose_rows(laws, rows, keys, counters)

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return self.source.offset(key, breaks)

    def draw(self, distribution: Any, key: Key) -> Any:
        return self.source.draw(distribution, key)

    def boundary(self, operation: str, population: Any) -> None:
        self.source.boundary(operation, population)


def drawing_from(world: World, change: Callable[[Source], Source]) -> World:
    """The problem with another source."""
    return replace(world, machine=replace(world.machine, source=change(world.machine.source)))


class OneKey(Changed):
    def __init__(self, source: Source, key: Key) -> None:
        super().__init__(source)
        self.key = key

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        return self.source.choose(log_weights, self.key)


@dataclass(frozen=True, repr=False)
class OneKeyPerStep(SingleSite):
    """The site, its new value and acceptance are all drawn with the key of the step."""

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        world = drawing_from(setting.world, lambda source: OneKey(source, key))
        return (yield from super().step(replace(setting, world=world), run, key))


class OneKeyPerChain(MH):
    """Every step has the key of the first."""

    def _go(self, setting: Setting, chain: Chain, chains: list[Chain], looks: Looks) -> Task[None]:
        for i in range(self.steps):
            chain.state = yield from self.step(setting, chain.state, derive(chain.key, "step"))
            if i >= self.steps // 2:
                chain.kept.append((i, self.run_of(chain.state)))


class NoSeed(Changed):
    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.numbers = count()

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return self.source.offset(derive(7, "resample", next(self.numbers)), breaks)


class ResamplesWithoutSeed(SMC):
    """Each resampling has a key of its own, and the same in all runs, whatever the seed."""

    def run(self, world: World) -> Task[Population]:
        return (yield from super().run(drawing_from(world, NoSeed)))


class Skewed(Changed):
    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return float(self.source.offset(key, breaks) ** 1.5)


class ResamplesUnevenly(SMC):
    """The random number of the resampling scheme is not uniform."""

    def run(self, world: World) -> Task[Population]:
        return (yield from super().run(drawing_from(world, Skewed)))


class Lucky(Importance):
    """Right on average, and called exact."""

    guarantee = "exact"  # type: ignore[assignment]


class OneSpelling(Enumerate):
    """Of texts that read the same, one has the mass of all."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        groups: dict[Any, list[Particle]] = {}
        for particle in population.particles:
            choices = particle.trace.choices() if particle.trace else ()
            groups.setdefault(tuple((c.address, str(c.value)) for c in choices), []).append(particle)
        for first, *others in groups.values():
            first.log_weight = log_sum_exp([first.log_weight, *(other.log_weight for other in others)])
            for other in others:
                other.log_weight = -math.inf
        return population


lm = table_lm(["a", "b", "ab"], eos=None, seed=1)


@program
def spelt() -> str:
    text = sample(lm.context("a").text(max_tokens=3))
    factor(0.3 * len(text))
    return str(text)


def _unevenly(scheme: str) -> PlantedBug:
    def make(kind: type[SMC]) -> Callable[[int], Method]:
        return lambda n: kind(n=n, ess_threshold=1.0, resampling=scheme)

    return PlantedBug(
        14,
        f"the random number of {scheme} resampling is not uniform",
        "a generator of one's own",
        make(ResamplesUnevenly),
        make(SMC),
        law_on(ends_early),
        sizes=(1, 2),
        hides_at=(1,),
    )


BUGS = (
    PlantedBug(
        12,
        "one key for all draws of a step",
        "kernels with one key",
        lambda n: MH(kernel=OneKeyPerStep()),
        lambda n: MH(kernel=SingleSite()),
        law_on(soft_and_hard),
        sizes=(1,),
    ),
    PlantedBug(
        12,
        "one key for all steps of a chain",
        "kernels with one key",
        lambda n: OneKeyPerChain(),
        lambda n: MH(),
        law_on(soft_and_hard),
        sizes=(1,),
    ),
    PlantedBug(
        13,
        "resampling with keys that do not come from the seed",
        "a generator that is seeded where it is made",
        lambda n: ResamplesWithoutSeed(n=n, ess_threshold=1.0),
        lambda n: SMC(n=n, ess_threshold=1.0),
        law_on(ends_early),
        sizes=(1, 2),
        hides_at=(1,),
    ),
    *map(_unevenly, ("systematic", "multinomial", "ssp")),
    PlantedBug(
        15,
        "a method that is right on average called exact",
        "a guarantee that was copied",
        lambda n: Lucky(n=n),
        lambda n: Enumerate(),
        law_on(soft_and_hard),
        sizes=(1, 2),
    ),
    PlantedBug(
        16,
        "texts that read the same counted as one",
        "enumeration of strings",
        lambda n: OneSpelling(),
        lambda n: Enumerate(),
        law_on(spelt),
        sizes=(1,),
    ),
)
