"""Where floats end: the same operations with ordinary randomness and weights at the edge of what can be written.

The exact checks explore outcomes of positive probability, in exact cells; what rounding does at a cell's edge, or what
becomes of weights like 1e-300, is for here. Each case is right, or a clear error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ppl import (
    SMC,
    Enumerate,
    Importance,
    Method,
    condition,
    dist,
    factor,
    infer,
    observe,
    program,
    sample,
    twist,
    validate,
)
from ppl.expectation import Expected
from ppl.runtime.errors import WeightError
from ppl.runtime.exact import ExactSource, explore
from ppl.runtime.methods import (
    METHODS,
    MH,
    PMMH,
    ROWS,
    SMC2,
    BestFirst,
    Forward,
    ParallelTempering,
    PGibbs,
    Published,
    Revision,
    SelfConsistency,
)
from ppl.runtime.methods.published import WEIGHTINGS
from ppl.runtime.resampling import SCHEMES, WEIGHTED, normalise, offspring
from ppl.runtime.result import effective_sample_size, log_sum_exp
from ppl.runtime.source import Key, RandomSource, derive

INF = math.inf
ALL = [*SCHEMES, *WEIGHTED]
BELOW_ONE = math.nextafter(1.0, 0.0)


class Fixed(RandomSource):
    """Every offset is the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        return self.value


EDGE_WEIGHTS = [
    [0.1] * 10,  # sums to less than 1
    [1 / 3] * 3,
    [1e-17] * 3 + [1.0],
    [1.0] + [1e-17] * 3,
    [0.0, 0.1, 0.0, 0.2, 0.7, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 0.0, 0.0],
    [5e-324, 1.0, 5e-324],
]


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("weights", EDGE_WEIGHTS, ids=repr)
@pytest.mark.parametrize("offset", [0.0, 5e-324, 2.0**-53, 0.5, BELOW_ONE])
def test_offsets_at_the_edges_hit_what_has_weight(scheme: str, weights: list[float], offset: float) -> None:
    given = (np.array(weights) / np.sum(weights)).tolist()
    ancestors, log_weights = offspring(scheme, given, len(weights), Fixed(offset), 1)
    assert all(0 <= a < len(weights) and weights[a] > 0.0 for a in ancestors)
    assert len(ancestors) == (len(weights) if scheme in SCHEMES else np.count_nonzero(given))
    assert all(w < INF and not math.isnan(w) for w in log_weights)


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("spread", [690.0, 745.0, 1e5, 1e300])
def test_any_range_of_weights(scheme: str, spread: float) -> None:
    """From 1e-300 to 1e300 and beyond: what is lighter than the rest by more than floats can say has no children."""
    log_weights = [-INF, -spread, spread, -spread, spread, -INF]
    for seed in range(20):
        ancestors, _ = offspring(scheme, normalise(log_weights), 6, RandomSource(), derive(seed, "spread"))
        assert set(ancestors) <= {2, 4} or (spread == 690.0 and scheme in WEIGHTED and set(ancestors) <= {1, 2, 3, 4})
    assert effective_sample_size(log_weights) == pytest.approx(2.0)
    assert log_sum_exp(log_weights) == pytest.approx(spread + math.log(2.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_tiny_weight_keeps_its_expectation(scheme: str) -> None:
    """Rounding forgives where n·w is nearly whole; it must not swallow weights that are small."""
    tiny = 1e-10
    weights = [0.5 - tiny, 0.5, tiny]
    copies = math.fsum(
        math.exp(log_p) * ancestors.count(2)
        for log_p, ancestors in explore(lambda s: SCHEMES[scheme](weights, 3, s, 0))
    )
    assert copies == pytest.approx(3 * tiny, rel=1e-3)


@pytest.mark.parametrize("scheme", ALL)
def test_one_that_lives_takes_all(scheme: str) -> None:
    ancestors, _ = offspring(scheme, normalise([-INF] * 5 + [-1e5] + [-INF] * 2), 8, RandomSource(), 3)
    assert set(ancestors) == {5}
    assert offspring(scheme, normalise([1e5]), 1, RandomSource(), 3).ancestors == [0]


@pytest.mark.parametrize("scheme", ["systematic", "residual"])
def test_a_million(scheme: str) -> None:
    n = 1_000_000
    log_weights = np.where(np.arange(n) % 1000 == 7, -INF, -np.arange(n) / n * 40.0)
    weights = normalise(log_weights.tolist())
    counts = np.bincount(SCHEMES[scheme](weights, n, RandomSource(), 1), minlength=n)
    assert counts.sum() == n and not counts[log_weights == -INF].any()
    if scheme == "systematic":
        assert np.abs(counts - n * np.array(weights)).max() < 1 + 1e-6
    else:
        assert (counts >= np.floor(n * np.array(weights) - 1e-6)).all()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ALL)
def test_a_million_with_every_scheme(scheme: str) -> None:
    n = 1_000_000
    log_weights = np.where(np.arange(n) % 1000 == 7, -INF, -np.arange(n) / n * 40.0)
    weights = normalise(log_weights.tolist())
    ancestors, _ = offspring(scheme, weights, n, RandomSource(), 1)
    assert len(ancestors) <= n and min(weights[a] for a in ancestors) > 0.0


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [0.0, math.nan], [INF, 0.0], [-INF, -INF], []])
def test_what_is_no_weight_is_an_error(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="log-weights"):
        normalise(bad)
    for source in (RandomSource(), ExactSource([])):
        with pytest.raises(ValueError, match="log-weights"):
            source.choose(bad, 1)


