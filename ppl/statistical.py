"""Certificates from samples: what was compared, how likely so large a difference is, and the rate of false alarms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

from .certificate import Certificate
from .mean_test import MeanCheck, check_mean
from .sequential import Bet, MeanBet, UniformBet, together
from .uniformity import p_value as uniform_p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_P = 1e-300


@dataclass(frozen=True)
class Uniformity:
    """Numbers that are uniform on [0, 1] when the law holds.

    Attributes:
        name: what they are the ranks of.
        p_value: how likely numbers so far from uniform are when the law holds, looked at by themselves.
        uniforms: one a run; NaN where a value was drawn that the law rules out.
    """

    name: str
    p_value: float
    uniforms: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.name} ({shown_p(self.p_value)})"


@dataclass(frozen=True)
class StatisticalCertificate(Certificate):
    """The outcome of a statistical check; true when nothing speaks against the law at the declared false-alarm rate.

    ``error`` and ``tolerance`` are the p-value and the false-alarm rate as standard errors of a normal; ``leaves`` is
    the number of runs.

    Attributes:
        p_value: how likely a difference so large is when the law holds, all comparisons taken together.
        false_alarm: the probability, at most, that a check of a law that holds fails.
        seed: what reproduces the check.
        sequential: the check was looked at after every run and would have stopped at once when it was decided.
        comparisons: what was compared.
    """

    p_value: float
    false_alarm: float
    seed: int
    sequential: bool
    comparisons: tuple[Uniformity | MeanCheck, ...]

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        how = "statistically, run by run" if self.sequential else "statistically"
        worst = "" if self.holds else f"; the furthest off: {min(self.comparisons, key=lambda c: c.p_value)}"
        return (
            f"{self.program} by {self.method} ({self.guarantee}): {self.law}: {verdict}; checked {how}, "
            f"{shown_p(self.p_value)} (false alarm {self.false_alarm:g}), {self.leaves:,} runs, {self.seconds:.1f} s"
            f"{worst}"
        )

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw what was compared: rank histograms beside the distribution functions with their bands, or means.

        Args:
            path: where to save the picture; the suffix gives the format (``.png``, ``.svg``, ``.pdf``).

        Returns:
            A matplotlib figure, which notebooks show.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from .calibration_plots import plot

        return plot(self, path)


@dataclass(frozen=True)
class Trial:
    """A check to be made: of what, and by which rules.

    Attributes:
        program: the program's name.
        method: the method as one would write it.
        guarantee: what it claims.
        law: the law to be checked.
        runs: how many runs; at most so many, if sequential.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that it fails when the law holds.
        sequential: look after every run, and stop as soon as the law is rejected.
        started: when, in seconds of ``time.perf_counter``.

    Raises:
        ValueError: there are too few runs for any verdict, or the rate is no probability.
    """

    program: str
    method: str
    guarantee: str
    law: str
    runs: int
    seed: int
    false_alarm: float
    sequential: bool
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if not 0.0 < self.false_alarm < 1.0:
            raise ValueError(f"false_alarm is a probability between 0 and 1, such as 0.001; got {self.false_alarm!r}")
        if self.runs < 20:
            raise ValueError(f"runs={self.runs}: fewer than 20 runs show nothing; 200 are a good start")

    def uniforms(self, stream: Iterable[Mapping[str, float]]) -> StatisticalCertificate:
        """Check that every named number is uniform on [0, 1].

        Args:
            stream: one mapping a run, all with the same names. Numbers of different runs are independent, numbers of
                one run need not be. NaN stands for a value that is impossible under the law.
        """
        watch = self._watch(stream, lambda name: UniformBet())
        found = []
        for name, numbers in watch.seen.items():
            if any(math.isnan(u) for u in numbers):
                p_value = 0.0
            else:
                p_value = watch.p_value(name) if self.sequential else uniform_p_value(numbers)
            found.append(Uniformity(name, p_value, tuple(numbers)))
        return self._certificate(watch, found)

    def means(
        self, stream: Iterable[Mapping[str, float]], expected: Mapping[str, float], bound: float | None = None
    ) -> StatisticalCertificate:
        """Check that every named number has the mean that the law says.

        Args:
            stream: one mapping a run, independent of the others.
            expected: the means, by name.
            bound: if sequential: the numbers lie in [0, bound].

        Raises:
            ValueError: sequential without a bound, or a number is outside.
        """

        def bet(name: str) -> MeanBet:
            if bound is None:
                raise ValueError("sequential=True needs bound=, the largest that the numbers can be, or leave it out")
            return MeanBet(expected[name], bound, self.false_alarm)

        watch = self._watch(stream, bet)
        found = []
        for name, numbers in watch.seen.items():
            check = check_mean(name, numbers, expected[name])
            found.append(replace(check, p_value=watch.p_value(name)) if self.sequential else check)
        return self._certificate(watch, found)

    def _watch(self, stream: Iterable[Mapping[str, float]], bet: Callable[[str], Bet]) -> _Watch:
        """Collect the numbers of all runs, or of as many as decide the matter."""
        watch = _Watch(bet)
        for numbers in islice(stream, self.runs):
            watch.note(numbers)
            if any(map(math.isnan, numbers.values())):
                break
            if self.sequential and watch.bet(numbers) <= self.false_alarm:
                break
        return watch

    def _certificate(self, watch: _Watch, found: Sequence[Uniformity | MeanCheck]) -> StatisticalCertificate:
        least = min(check.p_value for check in found)
        # Capital was averaged over the comparisons; p-values may depend on each other in any way (Bonferroni, 1936).
        together = min(1.0, least * len(found))
        p_value = _worth(watch.peak) if self.sequential and least > 0.0 else together
        return StatisticalCertificate(
            self.program,
            self.method,
            self.guarantee,
            self.law,
            False,
            p_value > self.false_alarm,
            _standard_errors(p_value),
            _standard_errors(self.false_alarm),
            watch.runs,
            time.perf_counter() - self.started,
            p_value,
            self.false_alarm,
            self.seed,
            self.sequential,
            tuple(found),
        )


class _Watch:
    """What was seen so far, and the greatest capital that bets against it ever had."""

    def __init__(self, make_bet: Callable[[str], Bet]) -> None:
        self.runs = 0
        self.seen: dict[str, list[float]] = {}
        self.peak = 0.0
        self._make_bet = make_bet
        self._bets: dict[str, Bet] = {}
        self._peaks: dict[str, float] = {}

    def note(self, numbers: Mapping[str, float]) -> None:
        self.runs += 1
        for name, number in numbers.items():
            self.seen.setdefault(name, []).append(number)

    def bet(self, numbers: Mapping[str, float]) -> float:
        """Bet on the numbers of one run; returns the p-value of all that was seen."""
        for name, number in numbers.items():
            bet = self._bets.get(name)
            if bet is None:
                bet = self._bets[name] = self._make_bet(name)
            self._peaks[name] = max(self._peaks.get(name, 0.0), bet.see(number))
        self.peak = max(self.peak, together(list(self._bets.values())))
        return _worth(self.peak)

    def p_value(self, name: str) -> float:
        """The p-value of one comparison by itself: one over the greatest capital."""
        return _worth(self._peaks.get(name, 0.0))


def shown_p(p_value: float) -> str:
    """A p-value in words; below 1e-12 its digits are rounding."""
    return "p < 1e-12" if p_value < 1e-12 else f"p = {p_value:.2g}"


def _worth(log_capital: float) -> float:
    """The p-value that the logarithm of a greatest capital is worth (Ville, 1939)."""
    return math.exp(-log_capital)


def _standard_errors(p_value: float) -> float:
    return max(0.0, -NormalDist().inv_cdf(max(p_value, _LEAST_P) / 2))
