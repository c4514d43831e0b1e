"""Examples that need no model, against their exact answers by other means."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from ppl import Posterior, infer, validate

from .running import REPEATS, agrees, load, unbiased


def test_hmm() -> None:
    example = load("hmm")
    states, record, steps, seen = (example[k] for k in ("STATES", "RECORD", "NEXT", "SEEN"))
    mass: dict[tuple[str, ...], float] = {}
    for path in itertools.product(states, repeat=len(record)):
        pairs = zip(("start", *path), path, record, strict=False)
        mass[path] = math.prod(steps[a][b] * seen[b][activity] for a, b, activity in pairs)
    z = math.fsum(mass.values())
    sun = [math.fsum(m for p, m in mass.items() if p[t] == "sun") / z for t in range(len(record))]

    log_evidence, smoothed = example["forward_backward"](record)
    assert log_evidence == pytest.approx(math.log(z), abs=1e-12)
    assert smoothed[:, 0] == pytest.approx(sun, abs=1e-12)
    exact = example["run"]("enumerate")
    assert exact.log_evidence == pytest.approx(math.log(z), abs=1e-9)
    for t, truth in enumerate(sun):
        assert exact.marginal(f"state[{t}]")["sun"] == pytest.approx(truth, abs=1e-9)
    for t in (0, len(record) - 1):
        unbiased(
            lambda seed: example["run"]("smc", n=40, seed=seed),
            math.log(z),
            lambda p, t=t: p.marginal(f"state[{t}]")["sun"],  # type: ignore[misc]
            sun[t],
        )


def test_bayes_net() -> None:
    example = load("bayes_net")
    rain_p, sprinkler_p, wet_p = (example[k] for k in ("RAIN", "SPRINKLER", "WET"))

    def joint(do: bool) -> dict[tuple[bool, bool, bool], Any]:
        """P(rain, sprinkler, wet), the sprinkler switched on if `do`."""
        found = {}
        for rain, sprinkler, wet in itertools.product((True, False), repeat=3):
            p = rain_p if rain else 1 - rain_p
            p *= int(sprinkler) if do else sprinkler_p[rain] if sprinkler else 1 - sprinkler_p[rain]
            p *= wet_p[sprinkler, rain] if wet else 1 - wet_p[sprinkler, rain]
            found[rain, sprinkler, wet] = p
        return found

    for question, (prog, (by_hand, evidence)) in example["QUESTIONS"].items():
        table = joint(do="switched" in question)
        kept = {
            world: p
            for world, p in table.items()
            if (world[1] or not re.search(r"\bon\b", question)) and (world[2] or "wet" not in question)
        }
        z = sum(kept.values())
        rain = sum(p for world, p in kept.items() if world[0]) / z
        assert (by_hand, evidence) == (rain, z), question
        posterior = example["run"](prog)
        assert posterior.probability(True) == pytest.approx(float(rain), abs=1e-9)
        assert posterior.log_evidence == pytest.approx(math.log(z), abs=1e-9)
    seen, switched = (example["run"](prog, "smc", n=2000) for prog, _ in list(example["QUESTIONS"].values())[2:4])
    assert seen.probability(True) == pytest.approx(1 / 161, abs=0.008)  # 4 s.e., of 2,000 runs weighted 0.01 or 0.4
    assert switched.probability(True) == pytest.approx(0.2, abs=0.036)  # 4 s.e.


def test_constrained_writing() -> None:
    example = load("constrained_writing")
    counts, initials, lengths = (example[k] for k in ("COUNTS", "INITIALS", "LENGTHS"))

    def mass(text: str, letters: int) -> float:
        """The probability of all lines that go on from `text` with so many more letters."""
        row = counts[text[-1]]
        total = sum(row.values())
        if letters == 0:
            return float(row["\n"] / total)
        return math.fsum(n / total * mass(b, letters - 1) for b, n in row.items() if n and b != "\n")

    first = sum(counts["\n"].values())
    log_z = math.fsum(
        math.log(counts["\n"][i] / first) + math.log(math.fsum(mass(i, length - 1) for length in lengths))
        for i in initials
    )
    assert example["exact_log_evidence"](initials) == pytest.approx(log_z, abs=1e-12)
    unbiased(
        lambda seed: example["run"]("smc", n=150, seed=seed),
        log_z,
        lambda p: p.probability(lambda poem: poem.splitlines()[0][1] == "a"),
        math.fsum(
            counts[initials[0]]["a"] / sum(counts[initials[0]].values()) * mass("a", length - 2) for length in lengths
        )
        / math.fsum(mass(initials[0], length - 1) for length in lengths),
        repeats=24,
    )
    for poem, _ in example["run"]("smc", n=150):
        lines = poem.splitlines()
        assert "".join(line[0] for line in lines) == initials
        assert all(len(line) in lengths for line in lines)


def test_recursion() -> None:
    example = load("recursion")
    branch, numbers = example["BRANCH"], example["NUMBERS"]

    def trees(depth: int) -> Iterator[tuple[str, float]]:
        leaf = (1.0 - branch if depth else 1.0) / len(numbers)
        yield from ((str(n), leaf) for n in numbers)
        if depth:
            for (a, p), (b, q) in itertools.product(list(trees(depth - 1)), repeat=2):
                yield from ((f"({a}{sign}{b})", branch * p * q / 2) for sign in "+*")

    for target in (4, 7):
        found = {text: p for text, p in trees(2) if eval(text) == target}
        z = math.fsum(found.values())
        exact = example["run"](target, 2, "enumerate")
        assert example["values_by_hand"](2)[target] == pytest.approx(z, rel=1e-12)
        assert exact.log_evidence == pytest.approx(math.log(z), abs=1e-9)
        assert len(exact.distribution()) == len(found)
        for text, p in found.items():
            assert exact.probability(text) == pytest.approx(p / z, abs=1e-9)
    assert "found/left/right/number" in exact.addresses()
    deep = example["values_by_hand"](30)[4]
    leaf = (1.0 - branch) / len(numbers)
    unbiased(
        lambda seed: example["run"](4, math.inf, "importance", n=500, seed=seed),
        math.log(deep),
        lambda p: p.probability("(1+3)"),
        branch / 2 * leaf**2 / deep,
    )


def test_custom_proposal() -> None:
    torch.set_default_dtype(torch.float64)
    example = load("custom_proposal")
    data, prior_sd, noise_sd = (example[k] for k in ("DATA", "PRIOR_SD", "NOISE_SD"))
    mean, sd, log_z = example["closed_form"](data)
    # The data are jointly normal; so are they with the mean, whose posterior is a regression on them.
    covariance = prior_sd**2 * np.ones((len(data), len(data))) + noise_sd**2 * np.eye(len(data))
    jointly = torch.distributions.MultivariateNormal(torch.zeros(len(data)), torch.as_tensor(covariance))
    weights = np.linalg.solve(covariance, prior_sd**2 * np.ones(len(data)))
    assert log_z == pytest.approx(float(jointly.log_prob(torch.tensor(data))), abs=1e-9)
    assert mean == pytest.approx(float(weights @ np.array(data)), abs=1e-9)
    assert sd == pytest.approx(math.sqrt(prior_sd**2 - prior_sd**2 * weights.sum()), abs=1e-9)

    plain = example["run"]("none", n=200)
    for way in ("in the program", "from outside"):
        unbiased(lambda seed, way=way: example["run"](way, n=25, seed=seed), log_z, Posterior.expectation, mean)  # type: ignore[misc]
        assert example["run"](way, n=200).ess > 100 > 10 * plain.ess


def test_custom_kernel() -> None:
    example = load("custom_kernel")
    numbers, target, noise = (example[k] for k in ("NUMBERS", "PRODUCT", "NOISE"))
    weights = {(x, y): math.exp(-0.5 * ((x * y - target) / noise) ** 2) for x in numbers for y in numbers}
    exact = infer(example["product"], method="enumerate").distribution()
    for pair, weight in weights.items():
        assert exact[pair] == pytest.approx(weight / sum(weights.values()), abs=1e-12)

    left = {}
    for way, mine in example["KERNELS"].items():
        found = example["transitions"](example["product"], kernel=mine)
        assert found and abs(found.target - np.array([exact[value] for value in found.values])).max() < 1e-12
        left[way] = example["second_eigenvalue"](found)
    assert left["single sites"] > 0.9999 and max(left["and the mirror"], left["a program"]) < 0.98
    stuck, crossing = (example["run"](way, steps=200) for way in ("single sites", "and the mirror"))
    assert example["crossings"](stuck) == 0 < 100 < example["crossings"](crossing)
    assert crossing.probability(example["positive"]) == pytest.approx(0.5, abs=0.15)


def test_state_space() -> None:
    torch.set_default_dtype(torch.float64)
    example = load("state_space")
    readings = (0.5, -1.5, 2.5)  # so uneven that the evidence tells steps of 0.5 from 0.7
    n = len(readings)
    # Levels and readings are jointly normal: their covariances, and conditioning, all at once.
    shared = np.minimum.outer(np.arange(1, n + 1), np.arange(1, n + 1))
    levels = example["START_SD"] ** 2 + example["STEP_SD"] ** 2 * shared
    covariance = levels + example["NOISE_SD"] ** 2 * np.eye(n)
    jointly = torch.distributions.MultivariateNormal(torch.zeros(n), torch.as_tensor(covariance))
    log_z = float(jointly.log_prob(torch.tensor(readings)))
    weights = np.linalg.solve(covariance, levels[-1])
    mean, variance = weights @ np.array(readings), levels[-1, -1] - weights @ levels[-1]
    assert example["kalman"](readings) == pytest.approx((mean, math.sqrt(variance), log_z), abs=1e-9)
    unbiased(lambda seed: example["run"](readings, n=150, seed=seed), log_z, lambda p: p.expectation(), float(mean))


def test_guide() -> None:
    example = load("guide")
    forward = [1.0, 0.0]  # mass of the data so far, in state on or off; before the first it is on
    stay, right = example["STAY"], example["RIGHT"]
    for seen in example["DATA"]:
        moved = [stay * forward[0] + (1 - stay) * forward[1], (1 - stay) * forward[0] + stay * forward[1]]
        forward = [moved[0] * (right if seen else 1 - right), moved[1] * (1 - right if seen else right)]
    log_z = math.log(sum(forward))
    guided = [example["run"](True, seed=seed) for seed in range(REPEATS)]
    for posterior in guided:  # the guide is the posterior itself: every weight is the evidence
        assert posterior.log_evidence == pytest.approx(log_z, abs=1e-9)
        assert posterior.ess == pytest.approx(posterior.n)
    from_prior = [example["run"](False, seed=seed) for seed in range(REPEATS)]
    agrees([math.exp(p.log_evidence - log_z) for p in from_prior], 1.0)
    mean = float(np.mean([p.expectation() for p in guided]))
    agrees([math.exp(p.log_evidence - log_z) * p.expectation() for p in from_prior], mean, rounding=0.1)


def test_own_method() -> None:
    example = load("own_method")
    data = example["DATA"]
    for method, holds in ((example["Bootstrap"](), True), (example["Forgetful"](), False)):
        assert bool(validate(example["weather"], data[:1], method=method, n=(1, 2))) is holds
    z: dict[int, float] = {}  # by hand: days of rain -> mass
    for first, second in itertools.product((True, False), repeat=2):
        p = (0.2 if first else 0.8) * ((0.7 if first else 0.2) if second else (0.3 if first else 0.8))
        mass = p * math.exp(-1.5 * ((not first) + (not second)))
        z[first + second] = z.get(first + second, 0.0) + mass
    log_z = math.log(sum(z.values()))
    share = z[2] / sum(z.values())
    unbiased(
        lambda seed: infer(example["weather"], data, method=example["Bootstrap"](n=40), seed=seed),
        log_z,
        lambda p: p.probability(2),
        share,
    )


def test_methods_in_methods() -> None:
    example = load("methods_in_methods")
    rates, parts, spoilt = (example[k] for k in ("RATES", "PARTS", "SPOILT"))
    mass: dict[float, float] = {}
    for rate in rates:  # worn from some hour on, or never
        paths = [(1 - rate) ** h * rate for h in range(len(parts))] + [(1 - rate) ** len(parts)]
        for hour, p in enumerate(paths):
            for i, bad in enumerate(parts):
                q = spoilt["worn" if i >= hour else "good"]
                p *= q if bad else 1 - q
            mass[rate] = mass.get(rate, 0.0) + p / len(rates)
    z = math.fsum(mass.values())
    assert example["by_hand"](parts) == pytest.approx({rate: m / z for rate, m in mass.items()}, abs=1e-12)

    for name in ("a filter", "that moves"):
        run = partial(example["run"], name)
        unbiased(run, math.log(z), lambda p: p.probability(0.2), mass[0.2] / z)
    assert example["rates_left"](example["run"]("that moves")) > example["rates_left"](example["run"]("a filter"))
    # Chains and filters of filters take long: once each. Their laws are checked exactly elsewhere.
    for name in ("a chain over a filter", "a filter of filters"):
        assert example["run"](name).probability(0.2) == pytest.approx(mass[0.2] / z, abs=0.15)
    posterior, seen = example["watched"](enough=60)
    assert "stop" in posterior.incomplete and 60 <= len(posterior.runs) < 200 and len(seen) > 20
