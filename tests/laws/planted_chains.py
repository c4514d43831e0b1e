"""Chains whose steps are right, and whose posterior is another: what is kept of the states, and of which measure."""

from __future__ import annotations

from ppl import MH
from ppl.law_programs import soft_and_hard
from ppl.runtime.kernels import Power, Setting, Target
from ppl.runtime.looks import Looks
from ppl.runtime.methods.chains import Chain
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task
from ppl.runtime.source import derive

from .planted import PlantedBug
from .planted_bugs import law_on


class KeepsAccepted(MH):
    """A state that rejects a proposal is not counted again."""

    def _go(self, setting: Setting, chain: Chain, chains: list[Chain], looks: Looks) -> Task[None]:
        for i in range(self.steps):
            new = yield from self.step(setting, chain.state, derive(chain.key, "step", i))
            if new is not chain.state:
                chain.kept.append((i, self.run_of(new)))
            chain.state = new


class KeepsBefore(MH):
    """The state before each step is kept, so the start is one of them and the last state is none."""

    def _go(self, setting: Setting, chain: Chain, chains: list[Chain], looks: Looks) -> Task[None]:
        burn_in = self.steps // 2 if self.burn_in is None else self.burn_in
        for i in range(self.steps):
            if i >= burn_in and (i - burn_in) % self.thin == 0:
                chain.kept.append((i, self.run_of(chain.state)))
            chain.state = yield from self.step(setting, chain.state, derive(chain.key, "step", i))


class NoThinning(MH):
    """Every state after burn-in is kept."""

    def _go(self, setting: Setting, chain: Chain, chains: list[Chain], looks: Looks) -> Task[None]:
        burn_in = self.steps // 2 if self.burn_in is None else self.burn_in
        for i in range(self.steps):
            chain.state = yield from self.step(setting, chain.state, derive(chain.key, "step", i))
            if i >= burn_in:
                chain.kept.append((i, self.run_of(chain.state)))


class WeighsStates(MH):
    """States weigh as much as their density, which decided already how often they come."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        for particle in population.particles:
            particle.log_weight = particle.log_joint
        return population


class Sharp(MH):
    """Leaves another measure invariant, for which nobody asked."""

    @property
    def target(self) -> Target:
        return Power(3.0)


def _chain(number: int, name: str, reference: str, kind: type[MH]) -> PlantedBug:
    return PlantedBug(number, name, reference, lambda n: kind(), lambda n: MH(), law_on(soft_and_hard), sizes=(1,))


BUGS = (
    _chain(17, "only accepted states are kept", "Metropolis–Hastings written as rejection", KeepsAccepted),
    _chain(17, "states are kept before their step", "off by one", KeepsBefore),
    _chain(17, "thinning is ignored", "an option that nobody reads", NoThinning),
    _chain(18, "states weighted by their density", "Metropolis–Hastings read as importance sampling", WeighsStates),
    _chain(19, "another target than the program", "power sampling without saying so", Sharp),
)
