"""On a CUDA device: the log-probabilities of float32 on a CPU, and half precision as near as plain passes are.

Skipped where there is no such device.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from ppl import Program, infer, load_lm, program, sample
from ppl.lm import LM
from ppl.runtime.engines.transformers import TransformersModel

from .test_ahead import SPECS, Lettered, drawn
from .test_transformers_half import SLACK, walked
from .tiny_models import MODELS, make, plain_logits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def differences(name: str, dtype: torch.dtype, stems: bool) -> list[tuple[float, float]]:
    """Mean distances from the log-probabilities of float32 weights on a CPU, at each node of a ragged walk: of the
    engine's in ``dtype`` on the device, and of plain passes there."""
    device = make(name).to("cuda", dtype)
    exact = copy.deepcopy(device).cpu().float()
    lm = TransformersModel(device)
    assert lm._pass is not None, lm.describe()
    if stems and lm._slots.sharing is not None:
        lm._slots.sharing = 1  # however short
    found = []
    for node, row in walked(lm, 1).items():
        tokens = [*([] if lm.bos is None else [lm.bos]), *node.tokens()]
        right = plain_logits(exact, tokens).log_softmax(-1)
        with torch.no_grad():
            plain = device(input_ids=torch.tensor([tokens], device="cuda"), use_cache=False).logits[0, -1]
        found.append(tuple(float((x.cpu().float().log_softmax(-1) - right).abs().mean()) for x in (row, plain)))
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_float32_is_that_of_a_cpu(name: str, stems: bool) -> None:
    assert max(ours for ours, _ in differences(name, torch.float32, stems)) < 1e-4


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_as_near_as_plain_passes(name: str, dtype: torch.dtype, stems: bool) -> None:
    found = differences(name, dtype, stems)
    assert 0.0 < sum(ours for ours, _ in found) <= SLACK * sum(plain for _, plain in found)


def lines(lm: LM) -> Program:
    @program
    def write() -> Any:
        context, lines = lm.context("Q: Start with 3. Add 4.\n"), []
        for _ in range(3):
            lines.append(sample(context.line(max_tokens=12)))
            context = context + lines[-1]
        return "".join(lines)

    return write


def test_a_run_on_the_device_is_that_of_a_cpu() -> None:
    """Draws are functions of keys and distributions: only a number within rounding of an edge may fall elsewhere."""
    cpu, cuda = (infer(lines(load_lm(device=device, dtype="float32")), n=32, seed=0) for device in ("cpu", "cuda"))
    assert [run.value for run in cpu.runs] == [run.value for run in cuda.runs]
    for a, b in zip(cpu.runs, cuda.runs, strict=True):
        for left, right in zip(a.trace, b.trace, strict=True):
            assert left.log_prob == pytest.approx(right.log_prob, abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_texts_in_float32_are_those_of_a_cpu(name: str) -> None:
    """Several tokens at a time, from captured steps."""
    cpu, cuda = Lettered(make(name), bos=1), Lettered(make(name).to("cuda"), bos=1)
    assert cuda.ahead == 8 and cuda._steps is not None
    right, found = (drawn(model, SPECS, 60) for model in (cpu, cuda))
    assert [c.value for c in found] == [c.value for c in right]
    assert [c.log_prob for c in found] == pytest.approx([c.log_prob for c in right], abs=2e-3)
    assert cuda.usage.positions == cpu.usage.positions
    assert cuda._steps.capture and cuda._steps._graphs and not cuda._steps.problem


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("ahead", [1, 8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_texts_in_half_precision(name: str, dtype: torch.dtype, ahead: int, stems: bool) -> None:
    """Their log-probabilities are as near those of float32 on a CPU as plain passes on the device are."""
    model = make(name).to("cuda", dtype)
    exact = copy.deepcopy(model).cpu().float()
    lm = Lettered(model, bos=1, ahead=ahead)
    if stems and lm._slots.sharing is not None:
        lm._slots.sharing = 1
    assert lm._steps is not None and lm._steps.ragged == (name in ("llama", "qwen2", "qwen3"))
    ours = plain = 0.0
    for completion in drawn(lm, SPECS, 80):
        context = completion.request.context.tokens()
        tokens = [1, *context, *completion.value.tokens]
        after = len(context) + 1
        totals = []
        for other in (exact, model):
            ids = torch.tensor([tokens], device=other.device)
            with torch.no_grad():
                rows = other(input_ids=ids, use_cache=False).logits[0, :-1].cpu().float().log_softmax(-1)
            totals.append(rows[range(len(tokens) - 1), tokens[1:]][after - 1 :].sum())
        ours += float(abs(completion.log_prob - totals[0]))
        plain += float(abs(totals[1] - totals[0]))
    # Where kernels don't take stems as data, several of them at once are not captured.
    assert lm._steps._graphs or (stems and not lm._steps.ragged)
    assert 0.0 < ours <= 1.5 * plain  # of few and long sums
