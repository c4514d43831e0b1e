"""Whether cached positions give a model's own logits, found out by trying.

Models read their cache, mask and positions in too many ways to know beforehand: some keep a state instead of keys and
values, some derive positions from the shape of the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .prefix import Prefix

Compute = Callable[[Mapping[Prefix, None]], tuple[list[Prefix], Tensor]]
"""Computes some of the nodes that it is given: those nodes, and their logits [nodes, vocabulary]."""

POSITIONS = 6
"""The most positions that a trial needs, without BOS."""


def why_wrong(compute: Compute, plain: Compute, vocab_size: int, dtype: torch.dtype, repeats: int = 0) -> str:
    """Why ``compute`` does not do, by a small ragged run with forks, compared to passes over whole sequences; or "".

    Args:
        compute: what is tried.
        plain: what is right.
        vocab_size: the number of token ids.
        dtype: in which the model computes.
        repeats: how many times to go on after that by a token a row, as when what was done before is done again.

    Raises:
        MemoryError: there is not enough.
    """
    root = Prefix()
    ids = [(17 * i + 5) % vocab_size for i in range(8)]
    long, short = root.extend(ids[:3]), root.child(ids[4])
    left, right = long.extend(ids[3:5]), long.child(ids[5])
    rounds = [[long, short], [left, right, short.child(ids[6])], [left.child(ids[7]), right.child(ids[0])]]
    for token in ids[:repeats]:
        rounds.append([node.child(token) for node in rounds[-1]])
    errors: list[Tensor] = []
    spreads: list[Tensor] = []
    try:
        for nodes in rounds:
            pending = dict.fromkeys(nodes)
            for _ in range(2 * len(nodes)):
                done, block = compute(pending) if pending else ([], torch.empty(0))
                for node, row in zip(done, block, strict=True):
                    right_row = plain({node: None})[1][0]
                    errors.append((right_row - row).abs().mean())
                    spreads.append(right_row.std())
                    del pending[node]
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return f"{type(error).__name__}: {error}".removesuffix(": ").splitlines()[0]
    worst, spread = float(torch.stack(errors).max()), float(torch.stack(spreads).mean())
    return "" if worst <= _tolerance(dtype) * spread + 1e-6 else f"its logits change by {worst:.2g}"


def sees_ahead(plain: Compute, vocab_size: int, dtype: torch.dtype) -> bool:
    """Whether a token's logits depend on what comes after it, as in models of masked tokens.

    Args:
        plain: passes over whole sequences.
        vocab_size: the number of token ids.
        dtype: in which the model computes.
    """
    ids = [(17 * i + 5) % vocab_size for i in range(POSITIONS)]
    node = Prefix().extend(ids[:2])
    alone = plain({node: None})[1][0]
    followed = plain({node: None, node.extend(ids[2:]): None})[1][0]
    return bool((alone - followed).abs().mean() > _tolerance(dtype) * alone.std() + 1e-6)


def _tolerance(dtype: torch.dtype) -> float:
    """What the arithmetic may change of logits, as a share of how much they differ among each other."""
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.1
