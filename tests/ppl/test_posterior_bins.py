"""Posteriors over many numbers are shown by intervals and moments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from hypothesis import given
from hypothesis import strategies as st

from ppl import Posterior, dist, infer, observe, program, sample
from ppl.posterior_bins import spread
from ppl.posterior_distribution import Distribution

finite = st.floats(-1e6, 1e6, allow_nan=False)


@program
def location() -> Any:
    mu = sample(td.Normal(0.0, 1.0))
    for y in (0.8, 1.3, 1.1):
        observe(td.Normal(mu, 1.0), y)
    return mu


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    return infer(location, method="importance", n=400, seed=0)


def test_intervals_moments_and_errors(posterior: Posterior) -> None:
    found = spread(posterior.distribution())
    assert found is not None
    values = np.array([float(run.value) for run in posterior.runs])
    weights = np.array(posterior.runs.weights)
    mean = float((weights * values).sum())
    assert found.mean == pytest.approx(mean) and found.mean == pytest.approx(posterior.expectation())
    assert found.sd == pytest.approx(math.sqrt(float((weights * (values - mean) ** 2).sum())))
    assert math.fsum(b.share for b in found.bins) == pytest.approx(1.0) and sum(b.count for b in found.bins) == 400
    for each in found.bins:
        inside = (values >= each.low) & (values < each.high)
        share = float(weights[inside].sum())
        assert each.share == pytest.approx(share, abs=1e-12) and each.count == int(inside.sum())
        assert each.error == pytest.approx(math.sqrt(float((weights**2 * (inside - share) ** 2).sum())))
    assert float(weights[values < found.low].sum()) < 0.05 <= float(weights[values <= found.low].sum())


def test_they_are_what_people_see(posterior: Posterior) -> None:
    text = posterior.summary()
    assert "0.5 to 1 " in text and "mean 0." in text and "sd 0." in text and "other values" not in text
    assert "mean=0." in repr(posterior) and "0.5 to 1" in repr(posterior.distribution())
    labels = [label.get_text() for label in posterior.plot(kind="answers").axes[0].get_yticklabels()]
    assert labels.index("0 to 0.5") < labels.index("0.5 to 1") < labels.index("1 to 1.5")


@given(st.lists(finite, min_size=21, max_size=60, unique=True))
def test_any_numbers(numbers: list[float]) -> None:
    found = spread(Distribution(numbers, [1.0] * len(numbers)))
    assert found is not None and 1 <= len(found.bins) <= 12
    assert sum(b.count for b in found.bins) == len(numbers)
    assert all(one.high <= other.low for one, other in zip(found.bins, found.bins[1:], strict=False))
    assert min(numbers) <= found.low <= found.high <= max(numbers)


@pytest.mark.parametrize(
    "values",
    [
        [str(i) for i in range(40)],
        [float(i) for i in range(10)],
        [1.0] * 5 + [float(i) for i in range(40)],
        [math.inf, *(float(i) for i in range(40))],
        [torch.zeros(2) + i for i in range(40)],
        [None, *(float(i) for i in range(40))],
    ],
    ids=["texts", "few", "one that is frequent", "infinite", "vectors", "none among them"],
)
def test_what_is_shown_value_by_value(values: list[Any]) -> None:
    assert spread(Distribution(values, [1.0] * len(values))) is None


def test_labels_that_read_the_same_are_numbered() -> None:
    @program
    def long() -> str:
        word = "yes" if sample(dist.flip(0.25)) else "no"
        return "a very long answer " * 5 + word + " and so on, and so on" * 3

    lines = infer(long, method="enumerate").summary().splitlines()
    assert "  #2  0.250000 " in lines[2] and "#" not in lines[1]


def test_bars_where_the_output_holds_no_blocks(posterior: Posterior, monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow:
        encoding = "cp1252"

    monkeypatch.setattr("sys.stdout", Narrow())
    posterior.summary().encode("cp1252")
    assert "####" in posterior.summary()


def test_numbers_of_any_size() -> None:
    @program
    def factorials() -> int:
        return math.factorial(sample(dist.uniform(range(200, 240))))

    @program
    def powers() -> float:
        x = sample(dist.uniform(range(40)))
        return (1 if x % 2 else -1) * 10.0 ** (150 + x)

    @program
    def times() -> int:
        return 1_700_000_000 + 60 * sample(dist.uniform(range(40)))

    for prog in (factorials, powers, times):
        found = infer(prog, method="enumerate")
        assert found.summary() and repr(found) and found._repr_html_() and found.plot(kind="answers")
    lines = infer(times, method="enumerate").summary().splitlines()
    assert "1700000000 to 1700000500 " in lines[1] and "mean 1700001170" in "".join(lines)
