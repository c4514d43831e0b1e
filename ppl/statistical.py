"""Certificates from samples: what was compared, how likely so large a difference is, and the rate of false alarms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

from .certificate import Certificate
from .mean_test import MeanBet, MeanCheck
from .sequential import Bet, UniformBet, together
from .uniformity import p_value as uniform_p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_P = 1e-300
Deviation = float | Mapping[str, float] | None
"""The largest standard deviation that numbers can have: of all, or by name."""


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
        assumption: what the rate of false alarms rests on, or what could not be told; empty if neither.
    """

    p_value: float
    false_alarm: float
    seed: int
    sequential: bool
    comparisons: tuple[Uniformity | MeanCheck, ...]
    assumption: str = ""

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        how = "statistically, run by run" if self.sequential else "statistically"
        worst = "" if self.holds else f"; the furthest off: {min(self.comparisons, key=lambda c: c.p_value)}"
        return (
            f"{self.program} by {self.method} ({self.guarantee}): {self.law}: {verdict}; checked {how}, "
            f"{shown_p(self.p_value)} (false alarm {self.false_alarm:g}), {self.leaves:,} runs, {self.seconds:.1f} s"
            f"{worst}{'; ' if self.assumption else ''}{self.assumption}"
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
            impossible = any(map(math.isnan, numbers))
            p_value = watch.p_value(name) if self.sequential or impossible else uniform_p_value(numbers)
            found.append(Uniformity(name, p_value, tuple(numbers)))
        return self._certificate(watch, found)

    def means(
        self,
        stream: Iterable[Mapping[str, float]],
        expected: Mapping[str, float],
        bound: float | None = None,
        deviation: Deviation = None,
        told_by: str = "bound= or deviation=",
    ) -> StatisticalCertificate:
        """Check that every named number has the mean that the law says.

        That it is too large shows in any case, if the numbers are not negative; that it is too small does only where a
        rare, large number is ruled out (``mean_test.py``).

        Args:
            stream: one mapping a run, independent of the others.
            expected: the means, by name; the first is the one of which is told whether too small a mean could be seen.
            bound: the numbers lie in [0, bound]. Where one does not, all are read as if no bound had been given.
            deviation: no standard deviation is larger, of all or by name; such numbers may be negative.
            told_by: what to give to have means told that are too small.

        Raises:
            ValueError: a number is negative, without a deviation, or no numbers can have these means.
        """
        if bound is not None and deviation is not None:
            raise ValueError("give bound= or deviation=, not both: one is enough")
        bets: dict[str, MeanBet] = {}

        def bet(name: str) -> MeanBet:
            sd = deviation.get(name) if isinstance(deviation, Mapping) else deviation
            bets[name] = MeanBet(expected[name], bound, sd)
            return bets[name]

        watch = self._watch(stream, bet, bets_on_all=True)
        broken = max((b.broken for b in bets.values() if b.broken is not None), default=None)
        if broken is not None:
            bound = None
            watch = watch.again(bet)
        found = [MeanCheck.of(n, watch.p_value(n), numbers, expected[n]) for n, numbers in watch.seen.items()]
        assumption = _assumption(bound, deviation, broken, told_by)
        name, mean = next(iter(expected.items()))
        needed = bets[name].runs_to_tell(mean / 2, self.false_alarm / len(bets)) if mean else 0.0
        if watch.runs < needed < math.inf and watch.worth > self.false_alarm:
            assumption += f"; undecided: too small a mean of the {name}, as to tell half of it takes {needed:,.0f} runs"
        return self._certificate(watch, found, assumption)

    def _watch(
        self, stream: Iterable[Mapping[str, float]], bet: Callable[[str], Bet], bets_on_all: bool = False
    ) -> _Watch:
        """Collect the numbers of all runs, or of as many as decide the matter."""
        watch = _Watch(bet)
        for numbers in islice(stream, self.runs):
            watch.note(numbers)
            if any(map(math.isnan, numbers.values())):
                break
            if (self.sequential or bets_on_all) and watch.bet(numbers) <= self.false_alarm and self.sequential:
                break
        return watch

    def _certificate(
        self, watch: _Watch, found: Sequence[Uniformity | MeanCheck], assumption: str = ""
    ) -> StatisticalCertificate:
        least = min(check.p_value for check in found)
        # Capital was averaged over the comparisons; p-values may depend on each other in any way (Bonferroni, 1936).
        together = min(1.0, least * len(found))
        p_value = watch.worth if watch.has_bet and least > 0.0 else together
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
            assumption,
        )


def _assumption(bound: float | None, deviation: Deviation, broken: float | None, told_by: str) -> str:
    """What a check of means rests on."""
    if broken is not None:
        return (
            f"one number was {broken:.3g} and over the bound, so means that are too small were not looked for: that "
            f"takes a {told_by} that always holds"
        )
    if bound is not None:
        return f"assuming that no number is over {bound:.3g}"
    if isinstance(deviation, Mapping):
        return f"assuming standard deviations of at most {', '.join(f'{d:.3g} ({n})' for n, d in deviation.items())}"
    if deviation is not None:
        return f"assuming that no standard deviation is over {deviation:.3g}"
    return f"means that are too small were not looked for: that takes {told_by}"


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

    @property
    def has_bet(self) -> bool:
        return bool(self._bets)

    @property
    def worth(self) -> float:
        """The p-value of all that was seen, by the bets."""
        return _worth(self.peak)

    def again(self, make_bet: Callable[[str], Bet]) -> _Watch:
        """The same numbers, seen by other gamblers."""
        watch = _Watch(make_bet)
        for row in zip(*self.seen.values(), strict=True):
            numbers = dict(zip(self.seen, row, strict=True))
            watch.note(numbers)
            watch.bet(numbers)
        return watch

    def bet(self, numbers: Mapping[str, float]) -> float:
        """Bet on the numbers of one run; returns the p-value of all that was seen."""
        for name, number in numbers.items():
            bet = self._bets.get(name)
            if bet is None:
                bet = self._bets[name] = self._make_bet(name)
            self._peaks[name] = max(self._peaks.get(name, 0.0), bet.see(number))
        self.peak = max(self.peak, together(list(self._bets.values())))
        return self.worth

    def p_value(self, name: str) -> float:
        """The p-value of one comparison by itself: one over the greatest capital; 0 if something was no number."""
        if any(map(math.isnan, self.seen[name])):
            return 0.0
        return _worth(self._peaks.get(name, 0.0))


def shown_p(p_value: float) -> str:
    """A p-value in words; below 1e-12 its digits are rounding."""
    return "p < 1e-12" if p_value < 1e-12 else f"p = {p_value:.2g}"


def exp(log_number: float) -> float:
    """The number; infinite where it can't be written, as an estimate may be that is far too large."""
    return math.exp(log_number) if log_number < 709.0 else math.inf


def _worth(log_capital: float) -> float:
    """The p-value that the logarithm of a greatest capital is worth (Ville, 1939)."""
    return math.exp(-log_capital)


def _standard_errors(p_value: float) -> float:
    return max(0.0, -NormalDist().inv_cdf(max(p_value, _LEAST_P) / 2))
