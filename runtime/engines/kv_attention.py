"""Attention in two parts: to a stem that many rows share, read once for all of them, and to each row's own positions.

The parts are merged by their log-sum-exp, which is exact (Hydragen: Juravsky et al., 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .kv_cache import Group

_FEW = 16
"""Queries for each head and row up to which batched products are faster on a CPU than torch's attention there."""


class Part(NamedTuple):
    """A stem that a group of rows attends to.

    Attributes:
        group: which rows.
        keys, values: [key heads, length, dim].
        mask: additive [rows of the group, 1, q, length]; ``None`` if they see all of it.
    """

    group: Group
    keys: Tensor
    values: Tensor
    mask: Tensor | None


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, parts: Sequence[Part] = ()
) -> Tensor:
    """Attention of ragged rows, stems included.

    Args:
        query: [rows, heads, q, dim].
        key, value: each row's own positions [rows, key heads, used, dim]; ``heads`` is a multiple of ``key heads``.
        mask: additive [rows, 1, q, used]; ``None`` if all is seen.
        scale: of the scores.
        parts: the stems, and which rows go on from them.

    Returns:
        Outputs [rows, q, heads, dim], contiguous.
    """
    rows, heads, q, _ = query.shape
    key_heads = key.shape[1]
    if q > 1 and not parts:
        out = scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=heads > key_heads)
        return out.transpose(1, 2).contiguous()
    # Queries that share a key head lie side by side, as if they were further positions: keys are never repeated.
    folded = query.reshape(rows, key_heads, heads // key_heads * q, -1)
    mask = _fold(mask, heads // key_heads, q)
    if parts:
        out, own = attend(folded, key, value, mask, scale)
        for part in parts:
            _add_stem(out, own, folded, part, scale)
    elif _by_products(folded):
        out = _weighted(torch.softmax(_scores(folded, key, mask, scale), -1), value)
    else:
        out = scaled_dot_product_attention(folded, key, value, mask, scale=scale)
    return out.reshape(rows, heads, q, value.shape[-1]).transpose(1, 2).contiguous()


def _add_stem(out: Tensor, own: Tensor, query: Tensor, part: Part, scale: float) -> None:
    """Merge one stem's part into ``out``.

    Args:
        out: the outputs so far [rows, key heads, n, dim], changed in place.
        own: their log-sum-exp [rows, key heads, n].
        query: [rows, key heads, n, dim].
        part: the stem.
        scale: of the scores.
    """
    at = part.group.rows
    mine = query if at is None else query[at]
    rows, heads, n, dim = mine.shape
    # All rows' queries against one set of keys: a matrix product instead of one product with a vector for each row.
    flat = mine.transpose(0, 1).reshape(1, heads, rows * n, dim)
    mask = part.mask
    if mask is not None:
        mask = mask.repeat(1, 1, n // mask.shape[2], 1).reshape(1, 1, rows * n, -1)
    found, lse = attend(flat, part.keys[None], part.values[None], mask, scale)
    found = found.reshape(heads, rows, n, -1).transpose(0, 1)
    lse = lse.reshape(heads, rows, n).transpose(0, 1)
    if at is None:
        out.lerp_(found, torch.sigmoid(lse - own).to(out.dtype)[..., None])
    else:
        out[at] = torch.lerp(out[at], found, torch.sigmoid(lse - own[at]).to(out.dtype)[..., None])


def _fold(mask: Tensor | None, groups: int, q: int) -> Tensor | None:
    """The mask of folded queries [rows, 1, groups * q, used]."""
    return mask if mask is None or groups == 1 or q == 1 else mask.repeat(1, 1, groups, 1)


def _by_products(query: Tensor) -> bool:
    """Whether two batched products are the fastest way."""
    return query.device.type == "cpu" and query.dtype == torch.float32 and query.shape[2] <= _FEW


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
    same = key.shape[-1] == value.shape[-1]
    if query.device.type == "cpu" and same and not _by_products(query):
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scale
        )
        return out, lse
    if query.device.type == "cuda" and same and mask is None and query.dtype in (torch.float16, torch.bfloat16):
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)
        return out, lse
    scores = _scores(query, key, mask, scale).float()
    shares = torch.softmax(scores, -1)
    # The largest score and its share tell the sum without going through the scores again.
    lse = scores.amax(-1) - shares.amax(-1).log_()
    return _weighted(shares.to(value.dtype), value), lse


def _scores(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Scaled products of queries and keys, with what is hidden far down [rows, heads, n, used]."""
    flat = query.flatten(0, 1)
    keys = key.expand(*query.shape[:2], *key.shape[2:]).flatten(0, 1)
    scores = torch.baddbmm(flat.new_empty(1), flat, keys.transpose(1, 2), beta=0.0, alpha=scale)
    scores = scores.unflatten(0, query.shape[:2])
    return scores if mask is None else scores.add_(mask)


def _weighted(shares: Tensor, value: Tensor) -> Tensor:
    """The mean of values by shares [rows, heads, n, dim]."""
    values = value.expand(*shares.shape[:2], *value.shape[2:]).flatten(0, 1)
    return torch.bmm(shares.flatten(0, 1), values).unflatten(0, shares.shape[:2])
