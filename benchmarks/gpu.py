"""Decoding with particles on a GPU, on a random model of the shape of Qwen2 1.5B in bfloat16.

    python benchmarks/gpu.py [--no-write]

- *texts*: particles of 64 tokens, in four pieces with a factor after each, resampling; after prompts of 100 tokens and
  of 4,000; against ``generate`` of transformers, and against what the device's memory and arithmetic would allow: each
  weight and each key and value read once a step, two operations for each weight and token.
- *problems*: eight with 32 particles each, after prompts of their own.
- *tokens*: the same with a factor after each token, when the program is asked after each.

Tokens after the prompt only: prompts are computed before, and what ``generate`` takes for a prompt and one token is
taken off. Prints tables, and writes them into ``benchmarks/RESULTS.md``. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import transformers
from decoding import Unread, context_of, generate, prompt_of, steps
from results import table, write_section
from transformers import Qwen2Config, Qwen2ForCausalLM

from ppl import Program, factor, infer, infer_many, load_lm, program, sample
from ppl.lm import LM

COUNTS = (32, 256, 1024)
PROMPTS = (100, 4000)
PIECES, PIECE = 4, 16
TOKENS = PIECES * PIECE
PROBLEMS = 8
VOCABULARY = 151936


class Wide(Unread):
    """With room for all characters."""

    first = 0x10000


def random_qwen() -> Any:
    """The model: 1.5 billion parameters, no token that ends a text."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    return model


def pieces(lm: LM, prompts: Sequence[Sequence[int]]) -> Program:
    """A program that writes four pieces of text after one of some prompts, each with evidence."""
    starts = [context_of(lm, prompt) for prompt in prompts]

    @program
    def write(number: int) -> int:
        context = starts[number]
        even = 0
        for _ in range(PIECES):
            piece = sample(context.text(max_tokens=PIECE))
            context = context + piece
            even += piece.tokens[-1] % 2
            factor(-0.3 * (piece.tokens[-1] % 2))
        return even

    return write


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds until the device is done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def ours(run: Callable[[int], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs by seed, the prompt computed and all graphs captured."""
    for seed in range(2):
        run(seed)
    return min(seconds(partial(run, seed)) for seed in range(2, 2 + repeats))


def smc(write: Program, argument: int, n: int) -> Callable[[int], object]:
    """A run by seed."""
    return lambda seed: infer(write, argument, method="smc", n=n, seed=seed)


def theirs(model: Any, prompt: Sequence[int], n: int) -> float | None:
    """Seconds of ``generate`` for :data:`TOKENS` tokens after the first; ``None`` if it has no memory for it."""
    try:
        generate(model, prompt, n, 2)
        first, whole = (seconds(partial(generate, model, prompt, n, count)) for count in (1, TOKENS + 1))
        return whole - first
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    return min(seconds(run) for _ in range(10))


def rates() -> tuple[float, float]:
    """Bytes a second that the device reads, and operations a second of its matrix products, as measured."""
    data = torch.randn(1 << 30, device="cuda", dtype=torch.bfloat16)
    bandwidth = 2 * data.numel() / fastest(lambda: data.sum())
    square = data[: 8192 * 8192].view(8192, 8192)
    return bandwidth, 2 * 8192**3 / fastest(lambda: square @ square)


def bounds(model: Any, n: int, prompt: int, rate: tuple[float, float]) -> tuple[float, float]:
    """Seconds a step at the least, by memory and by arithmetic."""
    config = model.config
    weights = sum(parameter.numel() for parameter in model.parameters())
    position = (
        2 * config.num_hidden_layers * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    )
    read = 2 * (weights + position * (prompt + n * TOKENS // 2))
    attention = 4 * config.num_hidden_layers * config.hidden_size * n * (prompt + TOKENS // 2)
    return read / rate[0], (2 * weights * n + attention) / rate[1]


def beside(model: Any, lm: LM, n: int, length: int, rate: tuple[float, float]) -> tuple[float, tuple[str, ...]]:
    """Tokens a second, and the row of the table."""
    prompt = prompt_of(length, VOCABULARY)
    mine = ours(smc(pieces(lm, [prompt]), 0, n))
    lm.model.clear_cache()  # type: ignore[attr-defined]
    torch.cuda.empty_cache()
    other = theirs(model, prompt, n)
    memory, arithmetic = (TOKENS * bound for bound in bounds(model, n, length, rate))
    total = n * TOKENS
    return total / mine, (
        f"{n} after {length:,}",
        f"{total / mine:,.0f}",
        "no memory" if other is None else f"{total / other:,.0f}",
        "" if other is None else f"{other / mine:.1f}",
        f"{total / memory:,.0f}",
        f"{100 * memory / mine:.0f} %",
        f"{100 * max(memory, arithmetic) / mine:.0f} %",
    )


def main() -> None:
    """Measure, print, write; each table when it is there, since a lent machine may go."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    rate = rates()
    torch.cuda.empty_cache()
    model = random_qwen()
    lm = load_lm(Wide(model, own=True, cache_bytes=24 << 30))
    found = [
        "## On a GPU: `make bench-gpu`",
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}, CPython "
        f"{platform.python_version()}; {lm.describe()}. Measured: {rate[0] / 1e12:.2f} TB/s read, "
        f"{rate[1] / 1e12:.0f} TFLOP/s in products of 8,192².",
    ]

    def told(*paragraphs: str) -> None:
        found.extend(paragraphs)
        print(*paragraphs, sep="\n\n", flush=True)
        if not options.no_write:
            write_section("gpu", "\n\n".join(found))

    rows, speeds = [], {}
    for length in PROMPTS:
        for n in COUNTS:
            speeds[length, n], row = beside(model, lm, n, length, rate)
            rows.append(row)
    penalty = ", ".join(f"{100 * (speeds[PROMPTS[0], n] / speeds[PROMPTS[1], n] - 1):.0f} % at {n}" for n in COUNTS)
    heads = ("tokens/s", "`generate`", "ratio", "memory's bound", "of that", "of the lower bound")
    told(
        table((f"particles of {TOKENS} tokens, and prompt", *heads), rows),
        f"SMC with a factor after every {PIECE} tokens. The lower bound is the lower of memory's and arithmetic's. "
        f"What the prompt of {PROMPTS[1]:,} costs beside that of {PROMPTS[0]}: {penalty}.",
    )
    inputs = list(range(PROBLEMS))
    many = pieces(lm, [prompt_of(PROMPTS[0] - i, VOCABULARY, 11 + i) for i in inputs])
    mine = ours(lambda seed: infer_many(many, inputs, method="smc", n=COUNTS[0], seed=seed))
    total = PROBLEMS * COUNTS[0] * TOKENS
    told(f"{PROBLEMS} problems of {COUNTS[0]} particles each, in shared batches: {total / mine:,.0f} tokens/s.")
    one_by_one = []
    for n in COUNTS[:2]:
        mine = ours(smc(steps(lm, prompt_of(PROMPTS[0], VOCABULARY)), TOKENS, n))
        one_by_one.append((f"{n}", f"{n * TOKENS / mine:,.0f}", f"{1e3 * mine / TOKENS:.1f}"))
    told(table(("particles, a factor after each token", "tokens/s", "ms a step"), one_by_one))


if __name__ == "__main__":
    main()
