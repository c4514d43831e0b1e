"""The example of a draft that proposes: the law of the model, and lines that it reads in one call each."""

from __future__ import annotations

import math

from ppl import Posterior

from .running import REPEATS, agrees, load
from .test_with_model import log_prob_of


def test_speculative() -> None:
    from ppl.bundled.problems import solve

    example = load("speculative")
    assert example["certificate"]()
    lines = [f"{line}\n" for line in solve(example["QUESTION"])]
    truth = math.exp(log_prob_of("".join(lines), f"Q: {example['QUESTION']}\n"))

    def mass(posterior: Posterior) -> float:
        """The estimate of the probability of exactly the right solution."""
        if posterior.empty:
            return 0.0
        right = [[str(c.value) for c in run.trace] == lines for run in posterior.runs]
        return math.exp(posterior.log_evidence) * math.fsum(
            w for w, r in zip(posterior.runs.weights, right, strict=True) if r
        )

    posteriors = [example["run"](4, n=8, seed=seed) for seed in range(REPEATS)]
    agrees([mass(posterior) for posterior in posteriors], truth)
    rounds = 8
    for posterior in posteriors:
        # A line of each particle is scored in one call of the model, whatever its length.
        assert 0 < posterior.cost.models["bundled"].forwards <= rounds + 1
