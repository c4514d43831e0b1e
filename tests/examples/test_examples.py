"""Every example runs as it stands, and its numbers are right.

The oracles are computed here, in another way than in the examples: by listing every outcome, by matrices, or by the
model itself without this package. What is exact must agree to rounding. What is random has a fixed seed, and a
tolerance of so many standard errors, estimated from independent repetitions, that a right program with another seed
would fail a check about once in 6,000 (Student's t with 15 degrees of freedom, |t| < 5) or 16,000 (|z| < 4), and any of
the two dozen checks about once in 250; with the seeds as they are it never does.
"""

from __future__ import annotations

import itertools
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl import Posterior, infer, load_lm, validate
from ppl.bundled import model_path
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.methods import METHODS
from tests.servers.table_server import TableServer, serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODEL_FREE = {"bayes_net", "constrained_writing", "custom_kernel", "custom_proposal", "guide", "hmm", "own_method"}
MODEL_FREE |= {"recursion", "state_space"}
WITH_MODEL = {"answers", "arithmetic", "judge", "nested", "tools"}
ON_A_SERVER = {"server"}
REPEATS = 16


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """One thread, for small tensors on a busy machine; examples may set the default type."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


@pytest.fixture(autouse=True)
def _methods_as_they_were() -> Iterator[None]:
    """Examples may register methods."""
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)


@cache
def load(name: str) -> dict[str, Any]:
    """An example's names, without its main()."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def agrees(estimates: Sequence[float], truth: float, rounding: float = 1e-9) -> None:
    """The mean of independent estimates is `truth`, but for chance: |t| < 5, missed once in 6,000 at 15 d.o.f."""
    error = float(np.std(estimates, ddof=1)) / math.sqrt(len(estimates))
    assert abs(float(np.mean(estimates)) - truth) < 5.0 * error + rounding, (np.mean(estimates), truth, error)


def unbiased(
    run: Callable[[int], Posterior], log_z: float, f: Callable[[Posterior], float], mean: float, repeats: int = REPEATS
) -> None:
    """E[Ẑ] = Z and E[Ẑ f] = Z E[f], over independent seeds."""
    posteriors = [run(seed) for seed in range(repeats)]
    ratios = [math.exp(p.log_evidence - log_z) for p in posteriors]
    agrees(ratios, 1.0)
    agrees([0.0 if p.empty else ratio * f(p) for ratio, p in zip(ratios, posteriors, strict=True)], mean)


# ---- As they stand


def test_every_example_is_covered() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.py")}
    assert files == MODEL_FREE | WITH_MODEL | ON_A_SERVER
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in files:
        assert f'load("{name}")' in here, f"no test looks at the numbers of {name}.py"


@pytest.mark.parametrize("name", sorted(MODEL_FREE | WITH_MODEL))
def test_runs_as_it_stands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) >= 5
    assert not re.search(r"\bnan\b|Traceback|object at 0x", printed)
    assert max(map(len, printed.splitlines())) <= 120


def test_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "bayes_net.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert "0.006211   1/161" in done.stdout  # 0.2 * 0.01 / (0.2 * 0.01 + 0.8 * 0.4)


