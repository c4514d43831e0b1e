"""Shared beginnings: kept once, read once, and the logits stay those of plain forward passes."""

from __future__ import annotations

import pytest
import torch
from transformers import FalconConfig, FalconForCausalLM

from ppl.runtime.engines import kv_attention
from ppl.runtime.engines.kv_attention import attend
from ppl.runtime.engines.kv_stems import worth_sharing
from ppl.runtime.engines.transformers import TransformersModel

from .test_transformers import NAMES, Checked, path
from .tiny_models import VOCAB

torch.set_num_threads(1)

SHARING = [name for name in NAMES if name not in ("llama-eager", "gemma2")]
"""The others' attention is not the common one."""


def decode(check: Checked, prompt: int, rows: int, steps: int) -> None:
    nodes = [check.root.extend(path(0, prompt)).child(10 + i) for i in range(rows)]
    check([node.parent for node in nodes[:1] if node.parent is not None])
    for step in range(steps):
        check(nodes)
        nodes = [node.child(20 + (7 * step + i) % 30) for i, node in enumerate(nodes)]


@pytest.mark.parametrize("name", NAMES)
def test_which_models_share(name: str) -> None:
    lm = Checked(name).lm
    assert (lm._slots.sharing is not None) == (name in SHARING)
    assert ("common beginnings are read for each context" in lm.describe()) == (name not in SHARING)


@pytest.mark.parametrize("name", SHARING)
def test_a_prompt_is_kept_and_read_once(name: str) -> None:
    check = Checked(name, keep=True, stems=True)
    decode(check, prompt=24, rows=5, steps=8)
    slots = check.lm._slots
    assert [stem.length - slots.offset for stem in slots.stems.all] == [24]
    assert check.lm.usage.copied_positions == 0
    assert check.lm.usage.positions == check.expected_positions()
    assert all(slot.shift == slots.stems.all[0].length for slot in slots.pool.slots if slot.chain)


def test_short_or_lonely_paths_are_copied() -> None:
    check = Checked("llama")  # with the ordinary threshold
    decode(check, prompt=8, rows=4, steps=3)
    assert not check.lm._slots.stems.all and check.lm.usage.copied_positions == 3 * 8
    assert not worth_sharing(1, 10_000, 10_000)
    assert worth_sharing(32, 20, 20) and not worth_sharing(3, 20, 1000)


def test_several_prompts_in_one_batch() -> None:
    check = Checked("llama", keep=True, stems=True)
    prompts = [check.root.extend(path(seed, length)) for seed, length in ((1, 9), (2, 17), (3, 5))]
    check(prompts)
    rows = [prompt.child(10 + i) for i in range(3) for prompt in prompts]
    for step in range(6):
        check([*rows, check.root.extend(path(9, step + 1))])  # and one that has none
        rows = [row.child(30 + step) for row in rows]
    assert len(check.lm._slots.stems.all) >= 3


def test_rows_go_on_from_the_middle_of_a_stem() -> None:
    check = Checked("qwen2-sliding", keep=True, stems=True)
    decode(check, prompt=24, rows=4, steps=2)
    prompt = check.root.extend(path(0, 24))
    middle = prompt
    for _ in range(9):
        middle = middle.parent or middle
    check([middle.child(50), middle.child(51).child(52), prompt.child(53)])
    assert check.lm.usage.copied_positions == 0


def test_logits_of_a_stem_s_nodes_are_computed_again() -> None:
    check = Checked("llama", keep=True, stems=True, logits_bytes=0)
    decode(check, prompt=12, rows=3, steps=2)
    prompt = check.root.extend(path(0, 12))
    check([prompt, prompt.parent or prompt])


def test_a_stem_goes_with_its_nodes() -> None:
    check = Checked("llama", stems=True)
    for seed in range(4):
        prompt = check.root.extend(path(seed, 20))
        check([prompt])
        check([prompt.child(5), prompt.child(6), prompt.child(7)])
        del prompt
    assert len(check.lm._slots.stems.all) <= 2
    check.lm.clear_cache()
    assert not check.lm._slots.stems.all and not check.kv_tensors()


def test_stems_stay_within_the_budget() -> None:
    size = Checked("llama").lm._slots.cache.position_bytes
    budget = 60 * size
    check = Checked("llama", keep=True, stems=True, cache_bytes=budget)
    prompts = [check.root.extend(path(seed, 20)) for seed in range(4)]
    for _ in range(2):
        for prompt in prompts:
            check([prompt.child(3), prompt.child(4), prompt.child(5)])
            assert sum(store.numel() * store.element_size() for store in check.kv_tensors()) <= budget


@pytest.mark.parametrize("used", [1, 5, 33])
def test_attention_in_two_parts_is_attention(used: int) -> None:
    """Against torch's own attention over the whole, for queries that share keys."""
    generator = torch.Generator().manual_seed(used)
    query, key, value = (torch.randn(4, 2, used + 7 if i else 3, 8, generator=generator) for i in range(3))
    first, lse = attend(query, key[:, :, :7], value[:, :, :7], None, 0.4)
    second, other = attend(query, key[:, :, 7:], value[:, :, 7:], None, 0.4)
    merged = torch.lerp(first, second, torch.sigmoid(other - lse)[..., None])
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.4)
    torch.testing.assert_close(merged, whole, atol=1e-6, rtol=0)
    explicit = (query @ key.transpose(-1, -2) * 0.4).logsumexp(-1)
    torch.testing.assert_close(torch.logaddexp(lse, other), explicit, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bug", ["scale", "lse", "mask"])
def test_a_wrong_merge_is_seen(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stem = mask is None
        out, lse = attend(query, key, value, None if bug == "mask" else mask, 1.1 * scale if bug == "scale" else scale)
        return out, lse + 0.05 if bug == "lse" and stem else lse

    check = Checked("llama", keep=True, stems=True)
    monkeypatch.setattr(kv_attention, "attend", wrong)
    with pytest.raises(AssertionError):
        nodes = [check.root.extend(path(0, 12)).child(10 + i) for i in range(4)]
        check([nodes[0].parent or nodes[0]])
        check([*nodes, nodes[0].child(3).child(4)])
        check([node.child(VOCAB - 1) for node in nodes])


def test_a_long_prompt_is_shared_after_many_short_ones() -> None:
    """Every slot came to be as long as the prompt, and together they filled the memory."""
    size = Checked("llama").lm._slots.cache.position_bytes
    check = Checked("llama", cache_bytes=20 * 30 * size)
    check.lm._slots.sharing = 8
    check([check.root.child(token) for token in range(3, 23)])
    prompt = check.root.extend(path(0, 28))
    check([prompt])
    before = check.lm.usage.copied_positions
    check([prompt.child(token) for token in range(3, 23)])
    assert check.lm._slots.stems.all and check.lm.usage.copied_positions == before


def test_a_small_cache_does_not_hide_that_a_model_can_not_share() -> None:
    """In 150 positions a trial would make no stem, but a later batch of many rows would."""
    config = FalconConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    model = FalconForCausalLM(config).eval()
    size = TransformersModel(model, None)._slots.cache.position_bytes
    assert size
    small = TransformersModel(model, None, cache_bytes=150 * size)
    assert small._slots.sharing is None and small._slots.pool.budget == 150 * size
    assert "common beginnings are read for each context" in small.describe()
