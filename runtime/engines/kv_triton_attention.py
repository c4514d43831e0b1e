"""A Triton kernel for attention of one token a row to its slot, wherever that is and however long.

It goes on from attention to a stem, of which it takes over the outputs and the log-sum-exp of the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .triton_launch import launch, power_of_two

if TYPE_CHECKING:
    import triton.language as tl

_POSITIONS = 32
"""Positions that a program reads together."""


def attend_to_slots(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    last: Tensor,
    scale: float,
    before: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention of each row's queries to the first positions of its slot.

    Args:
        query: [rows, heads, dim], contiguous; ``heads`` is a multiple of the key heads.
        keys, values: the stores [slots, key heads, capacity, dim], contiguous in dim, and alike.
        slots: the slot of each row [rows], int64.
        last: the last of its positions that each row sees [rows], int64.
        scale: of the scores.
        before: attention to other positions, to be merged with: outputs [n, heads, dim] and their log-sum-exp
            [heads, n], float32, infinite of either sign where nothing was seen; and for each of some parts, which of
            these n belongs to each row [parts, rows], int64. All contiguous.

    Returns:
        Outputs [rows, heads, dim], contiguous.
    """
    (rows, heads, dim), key_heads = query.shape, keys.shape[1]
    assert query.is_contiguous() and heads % key_heads == 0
    assert keys.stride() == values.stride() and keys.stride(3) == 1
    out = query.new_empty(rows, heads, dim)
    found, lse, where = before or (None, None, None)
    assert before is None or all(some.is_contiguous() for some in before)
    sizes = {
        "KEY_HEADS": key_heads,
        "GROUP": heads // key_heads,
        "PARTS": 0 if where is None else len(where),
        "DIM": dim,
        "QUERIES": max(16, power_of_two(heads // key_heads)),  # the least that a product takes
        "POSITIONS": _POSITIONS,
        "BLOCK": max(16, power_of_two(dim)),
    }
    args = (query, keys, values, slots, last, out, found, lse, where, rows, *keys.stride()[:3], scale)
    launch(_attend_to_slots, (rows, key_heads), *args, **sizes, num_warps=4)
    return out


def _attend_to_slots(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    slots: tl.tensor,
    last: tl.tensor,
    out: tl.tensor,
    found: tl.tensor,
    lse: tl.tensor,
    where: tl.tensor,
    rows: tl.tensor,
    slot_stride: tl.tensor,
    head_stride: tl.tensor,
    place_stride: tl.tensor,
    scale: tl.tensor,
    KEY_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    POSITIONS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row, key_head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    group = tl.arange(0, QUERIES)
    at = tl.arange(0, BLOCK)
    head = key_head * GROUP + group
    mine = (group < GROUP)[:, None] & (at < DIM)[None, :]
    places = (row * (KEY_HEADS * GROUP) + head)[:, None] * DIM + at[None, :]
    q = tl.load(query + places, mask=mine, other=0.0)
    total = tl.zeros([QUERIES, BLOCK], dtype=tl.float32)
    top = tl.full([QUERIES], float("-inf"), dtype=tl.float32)
    mass = tl.zeros([QUERIES], dtype=tl.float32)
    for part in tl.static_range(PARTS):
        place = tl.load(where + part * rows + row)
        other = tl.load(lse + head * (PARTS * rows) + place, mask=group < GROUP, other=float("-inf"))
        other = tl.where(other == float("inf"), float("-inf"), other)
        higher = tl.maximum(top, other)
        level = tl.where(higher == float("-inf"), 0.0, higher)
        kept, share = tl.exp(top - level), tl.exp(other - level)
        theirs = (place * (KEY_HEADS * GROUP) + head)[:, None] * DIM + at[None, :]
        had = mine & (other != float("-inf"))[:, None]
        total = total * kept[:, None] + share[:, None] * tl.load(found + theirs, mask=had, other=0.0).to(tl.float32)
        mass = mass * kept + share
        top = higher
    count = tl.load(last + row) + 1
    begin = tl.load(slots + row) * slot_stride + key_head * head_stride
    for start in range(0, count, POSITIONS):
        position = start + tl.arange(0, POSITIONS)
        seen = position < count
        read = begin + position.to(tl.int64)[:, None] * place_stride + at[None, :]
        some = seen[:, None] & (at < DIM)[None, :]
        k = tl.load(keys + read, mask=some, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        shares = tl.exp(scores - higher[:, None])
        kept = tl.exp(top - higher)
        v = tl.load(values + read, mask=some, other=0.0)
        total = total * kept[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        mass = mass * kept + tl.sum(shares, axis=1)
        top = higher
    tl.store(out + places, total / mass[:, None], mask=mine)
