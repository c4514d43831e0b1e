"""A model that computes every prefix once for a whole benchmark, however many runs, methods and seeds ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ppl.runtime.engines.model import CacheInfo, LogitModel
from ppl.runtime.engines.prefix import Prefix

_FIRST = 1 << 12
"""Rows to make room for at first."""


class Remembering(LogitModel):
    """Another model, with the next-token logits of every prefix that was asked about kept in one table.

    It answers what the other would, so draws are the same and only the time differs: sampled tokens, which budgets are
    about, are counted by who asks. (Real models round a row a little differently in each batch; here it is rounded
    once.) Nothing is forgotten before :meth:`forget`: a row takes four or eight bytes a token of the vocabulary.

    Args:
        model: the other.
    """

    def __init__(self, model: LogitModel) -> None:
        self.model = model
        self.root = model.root
        self.vocab_size = model.vocab_size
        self.eos_tokens = model.eos_tokens
        self.usage = model.usage
        self.size = model.size
        self._rows: dict[Prefix, int] = {}  # keeps the nodes alive, and so interned
        self._table = torch.empty(0, model.vocab_size)

    @property
    def remembered(self) -> int:
        """How many prefixes have a row."""
        return len(self._rows)

    def forget(self) -> None:
        """Let go of all rows."""
        self._rows.clear()
        self._table = torch.empty(0, self.vocab_size)

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        """As the other model's; each node is computed once."""
        new = [node for node in nodes if node not in self._rows]
        if new:
            self._add(new, self.model.logits(new))
        return self._table[[self._rows[node] for node in nodes]]

    def _add(self, nodes: Sequence[Prefix], logits: torch.Tensor) -> None:
        used, needed = len(self._rows), len(self._rows) + len(nodes)
        if needed > len(self._table) or logits.dtype != self._table.dtype:
            larger = logits.new_empty(max(_FIRST, 2 * len(self._table), needed), self.vocab_size)
            larger[:used] = self._table[:used]
            self._table = larger
        self._table[used:needed] = logits
        self._rows.update(zip(nodes, range(used, needed), strict=True))

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``."""
        return self.model.encode(text)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation."""
        return self.model.encode_chat(messages)

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""
        return self.model.decode_bytes(token)

    def cache_info(self) -> CacheInfo | None:
        """What the other model keeps."""
        return self.model.cache_info()

    def describe(self) -> str:
        """The other model's line."""
        return self.model.describe()
