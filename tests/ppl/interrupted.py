"""A program that asks a model, a function and chance, and is run with a checkpoint; and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppl import Posterior, call, dist, factor, infer, observe, program, sample, table_lm
from ppl.lm import LM

LETTERS = table_lm(["a", "b", "c"], seed=1, eos=".")
ASKED: list[str] = []
"""What the batched function was asked for."""


def rewards(texts: list[str]) -> list[float]:
    ASKED.extend(map(str, texts))
    return [-0.3 * text.count("a") for text in texts]


@program
def story(lm: LM, steps: int) -> tuple[str, int]:
    context = lm.context("ab")
    side = 0
    for _ in range(steps):
        text = sample(context.text(max_tokens=3))
        context = context + text
        factor(call(rewards, text))
        side += sample(dist.categorical([0.5, 0.5]))
        observe(context.choice(["a", "b"]), "b")
    return str(context), side


def run(path: Path | None, **options: Any) -> Posterior:
    ASKED.clear()  # what a function reads is part of what is run
    return infer(story, LETTERS, 3, **{"seed": 5, "checkpoint": path, **(options or {"n": 4})})


def outcome(posterior: Posterior) -> Any:
    """Everything that a posterior is made of, apart from what it cost to compute."""
    runs = [
        (r.value, r.log_weight, r.log_joint, [(*c, tuple(getattr(c.value, "tokens", ()))) for c in r.trace])
        for r in posterior.runs
    ]
    cost = posterior.cost
    return runs, posterior.log_evidence, posterior.history, (cost.tokens, cost.model_calls, cost.calls)


def journal(path: Path) -> Path:
    return path / "000000.journal"
