"""SMC's relatives keep the law of proper methods, and each law fails on the bug that it is there for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from ppl import Method, Program, barrier, condition, dist, factor, infer, observe, program, sample, twist, validate
from ppl.law_programs import CORPUS
from ppl.runtime.kernels import SingleSite
from ppl.runtime.methods import MH, SMC, Entropic, LookAhead, Published, Steering, Tempered
from ppl.runtime.methods import entropic as entropic_module
from ppl.runtime.methods import steering as steering_module
from ppl.runtime.methods.tempered import Partly, next_beta
from ppl.runtime.particle import Particle
from ppl.runtime.population import Population, World, resample
from ppl.runtime.replay import recording
from ppl.runtime.scheduler import Task


@program
def uneven() -> tuple[int, int]:
    """One outcome in three holds nearly all the weight, and what comes after depends on it."""
    x = sample(dist.categorical([0.4, 0.4, 0.2]))
    factor(2.5 if x == 2 else -2.5 + x)
    y = sample(dist.flip(0.2 if x == 2 else 0.7))
    factor(0.8 if y else -0.4)
    return x, int(y)


@program
def hinted() -> tuple[bool, bool]:
    a = sample(dist.flip(0.3))
    twist(1.0 if a else -1.0)
    observe(dist.flip(0.9 if a else 0.4), True)
    b = sample(dist.flip(0.6))
    condition(a or b)
    return a, b


SMALL: dict[str, Program] = {"uneven": uneven, "hinted": hinted}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "method",
    [
        Entropic(n=2, ess_threshold=1.0),
        *(Entropic(n=3, ess_threshold=1.0, steps=6, schedule=schedule) for schedule in ("ess", "entropy", "base")),
        LookAhead(n=2, ess_threshold=1.0, resampling="multinomial"),
        LookAhead(n=2, pilots=2),
        Steering(n=1, factor=3),
        Tempered(n=3, cess=0.6, max_steps=2),
        Tempered(n=2, cess=0.9, max_steps=3, resampling="multinomial"),
        Tempered(n=2, betas=(0.3, 1.0), move=SingleSite()),
        SMC(n=2, resampling="ssp", ess_threshold=1.0),
        SMC(n=2, resampling="killing", ess_threshold=1.0),
    ],
    ids=Method.describe,
)
def test_proper(name: str, method: Method) -> None:
    certificate = validate(SMALL[name], method=method, n=method.n, limit=40_000)  # type: ignore[attr-defined]
    assert certificate, str(certificate)


def resampled_to(weight: Callable[[Particle], float]) -> Callable[..., tuple[int, ...]]:
    """A wrong ``resample`` after which particles have these log-weights."""

    def wrong(world: World, population: Population, *options: Any, **named: Any) -> tuple[int, ...]:
        ancestors = resample(world, population, *options, **named)
        for p in population.particles:
            p.log_weight = weight(p)
        return ancestors

    return wrong


def test_entropic_without_the_residual_weight_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropic_module, "resample", resampled_to(lambda p: -p.log_twist))
    assert not validate(uneven, method=Entropic(ess_threshold=1.0, steps=6), n=3, limit=40_000)


def test_look_ahead_that_is_not_divided_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    method = LookAhead(n=2, ess_threshold=1.0, resampling="multinomial")
    assert validate(uneven, method=method, n=2, limit=40_000)

    monkeypatch.setattr("ppl.runtime.methods.look_ahead.resample", resampled_to(lambda p: 0.0))
    assert not validate(uneven, method=method, n=2, limit=40_000)


def test_pilots_are_no_deaths_but_cost_what_they_cost() -> None:
    @program
    def narrow() -> int:
        total = 0
        for _ in range(3):
            total += sample(dist.flip(0.5), name="x")
            factor(0.0)
            condition(total > 0)
        return total

    plain = infer(narrow, method="smc", n=20, seed=3, ess_threshold=0.0)
    ahead = infer(narrow, method="look-ahead", n=20, seed=3, ess_threshold=0.0)
    assert sum(d.count for d in ahead.deaths) == sum(d.count for d in plain.deaths)


def test_steering_with_equal_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    @program
    def once() -> int:
        x = sample(dist.categorical([0.4, 0.4, 0.2]))
        factor(2.5 if x == 2 else -2.5 + x)
        barrier()
        return x

    assert validate(once, method=Steering(factor=2), n=(1, 2), limit=40_000)
    monkeypatch.setattr(steering_module, "resample", resampled_to(lambda p: -p.log_twist))
    assert not validate(once, method=Steering(factor=2), n=2, limit=40_000)


def test_steering_keeps_no_two_alike() -> None:
    """Of five options each with several tries, the population at the end holds distinct runs."""

    @program
    def letters() -> str:
        text = ""
        for _ in range(3):
            text += sample(dist.uniform("abcde"), name="letter")
            factor(0.3 * text.count("a"))
        return text

    posterior = infer(letters, method="steering", n=4, factor=3, seed=0)
    assert len(posterior.runs) == 12
    assert max(len(generation.log_weights) for generation in posterior.history) == 12
    assert len(posterior.ancestor_lines()) == 12


def test_tempered_ends_at_one_in_steps_of_even_size() -> None:
    log_evidence = [0.0, -30.0, -60.0, -90.0]
    beta, log_weights, steps = 0.0, [0.0] * 4, 0
    while beta < 1.0:
        higher = next_beta(beta, log_weights, log_evidence, 0.7)
        assert beta < higher <= 1.0
        log_weights = [w + (higher - beta) * e for w, e in zip(log_weights, log_evidence, strict=True)]
        beta, steps = higher, steps + 1
    assert beta == 1.0
    assert steps >= 3, "so uneven an evidence takes several degrees"
    assert next_beta(0.0, [0.0, 0.0], [-1.0, -1.0], 0.9) == 1.0
    assert next_beta(0.5, [0.0], [-700.0], 0.9) == 1.0

    posterior = infer(uneven, method="tempered", n=64, seed=0, cess=0.95)
    assert len(posterior.history) > 2
    exact = infer(uneven, method="enumerate")
    assert posterior.log_evidence == pytest.approx(exact.log_evidence, abs=0.5)


def test_tempered_takes_a_method_for_its_kernel() -> None:
    options: dict[str, Any] = {"method": "tempered", "n": 8, "seed": 3, "betas": (0.5, 1.0)}
    one, same = (infer(uneven, **options, move=move) for move in (SingleSite(), MH()))
    assert [run.value for run in one.runs] == [run.value for run in same.runs]
    with pytest.raises(ValueError, match="move is a kernel such as SingleSite"):
        Tempered(move="mh")  # type: ignore[arg-type]


def test_tempered_moves_that_see_all_of_the_evidence_at_once_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Tempered(n=2, betas=(0.3, 1.0), move=SingleSite())
    monkeypatch.setattr(Partly, "__call__", lambda self, particle: particle.log_joint)
    assert not validate(uneven, method=method, n=2, limit=40_000)


class ByItsOwnDegrees(Tempered):
    """Moves at degrees that were found by looking at the very particles that are moved."""

    def run(self, world: World) -> Task[Population]:
        population, _ = yield from self._anneal(recording(world), None)
        return population


def test_degrees_come_from_a_pilot_since_particles_that_choose_their_own_are_biased() -> None:
    @program
    def one(log_weights: list[float]) -> int:
        x = sample(dist.uniform(range(len(log_weights))))
        factor(log_weights[x])
        return x

    def tempered(kind: type[Tempered]) -> Tempered:
        return kind(cess=0.95, max_steps=2, move=SingleSite())

    assert validate(one, [0.0, -2.0], method=tempered(Tempered), n=2)
    assert not validate(one, [0.0, -1.0, -4.0], method=tempered(ByItsOwnDegrees), n=2)


def test_moves_make_particles_differ_again() -> None:
    @program
    def far() -> float:
        x = sample(Normal(0.0, 1.0))
        observe(Normal(x, 0.05), torch.tensor(2.5))
        return float(x)

    still = infer(far, method=Tempered(n=100, cess=0.9), seed=0)
    moved = infer(far, method=Tempered(n=100, cess=0.9, move=SingleSite(), moves=3), seed=0)
    assert len({run.value for run in moved.runs}) > 2 * len({run.value for run in still.runs})
    truth = float(Normal(0.0, math.hypot(1.0, 0.05)).log_prob(torch.tensor(2.5)))
    assert moved.log_evidence == pytest.approx(truth, abs=0.6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Entropic(schedule="linear"), "schedule is one of ess, entropy, base"),
        (lambda: LookAhead(defensive=0.0), "could not go on"),
        (lambda: LookAhead(pilots=0), "pilots"),
        (lambda: Steering(factor=0), "factor"),
        (lambda: Tempered(cess=1.0), "between 0 and 1"),
        (lambda: Tempered(betas=(0.5, 0.4, 1.0)), "betas rise"),
        (lambda: Tempered(betas=(0.5,)), "betas rise"),
        (lambda: Published(weighting="sum"), "weighting is one of softmax, logit, products, entropic"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], Method], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- the published weightings ---------------------------------------------------------------------------------------


@program
def rewarded() -> tuple[int, ...]:
    """Three steps with a reward each: the toy on which the published weightings are compared."""
    steps: list[int] = []
    for _ in range(3):
        steps.append(sample(dist.categorical([0.5, 0.3, 0.2]), name="step"))
        factor(math.log([0.2, 0.6, 0.9][steps[-1]]))
    return tuple(steps)


def test_published_weightings_are_far_from_the_posterior_where_the_proper_one_is_near() -> None:
    exact = infer(rewarded, method="enumerate").distribution()

    def distance(**options: object) -> float:
        shares: dict[object, float] = {}
        for seed in range(40):
            for value, p in infer(rewarded, n=200, seed=seed, **options):  # type: ignore[arg-type]
                shares[value] = shares.get(value, 0.0) + p / 40
        return sum(abs(shares.get(v, 0.0) - exact[v]) for v in {*exact, *shares}) / 2

    assert distance(method="smc", ess_threshold=1.0) < 0.05
    for weighting in ("softmax", "logit", "products"):
        assert distance(method="published", weighting=weighting) > 0.1, weighting


def test_a_barrier_or_a_hint_is_no_reward() -> None:
    """The last reward stays what it was; after each of them particles are selected by it again."""

    def shares(pause: bool, method: str) -> list[float]:
        @program
        def paused() -> bool:
            x = sample(dist.flip(0.5))
            factor(-0.1 if x else -2.5)
            if pause:
                barrier()
                twist(0.0)
            return x

        options = {"method": method, "n": 400, "weighting": "softmax", "resampling": "systematic"}
        return [infer(paused, seed=seed, **options).probability(True) for seed in range(3)]  # type: ignore[arg-type]

    for plain, paused in zip(shares(False, "published"), shares(True, "published"), strict=True):
        assert paused >= plain - 0.02, "a reward of one took the place of the last"


def test_published_weightings_report_no_evidence_and_rank_by_the_last_reward() -> None:
    posterior = infer(rewarded, method="published", n=8, seed=1)
    assert posterior.guarantee == "heuristic"
    with pytest.raises(ValueError, match="no estimate of the evidence"):
        _ = posterior.log_evidence
    best = max(posterior.runs, key=lambda run: run.log_weight)
    assert best.value[-1] == max(run.value[-1] for run in posterior.runs)


@pytest.mark.parametrize("weighting", ["softmax", "logit", "products", "entropic"])
@pytest.mark.parametrize("name", CORPUS)
def test_published_weightings_run_on_any_program(name: str, weighting: str) -> None:
    prog, args = CORPUS[name]
    posterior = infer(prog, *args, method="published", n=5, seed=2, weighting=weighting)
    assert posterior.empty == (name == "impossible")
