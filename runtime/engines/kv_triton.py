"""Triton kernels for what decoding does between its matrix products: one launch for several of torch's operations.

All compute in float32 and round once. None waits for the device or copies from the host, so a CUDA graph can hold them,
after a first call for the same model and types has compiled them; another number of rows is not compiled anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .triton_launch import launch, power_of_two

if TYPE_CHECKING:
    import triton.language as tl

_HEADS = 4
"""Heads for each program: one for each of its warps."""

_INNER = 1024
"""Elements of the feed-forward layer for each program: 16 bytes of each input for each thread in half precision."""


def turn_and_store(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    places: Tensor,
) -> Tensor:
    """Norm and turn each token's queries and keys, and write its keys and values to where they belong.

    Args:
        qkv: queries, keys and values side by side [rows, (heads + 2 * key heads) * dim], contiguous.
        cos: what a head is multiplied with [rows, dim], contiguous.
        sin: what its swapped halves are multiplied with [rows, dim], contiguous.
        heads: how many heads of queries there are.
        q_norm, k_norm: the weights of the norms of each head's query and key [dim]; ``None``, both: there are none.
        eps: what the norms add to a variance.
        keys, values: the stores [slots, key heads, capacity, dim], contiguous in dim.
        slots, places: the slot of each row's token, and its position there [rows], int64, contiguous. Rows may write
            to the same place if what they write is the same.

    Returns:
        The turned queries [rows, heads, dim], contiguous.
    """
    rows, (key_heads, dim) = len(qkv), (keys.shape[1], keys.shape[3])
    assert all(x.is_contiguous() for x in (qkv, cos, sin, slots, places)) and (q_norm is None) == (k_norm is None)
    assert keys.stride(3) == values.stride(3) == 1 and qkv.shape[1] == (heads + 2 * key_heads) * dim
    query = qkv.new_empty(rows, heads, dim)
    tensors = (qkv, cos, sin, q_norm, k_norm, slots, places, query, keys, values)
    sizes = {"HEADS": heads, "KEY_HEADS": key_heads, "DIM": dim, "MANY": _HEADS, "BLOCK": power_of_two(dim)}
    grid = (rows, -(-(heads + 2 * key_heads) // _HEADS))
    launch(_turn_and_store, grid, *tensors, *keys.stride()[:3], *values.stride()[:3], eps, **sizes, num_warps=4)
    return query


def gated(gate_up: Tensor) -> Tensor:
    """``silu(gate) * up`` [rows, inner], of both side by side [rows, 2 * inner], contiguous."""
    assert gate_up.is_contiguous()
    rows, inner = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, inner)
    launch(_gated, (rows, -(-inner // _INNER)), gate_up, out, inner, BLOCK=_INNER, num_warps=4)
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [rows, width], contiguous, over its root mean square, times the weight [width].

    A program holds a whole row, which is for a width of up to 16384.
    """
    assert x.is_contiguous()
    rows, width = x.shape
    out = torch.empty_like(x)
    block = power_of_two(width)
    launch(_rms_norm, (rows,), x, weight, out, eps, WIDTH=width, BLOCK=block, num_warps=min(max(block // 256, 1), 16))
    return out


# Kernels. In all of them axis 0 of the grid is rows. Its index is made 64 bits wide, and so are the offsets.


def _turn_and_store(
    qkv: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    q_norm: tl.tensor,
    k_norm: tl.tensor,
    slots: tl.tensor,
    places: tl.tensor,
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_slot: tl.tensor,
    key_head: tl.tensor,
    key_place: tl.tensor,
    value_slot: tl.tensor,
    value_head: tl.tensor,
    value_place: tl.tensor,
    eps: tl.tensor,
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    MANY: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * MANY + tl.arange(0, MANY)).to(tl.int64)[:, None]
    at = tl.arange(0, BLOCK)[None, :]
    rolled = tl.where(at < DIM // 2, at + (DIM - DIM // 2), at - DIM // 2)
    real = at < DIM
    is_query = head < HEADS
    is_key = (head >= HEADS) & (head < HEADS + KEY_HEADS)
    is_value = (head >= HEADS + KEY_HEADS) & (head < HEADS + 2 * KEY_HEADS)
    source = qkv + (row * (HEADS + 2 * KEY_HEADS) + head) * DIM
    mine = real & (head < HEADS + 2 * KEY_HEADS)
    x = tl.load(source + at, mask=mine, other=0.0).to(tl.float32)
    # Read again, from the nearest cache: elements can't move between threads when dim is not a power of two.
    swapped = tl.load(source + rolled, mask=mine, other=0.0).to(tl.float32)
    result = x
    if q_norm is not None:
        inverse = tl.rsqrt(tl.sum(x * x, axis=1, keep_dims=True) / DIM + eps)
        weight = tl.load(q_norm + at, mask=real & is_query, other=0.0).to(tl.float32)
        weight += tl.load(k_norm + at, mask=real & is_key, other=0.0).to(tl.float32)
        result = x * inverse * weight
        weight = tl.load(q_norm + rolled, mask=real & is_query, other=0.0).to(tl.float32)
        weight += tl.load(k_norm + rolled, mask=real & is_key, other=0.0).to(tl.float32)
        swapped = swapped * inverse * weight
    cosine = tl.load(cos + row * DIM + at, mask=real, other=0.0).to(tl.float32)
    sine = tl.load(sin + row * DIM + at, mask=real, other=0.0).to(tl.float32)
    result = result * cosine + swapped * sine
    tl.store(query + (row * HEADS + head) * DIM + at, result, mask=real & is_query)
    slot, place = tl.load(slots + row), tl.load(places + row)
    target = keys + slot * key_slot + (head - HEADS) * key_head + place * key_place
    tl.store(target + at, result, mask=real & is_key)
    target = values + slot * value_slot + (head - HEADS - KEY_HEADS) * value_head + place * value_place
    tl.store(target + at, x, mask=real & is_value)


def _gated(gate_up: tl.tensor, out: tl.tensor, inner: tl.tensor, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up + 2 * row * inner + at, mask=at < inner, other=0.0).to(tl.float32)
    up = tl.load(gate_up + (2 * row + 1) * inner + at, mask=at < inner, other=0.0).to(tl.float32)
    tl.store(out + row * inner + at, gate * tl.sigmoid(gate) * up, mask=at < inner)


def _rms_norm(
    x: tl.tensor, weight: tl.tensor, out: tl.tensor, eps: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    value = tl.load(x + row * WIDTH + at, mask=at < WIDTH, other=0.0).to(tl.float32)
    inverse = tl.rsqrt(tl.sum(value * value, axis=0) / WIDTH + eps)
    scale = tl.load(weight + at, mask=at < WIDTH, other=0.0).to(tl.float32)
    tl.store(out + row * WIDTH + at, value * inverse * scale, mask=at < WIDTH)
