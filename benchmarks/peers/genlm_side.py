"""The workload in genlm-control: tokens drawn directly from a ``PromptedLLM``, the soft factors as ``SMC``'s critic."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from backend import engine, stubs
from genlm.backend.llm import AsyncLM
from genlm.backend.tokenization import Token
from genlm.control import SMC, Potential, PromptedLLM, direct_token_sampler
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


class Odd(Potential):
    """The product of the soft factors of a text's tokens."""

    async def prefix(self, context: list[Token]) -> float:
        """Of a beginning."""
        return PENALTY * sum(token.token_id % 2 for token in context)

    async def complete(self, context: list[Token]) -> float:
        """Of a whole text: the same."""
        return await self.prefix(context)


def sampler(served: AsyncLM, prompt: list[int]) -> SMC:
    """SMC for the model's continuations of a prompt, with the factors; batches of concurrent calls are on."""
    llm = PromptedLLM(served, prompt_ids=prompt)
    return SMC(direct_token_sampler(llm), critic=Odd(llm.vocab, tables=llm.tables))


def run(served: AsyncLM, smc: SMC, keep: list[int] | None, size: Size) -> float:
    """One inference from empty caches; its estimate of the log evidence.

    The end of text has no probability, so that the texts are closed at their last token by ``terminate_when``.
    """
    served.clear_cache()
    if keep:
        served.cache_kv(keep)
    found = asyncio.run(
        smc(
            n_particles=size.particles,
            ess_threshold=THRESHOLD,
            max_tokens=size.tokens + 1,
            terminate_when=lambda context: len(context) == size.tokens,
        )
    )
    return float(found.log_ml)


def decoding(folder: Path, size: Size, repeats: int) -> dict[str, Any]:
    """Seconds and positions with the engine as it comes, and tuned."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.encode(prompt_text(tokenizer))
    model = AutoModelForCausalLM.from_pretrained(folder)
    count = Positions(model)
    generate = Generate(folder, prompt)
    found = {}
    for name, tuned in (("defaults", False), ("tuned", True)):
        served = engine(model, tokenizer, size.particles, tuned)
        side = partial(run, served, sampler(served, prompt), prompt if tuned else None, size)
        found[name] = beside_generate(side, lambda: count.total, generate, size, repeats)
    return found


def framework(vocabulary: int, size: Size, repeats: int) -> dict[str, Any]:
    """Microseconds for a token of a particle, by what is stubbed."""
    found = {}
    for stubbed, served in stubs(vocabulary, size.particles).items():
        prompt = served.tokenizer.encode(prompt_text(served.tokenizer))
        side = partial(run, served, sampler(served, prompt), None, size)
        found[f"{stubbed} stubbed"] = cost_of_token(side, size, repeats)
    return found


if __name__ == "__main__":
    answer(decoding, framework)
