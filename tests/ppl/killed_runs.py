"""Kills a run of inference with SIGKILL at random moments until it gets through, and compares it to an undisturbed one.

A script of its own (``python -m tests.ppl.killed_runs TRIALS SEED FOLDER``): it forks, which a process with threads, as
the tests' own may be, should not. It prints a line of JSON a trial.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppl import call, dist, factor, infer_many, load_lm, program, sample, table_lm
from ppl.lm import LM

SMALL = table_lm(["a", "b", "c"], seed=3, eos=".")
QUESTIONS = ["Start with 17. Add 25. Multiply by 3.", "Start with 2. Add 9."]


def lengths(lines: list[str]) -> list[float]:
    """A batched function, slow enough to be killed in."""
    time.sleep(0.002)
    return [-0.1 * len(line) for line in lines]


@program
def solve(question: str, lm: LM) -> tuple[str, int]:
    """Two models, a batched function and a draw without either; evidence after each step."""
    context, other = lm.context(f"Q: {question}\n"), SMALL.context("a")
    for _ in range(4):
        line = sample(context.line(max_tokens=12, temperature=1.5))
        context = context + line
        factor(call(lengths, line))
        letters = sample(other.text(max_tokens=3))
        other = other + letters
        factor(0.3 * letters.count("b"))
    coin = sample(dist.categorical([0.2, 0.3, 0.5]))
    return str(context)[-12:], coin


def attempt(checkpoint: Path | None, out: Path) -> None:
    """Run, and write the outcome."""
    lm = load_lm()
    found = infer_many(solve, [(q, lm) for q in QUESTIONS], n=6, seed=11, checkpoint=checkpoint)
    outcome = [
        {
            "values": [list(run.value) for run in posterior.runs],
            "draws": [
                [(c.address, str(c.value), list(getattr(c.value, "tokens", ()))) for c in r.trace]
                for r in posterior.runs
            ],
            "weights": [run.log_weight for run in posterior.runs],
            "log_evidence": posterior.log_evidence,
            "tokens": posterior.cost.tokens,
            "calls": posterior.cost.calls,
        }
        for posterior in found
    ]
    text = json.dumps({"outcome": outcome, "positions": found[-1].cost.positions})
    new = out.with_suffix(".new")
    new.write_text(text)
    new.replace(out)


def forked(checkpoint: Path | None, out: Path, due: Callable[[float], bool] | None = None) -> tuple[bool, float]:
    """An attempt in a process of its own, killed when that is due: whether it got through, and how long it took.

    Args:
        checkpoint: the folder of its journal.
        out: where it writes what came of it.
        due: asked again and again, with the seconds since the start.
    """
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            attempt(checkpoint, out)
            code = 0
        finally:
            os._exit(code)
    while due is None or not due(time.monotonic() - start):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the attempt failed with status {status}")
            return True, time.monotonic() - start
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, time.monotonic() - start


def journalled(checkpoint: Path) -> int:
    """Bytes of the journals of a run that is under way."""
    size = 0
    for file in checkpoint.glob("*.journal"):
        with suppress(FileNotFoundError):  # its problem was finished just now
            size += file.stat().st_size
    return size


def trial(folder: Path, rng: random.Random, usual: float, whole: int) -> dict[str, Any]:
    """Kill once at any moment, once when some part is written down; then let it finish.

    Args:
        folder: a new one.
        rng: when to kill.
        usual: seconds that an undisturbed run takes. On a busy machine they say little about this one.
        whole: the most bytes of an undisturbed run's journals.
    """
    folder.mkdir()
    checkpoint, out = folder / "checkpoint", folder / "out.json"
    moment, part = rng.uniform(0.0, usual), rng.uniform(0.05, 0.95) * whole
    kept = []
    for due in (lambda seconds: seconds > moment, lambda seconds: journalled(checkpoint) >= part):
        through, _ = forked(checkpoint, out, due)
        kept.append(journalled(checkpoint))
        if through:
            break
    if not out.exists():
        forked(checkpoint, out)
    return {**json.loads(out.read_text()), "kept": kept}


def main(trials: int, seed: int, folder: Path) -> None:
    """Print the undisturbed run, then each trial."""
    load_lm().context("Q: warm").token().sample(seed=0)
    rng = random.Random(seed)
    plain = folder / "plain.json"
    forked(None, plain)
    print(plain.read_text())
    sizes = [0]

    def watch(seconds: float) -> bool:
        """Never due; a finished problem has no journal any more, so their size is noted on the way."""
        sizes.append(journalled(folder / "timed"))
        return False

    usual = forked(folder / "timed", folder / "timed.json", watch)[1]
    whole = max(sizes)
    for number in range(trials):
        print(json.dumps(trial(folder / str(number), rng, usual, whole)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
