"""A layer of the Llama kind for one token a row on a GPU: few kernels, and slots read as they lie.

Each row reads as many positions of its slot as it has, wherever the slot is, so that neither masks nor the lengths of
rows are part of what is launched: a step of this kind is the same launches every time, and can be a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .kv_cache import Shared, SlotLayer, Step
from .kv_masks import Kinds
from .kv_triton import gated, rms_norm, turn_and_store
from .kv_triton_attention import attend_to_slots
from .kv_weights import LayerWeights, product
from .triton_launch import available

_flash = torch.ops.aten._flash_attention_forward
"""Torch has public functions for this only without a length for each sequence, before 2.12."""


def why_not(model: Any, kinds: Kinds) -> str:
    """Why a model's layers can't be computed so, or ""."""
    weight, layer = model.get_input_embeddings().weight, model.model.layers[0]
    if not available(weight.device):
        return "triton does not work here"
    if weight.dtype not in (torch.float16, torch.bfloat16):
        return f"its type is {str(weight.dtype).removeprefix('torch.')}"
    if any(span is not None for span in kinds.spans.values()):
        return "its layers see a part of the text"
    if layer.self_attn.head_dim % 8 or layer.self_attn.head_dim > 256:
        return f"its heads have {layer.self_attn.head_dim} numbers"
    if type(layer.mlp.act_fn).__name__ not in ("SiLU", "SiLUActivation"):
        return f"its activation is {type(layer.mlp.act_fn).__name__}"
    return ""


def layer(
    weights: LayerWeights,
    x: Tensor,
    turn: tuple[Tensor, Tensor],
    slots: SlotLayer,
    step: Step,
) -> Tensor:
    """One layer.

    Args:
        weights: its weights.
        x: its input [rows, width].
        turn: what rotary positions multiply a head with, and its halves swapped [rows, dim].
        slots: where its keys and values are.
        step: where the rows are in there, and which stems they share.

    Returns:
        Its output [rows, width].
    """
    qkv = product(rms_norm(x, weights.before, weights.eps), *weights.qkv)
    if not slots.is_initialized:
        like = qkv.new_empty(1, weights.key_heads, 1, turn[0].shape[-1])
        slots.lazy_initialization(like, like)
    keys, values = slots.keys, slots.values
    assert keys is not None and values is not None
    query = turn_and_store(
        qkv,
        *turn,
        weights.heads,
        weights.q_norm,
        weights.k_norm,
        weights.eps,
        keys,
        values,
        step.slots,
        step.write_positions,
    )
    before = None
    if step.shared is not None:
        before = (*_at_stems(query, slots, step.shared, weights.scale), step.shared.where)
    out = attend_to_slots(query, keys, values, step.slots, step.write_positions, weights.scale, before)
    x = product(out.flatten(1), *weights.out, x)
    inner = product(rms_norm(x, weights.after, weights.eps), *weights.gate_up)
    return product(gated(inner), *weights.down, x)


def _at_stems(query: Tensor, slots: SlotLayer, shared: Shared, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of all rows to the segments of their stems: all queries of a stem against one set of keys.

    Returns:
        Outputs [segments * rows, heads, dim] and their log-sum-exp [heads, segments * rows], in the order of
        ``shared``.
    """
    assert slots.stem_keys is not None and slots.stem_values is not None
    keys, values = slots.stem_keys.transpose(0, 1), slots.stem_values.transpose(0, 1)
    out, lse, *_ = _flash(
        query.index_select(0, shared.order),
        keys,
        values,
        shared.queries,
        shared.starts,
        len(query),
        len(keys),
        0.0,
        False,
        False,
        scale=scale,
        seqused_k=shared.used,
    )
    return out, lse
