"""What a checkpoint can do on held-out problems."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from . import problems as arithmetic
from .documents import verdict_example


@dataclass
class Measured:
    """What a checkpoint can do on held-out problems.

    Attributes:
        per_length: The number of problems at each length.
        sampled: Share of right chains at temperature 1, by number of steps.
        greedy: Share of right chains with the likeliest token each time, by number of steps.
        step: Share of right steps at temperature 1 among the steps that follow right ones, by number of steps.
        sign: The same for all lengths together, by operation.
        step_overall: The same for all lengths and operations together.
        verifier: Share of equations whose likelier verdict is right.
        verifier_sampled: Mean probability of the right verdict among the two.
    """

    per_length: int
    sampled: dict[int, float] = field(default_factory=dict)
    greedy: dict[int, float] = field(default_factory=dict)
    step: dict[int, float] = field(default_factory=dict)
    sign: dict[str, float] = field(default_factory=dict)
    step_overall: float = 0.0
    verifier: float = 0.0
    verifier_sampled: float = 0.0


def complete(
    model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int, sample: bool = True, batch: int = 200
) -> list[str]:
    """Let the model continue prompts.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompts: The texts to continue.
        tokens: The most tokens to write for each.
        sample: Sample at temperature 1; otherwise take the likeliest token each time.
        batch: How many prompts to continue at once.

    Returns:
        What the model wrote after each prompt, without special tokens.
    """
    texts: list[str] = []
    for first in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[first : first + batch]), return_tensors="pt", padding=True).to(model.device)
        choice: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {"do_sample": False}
        with torch.inference_mode():
            written = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=tokens,
                **choice,
            )
        texts += tokenizer.batch_decode(written[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def verdict_odds(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[float]:
    """The probability of "yes" against "no" after each prompt of `ppl.bundled.problems.check_prompt`."""
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("yes", "no"))
    encoded = tokenizer(list(prompts), return_tensors="pt", padding=True).to(model.device)
    with torch.inference_mode():
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[:, -1]
    odds: list[float] = logits[:, [yes, no]].softmax(-1)[:, 0].tolist()
    return odds


def measure(model: Any, tokenizer: Any, per_length: int = 200, lengths: Sequence[int] = range(1, 13)) -> Measured:
    """Measure a model on held-out problems; the same problems and the same random numbers each time.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        per_length: The number of problems for each number of steps, and a tenth of that of equations to judge.
        lengths: The numbers of steps.

    Returns:
        The measured shares.
    """
    result = Measured(per_length)
    tried: dict[str, list[int]] = {sign: [0, 0] for sign in "+-*"}
    torch.manual_seed(0)
    for steps in lengths:
        chains = arithmetic.problems(per_length, steps, seed=0)
        prompts = [chain.prompt for chain in chains]
        room = 16 * (steps + 1)
        texts = complete(model, tokenizer, prompts, room)
        right = [0, 0]
        for chain, text in zip(chains, texts, strict=True):
            for step, written in itertools.zip_longest(chain.steps, text.split("\n")[:steps]):
                sign = next(letter for letter in step if letter in tried)
                for count in (right, tried[sign]):
                    count[0] += step == written
                    count[1] += 1
                if step != written:
                    break
        result.sampled[steps] = sum(map(str.__eq__, texts, [chain.solution for chain in chains])) / per_length
        result.step[steps] = right[0] / right[1]
        texts = complete(model, tokenizer, prompts, room, sample=False)
        result.greedy[steps] = sum(map(str.__eq__, texts, [chain.solution for chain in chains])) / per_length
    result.sign = {sign: good / max(1, both) for sign, (good, both) in tried.items()}
    result.step_overall = sum(good for good, _ in tried.values()) / sum(both for _, both in tried.values())
    rng = random.Random(0)
    asked = [verdict_example(made, rng) for made in arithmetic.problems(5 * per_length, (1, 10), seed=1)]
    odds = verdict_odds(model, tokenizer, [prompt for prompt, _ in asked])
    given = [odd if verdict == "yes\n" else 1 - odd for odd, (_, verdict) in zip(odds, asked, strict=True)]
    result.verifier = sum(odd > 0.5 for odd in given) / len(given)
    result.verifier_sampled = sum(given) / len(given)
    return result
