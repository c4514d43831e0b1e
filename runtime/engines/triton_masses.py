"""A Triton kernel for the masses of blocks of a vocabulary, in one pass over the logits as the model gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .triton_launch import launch

if TYPE_CHECKING:
    import triton.language as tl

_ENTRIES = 4096
"""About how many logits a program reads."""


def block_masses(logits: Tensor, factor: float, block: int) -> tuple[Tensor, Tensor]:
    """The largest logit of each row, and the mass of each block of tokens relative to it.

    Args:
        logits: [rows, vocabulary], contiguous in the vocabulary.
        factor: a token's mass is 2^(factor * (logit - the largest)).
        block: how many tokens a block has, a power of two; the last may have fewer.

    Returns:
        The largest logits [rows] and the masses [rows, blocks], float32. Where a row has NaN, or nothing above minus
        infinity, the largest is NaN, or minus infinity, and the masses mean nothing.
    """
    rows, vocabulary = logits.shape
    blocks = -(-vocabulary // block)
    tops = torch.empty(rows, blocks, dtype=torch.float32, device=logits.device)
    masses = torch.empty_like(tops)
    many = max(1, _ENTRIES // block)
    grid = (rows, -(-blocks // many))
    args = (logits, tops, masses, logits.stride(0), vocabulary, blocks, factor)
    launch(_block_masses, grid, *args, BLOCK=block, MANY=many, num_warps=4)
    top = tops.amax(1)
    masses *= torch.exp2((tops - top[:, None]) * factor)
    return top, masses


def _block_masses(
    logits: tl.tensor,
    tops: tl.tensor,
    masses: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    blocks: tl.tensor,
    factor: tl.tensor,
    BLOCK: tl.constexpr,
    MANY: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1) * MANY + tl.arange(0, MANY)
    token = number[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    x = tl.load(logits + row * stride + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32)
    # A maximum may pass over NaN; a sum does not.
    top = tl.max(x, axis=1)
    strange = tl.sum(tl.where(x == x, 0.0, 1.0), axis=1) > 0.0
    # In a block at minus infinity nothing has a mass.
    low = tl.where(top == float("-inf"), 0.0, top)
    mass = tl.sum(tl.exp2((x - low[:, None]) * factor), axis=1)
    tl.store(tops + row * blocks + number, tl.where(strange, float("nan"), top), mask=number < blocks)
    tl.store(masses + row * blocks + number, mass, mask=number < blocks)
