"""Bets against a law: fair while it holds, so that a false alarm at any time is rare; and quick where it does not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ppl.mean_test import MeanBet
from ppl.sequential import Bet, UniformBet, together
from ppl.statistical import Trial

MIDDLES = [(i + 0.5) / 16 for i in range(16)]


def expected_capital(make: Callable[[], Bet], outcomes: dict[float, float], rounds: int) -> float:
    """The mean of the capital after some rounds, over every sequence of outcomes."""
    total = 0.0
    for path in itertools.product(outcomes.items(), repeat=rounds):
        bet = make()
        for number, _ in path:
            bet.see(number)
        total += math.exp(bet.log_capital) * math.prod(p for _, p in path)
    return total


class Peeking(UniformBet):
    """A planted bug: it learns from a number before it bets on it."""

    def see(self, number: float) -> float:
        for counts in self._counts:
            counts[min(int(number * len(counts)), len(counts) - 1)] += 1
        return super().see(number)


def test_the_law_of_capital() -> None:
    """Exactly: under the law, capital is worth 1 in expectation after every round."""
    assert expected_capital(UniformBet, dict.fromkeys(MIDDLES, 1 / 16), 3) == pytest.approx(1.0, abs=1e-12)
    coin = {0.0: 0.7, 2.0: 0.3}
    assert expected_capital(lambda: MeanBet(0.6, 2.0), coin, 10) == pytest.approx(1.0, abs=1e-12)


def test_the_law_of_capital_is_seen_to_fail() -> None:
    assert expected_capital(Peeking, dict.fromkeys(MIDDLES, 1 / 16), 2) > 1.1
    assert expected_capital(lambda: MeanBet(0.5, 2.0), {0.0: 0.7, 2.0: 0.3}, 10) > 1.05


def test_false_alarms_at_any_time_are_rare() -> None:
    """Looked at after every number, at level 0.1."""
    rng = np.random.default_rng(0)
    numbers = rng.random((300, 200))
    alarms = sum(_stops(UniformBet(), row, 0.1) is not None for row in numbers)
    assert alarms <= 300 * 0.1
    alarms = sum(_stops(MeanBet(0.5, 1.0), row, 0.1) is not None for row in numbers)
    assert alarms <= 300 * 0.1


def test_a_fixed_test_looked_at_again_and_again_is_no_substitute() -> None:
    """Peeking at a plain z-test at the same level raises far more alarms than it declares."""
    rng = np.random.default_rng(0)
    gaps = np.cumsum(rng.random((300, 200)) - 0.5, axis=1) / np.sqrt(np.arange(1, 201) / 12)
    assert (np.abs(gaps[:, 9:]) > 1.645).any(axis=1).mean() > 0.3


def test_what_is_wrong_is_found_early() -> None:
    rng = np.random.default_rng(1)
    for bet in (UniformBet(), MeanBet(0.5, 1.0)):
        stopped = _stops(bet, rng.beta(2.0, 1.0, 500), 1e-3)
        assert stopped is not None and stopped < 150


def test_capital_of_several_is_their_mean() -> None:
    right, wrong = UniformBet(), UniformBet()
    for number in np.random.default_rng(2).random(60):
        right.see(float(number))
        wrong.see(float(number) / 2)
    assert math.exp(together([right, wrong])) == pytest.approx(
        (math.exp(right.log_capital) + math.exp(wrong.log_capital)) / 2
    )


def test_a_trial_stops_when_it_is_decided() -> None:
    rng = np.random.default_rng(3)
    drawn = 0

    def numbers(power: float) -> Iterator[dict[str, float]]:
        nonlocal drawn
        for _ in range(300):
            drawn += 1
            yield {"fine": rng.random(), "odd": rng.random() ** power}

    def trial() -> Trial:
        return Trial("p", "m", "proper", "law", 300, 0, 1e-3, True)

    wrong = trial().uniforms(numbers(3.0))
    assert not wrong and wrong.leaves == drawn < 100 and wrong.p_value <= 1e-3
    assert "odd" in str(wrong) and "run by run" in str(wrong)
    right = trial().uniforms(numbers(1.0))
    assert right and right.leaves == 300


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one in \[0, 1\]"):
        UniformBet().see(1.5)
    with pytest.raises(ValueError, match="numbers of either sign need deviation="):
        MeanBet(1.0, 2.0).see(-0.5)
    with pytest.raises(ValueError, match="lies inside"):
        MeanBet(3.0, 2.0)
    with pytest.raises(ValueError, match="need deviation="):
        MeanBet(-1.0)
    with pytest.raises(ValueError, match="over 0 and finite"):
        MeanBet(1.0, deviation=0.0)
    with pytest.raises(ValueError, match="not both"):
        Trial("p", "m", "proper", "law", 30, 0, 0.01, False).means([], {"x": 1.0}, bound=2.0, deviation=1.0)
    with pytest.raises(ValueError, match="fewer than 20 runs"):
        Trial("p", "m", "proper", "law", 3, 0, 0.01, False)
    with pytest.raises(ValueError, match="false_alarm is a probability"):
        Trial("p", "m", "proper", "law", 30, 0, 1.0, False)


def _stops(bet: Bet, numbers: np.ndarray, level: float) -> int | None:
    return next((i for i, u in enumerate(numbers) if bet.see(float(u)) >= -math.log(level)), None)