def test_accepting_with_no_probability() -> None:
    source = RandomSource()
    assert not source.accept(-1e5, 1) and source.accept(-5e-324, 1) and not source.accept(-INF, 1)
    with pytest.raises(ArithmeticError, match="acceptance probability is NaN"):
        source.accept(math.nan, 1)


# --- whole methods ---------------------------------------------------------------------------------------------------


@program
def weighed(low: float, high: float) -> bool:
    x = sample(dist.flip(0.5))
    factor(high if x else low)
    y = sample(dist.flip(0.5))
    factor(0.0 if y else -1.0)
    return x


RANGES = [(-700.0, 700.0), (-1e5, 1e5), (-1e5, -1e5 + 1.0), (1e5, 1e5 + 1.0), (-INF, 0.0), (math.log(1e-300), 0.0)]
SOUND: list[Method] = [
    Enumerate(),
    Importance(n=400),
    *(SMC(n=400, resampling=scheme, ess_threshold=1.0) for scheme in SCHEMES),
    *(METHODS[name](**{"n": 400}) for name in ("tempered", "look-ahead", "steering", "entropic")),
    SMC2(n=100, inner=2, parameters="x"),
    BestFirst(),
]
CHAINS: list[Method] = [
    MH(steps=100),
    PGibbs(steps=50),
    PMMH(steps=50, parameters="x"),
    ParallelTempering(steps=50),
]
SEARCHES: list[Method] = [
    *(METHODS[name]() for name in ("beam", "dvts", "a-star", "best-of-n", "self-consistency", "weighted-majority")),
    Revision(argument=None),
    *(Published(n=20, weighting=weighting) for weighting in WEIGHTINGS),
]
PRIOR = Forward(n=400)


@pytest.mark.parametrize("method", SOUND, ids=lambda m: m.describe())
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_evidence_over_any_range(low: float, high: float, method: Method) -> None:
    posterior = infer(weighed, low, high, method=method, seed=4)
    right = high + math.log((1 + math.exp(low - high)) / 2) + math.log((1 + math.exp(-1.0)) / 2)
    assert posterior.log_evidence == pytest.approx(right, abs=0.8)
    assert posterior.probability(lambda x: x) == pytest.approx(1 / (1 + math.exp(low - high)), abs=0.3)
    assert not math.isnan(posterior.ess) and str(posterior)


@pytest.mark.parametrize("method", [*CHAINS, PRIOR], ids=lambda m: m.describe())
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_chains_over_any_range(low: float, high: float, method: Method) -> None:
    posterior = infer(weighed, low, high, method=method, seed=4)
    right = 0.5 if method is PRIOR else 1 / (1 + math.exp(low - high))
    assert posterior.probability(lambda x: x) == pytest.approx(right, abs=0.3)
    assert not math.isnan(posterior.ess) and str(posterior)


@pytest.mark.parametrize("method", SEARCHES, ids=lambda m: m.describe())
@pytest.mark.parametrize(("low", "high"), [*RANGES, (-1e300, 1e300)])
def test_searches_over_any_range(low: float, high: float, method: Method) -> None:
    """They promise nothing, but a run that weighs e^1e5 times as much as the others is what they search for."""
    posterior = infer(weighed, low, high, method=method, seed=4)
    assert not math.isnan(posterior.ess) and str(posterior)
    if high - low > 600.0 and not isinstance(method, SelfConsistency):  # which counts votes and looks at no weight
        assert posterior.mode() is True


def test_every_method_is_here() -> None:
    here = {type(method) for method in (*SOUND, *CHAINS, *SEARCHES, PRIOR)}
    assert here == {METHODS[name] for name in ROWS}


