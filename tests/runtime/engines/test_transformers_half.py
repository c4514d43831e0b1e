"""Half precision: no further from the exact logits of the same weights than plain forward passes in that type are."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch

from ppl import infer, load_lm, program, sample
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.transformers import TransformersModel

from .tiny_models import MODELS, VOCAB, make, plain_logits

SLACK = 1.25
"""How much further than plain passes, on average, is still as far: sums come in another order."""


def walked(lm: TransformersModel, seed: int) -> dict[Prefix, torch.Tensor]:
    """Logits asked for in ragged batches that fork, go on and come back."""
    rng = random.Random(seed)
    nodes = [lm.root.extend(rng.choices(range(3, VOCAB), k=length)) for length in (4, 9, 9, 17)]
    found: dict[Prefix, torch.Tensor] = {}
    for _ in range(8):
        found.update(zip(nodes, lm.logits(nodes), strict=True))
        old = rng.sample(list(found), min(3, len(found)))
        nodes = list(dict.fromkeys(node.child(rng.randrange(3, VOCAB)) for node in (*nodes, *old)))[:6]
    return found


def errors(name: str, dtype: torch.dtype, stems: bool) -> tuple[float, float]:
    """Mean distances from the logits in float64: of the engine's, and of plain passes."""
    half = make(name).to(dtype)
    exact = copy.deepcopy(half).double()
    lm = TransformersModel(half)
    assert lm._pass is not None, lm.describe()
    if stems and lm._slots.sharing is not None:
        lm._slots.sharing = 1  # however short
    ours, plain = [], []
    for node, row in walked(lm, 1).items():
        tokens = [*([] if lm.bos is None else [lm.bos]), *node.tokens()]
        right = plain_logits(exact, tokens)
        ours.append((row.double() - right).abs().mean())
        plain.append((plain_logits(half, tokens).double() - right).abs().mean())
    return float(torch.stack(ours).mean()), float(torch.stack(plain).mean())


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_as_near_as_plain_passes(name: str, dtype: torch.dtype, stems: bool) -> None:
    ours, plain = errors(name, dtype, stems)
    assert 0.0 < ours <= SLACK * plain


def test_a_pass_that_loses_more_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TransformersModel._forward
    monkeypatch.setattr(
        TransformersModel, "_forward", lambda self, batch: forward(self, batch).to(torch.float8_e4m3fn).float()
    )
    ours, plain = errors("llama", torch.bfloat16, False)
    assert ours > SLACK * plain


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_inference_in_half_precision(dtype: str) -> None:
    lm = load_lm(dtype=dtype)

    @program
    def write() -> Any:
        context, lines = lm.context("Q: Start with 3. Add 4.\n"), []
        for _ in range(2):
            lines.append(sample(context.line(max_tokens=12)))
            context = context + lines[-1]
        return "".join(lines)

    posterior = infer(write, n=8, seed=0)
    assert posterior.ess == pytest.approx(8.0)
    full = load_lm(dtype="float32")
    run = posterior.runs[0]
    first = run.trace[0]
    right = full.context("Q: Start with 3. Add 4.\n").line(max_tokens=12).log_prob(str(first.value))
    assert first.log_prob == pytest.approx(right, abs=0.3)
