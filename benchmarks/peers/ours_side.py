"""The workload in this package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from workload import (
    PENALTY,
    THRESHOLD,
    Generate,
    Size,
    answer,
    beside_generate,
    constant_logits,
    cost_of_token,
    make_tokenizer,
    prompt_text,
)

from ppl import Program, factor, infer, load_lm, program, sample
from ppl.lm import LM
from ppl.runtime.engines.model import LogitModel, Usage
from ppl.runtime.engines.prefix import Prefix


class StubModel(LogitModel):
    """In place of a model and its cache: the same logits after every prefix."""

    def __init__(self, vocabulary: int, rows: int) -> None:
        self.root = Prefix()
        self.vocab_size = vocabulary
        self.eos_tokens = frozenset()
        self.usage = Usage()
        self._tokenizer = make_tokenizer(vocabulary)
        self._bytes = [str(name).encode() for name in self._tokenizer.convert_ids_to_tokens(list(range(vocabulary)))]
        self._rows = constant_logits(vocabulary).repeat(rows, 1)

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        """A row for each of ``nodes``."""
        return self._rows[: len(nodes)]

    def encode(self, text: str) -> tuple[int, ...]:
        """Its ids."""
        return tuple(self._tokenizer.encode(text))

    def decode_bytes(self, token: int) -> bytes:
        """Its bytes, or near enough: kept in a table, as engines keep them."""
        return self._bytes[token]

    def describe(self) -> str:
        """What it is."""
        return f"constant logits, vocabulary {self.vocab_size}"


def writer(lm: LM, prompt: str) -> Program:
    """A program that writes tokens one by one, each with evidence."""
    start = lm.context(prompt)

    @program
    def write(count: int) -> None:
        context = start
        for _ in range(count):
            token = sample(context.token())
            context = context + token
            factor(PENALTY * (token.tokens[0] % 2))

    return write


def run(write: Program, size: Size) -> float:
    """One inference; its estimate of the log evidence."""
    return infer(write, size.tokens, method="smc", n=size.particles, ess_threshold=THRESHOLD).log_evidence


def decoding(folder: Path, size: Size, repeats: int) -> dict[str, Any]:
    """Seconds and positions."""
    lm = load_lm(str(folder))
    prompt = prompt_text(make_tokenizer(lm.model.vocab_size))
    write = writer(lm, prompt)
    generate = Generate(folder, list(lm.model.encode(prompt)))

    def side() -> float:
        lm.model.clear_cache()  # type: ignore[attr-defined]
        return run(write, size)

    return {"": beside_generate(side, lambda: lm.model.usage.positions, generate, size, repeats)}


def framework(vocabulary: int, size: Size, repeats: int) -> dict[str, Any]:
    """Microseconds for a token of a particle."""
    lm = load_lm(StubModel(vocabulary, size.particles))
    write = writer(lm, prompt_text(make_tokenizer(vocabulary)))
    return {"model stubbed": cost_of_token(partial(run, write, size), size, repeats)}


if __name__ == "__main__":
    answer(decoding, framework)
