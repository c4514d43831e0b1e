"""A method of one's own, from outside the package: registered by name, and certified before it is trusted.

A method is a frozen dataclass with a name, a guarantee, and
`run`, which composes the operations on populations; `register` makes it known to `infer` and to the table of laws. The
certificate is computed exactly, by exploring every outcome of the very code that runs: the wrong one below fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppl import Method, condition, dist, factor, infer, program, register, sample, validate
from ppl.runtime.population import Population, World, advance, record, resample, spawn
from ppl.runtime.scheduler import Task


@register
@dataclass(frozen=True)
class Bootstrap(Method):
    """The bootstrap filter as first published: resample at every step, by multinomial draws (Gordon et al., 1993).

    Law: proper.

    Attributes:
        n: the number of particles.
    """

    name = "bootstrap"
    guarantee = "proper"

    n: int = 16

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        while population.running:
            yield from advance(world, population)
            if population.running and population.ess > 0:
                self.choose(world, population)
        record(population, None)
        return population

    def choose(self, world: World, population: Population) -> None:
        resample(world, population, "multinomial")


@dataclass(frozen=True)
class Forgetful(Bootstrap):
    """The same with a common slip: the mean weight at a resampling is not kept, so the evidence comes out too large."""

    name = "forgetful"
    guarantee = "proper"

    def choose(self, world: World, population: Population) -> None:
        scale = population.log_scale
        super().choose(world, population)
        population.log_scale = scale


@program
def weather(umbrellas: list[bool]) -> int:
    """How many days it rained, given on which the umbrella was out."""
    rain, days = False, 0
    for out in umbrellas:
        rain = sample(dist.flip(0.7 if rain else 0.2))
        days += rain
        factor(0.0 if rain == out else -1.5)
        condition(days < 3)
    return days


DATA = [True, True]


def main() -> None:
    for method in (Bootstrap(), Forgetful()):
        certificate = validate(weather, DATA[:1], method=method, n=(1, 2))
        verdict = "holds" if certificate else "DOES NOT HOLD"
        print(f"{type(method).__name__:10} E[Z f] = mu(f) for every trace: {verdict}")
        print(f"{'':10} {certificate.leaves} runs explored, largest error {certificate.error:.1g} of the evidence")
    exact = infer(weather, DATA, method="enumerate")
    found = infer(weather, DATA, method="bootstrap", n=2000, seed=0)
    print(f"\nP(it rained on both days) = {found.probability(2):.3f}, exactly {exact.probability(2):.3f}")
    print(f"log evidence = {found.log_evidence:.3f}, exactly {exact.log_evidence:.3f}")


if __name__ == "__main__":
    main()
