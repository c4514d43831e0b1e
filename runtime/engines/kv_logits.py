"""Logits that were computed a moment ago, so that asking twice costs nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from .prefix import Prefix


class Block:
    """The logits of one forward pass [nodes, vocabulary]; ``None`` once they are forgotten."""

    __slots__ = ("logits", "owner")

    def __init__(self, owner: RecentLogits, logits: Tensor) -> None:
        self.owner = owner
        self.logits: Tensor | None = logits


class RecentLogits:
    """Logits of recently computed nodes, bounded in bytes, oldest forward pass forgotten first.

    Whole passes are kept as the tensors they came in. Nodes know where theirs are (``block``, ``row``), not the other
    way around.

    Args:
        budget: the bytes that the kept tensors may take together.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self._blocks: deque[Block] = deque()

    def has(self, node: Prefix) -> bool:
        """Whether ``node``'s logits are still there."""
        block: Block | None = node.block
        return block is not None and block.logits is not None and block.owner is self

    def of(self, node: Prefix) -> tuple[Tensor, int]:
        """The tensor that has ``node``'s logits, which are there, and the row they are in."""
        return node.block.logits, node.row

    def add(self, nodes: Sequence[Prefix], logits: Tensor) -> None:
        """Keep ``logits`` [len(nodes), vocab], which must not be changed afterwards, if they fit the budget."""
        size = logits.numel() * logits.element_size()
        if not nodes or size > self.budget:
            return
        while self.bytes + size > self.budget:
            self._forget(self._blocks.popleft())
        self.bytes += size
        block = Block(self, logits)
        self._blocks.append(block)
        for row, node in enumerate(nodes):
            node.block, node.row = block, row

    def clear(self) -> None:
        """Forget everything."""
        while self._blocks:
            self._forget(self._blocks.popleft())

    def _forget(self, block: Block) -> None:
        assert block.logits is not None
        self.bytes -= block.logits.numel() * block.logits.element_size()
        block.logits = None


def gather(rows: Sequence[tuple[Tensor, int]], vocab_size: int, device: torch.device) -> Tensor:
    """A new tensor of the given rows of kept blocks: what the caller does to it must not change the blocks.

    Called outside of inference mode, so that the result may take part in a gradient computation.
    """
    if not rows:
        return torch.empty(0, vocab_size, device=device)
    blocks = list({id(block): block for block, _ in rows}.values())
    offsets: dict[int, int] = {}
    total = 0
    for block in blocks:
        offsets[id(block)] = total
        total += block.shape[0]
    at = [offsets[id(block)] + row for block, row in rows]
    if len(blocks) == 1:
        block = blocks[0]
        return block.clone() if at == list(range(total)) else block[torch.tensor(at, device=block.device)]
    if total <= 2 * len(rows):
        return torch.cat(blocks)[torch.tensor(at, device=blocks[0].device)]
    return torch.stack([block[row] for block, row in rows])
