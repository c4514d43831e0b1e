"""Geweke's joint test: exact kernels pass, wrong ones are found, for kernels of one's own and of this package."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ppl import ProgramModel, dist, geweke, observe, program, sample

from .normals import Normal

Value = tuple[float, float]
Data = tuple[float, ...]
NOISE = 0.7


class TwoMeans:
    """x, y ~ N(0, 1), and three readings of x + y: correlated enough for Gibbs to be worth testing."""

    name = "two means"

    def draw(self, seed: int) -> tuple[Value, Data]:
        rng = random.Random(seed)
        value = (rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0))
        return value, self.redraw(value, rng.getrandbits(60))

    def redraw(self, value: Value, seed: int) -> Data:
        rng = random.Random(seed)
        return tuple(rng.gauss(sum(value), NOISE) for _ in range(3))


def gibbs(value: Value, data: Data, seed: int, precision: float = 3 / NOISE**2, stale: bool = False) -> Value:
    """Each coordinate from its conditional."""
    rng = random.Random(seed)

    def conditional(other: float) -> float:
        mean = sum(reading - other for reading in data) / NOISE**2 / (1 + precision)
        return rng.gauss(mean, (1 + precision) ** -0.5)

    x = conditional(value[1])
    return x, conditional(value[0] if stale else x)


def stale(value: Value, data: Data, seed: int) -> Value:
    """A planted bug: the second coordinate is drawn given the first as it was before."""
    return gibbs(value, data, seed, stale=True)


def narrow(value: Value, data: Data, seed: int) -> Value:
    """A planted bug: the data count for a third more than they should."""
    return gibbs(value, data, seed, precision=4 / NOISE**2)


def from_prior(value: Value, data: Data, seed: int) -> Value:
    """A planted bug: the data are ignored. Parameters alone look right."""
    return TwoMeans().draw(seed)[0]


def mean_of(data: Data) -> float:
    return sum(data) / len(data)


FUNCTIONS = {
    "x": lambda value, data: value[0],
    "x²": lambda value, data: value[0] ** 2,
    "x y": lambda value, data: value[0] * value[1],
    "sum times data": lambda value, data: sum(value) * mean_of(data),
}


@pytest.mark.parametrize("sequential", [False, True])
def test_an_exact_kernel_passes(sequential: bool) -> None:
    certificate = geweke(TwoMeans(), gibbs, FUNCTIONS, runs=300, steps=10, sequential=sequential)
    assert certificate and certificate.guarantee == "stationary"
    assert "two means by gibbs" in str(certificate)


@pytest.mark.parametrize("kernel", [stale, narrow, from_prior], ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("sequential", [False, True])
def test_wrong_kernels_are_caught(kernel: Any, sequential: bool) -> None:
    certificate = geweke(TwoMeans(), kernel, FUNCTIONS, runs=600, steps=20, sequential=sequential)
    assert not certificate
    if sequential:
        assert certificate.leaves < 600


def test_what_is_not_compared_is_not_found() -> None:
    """A kernel that ignores the data keeps the law of the parameters; only a function of both sees it."""
    alone = {"x": FUNCTIONS["x"], "x²": FUNCTIONS["x²"]}
    assert geweke(TwoMeans(), from_prior, alone, runs=300)
    with pytest.raises(ValueError, match="one function or more"):
        geweke(TwoMeans(), gibbs, {})


@program
def reading(data: Any) -> float:
    kind = sample(dist.flip(0.3))
    level = sample(Normal(2.0 if kind else 0.0, 1.0))
    for y in data:
        observe(Normal(level, 1.0), y, name="y")
    return level


def test_a_step_on_a_program() -> None:
    """Programs give the model; here the kernel draws the kind exactly and leaves the level."""
    model = ProgramModel(reading, (0.0, 0.0))

    def exact(value: Any, data: Any, seed: int) -> Any:
        rng = random.Random(seed)
        weights = [p * Normal(m, 1.0).density(value["level"]) for p, m in ((0.7, 0.0), (0.3, 2.0))]
        return {"kind": rng.random() < weights[1] / sum(weights), "level": value["level"]}

    def flipped(value: Any, data: Any, seed: int) -> Any:
        return {**value, "kind": not exact(value, data, seed)["kind"]}

    assert set(model.functions) == {"kind", "level", "joint density"}
    assert geweke(model, exact, runs=60, steps=3, fresh=9)
    assert not geweke(model, flipped, runs=60, steps=3, fresh=9)
