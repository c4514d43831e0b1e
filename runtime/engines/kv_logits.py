"""Logits that were computed a moment ago, so that asking twice costs nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from .prefix import Prefix


class RecentLogits:
    """Logits of recently computed nodes, bounded in bytes, oldest forward pass forgotten first.

    Whole passes are kept as the tensors they came in. Nodes are referred to weakly.

    Args:
        budget: the bytes that the kept tensors may take together.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self._blocks: deque[tuple[Tensor, list[ref[Prefix]]]] = deque()
        self._rows: WeakKeyDictionary[Prefix, tuple[Tensor, int]] = WeakKeyDictionary()

    def get(self, node: Prefix) -> tuple[Tensor, int] | None:
        """The tensor that has ``node``'s logits and the row they are in, if still there."""
        return self._rows.get(node)

    def add(self, nodes: Sequence[Prefix], block: Tensor) -> None:
        """Keep ``block`` [len(nodes), vocab], which must not be changed afterwards, if it fits the budget."""
        size = block.numel() * block.element_size()
        if not nodes or size > self.budget:
            return
        while self.bytes + size > self.budget:
            old, refs = self._blocks.popleft()
            self.bytes -= old.numel() * old.element_size()
            for gone in refs:
                node = gone()
                if node is not None and (found := self._rows.get(node)) is not None and found[0] is old:
                    del self._rows[node]
        self.bytes += size
        self._blocks.append((block, [ref(node) for node in nodes]))
        for row, node in enumerate(nodes):
            self._rows[node] = (block, row)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._rows.clear()
        self.bytes = 0


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
