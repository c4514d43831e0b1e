"""Wrong importance samplers and particle filters, each a few lines away from the right one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from ppl import SMC, Certificate, Importance, Method, Program
from ppl.certificate import certificate_of
from ppl.compiler.requests import Ask
from ppl.law_programs import ends_early, hidden_markov, proposed
from ppl.runtime.machine import Machine, Wait
from ppl.runtime.particle import Particle, Status
from ppl.runtime.population import Population, World, advance, record, resample, spawn
from ppl.runtime.result import log_sum_exp
from ppl.runtime.scheduler import Task

from .planted import PlantedBug


class RecountsPrefixes(SMC):
    """Each step weighs by the product of all rewards so far, where those before it were counted already."""

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        before = [0.0] * self.n
        while population.running:
            going = [p.running for p in population.particles]
            yield from advance(world, population)
            for p, was_going, counted in zip(population.particles, going, before, strict=True):
                if was_going and p.log_weight > -math.inf:
                    p.log_weight += counted
            if population.running and population.ess > 0:
                resample(world, population, self.resampling)
            before = [_evidence(p) for p in population.particles]
        record(population, None)
        return population


def _evidence(particle: Particle) -> float:
    """The logarithm of all rewards of a run so far."""
    choices = particle.trace.choices() if particle.trace else ()
    return particle.log_joint - math.fsum(c.log_prob for c in choices if not c.observed)


class RescoresFinished(SMC):
    """A particle that has finished is scored again at each step that the others take."""

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        while population.running:
            finished = [p for p in population.particles if p.status is Status.DONE]
            yield from advance(world, population)
            for p in finished:
                p.log_weight += math.log(0.8)  # its last score once more
            if population.running and population.ess > 0:
                resample(world, population, self.resampling)
        record(population, None)
        return population


class ForgetsEvidence(SMC):
    """The mean weight at a resampling is lost: the evidence is that of the last steps only."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale = -math.log(self.n)
        return population


class _Uncorrected(Machine):
    def _drawn(self, particle: Particle, ask: Ask, address: str, value: Any, log_p: float, log_q: float) -> Wait | None:
        return super()._drawn(particle, ask, address, value, log_p, log_p)


class IgnoresProposals(Importance):
    """What was drawn from a proposal is weighed as if it came from the prior."""

    def run(self, world: World) -> Task[Population]:
        parts = {f.name: getattr(world.machine, f.name) for f in fields(world.machine)}
        population = yield from super().run(replace(world, machine=_Uncorrected(**parts)))
        return population


class DropsResiduals(SMC):
    """Ancestors are drawn by w^(1/2), and all children go on with the mean weight, the w^(1/2) left over lost."""

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, self.n)
        while population.running:
            yield from advance(world, population)
            if population.running and 0.0 < population.ess < self.n * (1 - 1e-9):
                log_weights = population.selection_weights
                scale = population.log_scale + log_sum_exp(log_weights) - math.log(self.n)
                resample(world, population, self.resampling, selection=[w / 2 for w in log_weights])
                population.log_scale = scale
                for p in population.particles:
                    p.log_weight = -p.log_twist
        record(population, None)
        return population


class ReadsUnweighted(SMC):
    """The particles that come out are read as if they were equal."""

    memoryless = True  # the check may merge populations, and catches it all the same

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        alive = [p for p in population.particles if p.log_weight > -math.inf]
        mean = log_sum_exp([p.log_weight for p in alive]) - math.log(max(len(alive), 1))
        for p in alive:
            p.log_weight = mean
        return population


def smc(kind: Callable[..., SMC]) -> Callable[[int], Method]:
    """A particle filter that resamples wherever weights differ."""
    return lambda n: kind(n=n, ess_threshold=1.0, resampling="multinomial")


def law_on(program: Program, *args: Any) -> Callable[[Method], Certificate]:
    """The law of proper methods on a finite program."""
    return lambda method: certificate_of(program, (args, {}), [method], limit=20_000)


BUGS = (
    PlantedBug(
        1,
        "prefix products of rewards recounted at each step",
        "particle filtering with process rewards",
        smc(RecountsPrefixes),
        smc(SMC),
        law_on(hidden_markov, [True, False]),
        sizes=(1, 2),
    ),
    PlantedBug(
        2,
        "finished particles rescored",
        "steering of language models by SMC",
        smc(RescoresFinished),
        smc(SMC),
        law_on(ends_early),
        sizes=(1, 2),
        hides_at=(1,),
    ),
    PlantedBug(
        8,
        "evidence not accumulated across resamplings",
        "particle filters",
        smc(ForgetsEvidence),
        smc(SMC),
        law_on(hidden_markov, [True, False]),
        sizes=(1, 2),
        hides_at=(1,),
    ),
    PlantedBug(
        9,
        "a missing proposal density",
        "importance sampling with a guide",
        lambda n: IgnoresProposals(n=n),
        lambda n: Importance(n=n),
        law_on(proposed),
    ),
    PlantedBug(
        10,
        "tempered resampling without residual weights",
        "entropic particle filtering",
        smc(DropsResiduals),
        smc(SMC),
        law_on(ends_early),
        sizes=(1, 2),
        hides_at=(1,),
    ),
    PlantedBug(
        11,
        "particles read without their weights",
        "particle filtering, final answer by plain vote",
        smc(ReadsUnweighted),
        smc(SMC),
        law_on(proposed),
        hides_at=(1,),
    ),
)
