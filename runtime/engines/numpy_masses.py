"""The masses of blocks of a small vocabulary in a processor's memory, by as few operations as there can be.

At a few thousand tokens an operation's overhead is as much as its arithmetic, and numpy's is a third of torch's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

DEVICES = frozenset({"cpu"})
"""Kinds of devices whose memory numpy can read."""
LARGEST = 1 << 12
"""The most tokens of a vocabulary for which it is faster. How many rows there are can't decide: it is another sum."""

_ENTRIES = 1 << 18
"""The most entries of the buffer that rows pass through."""


def serves(logits: Tensor) -> bool:
    """Whether :func:`block_masses` is for these."""
    return logits.device.type in DEVICES and logits.dtype == torch.float32 and logits.shape[1] <= LARGEST


def block_masses(logits: Tensor, factor: float, block: int, width: int) -> tuple[Tensor, Tensor]:
    """The largest logit of each row, and the mass of each block of tokens relative to it.

    Args:
        logits: float32 [rows, vocabulary], in a processor's memory.
        factor: a token's mass is 2^(factor * (logit - the largest)).
        block: how many tokens a block has.
        width: of all blocks together; those behind the vocabulary have no mass.

    Returns:
        The largest logits [rows] and the masses [rows, blocks], float32. Where a row has NaN, or nothing above minus
        infinity, the largest is NaN, or minus infinity, and the masses mean nothing.
    """
    found = logits.detach().numpy()
    rows, vocabulary = found.shape
    step = min(rows, max(1, _ENTRIES // width))
    buffer = np.empty((step, width), np.float32)
    masses = np.empty((rows, width // block), np.float32)
    with np.errstate(all="ignore"):
        top = found.max(1)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            some = buffer[: rows - start]
            below = some[:, :vocabulary]
            np.subtract(found[part], top[part, None], out=below)
            below *= factor
            if width > vocabulary:
                some[:, vocabulary:] = -math.inf
            torch.from_numpy(some).exp2_()  # in half the time of numpy's
            np.einsum("rbt->rb", some.reshape(len(some), -1, block), out=masses[part])
    return torch.from_numpy(top), torch.from_numpy(masses)