@pytest.mark.parametrize("name", sorted(MODEL_FREE | WITH_MODEL | ON_A_SERVER))
def test_reads_well(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 110


# ---- Without a model


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


# ---- With the bundled model


@cache
def plain_model() -> tuple[Any, Any]:
    """The model and its tokenizer, as transformers has them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(model_path())


def log_prob_of(text: str, after: str) -> float:
    """log P(the tokens of `text` | `after`) by one forward pass."""
    model, tokenizer = plain_model()
    before = tokenizer.encode(after, add_special_tokens=False)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([before + tokens])).logits[0].double().log_softmax(-1)
    return math.fsum(float(logits[len(before) + i - 1, token]) for i, token in enumerate(tokens))


def test_arithmetic() -> None:
    from ppl.bundled.problems import arithmetic_holds, solve

    example = load("arithmetic")
    lines = [f"{line}\n" for line in solve(example["QUESTION"])]
    truth = math.exp(log_prob_of("".join(lines), f"Q: {example['QUESTION']}\n"))

    def share(posterior: Posterior) -> float:
        """The posterior probability of exactly the right solution."""
        right = [[str(c.value) for c in run.trace] == lines for run in posterior.runs]
        return math.fsum(w for w, r in zip(posterior.runs.weights, right, strict=True) if r)

    posteriors = [example["run"]("smc", n=12, seed=seed) for seed in range(REPEATS)]
    # E[Ẑ 1(right solution)] is the probability that the model alone writes it: it passes every condition.
    agrees([0.0 if p.empty else math.exp(p.log_evidence) * share(p) for p in posteriors], truth)
    forward = example["run"]("forward", n=200)
    assert abs(share(forward) - truth) < 4.0 * math.sqrt(truth * (1.0 - truth) / 200)
    for run in posteriors[0].runs:
        *steps, last = (str(choice.value) for choice in run.trace)
        assert all(map(arithmetic_holds, steps))
        assert last == f"A: {run.value}\n"
    best = next(p for p in posteriors if not p.empty and share(p) > 0)
    run = next(run for run in best.runs if [str(c.value) for c in run.trace] == lines)
    written = f"Q: {example['QUESTION']}\n"
    for choice in run.trace:
        assert choice.log_prob == pytest.approx(log_prob_of(choice.value, written), abs=1e-3)
        written += choice.value


def test_judge() -> None:
    example = load("judge")
    prior = {step: math.exp(log_prob_of(step, example["WRITTEN"])) for step in example["CANDIDATES"]}
    yes = {}
    for step in prior:
        verdicts = [math.exp(log_prob_of(word, f"Check: {step}")) for word in ("yes\n", "no\n")]
        yes[step] = verdicts[0] / sum(verdicts)
    z = sum(prior[s] * yes[s] for s in prior) / sum(prior.values())
    unjudged, judged = (example["run"](example[name], "enumerate") for name in ("unjudged", "judged"))
    assert judged.log_evidence == pytest.approx(math.log(z), abs=1e-4)
    assert unjudged.log_evidence == pytest.approx(0.0, abs=1e-9)
    by_hand = example["by_hand"]()
    for step in prior:
        before = prior[step] / sum(prior.values())
        after = before * yes[step] / z
        assert by_hand[step.strip()] == pytest.approx((before, yes[step], after), abs=1e-4)
        assert unjudged.probability(step.strip()) == pytest.approx(before, abs=1e-4)
        assert judged.probability(step.strip()) == pytest.approx(after, abs=1e-4)
    # The hint leaves the posterior as it was, and the evidence 1, at any number of particles.
    first = example["CANDIDATES"][0].strip()
    for name, mean, log_z in (("hinted", unjudged, 0.0), ("judged", judged, math.log(z))):
        hits, ratios = [], []
        for seed in range(REPEATS):
            posterior = example["run"](example[name], n=8, seed=seed, ess_threshold=1.0)
            ratios.append(math.exp(posterior.log_evidence - log_z))
            hits.append(ratios[-1] * posterior.probability(first))
        agrees(hits, mean.probability(first), rounding=1e-4)
        agrees(ratios, 1.0, rounding=1e-4)


def test_tools() -> None:
    example = load("tools")
    right = "864"  # 99 - 6 = 93, * 6 = 558, + 684 = 1242, - 378 = 864
    batches = example["batches"]
    batches.clear()
    posterior = example["run"](True, n=24)
    assert posterior.probability(right) > 0.5
    assert batches[0] == 24, "the first calculation of all particles is one batch"
    assert sum(batches) == posterior.cost.calls
    assert len(batches) <= 12
    for run in posterior.runs:
        assert [c.address for c in run.trace] == [f"part[{i}]" for i in range(len(run.trace))]
    assert example["calculator"](["2+3=", "7-9=", "12*12=", "A: 3\n"]) == ["5", "-2", "144", "?"]
    alone = example["run"](False, n=24)
    assert alone.probability(right) < posterior.probability(right)


# ---- Methods


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


def test_answers() -> None:
    example = load("answers")
    right = "8392"  # 51+39=90, 123, 908, *7=6356, 6983, 6423, 7126, 7851, 7760, 7901, 8392
    found = {method: example["search"](method) for method in ("smc", "beam", "a-star", "self-consistency")}
    assert all(posterior.cost.tokens <= example["TOKENS"] for posterior in found.values())
    assert found["smc"].guarantee == "proper"
    assert all(found[name].guarantee == "heuristic" for name in ("beam", "a-star", "self-consistency"))
    assert found["smc"].mode() == found["beam"].mode() == right
    tight = example["search"]("smc", tokens=300)
    assert tight.incomplete and tight.cost.tokens <= 300
    chosen = example["choices"](found["smc"])
    assert chosen["weighted majority"] == right and set(chosen) == {
        "majority", "weighted majority", "best evidence", "best of majority", "rpc", "only if 90 % sure",
    }  # fmt: skip


# ---- On a server


def test_server(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_lm().model
    assert isinstance(model, LogitModel)
    with serving(TableServer(model, name=str(model_path()))) as url:
        load("server")["main"](url)
    printed = capsys.readouterr().out
    assert "scores texts (prompt_logprobs)" in printed and "the posterior's mode is 126" in printed
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.slow
def test_server_starts_one_of_its_own() -> None:
    command = [sys.executable, str(EXAMPLES / "server.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "transformers serve" in done.stdout and "the posterior's mode is 126" in done.stdout
