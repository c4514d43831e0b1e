"""What every side is measured on: one folder with a random model, ``generate`` of transformers beside it, a stopwatch.

Needs torch, transformers and tokenizers only, since it runs in the environments of all sides.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 2048
PROMPT = 20
PENALTY = -0.3
"""The soft factor of a token with an odd id, in logs."""
THRESHOLD = 0.5
"""Resample below this part of the particles, by effective sample size."""


class Size(NamedTuple):
    """How much is decoded: so many particles of so many tokens."""

    particles: int
    tokens: int


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ids below ``vocabulary``, and an end of text whose id is ``vocabulary``.

    The model has no logit for that id, so that no text ends, and yet packages that ask for an end of text have one.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(itertools.product(letters, letters))
    merges = pairs + [(a + b, c) for (a, b), c in itertools.product(pairs, letters[:2])]
    merges = merges[: vocabulary - len(letters)]
    ids = {token: i for i, token in enumerate(letters + [a + b for a, b in merges])}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def make_folder(folder: Path) -> None:
    """Save the model and its tokenizer: a Llama of 6 layers, 256 wide, 5 million random parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(VOCABULARY).save_pretrained(folder)


def prompt_text(tokenizer: Any) -> str:
    """A text of exactly :data:`PROMPT` tokens."""
    words = "The weather of the week, as we saw it from the window of the small house by the lake: rain, wind."
    texts = (words[:end] for end in range(len(words), 0, -1))
    return next(text for text in texts if len(tokenizer.encode(text)) == PROMPT)


class Generate:
    """``generate`` of transformers on a copy of the model of its own, without factors and without resampling."""

    def __init__(self, folder: Path, prompt: list[int]) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.count = Positions(self.model)
        self.ids = torch.tensor([prompt])

    def __call__(self, size: Size) -> None:
        with torch.inference_mode():
            self.model.generate(
                self.ids,
                attention_mask=torch.ones_like(self.ids),
                do_sample=True,
                top_k=0,
                num_return_sequences=size.particles,
                max_new_tokens=size.tokens,
                min_new_tokens=size.tokens,
            )


class Positions:
    """Counts the token positions that go through a transformers model, padding included."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.total = 0
        model.register_forward_pre_hook(self._add, with_kwargs=True)

    def _add(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        self.total += ids.numel()


class Times(NamedTuple):
    """Seconds of one run: of the processor, and on the clock (which sees timers too)."""

    cpu: float
    wall: float


def once(run: Callable[[], object]) -> Times:
    """What one run takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Times(time.process_time() - cpu, time.perf_counter() - wall)


def best(runs: list[Times]) -> Times:
    """The fastest on each of the two clocks: what is left when others do not disturb."""
    return Times(min(run.cpu for run in runs), min(run.wall for run in runs))


def beside_generate(
    run: Callable[[], float], positions: Callable[[], int], generate: Generate, size: Size, repeats: int
) -> dict[str, Any]:
    """Time a side and ``generate`` in turns, after one run of each that warms up and counts positions.

    Args:
        run: one run of the side at ``size``, caches empty at its start; returns its estimate of the log evidence.
        positions: how many positions the side's model has computed so far.
        generate: its counterpart.
        size: how much is decoded.
        repeats: how many pairs.
    """
    before, generated = positions(), generate.count.total
    evidences = [run()]
    generate(size)
    counted = positions() - before, generate.count.total - generated
    pairs = []
    for _ in range(repeats):
        mine = once(lambda: evidences.append(run()))
        pairs.append((mine, once(lambda: generate(size))))
    side, other = best([a for a, _ in pairs]), best([b for _, b in pairs])
    return {
        "cpu": side.cpu,
        "wall": side.wall,
        "generate_cpu": other.cpu,
        "generate_wall": other.wall,
        "positions": counted[0],
        "generate_positions": counted[1],
        "log_evidence": sum(evidences) / len(evidences),
    }


def cost_of_token(run: Callable[[], object], size: Size, repeats: int) -> float:
    """Microseconds of the processor for a token of a particle, after one run that warms up."""
    run()
    return 1e6 * best([once(run) for _ in range(repeats)]).cpu / (size.particles * size.tokens)


def constant_logits(vocabulary: int) -> torch.Tensor:
    """Logits [vocabulary] that a stub answers always, spread like a model's."""
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(0))


def answer(
    decoding: Callable[[Path, Size, int], dict[str, Any]], framework: Callable[[int, Size, int], dict[str, Any]]
) -> None:
    """The program of a side: measure one case on one thread, and print it as a line of JSON.

    Args:
        decoding: measures decoding by the model of a folder, given the size and the number of repeats.
        framework: measures the cost of the framework at a vocabulary, likewise.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="measure decoding by the model in this folder")
    parser.add_argument("--vocabulary", type=int, help="measure a stub with this vocabulary")
    parser.add_argument("--particles", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    size = Size(options.particles, options.tokens)
    if options.folder is not None:
        found = decoding(options.folder, size, options.repeats)
    else:
        found = framework(options.vocabulary, size, options.repeats)
    print(json.dumps(found))
