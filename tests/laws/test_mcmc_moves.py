"""Resample–move is proper: kernels in the middle of a particle filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ppl import SMC, SMC2, dist, factor, infer, observe, program, sample
from ppl.certificate import certificate_of
from ppl.kernels import Block, Cycle, Kernel, ParticleGibbs, Regenerate, Repeat, SingleSite
from ppl.law_programs import CORPUS, hidden_markov
from ppl.runtime.kernels import suspended
from ppl.runtime.methods import MH, Entropic, LookAhead, Method, ParallelTempering, Steering
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task

TOLERANCE = 1e-11


@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("kernel", [SingleSite(), Block(), Regenerate("token")], ids=repr)
def test_proper(kernel: Kernel, threshold: float) -> None:
    for name in ("proposed", "do", "twisted_and_early"):
        prog, args = CORPUS[name]
        n = 2 if name == "proposed" else 1
        found = certificate_of(prog, (args, {}), [SMC(n=n, ess_threshold=threshold, move=kernel)], 20_000)
        assert found and found.error < TOLERANCE


@pytest.mark.slow
def test_proper_with_a_cycle() -> None:
    test_proper(Cycle((SingleSite(), Block())), 0.7)


@program
def ends_early() -> int:
    stop = sample(dist.flip(0.4))
    factor(0.5 if stop else 0.0)
    if stop:
        return 0
    x = sample(dist.flip(0.3))
    factor(-0.4 if x else 0.2)
    return 1 + int(x)


MOVING: list[Method] = [
    SMC(n=2, ess_threshold=0.7, move=Block()),
    Entropic(n=2, steps=6, ess_threshold=1.0, move=Block()),
    LookAhead(n=2, pilots="greedy", ess_threshold=1.0, move=Block()),
    Steering(n=1, factor=2, move=Block()),
]


@pytest.mark.parametrize("method", MOVING, ids=lambda method: method.name)
def test_proper_with_two_particles_and_runs_of_different_lengths(method: Method) -> None:
    assert certificate_of(ends_early, ((), {}), [method], 20_000).error < TOLERANCE


@pytest.mark.parametrize("method", MOVING, ids=lambda method: method.name)
def test_moving_finished_runs_is_caught(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """A population of which all have finished is not moved any more: then none may be moved to its end or from it."""
    monkeypatch.setattr(suspended, "waiting", suspended.joint)
    assert not certificate_of(ends_early, ((), {}), [method], 20_000)


ONE: list[Method] = [
    Entropic(n=1, move=SingleSite()),
    LookAhead(n=1, move=SingleSite()),
    Steering(n=1, factor=1, move=SingleSite()),
]


@pytest.mark.parametrize("method", ONE, ids=lambda method: method.name)
def test_hints_and_proposals_with_moves(method: Method) -> None:
    for name in ("proposed", "twisted_and_early"):
        prog, args = CORPUS[name]
        assert certificate_of(prog, (args, {}), [method], 20_000).error < TOLERANCE


class MovesAfterResampling(SMC):
    """Whether particles are moved depends on their weights."""

    def run(self, world: World) -> Task[Population]:
        from ppl.runtime.kernels import move_population
        from ppl.runtime.population import advance, resample, spawn
        from ppl.runtime.replay import recording

        world = recording(world)
        population = spawn(world, self.n)
        steps = 0
        while population.running:
            yield from advance(world, population)
            steps += 1
            if population.running and 0 < population.ess < 0.9 * self.n:
                resample(world, population, "multinomial")
                yield from move_population(world, population, SingleSite(), self._stage(steps))
        return population


def test_moving_only_after_resampling_is_caught() -> None:
    @program
    def two() -> Any:
        x = sample(dist.flip(0.3))
        factor(1.5 if x else 0.0)
        y = sample(dist.flip(0.5), proposal=dist.flip(0.9))
        return x, y

    assert certificate_of(two, ((), {}), [SMC(n=2, ess_threshold=0.9, move=SingleSite())], 20_000).error < TOLERANCE
    assert not certificate_of(two, ((), {}), [MovesAfterResampling(n=2)], 20_000)


def test_moves_make_particles_differ_again() -> None:
    @program
    def sticky(steps: int) -> Sequence[bool]:
        """All is decided by the first choice, which resampling soon makes the same everywhere."""
        first = sample(dist.categorical([1.0 / 8] * 8))
        for t in range(steps):
            factor(0.4 * ((first >> t) & 1))
        return int(first)  # type: ignore[return-value]

    plain = infer(sticky, 3, n=32, ess_threshold=1.0, resampling="multinomial", seed=1)
    moved = infer(sticky, 3, n=32, ess_threshold=1.0, resampling="multinomial", move=SingleSite(), seed=1)
    exact = infer(sticky, 3, method="enumerate")
    assert moved.log_evidence == pytest.approx(exact.log_evidence, abs=0.4)
    assert len(moved.distribution()) >= len(plain.distribution())


def test_what_may_stand_for_a_move() -> None:
    one, same = (infer(hidden_markov, [True, False], n=4, move=m, seed=2) for m in (SingleSite(), MH()))
    assert [r.value for r in one.runs] == [r.value for r in same.runs]
    for kind in (SMC, Entropic, LookAhead, Steering):
        with pytest.raises(ValueError, match="move is a kernel such as SingleSite"):
            kind(move="mh")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="stands for one step of its kernel, so steps, power would mean nothing"):
            kind(move=MH(steps=7, power=2.0))
        with pytest.raises(ValueError, match="move is a kernel such as SingleSite"):
            kind(move=ParallelTempering())  # its kernel is not what it does
        for whole in (ParticleGibbs(2), Cycle((SingleSite(), Repeat(ParticleGibbs(2), 2)))):
            with pytest.raises(ValueError, match=r"moves whole runs under the program's own measure.* with move="):
                kind(move=whole)
    with pytest.raises(ValueError, match=r"makes no sense with power="):
        MH(power=2.0, kernel=ParticleGibbs(2))
    with pytest.raises(ValueError, match=r"makes no sense with parallel tempering"):
        ParallelTempering(kernel=ParticleGibbs(2))


@program
def tiny() -> tuple[bool, bool, bool]:
    a = sample(dist.flip(0.3))
    x = sample(dist.flip(0.8 if a else 0.4))
    factor(0.7 if x else -0.3)
    y = sample(dist.flip(0.6 if x else 0.1), proposal=dist.flip(0.5))
    factor(0.5 if y == a else 0.0)
    return a, x, y


@pytest.mark.parametrize(("n", "inner", "every"), [(1, 2, None), (2, 1, None), (1, 1, 1)])
def test_smc2_is_proper(n: int, inner: int, every: int | None) -> None:
    method = SMC2(n, inner, "a", ess_threshold=1.0, resampling="multinomial", move_every=every)
    assert certificate_of(tiny, ((), {}), [method], 20_000).error < TOLERANCE
    uneven = SMC2(n, inner, "stop", ess_threshold=1.0, move_every=every)
    assert certificate_of(ends_early, ((), {}), [uneven], 20_000).error < TOLERANCE


def test_smc2_comes_near_the_evidence() -> None:
    @program
    def biased(data: Sequence[bool]) -> float:
        bias = sample(dist.categorical({0.1: 0.25, 0.3: 0.25, 0.6: 0.25, 0.9: 0.25}))
        state = sample(dist.flip(bias))
        for seen in data:
            state = sample(dist.flip(bias if state else 1 - bias), name="next")
            observe(dist.flip(0.9 if state else 0.2), seen)
        return bias

    data = [True, True, False, True, True, True]
    exact = infer(biased, data, method="enumerate")
    found = infer(biased, data, method=SMC2(64, 16, "bias"), seed=1)
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=0.2)
    assert {c.observed for run in found.runs for c in run.trace} == {False}


def test_smc2_tells_which_runs_share_a_filter() -> None:
    method = SMC2(n=3, inner=2, parameters="start", ess_threshold=1.0, move_every=None)
    found = infer(hidden_markov, *CORPUS["hidden_markov"][1], method=method, seed=0)
    assert len(found.history) > 2 and found.ancestry[-1] == (0, 0, 1, 1, 2, 2)
    assert {len(parents) for parents in found.ancestry[:-1]} == {3}  # filters were resampled, too
    assert found.history[-2].log_evidence == pytest.approx(found.log_evidence)
    families: dict[int, set[object]] = {}
    for line, run in zip(found.ancestor_lines(), found.runs, strict=True):
        families.setdefault(line[0], set()).add(run.trace[0].value)
    assert all(len(starts) == 1 for starts in families.values())
    assert "share ancestors" in found.summary() and "Pareto" not in found.summary()
