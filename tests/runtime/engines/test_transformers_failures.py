"""What is too long, too large or fails in a transformers model: a clear error, and the model works on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MptConfig,
    MptForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from ppl import ProgramError, infer, load_lm, program, sample
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.kv_cache import SlotLayer
from ppl.runtime.engines.loading import load_transformers
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.model import NoRoom
from ppl.runtime.engines.requests import Generate, Score, TextSpec
from ppl.runtime.engines.transformers import TransformersModel
from ppl.runtime.source import RandomSource

from .test_transformers import Checked, model_of, path
from .tiny_models import MAX_LENGTH, VOCAB, plain_logits


@pytest.mark.parametrize("bos", [None, 1])
def test_too_long_a_context_names_both_numbers(bos: int | None) -> None:
    check = Checked("gpt2", bos=bos)
    fits = MAX_LENGTH - (bos is not None)
    check([check.root.extend(path(0, fits)), check.root.child(4)])
    with pytest.raises(ValueError, match=rf"{MAX_LENGTH + 1} tokens.* {MAX_LENGTH} "):
        check([check.root.extend(path(0, fits + 1))])


@program
def goes_on(lm: LM) -> str:
    return sample(lm.context("Start with 17.").text(max_tokens=100, temperature=5.0))


def test_a_text_past_the_last_position_names_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_lm().model, "max_length", 20)
    with pytest.raises(ProgramError, match=r"(?s)sample.*21 tokens.*for 20 .*max_tokens=.*test_transformers_failures"):
        infer(goes_on, load_lm(), n=8, seed=0)


def test_a_request_past_the_last_position_leaves_the_others() -> None:
    engine = LocalEngine(model := TransformersModel(model_of("gpt2")))
    fits = model.root.extend(path(0, MAX_LENGTH - 3))
    others = [Generate(fits, TextSpec(max_tokens=2), 1), Score(fits, (5, 6), TextSpec(max_tokens=2))]
    long = Score(model.root.extend(path(1, MAX_LENGTH)), (5, 6), TextSpec(max_tokens=2))
    for request in (others[0], long, others[1]):
        engine.submit(request, RandomSource())
    with pytest.raises(RequestError, match=f"{MAX_LENGTH + 1} tokens") as caught:
        engine.step()
    assert caught.value.request is long
    done = []
    while engine.pending:
        done += [completion.request for completion in engine.step()]
    assert set(map(id, done)) == set(map(id, others))


def test_the_last_position_is_known_by_whatever_name() -> None:
    plain = MptForCausalLM(MptConfig(vocab_size=VOCAB, d_model=16, n_layers=1, n_heads=2, max_seq_len=12)).eval()
    lm = TransformersModel(plain)
    lm.logits([lm.root.extend(path(0, 12))])
    with pytest.raises(ValueError, match=r"13 tokens.* 12 "):
        lm.logits([lm.root.extend(path(0, 13))])


def test_models_that_see_ahead_are_refused() -> None:
    shape: Any = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    masked = BertLMHeadModel(BertConfig(**shape, num_attention_heads=2, initializer_range=0.5)).eval()
    with pytest.raises(ValueError, match="lets tokens see those that come after them"):
        TransformersModel(masked)


def test_models_of_other_kinds_are_refused(tmp_path: Any) -> None:
    shape: Any = {"vocab_size": VOCAB, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    T5ForConditionalGeneration(T5Config(**shape)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="T5Config, for which transformers has no causal language model") as caught:
        load_transformers(tmp_path)
    assert len(str(caught.value)) < 400


def test_damaged_weights_are_told_with_their_folder(tmp_path: Path) -> None:
    model_of("llama").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(OSError, match=f"weights of {tmp_path} are damaged"):
        load_transformers(tmp_path)


def test_a_row_over_the_budget_is_an_error_with_numbers() -> None:
    size = TransformersModel(model_of("llama"))._slots.cache.position_bytes
    lm = TransformersModel(model_of("llama"), cache_bytes=20 * size)
    lm.logits([lm.root.extend(path(0, 20))])
    with pytest.raises(NoRoom, match=rf"21 tokens needs {21 * size:,} bytes.* {20 * size:,}.*cache_bytes="):
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
    with pytest.raises(NoRoom, match="single context of 5 tokens"):
        check.lm.logits([check.root.extend(path(99, 5))])


@pytest.mark.parametrize("when", [1, 2])
def test_an_interrupt_between_places_leaves_no_wrong_numbers(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slots are swapped, their keys and values are copied: what was noted before is not so after Ctrl-C."""
    check = Checked("llama", logits_bytes=0)
    rows = [check.root.extend(path(seed, 9)) for seed in range(6)]
    check(rows)
    copy, calls = SlotLayer.copy, itertools.count(1)

    def interrupted(layer: SlotLayer, *args: Any) -> None:
        if next(calls) == when:
            raise KeyboardInterrupt
        copy(layer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SlotLayer, "copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check([rows[0].child(4), rows[3].child(4)])
    check([row.child(7) for row in rows])


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
    assert "every sequence is computed from its start (its layers are not plain attention)" in lm.describe()
    nodes = [lm.root.extend(path(0, n)) for n in (3, 5, 2)] + [lm.root.extend(path(1, 5))]
    for node, row in zip(nodes, lm.logits(nodes), strict=True):
        torch.testing.assert_close(row, plain_logits(plain, node.tokens()), atol=1e-4, rtol=0)
