"""What is too long, too large or fails in a transformers model: a clear error, and the model works on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from ppl.runtime.engines.transformers import TransformersModel

from .test_transformers import Checked, model_of, path
from .tiny_models import MAX_LENGTH, VOCAB, plain_logits


@pytest.mark.parametrize("bos", [None, 1])
def test_too_long_a_context_names_both_numbers(bos: int | None) -> None:
    check = Checked("gpt2", bos=bos)
    fits = MAX_LENGTH - (bos is not None)
    check([check.root.extend(path(0, fits)), check.root.child(4)])
    with pytest.raises(ValueError, match=rf"{MAX_LENGTH + 1} tokens.* {MAX_LENGTH} "):
        check([check.root.extend(path(0, fits + 1))])


def test_a_row_over_the_budget_is_an_error_with_numbers() -> None:
    size = TransformersModel(model_of("llama"))._slots.cache.position_bytes
    lm = TransformersModel(model_of("llama"), cache_bytes=20 * size)
    lm.logits([lm.root.extend(path(0, 20))])
    with pytest.raises(MemoryError, match=rf"21 tokens needs {21 * size:,} bytes.* {20 * size:,}"):
        lm.logits([lm.root.extend(path(0, 21))])


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Checked("llama")
    forward = check.lm._forward

    def limited(batch: Any) -> torch.Tensor:
        if len(batch.tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(check.lm, "_forward", limited)
    check([check.root.extend(path(seed, 4)) for seed in range(9)])
    assert check.lm.max_batch == 2

    def never(batch: Any) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(check.lm, "_forward", never)
    with pytest.raises(MemoryError, match="single context of 5 tokens"):
        check.lm.logits([check.root.extend(path(99, 5))])


def test_other_errors_pass_and_leave_a_usable_model(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Checked("llama")
    rows = [check.root.child(3), check.root.child(4)]
    check(rows)
    with monkeypatch.context() as patch:
        patch.setattr(check.lm, "_forward", lambda batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            check.lm.logits([row.child(token) for row in rows for token in (5, 6)])
    check([row.child(token) for row in rows for token in (5, 6)])


def test_models_without_a_usable_cache_still_work() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = MambaForCausalLM(
            MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, state_size=4)
        ).eval()
    with pytest.warns(UserWarning, match="computed from its start"):
        lm = TransformersModel(plain)
    nodes = [lm.root.extend(path(0, n)) for n in (3, 5, 2)] + [lm.root.extend(path(1, 5))]
    for node, row in zip(nodes, lm.logits(nodes), strict=True):
        torch.testing.assert_close(row, plain_logits(plain, node.tokens()), atol=1e-4, rtol=0)
