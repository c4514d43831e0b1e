"""A layer of the Llama kind for one token a row on a GPU: few kernels, and slots read as they lie.

Each row reads as many positions of its slot as it has, wherever the slot is, so that neither masks nor the lengths of
rows are part of what is launched: a step of this kind is the same launches every time, and can be a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import kv_triton
from .kv_attention import Part
from .kv_cache import SlotLayer, Step
from .kv_masks import Kinds
from .kv_weights import LayerWeights, product


def can(model: Any, kinds: Kinds) -> bool:
    """Whether a model's layers can be computed so."""
    weight = model.get_input_embeddings().weight
    layer = model.model.layers[0]
    return (
        weight.dtype in (torch.float16, torch.bfloat16)
        and kv_triton.available(weight.device)
        and all(span is None for span in kinds.spans.values())
        and layer.self_attn.head_dim % 8 == 0
        and layer.self_attn.head_dim <= 256
        and type(layer.mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")
    )


class Places(NamedTuple):
    """Where rows of one token each read and write, the same for all layers.

    Attributes:
        slots: the slot of each [rows].
        places: the position of its token there [rows].
        starts: where each slot begins, in positions of the first key head, and one number more, int32 [rows + 1].
        used: how many positions each reads, int32 [rows].
        counts: 0, 1, ... rows, int32 [rows + 1].
    """

    slots: Tensor
    places: Tensor
    starts: Tensor
    used: Tensor
    counts: Tensor


def places_in(step: Step, key_heads: int, capacity: int) -> Places:
    """Where a step's rows are in slots of so many positions."""
    slots, rows = step.slots, step.slots.shape[0]
    starts = torch.nn.functional.pad(slots * (key_heads * capacity), (0, 1))
    counts = torch.arange(rows + 1, dtype=torch.int32, device=slots.device)
    return Places(slots, step.write_positions, starts.int(), (step.write_positions + 1).int(), counts)


def layer(
    weights: LayerWeights,
    x: Tensor,
    turn: tuple[Tensor, Tensor],
    slots: SlotLayer,
    at: Places,
    parts: Sequence[Part],
) -> Tensor:
    """One layer.

    Args:
        weights: its weights.
        x: its input [rows, width].
        turn: what rotary positions multiply a head with, and its halves swapped [rows, dim].
        slots: where its keys and values are.
        at: where the rows are in there.
        parts: the stems, of which each row sees all that is given.

    Returns:
        Its output [rows, width].
    """
    qkv = product(kv_triton.rms_norm(x, weights.before, weights.eps), *weights.qkv)
    if not slots.is_initialized:
        like = qkv.new_empty(1, weights.key_heads, 1, turn[0].shape[-1])
        slots.lazy_initialization(like, like)
    keys, values = slots.keys, slots.values
    assert keys is not None and values is not None
    query = kv_triton.turn_and_store(
        qkv,
        *turn,
        weights.heads,
        weights.q_norm,
        weights.k_norm,
        weights.eps,
        keys,
        values,
        at.slots,
        at.places,
    )
    out, lse = _own(query, keys, values, at, weights.scale)
    for part in parts:
        _add_stem(out, lse, query, part, weights.scale)
    x = product(out.flatten(1), *weights.out, x)
    inner = product(kv_triton.rms_norm(x, weights.after, weights.eps), *weights.gate_up)
    return product(kv_triton.gated(inner), *weights.down, x)


def _own(query: Tensor, keys: Tensor, values: Tensor, at: Places, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of each row to its slot: outputs [rows, heads, dim] and their log-sum-exp [heads, rows]."""
    # All slots as one long sequence of positions, of which a head's are `capacity` apart: a slot is a place to start.
    slots, heads, capacity, dim = keys.shape
    shape, strides = (slots * heads * capacity - (heads - 1) * capacity, heads, dim), (dim, capacity * dim, 1)
    flat = [store.as_strided(shape, strides) for store in (keys, values)]
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        query, *flat, at.counts, at.starts, 1, capacity, 0.0, False, False, scale=scale, seqused_k=at.used
    )
    return out, lse


def _add_stem(out: Tensor, lse: Tensor, query: Tensor, part: Part, scale: float) -> None:
    """Merge one stem's part into ``out``: all rows' queries against one set of keys."""
    rows = part.group.rows
    mine = query if rows is None else query[rows]
    keys, values = (some.transpose(0, 1)[None] for some in (part.keys, part.values))
    found, found_lse, *_ = torch.ops.aten._flash_attention_forward(
        mine[None], keys, values, None, None, mine.shape[0], keys.shape[1], 0.0, False, False, scale=scale
    )
    if rows is None:
        kv_triton.merge(out, lse, found[0], found_lse[0])
    else:
        out[rows] = kv_triton.merge(out[rows], lse[:, rows].contiguous(), found[0], found_lse[0])
