"""Checks against what is known in closed form: a posterior, an evidence, an expectation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .infer import run_problems
from .joint import as_inferred
from .posterior import Posterior
from .program import Program, needs_program
from .runtime.methods import Method, make_method
from .runtime.source import derive, uniform
from .statistical import Deviation, StatisticalCertificate, Trial, exp

EVIDENCE = "evidence"


def goodness_of_fit(
    program: Program,
    *args: Any,
    cdf: Callable[[Any], float] | None = None,
    probabilities: Mapping[Any, float] | None = None,
    method: str | Method = "smc",
    runs: int = 200,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> StatisticalCertificate:
    """Check draws from a method's posterior against the known distribution of the return value.

    One value is drawn by weight from the posterior of each of many independent runs of the method, and sent through
    the distribution function: that gives uniform numbers (Rosenblatt, 1952; randomised between the two sides of a
    jump where values are discrete). Proper methods with few particles have posteriors that are biased by about 1/n;
    for a law that they keep at any n see :func:`validate_evidence`.

    Args:
        program: a program that returns a number, or, for ``probabilities``, anything that can be looked up.
        args, kwargs: its arguments.
        cdf: the continuous distribution function of the return value.
        probabilities: instead: value → probability, of all values.
        method: a name or a method object, as for ``infer``.
        runs: how many runs of the method; at most so many, if sequential.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that draws from the known distribution fail.
        sequential: bet on the numbers one by one, and stop as soon as the law is rejected.
        options: the method's own, such as ``n=500``.

    Raises:
        ValueError: not exactly one of ``cdf`` and ``probabilities`` was given, or an argument makes no sense.
        EmptyPosterior: the method lost all its particles.
    """
    needs_program(program, "goodness_of_fit")
    if (cdf is None) == (probabilities is None):
        raise ValueError("give either cdf=, the distribution function of a number, or probabilities={value: p, ...}")
    if probabilities is not None and abs(math.fsum(probabilities.values()) - 1.0) > 1e-9:
        raise ValueError(
            f"probabilities sum to {math.fsum(probabilities.values()):.6g}, not to 1; give those of all values"
        )
    recipe = make_method(method, options)
    law = "draws follow the known posterior"
    trial = Trial(program.name, recipe.describe(), recipe.guarantee, law, runs, seed, false_alarm, sequential)

    def numbers() -> Iterator[dict[str, float]]:
        for key, posterior in _posteriors(program, args, kwargs, recipe, runs, seed):
            value = posterior.sample(seed=derive(key, "draw"))
            if cdf is not None:
                yield {"return value": float(cdf(value))}
            else:
                yield {"return value": _randomised(value, probabilities or {}, uniform(derive(key, "jump")))}

    return trial.uniforms(numbers())


def validate_evidence(
    program: Program,
    *args: Any,
    log_evidence: float,
    means: Mapping[str, tuple[Callable[[Any], float], float]] | None = None,
    method: str | Method = "smc",
    runs: int = 300,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    bound: float | None = None,
    deviation: Deviation = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> StatisticalCertificate:
    """Check a proper method where the evidence is known: E[Ẑ] = Z, and E[Ẑ f] = Z E[f | data] for posterior means.

    Both hold at any number of particles, so few will do, and errors show the better. The means over runs of Ẑ/Z and of
    Σ w f(x) / Z are compared with 1 and with E[f | data], by bets whose rate of false alarms holds however skewed the
    numbers are (:mod:`ppl.mean_test`). So a mean that is too small is told only where ``bound`` or ``deviation`` rules
    out that a rare run of great weight was missed; one that is too large in any case. On a finite program
    ``validate_statistically`` works the bound out.

    Args:
        program: any program.
        args, kwargs: its arguments.
        log_evidence: log Z.
        means: name → (f, E[f | data]), with f a function of the return value.
        method: a name or a method object, as for ``infer``; proper, with an estimate of the evidence.
        runs: how many independent runs; at most so many, if sequential.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that a method that keeps its law fails.
        sequential: stop as soon as the law is rejected.
        bound: the largest that Ẑ/Z, and Σ w f(x) / Z for each f ≥ 0, can be.
        deviation: instead, the largest standard deviation that they can have, over runs: of all, or by name, with
            ``"evidence"`` for Ẑ/Z. An f with one may be negative. For importance sampling that of Ẑ/Z is
            √((E[w²]/Z² − 1)/n).
        options: the method's own, such as ``n=8``.

    Raises:
        ValueError: the method has no estimate of the evidence, an f is negative without a ``deviation``, or an argument
            makes no sense.
    """
    needs_program(program, "validate_evidence")
    recipe = make_method(method, options)
    if not recipe.evidence or recipe.guarantee not in ("proper", "exact"):
        raise ValueError(f"{recipe.describe()} estimates no evidence; check it with goodness_of_fit or calibrate")
    law = "E[Z] = Z" + (" and E[Z f] = Z E[f]" if means else "")
    trial = Trial(program.name, recipe.describe(), recipe.guarantee, law, runs, seed, false_alarm, sequential)
    functions = {name: f for name, (f, _) in (means or {}).items()}
    expected = {EVIDENCE: 1.0, **{name: mean for name, (_, mean) in (means or {}).items()}}

    def ratios() -> Iterator[dict[str, float]]:
        for _, posterior in _posteriors(program, args, kwargs, recipe, runs, seed):
            ratio = exp(posterior.log_evidence - log_evidence)
            yield {
                EVIDENCE: ratio,
                **{n: 0.0 if posterior.empty else ratio * posterior.expectation(f) for n, f in functions.items()},
            }

    return trial.means(ratios(), expected, bound, deviation)


def validate_inverse_evidence(
    estimate: Callable[[int], float],
    log_evidence: float,
    *,
    runs: int = 300,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    bound: float | None = None,
    deviation: float | None = None,
    name: str = "conditional SMC",
    method: str = "conditional SMC",
) -> StatisticalCertificate:
    """Check conditional SMC where the evidence is known: E[1/Ẑ] = 1/Z, given a reference drawn from the posterior.

    The reference and the particles beside it have, together, the law of ordinary SMC weighted by Ẑ/Z (Andrieu, Doucet
    and Holenstein, 2010), which makes the mean of Z/Ẑ one. A reference that is dropped, cloned too often or scored
    twice breaks it. As in :func:`validate_evidence`, too small a mean is told only by a bound or a deviation. For
    Z/Ẑ to have one, take data that no parameter makes all but impossible.

    Args:
        estimate: a seed → log Ẑ of a conditional SMC run whose reference is an exact draw from the posterior, a new one
            for each seed.
        log_evidence: log Z.
        runs: how many independent runs; at most so many, if sequential.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that a method that keeps its law fails.
        sequential: stop as soon as the law is rejected.
        bound: the largest that Z/Ẑ can be.
        deviation: instead, the largest standard deviation that it can have.
        name, method: what to call the model and the method in the certificate.

    Raises:
        ValueError: an argument makes no sense.
    """
    law = "E[1/Z] = 1/Z under conditional SMC"
    trial = Trial(name, method, "stationary", law, runs, seed, false_alarm, sequential)
    keys = (derive(seed % 2**64, "inverse", run) for run in range(runs))
    ratios = ({"inverse": exp(log_evidence - estimate(key))} for key in keys)
    return trial.means(ratios, {"inverse": 1.0}, bound, deviation)


def _posteriors(
    program: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    method: Method,
    runs: int,
    seed: int,
) -> Iterator[tuple[int, Posterior]]:
    """Independent runs of a method, each with a key for what is drawn from it."""
    method.check(program.sites)
    program = as_inferred(program)
    for run in range(runs):
        key = derive(seed % 2**64, "run", run)
        yield key, run_problems(program, [(args, dict(kwargs or {}))], method, [key])[0]


def _randomised(value: Any, probabilities: Mapping[Any, float], u: float) -> float:
    """A uniform number for a discrete value: between the two sides of its jump; NaN for a value that can't be."""
    below = 0.0
    for known, probability in probabilities.items():
        if known == value:
            return min(below + u * probability, 1.0) if probability > 0.0 else math.nan
        below += probability
    return math.nan
