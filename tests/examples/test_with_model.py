"""Examples with the bundled model, against plain passes of it."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch

from ppl import Posterior
from ppl.bundled import model_path

from .running import REPEATS, agrees, load


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
