"""The workload in LLaMPPL: a ``Model`` with a step for each token, run by ``smc_standard``."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from backend import engine, stubs
from llamppl import CachedCausalLM, LMContext, Model, Transformer, smc_standard
from transformers import AutoModelForCausalLM, AutoTokenizer
from workload import (
    PENALTY,
    THRESHOLD,
    Generate,
    Positions,
    Size,
    answer,
    beside_generate,
    cost_of_token,
    prompt_text,
)


class WithContext(Model):
    """Tokens one by one from an ``LMContext``, which keeps its next distribution and a mask."""

    def __init__(self, lm: CachedCausalLM, prompt: str, count: int) -> None:
        super().__init__()
        self.context = LMContext(lm, prompt)
        self.left = count

    async def step(self) -> None:
        """One token, with evidence."""
        token = await self.sample(self.context.next_token())
        self.score(PENALTY * (token.token_id % 2))
        self.left -= 1
        if not self.left:
            self.finish()


class WithTokens(Model):
    """Tokens one by one from a ``Transformer`` distribution over the ids so far, which keeps nothing else."""

    def __init__(self, lm: CachedCausalLM, prompt: str, count: int) -> None:
        super().__init__()
        self.lm = lm
        self.ids = lm.tokenizer.encode(prompt)
        self.left = count

    async def step(self) -> None:
        """One token, with evidence."""
        token = await self.sample(Transformer(self.lm, self.ids))
        self.ids.append(token.token_id)
        self.score(PENALTY * (token.token_id % 2))
        self.left -= 1
        if not self.left:
            self.finish()


WRITERS = {"LMContext": WithContext, "Transformer": WithTokens}


def run(lm: CachedCausalLM, writer: type[Model], prompt: str, keep_prompt: bool, size: Size) -> float:
    """One inference from empty caches; its estimate of the log evidence."""
    lm.clear_cache()
    if keep_prompt:
        lm.cache_kv(lm.tokenizer.encode(prompt))
    particles = asyncio.run(smc_standard(writer(lm, prompt, size.tokens), size.particles, ess_threshold=THRESHOLD))
    return float(np.logaddexp.reduce([p.weight for p in particles]) - np.log(size.particles))


def decoding(folder: Path, size: Size, repeats: int) -> dict[str, Any]:
    """Seconds and positions with each way to write the program and to set the engine."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = prompt_text(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder)
    count = Positions(model)
    generate = Generate(folder, tokenizer.encode(prompt))
    found = {}
    for name, writer, tuned in (
        ("LMContext, defaults", WithContext, False),
        ("LMContext, tuned", WithContext, True),
        ("Transformer, tuned", WithTokens, True),
    ):
        lm = CachedCausalLM(engine(model, tokenizer, size.particles, tuned))
        side = partial(run, lm, writer, prompt, tuned, size)
        found[name] = beside_generate(side, lambda: count.total, generate, size, repeats)
    return found


def framework(vocabulary: int, size: Size, repeats: int) -> dict[str, Any]:
    """Microseconds for a token of a particle, by how the program is written and what is stubbed."""
    found = {}
    for stubbed, served in stubs(vocabulary, size.particles).items():
        lm = CachedCausalLM(served)
        prompt = prompt_text(lm.tokenizer)
        for name, writer in WRITERS.items():
            found[f"{name}, {stubbed} stubbed"] = cost_of_token(
                partial(run, lm, writer, prompt, False, size), size, repeats
            )
    return found


if __name__ == "__main__":
    answer(decoding, framework)
