"""With a real model: the same seed gives the same posterior, however its work was batched and beside whatever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from ppl import (
    MH,
    SMC,
    Beam,
    LookAhead,
    PGibbs,
    Posterior,
    Steering,
    condition,
    factor,
    infer,
    infer_many,
    load_lm,
    program,
    sample,
)
from ppl.bundled.problems import arithmetic_holds, problems
from ppl.kernels import Regenerate
from ppl.lm import LM, unload_lms
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.methods import Method

QUESTIONS = [p.question for p in problems(3, steps=[7, 9], seed=3)]


@program
def solve(question: str, lm: LM) -> str | None:
    context = lm.context(f"Q: {question}\n")
    for _ in range(10):
        line = sample(context.line(max_tokens=20))
        context = context + line
        if line.startswith("A:"):
            return line.removeprefix("A:").strip()
        factor(0.0 if arithmetic_holds(line) else -3.0)
    return None


@program
def checks(question: str, lm: LM) -> str:
    verdict = sample(lm.context(f"Check: {question}\n").choice(["yes\n", "no\n"]))
    condition(verdict)
    return str(verdict)


@pytest.fixture(autouse=True)
def _fresh_models() -> Iterator[None]:
    yield
    unload_lms()


def outcome(posterior: Posterior) -> tuple[list[Any], list[float]]:
    """Every sampled value, tokens included, and every weight."""
    sampled = [
        [(c.address, str(c.value), tuple(getattr(c.value, "tokens", ()))) for c in run.trace] for run in posterior.runs
    ]
    return sampled, [run.log_weight for run in posterior.runs]


@pytest.mark.parametrize("max_batch", [None, 1, 3, 16])
def test_whatever_the_batch_size_limit(max_batch: int | None) -> None:
    reference = outcome(infer(solve, QUESTIONS[0], load_lm(), n=6, seed=4))
    found = outcome(infer(solve, QUESTIONS[0], load_lm(max_batch=max_batch), n=6, seed=4))
    assert found[0] == reference[0]
    assert found[1] == pytest.approx(reference[1], abs=1e-5)


def test_whichever_other_problems_run_beside_it() -> None:
    lm = load_lm()
    alone = [outcome(infer(solve, q, lm, n=6, seed=4)) for q in QUESTIONS]
    for concurrency in (1, 2, 8):
        together = infer_many(solve, [(q, lm) for q in QUESTIONS], n=6, seed=4, concurrency=concurrency)
        for mine, theirs in zip(alone, map(outcome, together), strict=True):
            assert theirs[0] == mine[0]
            assert theirs[1] == pytest.approx(mine[1], abs=1e-5)
    others = [outcome(infer(solve, q, lm, n=6, seed=5)) for q in QUESTIONS]
    assert [sampled for sampled, _ in others] != [sampled for sampled, _ in alone]


@program
def wanders(question: str, lm: LM) -> str:
    thought = lm.context(f"Q: {question}\n")
    text = ""
    for _ in range(3):
        piece = sample(thought.text(max_tokens=8, temperature=4.0))
        thought = thought + piece
        text += piece
        factor(0.05 * len(piece))
    return text


def test_whichever_threads_share_the_model() -> None:
    lm = load_lm()
    alone = [outcome(infer(solve, q, lm, n=6, seed=4)) for q in QUESTIONS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda q: outcome(infer(solve, q, lm, n=6, seed=4)), QUESTIONS * 3))
            for i, (sampled, weights) in enumerate(together):
                assert sampled == alone[i % len(QUESTIONS)][0]
                assert weights == pytest.approx(alone[i % len(QUESTIONS)][1], abs=1e-5)


def test_every_prefix_is_computed_once() -> None:
    """Positions computed are the distinct trie nodes that were asked about, however many particles share them."""
    lm = load_lm()
    posterior = infer(solve, QUESTIONS[1], lm, n=16, seed=0)
    assert posterior.cost.positions < posterior.cost.tokens
    prompt = lm.context(f"Q: {QUESTIONS[1]}\n").tokens
    seen: set[tuple[int, ...]] = {prompt[:i] for i in range(1, len(prompt) + 1)}
    forward = infer(solve, QUESTIONS[1], load_lm(max_batch=64), method="forward", n=16, seed=0)
    for run in forward.runs:
        tokens = prompt
        for choice in run.trace:
            written = tuple(choice.value.tokens)
            # The last token of a text is computed only if the program goes on from it.
            seen |= {tokens + written[:i] for i in range(len(written))}
            tokens += written
    assert forward.cost.positions == len(seen)


@pytest.mark.parametrize(
    "method",
    [
        SMC(n=8, resampling="multinomial", ess_threshold=1.0),
        SMC(n=8, ess_threshold=1.0, move=Regenerate(unit="token")),
        Steering(n=4, factor=3),
        LookAhead(n=8),
        Beam(n=8),
        MH(steps=6, kernel=Regenerate(unit="token")),
        PGibbs(n=3, steps=2),
    ],
    ids=lambda method: method.name,
)
def test_so_it_is_over_problems_resampling_and_rewinds(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_lm()
    asked: set[tuple[int, ...]] = set()
    assert isinstance(lm.model, LogitModel)
    compute = lm.model.logits

    def noting(nodes: Sequence[Prefix]) -> torch.Tensor:
        asked.update(at.tokens() for node in nodes for at in node.ancestors() if at.parent is not None)
        return compute(nodes)

    monkeypatch.setattr(lm.model, "logits", noting)
    for concurrency in (1, 64):
        lm.model.clear_cache()  # type: ignore[attr-defined]
        asked.clear()
        before = lm.model.usage.snapshot()
        infer_many(wanders, [(q, lm) for q in QUESTIONS], method=method, seed=0, concurrency=concurrency)
        assert lm.model.usage.since(before).positions == len(asked)


def test_scores_agree_with_samples() -> None:
    lm = load_lm()
    context = lm.context(f"Q: {QUESTIONS[2]}\n")
    line = context.line().sample(seed=1)
    again = infer(solve, QUESTIONS[2], lm, method="forward", n=4, seed=1).runs[0].trace[0]
    assert context.line(max_tokens=20).log_prob(again.value) == pytest.approx(again.log_prob, abs=1e-4)
    assert context.line().log_prob(str(line)) == pytest.approx(context.line().log_prob(line), abs=1e-4)
    assert infer(checks, "1+1=2", lm, n=4, seed=0).probability("yes\n") > 0.0
