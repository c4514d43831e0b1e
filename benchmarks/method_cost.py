"""What each method costs beyond the model: where the processor's time goes, with the bundled model and n = 32.

    python benchmarks/method_cost.py [--n 32] [--seconds 12] [--no-write]

A timer of the process's own time looks at the stack every four milliseconds, Linux's usual tick. The innermost frame
that tells decides:

- *model*: the engines;
- *program*: running the program, answering its effects, and the checker that it calls;
- *scheduler*: running particles until they wait, batching what they wait for, keeping to the budget, setting a run up;
- *method*: the rest: selecting, copying, moving, ranking, recording.

Prints a table and writes it into ``benchmarks/RESULTS.md``. Takes about six minutes.
"""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType

import torch
from contenders import METHODS, attempt
from results import machine, table, write_section

import ppl.runtime
from ppl import infer, load_lm
from ppl.bundled.problems import problems
from ppl.runtime.population import run_particles

INTERVAL = 0.004
RUNTIME = ppl.runtime.__file__.removesuffix("__init__.py")
TELLING = {
    f"{RUNTIME}engines/": "model",
    **{f"{RUNTIME}{name}.py": "program" for name in ("machine", "together", "operands", "waiting", "replay", "follow")},
    f"{RUNTIME}methods/": "method",
    f"{RUNTIME}kernels/": "method",
    f"{RUNTIME}population.py": "method",
    **{f"{RUNTIME}{name}.py": "scheduler" for name in ("scheduler", "budget", "gather")},
    f"{RUNTIME}": "",  # copies, draws, resampling: whoever asked for them
    **{RUNTIME.removesuffix("runtime/") + name: "program" for name in ("text", "context.py")},
    **{RUNTIME.removesuffix("runtime/") + name: "scheduler" for name in ("infer.py", "running.py", "posterior")},
    attempt.function.__code__.co_filename: "program",
}
SHARE = 0.05
"""What methods may take."""


def part(frame: FrameType | None) -> str:
    """Whose work a stack is."""
    while frame is not None:
        if frame.f_code is run_particles.__code__:
            return "scheduler"
        file = frame.f_code.co_filename
        found = next((kind for path, kind in TELLING.items() if file.startswith(path)), "")
        if found:
            return found
        frame = frame.f_back
    return "method"


def sampled(run: Callable[[int], object], until: float) -> tuple[int, Counter[str]]:
    """How many seeds were run until the process's own clock showed ``until``, and how often each part was at work."""
    seed = 0
    seen: Counter[str] = Counter()
    before = signal.signal(signal.SIGPROF, lambda _, frame: seen.update([part(frame)]))
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        while time.process_time() < until:
            seed += 1
            run(seed)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
    return seed, seen


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=12.0, help="of its own time, for each method at least")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    asked = problems(1, 8, seed=1)[0]
    attempt(asked.question, 0.15)  # the first call of a model is slow
    rows = []
    for name, make in METHODS.items():
        method = make(options.n, asked.length + 1)

        def once(seed: int, relative: bool = name == "a-star", method: object = method) -> object:
            return infer(attempt, asked.question, 0.15, relative, method=method, seed=seed)  # type: ignore[arg-type]

        once(0)  # a method's module is imported when it is first asked for
        started = time.process_time()
        seeds, seen = sampled(once, started + options.seconds)
        seconds = time.process_time() - started
        shares = [seen[kind] / seen.total() for kind in ("model", "program", "scheduler", "method")]
        error = math.sqrt(shares[-1] * (1.0 - shares[-1]) / seen.total())
        rows.append(
            (
                name,
                f"{seconds / seeds:.2f}",
                *(f"{100 * share:.1f} %" for share in shares),
                f"{100 * error:.1f}",
                "over" if shares[-1] > SHARE else "",
            )
        )
        print(*rows[-1], flush=True)
    text = (
        "## What methods cost beyond the model\n\n"
        f"`python benchmarks/method_cost.py`: one problem of {asked.length} steps, noisy checker, n = {options.n}, "
        f"seeds until {options.seconds:g} s are over. {load_lm().describe()}. {machine()}. Shares of the process's own "
        "time, by samples of the stack: *model* is the engines, *program* the user's program and the answers to its "
        "effects, *scheduler* the loop over particles, batches, the budget and what begins and ends a run, *method* "
        f"all the rest, with the error of sampling; a method should stay under {100 * SHARE:.0f} %.\n\n"
        + table(("method", "seconds a run", "model", "program", "scheduler", "method", "±", ""), rows)
    )
    print(text)
    if not options.no_write:
        write_section("method-cost", text)


if __name__ == "__main__":
    main()
