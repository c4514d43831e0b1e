"""The model behind both peers: genlm-backend's engine for transformers, as it comes and as its arguments allow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from genlm.backend.llm import AsyncLM, AsyncTransformer, MockAsyncLM
from workload import constant_logits, make_tokenizer


def engine(model: Any, tokenizer: Any, particles: int, tuned: bool) -> AsyncTransformer:
    """The engine over a model.

    Args:
        model: a transformers model.
        tokenizer: its tokenizer.
        particles: how many ask at once.
        tuned: a batch is as large as the population and none waits for a timer; otherwise the defaults, batches of 20
            and 20 ms.
    """
    if tuned:
        return AsyncTransformer(model, tokenizer, batch_size=particles, timeout=0.0)
    return AsyncTransformer(model, tokenizer)


class StubModel:
    """In place of a transformers model: the same logits at every position; batching and caching stay the engine's."""

    device = torch.device("cpu")

    def __init__(self, vocabulary: int, rows: int) -> None:
        row = with_end(constant_logits(vocabulary))
        self.logits = row.repeat(rows, 1, 1)

    def eval(self) -> None:
        """As a model has it."""

    def __call__(self, input_ids: torch.Tensor, **ignored: Any) -> SimpleNamespace:
        rows, length = input_ids.shape
        return SimpleNamespace(logits=self.logits[:rows].expand(-1, length, -1), past_key_values=None)


class StubEngine(MockAsyncLM):
    """In place of the engine too: the same log probabilities at once, with no batching and no cache."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__(make_tokenizer(vocabulary))
        self.row = torch.log_softmax(with_end(constant_logits(vocabulary)), 0)

    def next_token_logprobs_sync(self, token_ids: list[int], lora_name: str | None = None) -> torch.Tensor:
        """The row."""
        return self.row

    async def next_token_logprobs(self, token_ids: list[int], lora_name: str | None = None) -> torch.Tensor:
        """The row."""
        return self.row


def with_end(logits: torch.Tensor) -> torch.Tensor:
    """Logits with one more for the end of text, which never comes."""
    return torch.cat((logits, torch.tensor([-torch.inf])))


def stubs(vocabulary: int, particles: int) -> dict[str, AsyncLM]:
    """Engines to measure a framework's own cost with, by what they leave out."""
    tokenizer = make_tokenizer(vocabulary)
    model = StubModel(vocabulary, particles)
    return {"model": engine(model, tokenizer, particles, tuned=True), "engine": StubEngine(vocabulary)}
