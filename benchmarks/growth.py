"""How the cost of decoding grows: with the length of what is written, with resampling, with particles, with repetition.

    python benchmarks/growth.py [--no-write]

On the random 6-layer Llama of ``decoding.py``. Each is to be flat, but for attention, which reads all that came before:

- *length*: microseconds a token, for texts of 64 to 512 tokens; beside them ``generate`` of transformers.
- *resampling*: for one text, never, where it is worth it, and at every token.
- *particles*: 8 to 128.
- *repetition*: the memory of the process after many runs of one program.

Prints tables, and writes them into ``benchmarks/RESULTS.md``. Takes about two minutes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from decoding import PROMPT, generate, lm_over, prompt_of, random_llama, steps
from results import best, command, machine, table

from ppl import SMC, Program, infer
from ppl.lm import LM

LENGTHS = (64, 128, 256, 512)
THRESHOLDS = {"never": 0.0, "under half of the particles": 0.5, "at every token": 1.0}
COUNTS = (8, 16, 32, 64, 128)
RUNS = (2, 10, 20, 40)
N, TOKENS = 32, 64


def fresh(lm: LM, write: Program, tokens: int, n: int, threshold: float = 0.5) -> Callable[[], None]:
    """A run that begins with nothing cached."""

    def run() -> None:
        lm.model.clear_cache()  # type: ignore[attr-defined]
        infer(write, tokens, method=SMC(n=n, ess_threshold=threshold), seed=0)

    return run


def each(run: Callable[[], None], tokens: int) -> float:
    """Microseconds for each of so many tokens of all particles, of the fastest of three runs."""
    return 1e6 * best(run, 3) / tokens


def resident() -> float:
    """MiB that this process has in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def relative(head: str, rows: list[tuple[str, float]]) -> str:
    """A table of microseconds a token, and of their ratios to the first row's."""
    first = rows[0][1]
    return table(
        (head, "µs a token", "ratio"), [(name, f"{value:.0f}", f"{value / first:.2f}") for name, value in rows]
    )


def report() -> str:
    """The section."""
    torch.set_num_threads(1)
    model, theirs = random_llama(), random_llama()
    lm = lm_over(model)
    write = steps(lm, prompt_of(PROMPT))
    fresh(lm, write, TOKENS, N)()
    lengths = []
    for tokens in LENGTHS:
        count, other = tokens * N, partial(generate, theirs, prompt_of(PROMPT), N, tokens)
        lengths.append((tokens, each(fresh(lm, write, tokens, N), count), each(other, count)))
    memory = []
    done = 0
    for runs in RUNS:
        for _ in range(runs - done):
            infer(write, TOKENS, n=N, seed=done)
            done += 1
        memory.append((f"{runs}", f"{resident():.0f}"))
    return "\n\n".join(
        (
            "## How decoding grows",
            f"`python benchmarks/growth.py`: {machine()}. {N} particles of {TOKENS} tokens where nothing else is said.",
            table(
                ("tokens", "µs a token", "of `generate`", "ratio"),
                [(f"{t}", f"{mine:.0f}", f"{other:.0f}", f"{mine / other:.2f}") for t, mine, other in lengths],
            ),
            relative(
                "resampling",
                [
                    (name, each(fresh(lm, write, TOKENS, N, threshold), TOKENS * N))
                    for name, threshold in THRESHOLDS.items()
                ],
            ),
            relative("particles", [(f"{n}", each(fresh(lm, write, TOKENS, n), TOKENS * n)) for n in COUNTS]),
            table(("after runs", "MiB in memory"), memory),
        )
    )


if __name__ == "__main__":
    command(__doc__, "growth", report, None)
