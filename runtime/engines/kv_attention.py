"""Attention in two parts: to a stem that many rows share, read once for all of them, and to each row's own positions.

The parts are merged by their log-sum-exp, which is exact (Hydragen: Juravsky et al., 2024). It hooks into
transformers' interface for attention functions, so it serves every architecture that uses the interface without
extras of its own (soft caps, sinks); whether a model does is found out by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .kv_cache import Group, SlotCache

NAME = "ppl_shared_prefix"
"""What the attention function is called among transformers'."""

_EXTRAS = ("softcap", "s_aux", "position_bias")
"""Arguments that would change the softmax, which the merge does not know of."""

Masks = Mapping[int, Sequence[Tensor | None]]
"""Layer → for each group, which positions of the stem its queries see; ``None`` for all."""

_reading: ContextVar[tuple[SlotCache, Masks] | None] = ContextVar("reading", default=None)


@contextmanager
def reading(cache: SlotCache, masks: Masks) -> Iterator[None]:
    """Attend to the stems of the step that ``cache`` has begun."""
    token = _reading.set((cache, masks))
    try:
        yield
    finally:
        _reading.reset(token)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: as ``sdpa``, plus the stems of the rows that have one.

    Args:
        module: the attention layer.
        query: [rows, heads, q, dim].
        key, value: each row's own positions [rows, key heads, used, dim].
        attention_mask: additive, [rows, 1, q, used].
        dropout: not used in inference.
        scaling: of the scores; by default 1/√dim.
        **kwargs: what transformers hands to attention functions.

    Returns:
        The outputs [rows, q, heads, dim], and no weights.

    Raises:
        NotImplementedError: the layer wants something of its softmax that can't be merged.
    """
    current = _reading.get()
    if current is None or (cache := current[0]).current is None or not (step := cache.current.step) or not step.groups:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    extras = [name for name in _EXTRAS if kwargs.get(name) is not None]
    if extras or dropout:
        raise NotImplementedError(f"attention with {', '.join(extras) or 'dropout'}")
    rows, heads, q, dim = query.shape
    key_heads = key.shape[1]
    scale = dim**-0.5 if scaling is None else scaling
    # Queries that share a key head lie side by side, as if they were further positions: keys are never repeated.
    folded = query.reshape(rows, key_heads, heads // key_heads * q, dim)
    assert attention_mask is not None
    out, own = attend(folded, key, value, _fold(attention_mask, heads // key_heads, q), scale)
    layer = cache.current
    for group, mask in zip(step.groups, current[1][layer.index], strict=True):
        _add_stem(out, own, folded, layer.stem(group), group, mask, scale)
    merged = out.reshape(rows, heads, q, value.shape[-1]).transpose(1, 2)
    return merged.contiguous(), None


def _add_stem(
    out: Tensor,
    own: Tensor,
    query: Tensor,
    stem: tuple[Tensor, Tensor],
    group: Group,
    mask: Tensor | None,
    scale: float,
) -> None:
    """Merge one stem's part into ``out``.

    Args:
        out: the outputs so far [rows, key heads, n, dim], changed in place.
        own: their log-sum-exp [rows, key heads, n].
        query: [rows, key heads, n, dim].
        stem: keys and values [key heads, length, dim].
        group: which rows.
        mask: additive [rows of the group, 1, q, length], or ``None``.
        scale: of the scores.
    """
    at = group.rows
    mine = query if at is None else query[at]
    rows, heads, n, dim = mine.shape
    # All rows' queries against one set of keys: a matrix product instead of one product with a vector for each row.
    flat = mine.transpose(0, 1).reshape(1, heads, rows * n, dim)
    if mask is not None:
        mask = mask.repeat(1, 1, n // mask.shape[2], 1).reshape(1, 1, rows * n, -1)
    part, lse = attend(flat, stem[0][None], stem[1][None], mask, scale)
    part = part.reshape(heads, rows, n, -1).transpose(0, 1)
    lse = lse.reshape(heads, rows, n).transpose(0, 1)
    if at is None:
        out.copy_(torch.lerp(out, part, torch.sigmoid(lse - own).to(out.dtype)[..., None]))
    else:
        out[at] = torch.lerp(out[at], part, torch.sigmoid(lse - own[at]).to(out.dtype)[..., None])


def _fold(mask: Tensor, groups: int, q: int) -> Tensor:
    """The mask of folded queries [rows, 1, groups * q, used]."""
    return mask if groups == 1 or q == 1 else mask.repeat(1, 1, groups, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Attention with the log-sum-exp of the scores.

    Args:
        query: [rows, heads, n, dim].
        key, value: [rows, heads, used, dim].
        mask: additive, broadcast to [rows, 1, n, used], or ``None``.
        scale: of the scores.

    Returns:
        Outputs [rows, heads, n, dim], and their log-sum-exp [rows, heads, n] in float32.
    """
    if query.device.type == "cpu" and key.shape[-1] == value.shape[-1]:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scale
        )
        return out, lse
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores += mask
    lse = scores.logsumexp(-1)
    return torch.matmul((scores - lse[..., None]).exp().to(value.dtype), value), lse


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