def test_the_published_softmax_is_that_of_the_rewards_also_where_floats_end() -> None:
    method = Published(n=3)

    def shares(log_rewards: list[float]) -> list[float]:
        return normalise(WEIGHTINGS["softmax"](method, log_rewards, log_rewards, 0.5))

    total = math.exp(0.2) + math.exp(0.9) + 1.0
    assert shares([math.log(0.2), math.log(0.9), -INF]) == pytest.approx(
        [math.exp(0.2) / total, math.exp(0.9) / total, 1.0 / total]
    )
    for top in (710.0, 1e5, 1e300):
        assert shares([0.0, top, math.nextafter(top, 0.0)]) == [0.0, 1.0, 0.0]
        assert shares([-INF, top, top]) == [0.0, 0.5, 0.5]


def finite(n: int) -> list[Method]:
    """Every method that takes n particles."""
    return [kind(n=n) for kind in METHODS.values() if "n" in kind.__dataclass_fields__ and n >= kind.least]  # type: ignore[call-arg]


@pytest.mark.parametrize("method", [m for m in finite(1) if m.guarantee == "proper" and m.evidence], ids=repr)
def test_one_particle(method: Method) -> None:
    posterior = infer(weighed, -1e5, 1e5, method=method, seed=1)
    assert posterior.log_evidence is not None and abs(posterior.log_evidence) > 9e4


@program
def hopeless(steps: int) -> bool:
    x = sample(dist.flip(0.5))
    for _ in range(steps):
        twist(700.0 if x else -700.0)
        y = sample(dist.flip(0.5))
        condition(False)
    return x


@pytest.mark.parametrize("method", [m for m in finite(3) if m.guarantee == "proper" and m.evidence], ids=repr)
def test_nothing_survives(method: Method) -> None:
    posterior = infer(hopeless, 2, method=method, seed=1)
    assert posterior.log_evidence == -INF and not posterior.runs


@program
def one_way() -> tuple[bool, ...]:
    xs = []
    for _ in range(6):
        x = sample(dist.flip(0.1))
        condition(x)
        xs.append(x)
    return tuple(xs)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_live_particle_carries_the_rest(scheme: str) -> None:
    for seed in range(10):
        posterior = infer(one_way, method=SMC(n=30, resampling=scheme), seed=seed)
        alive = posterior.log_evidence is not None and posterior.log_evidence > -INF
        assert not alive or posterior.mode() == (True,) * 6


@pytest.mark.parametrize("value", [math.nan, INF])
@pytest.mark.parametrize("method", ["smc", "importance", "enumerate"])
def test_evidence_that_is_no_weight_names_its_line(method: str, value: float) -> None:
    @program
    def wrong() -> bool:
        x = sample(dist.flip(0.5))
        factor(value)
        return x

    with pytest.raises(WeightError, match="factor"):
        infer(wrong, method=method, seed=0)


@pytest.mark.parametrize("method", [SMC(ess_threshold=0.0), Importance(), Enumerate()], ids=repr)
def test_evidence_that_overflows_names_its_line(method: Method) -> None:
    @program
    def mounting() -> bool:
        x = sample(dist.flip(0.5))
        factor(1.2e308)
        factor(1.2e308)
        return x

    with pytest.raises(WeightError, match="factor"):
        infer(mounting, method=method, seed=0)


def test_an_observation_without_density_kills_and_does_not_raise() -> None:
    @program
    def unseen() -> bool:
        x = sample(dist.flip(0.5))
        observe(dist.flip(1.0 if x else 0.0), True)
        return x

    posterior = infer(unseen, method="smc", n=50, seed=0, ess_threshold=1.0)
    assert posterior.mode() is True and posterior.probability(lambda x: x) == 1.0


def test_an_outcome_that_is_no_number_has_the_density_that_it_is_drawn_with() -> None:
    """NaN equals nothing, but counts as one value; runs that had it could not be kept, or moved to."""

    @program
    def unread() -> float:
        x: float = sample(dist.uniform([1.0, math.nan]))
        factor(0.5 if math.isnan(x) else 0.0)
        sample(dist.flip(0.5))
        return x

    for method in (MH(), PGibbs(n=2, ess_threshold=1.0, ancestor_sampling=True), SMC2(n=1, inner=1, parameters="x")):
        certificate = validate(unread, method=method)
        assert certificate, str(certificate)


def test_a_certificate_takes_no_number_for_an_error() -> None:
    """max() would pass over NaN, and call the law kept."""
    right, wrong = (
        Expected({"a": 1.0}, 1.0, {"a": 1.0}, 1),
        Expected({"a": math.nan, "b": 0.0}, math.nan, {"a": 1.0}, 1),
    )
    assert right.distance(wrong) == INF == wrong.distance(right)
    assert wrong.variation(Expected({}, None, {"a": math.nan}, 1)) == INF
