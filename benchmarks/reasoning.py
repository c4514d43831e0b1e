"""How often are the answers right: one sample, majority vote and SMC, with the bundled model on held-out problems.

    python benchmarks/reasoning.py [--problems 200] [--n 1 4 16 64] [--steps 4 8] [--seed 0]

- *sample*: one forward run. *majority@n*: the most frequent answer of n forward runs, among equals the first seen.
- *SMC@n*: the mode of the posterior of n particles; where all particles were ruled out there is no answer, which
  counts as wrong.

Prints a table, writes it into ``benchmarks/RESULTS.md`` between its markers, and all figures into ``out/``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ppl import Posterior, __version__, infer_many, load_lm
from ppl.bundled.problems import Problem, problems
from ppl.demo import answer, solve

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
FIGURES = Path("out/bench-reasoning.json")
BEGIN, END = "<!-- reasoning: begin -->", "<!-- reasoning: end -->"
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Entry:
    """How a method did at a number of particles.

    Attributes:
        method: ``sample``, ``majority`` or ``SMC``.
        n: runs or particles a problem.
        right: for each problem, whether its answer is right.
        silent: problems without an answer.
        tokens: generated tokens a problem.
        seconds: wall-clock time for all problems.
    """

    method: str
    n: int
    right: tuple[bool, ...]
    silent: int
    tokens: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the accuracy (Wilson, 1927)."""
        z, n, p = 1.96, len(self.right), self.accuracy
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def measure(name: str, method: str, n: int, asked: Sequence[Problem], seed: int, progress: bool = True) -> Entry:
    """Answer all problems, in shared batches.

    Args:
        name: what the table calls it.
        method: ``forward`` or ``smc``.
        n: runs or particles a problem.
        asked: the problems.
        seed: each problem gets a seed of its own made from it.
        progress: show a live display.
    """
    # Problems with one seed would share their random numbers, and so their luck.
    seeds = [1_000_003 * seed + 4099 * n + i for i in range(len(asked))]
    started = time.perf_counter()
    found = infer_many(solve, [p.question for p in asked], method=method, n=n, seed=seeds, progress=progress)
    seconds = time.perf_counter() - started
    return Entry(
        name,
        n,
        tuple(answer(posterior) == problem.answer for posterior, problem in zip(found, asked, strict=True)),
        sum(posterior.empty for posterior in found),
        _tokens(found),
        seconds,
    )


def _tokens(posteriors: Sequence[Posterior]) -> float:
    return sum(posterior.cost.tokens for posterior in posteriors) / len(posteriors)


def difference(ours: Entry, theirs: Entry) -> tuple[float, float, float]:
    """By how much ``ours`` is more accurate, with a paired bootstrap's 95 % interval over problems."""
    gains = [a - b for a, b in zip(ours.right, theirs.right, strict=True)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(gains, k=len(gains))) / len(gains) for _ in range(BOOTSTRAPS))
    return sum(gains) / len(gains), means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS) - 1]


def table(entries: Sequence[Entry]) -> str:
    """The figures as Markdown."""
    lines = [
        "| method | n | right | 95 % interval | no answer | tokens a problem | seconds, all problems |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for e in entries:
        low, high = e.interval
        lines.append(
            f"| {e.method} | {e.n} | {100 * e.accuracy:.1f} % | {100 * low:.1f} – {100 * high:.1f} % | {e.silent} "
            f"| {e.tokens:,.0f} | {e.seconds:.1f} |"
        )
    return "\n".join(lines)


def comparison(entries: Sequence[Entry]) -> str:
    """SMC against majority vote at equal n."""
    votes = {e.n: e for e in entries if e.method == "majority"}
    lines = []
    for e in entries:
        if e.method == "SMC" and e.n in votes:
            gain, low, high = (100 * x for x in difference(e, votes[e.n]))
            lines.append(f"- n = {e.n}: {gain:+.1f} points ({low:+.1f} to {high:+.1f})")
    return "SMC against majority vote at equal n, paired bootstrap over problems:\n\n" + "\n".join(lines)


def write_section(path: Path, text: str) -> None:
    """Put ``text`` between the markers of a file, which is made if there is none."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, rest = old.split(BEGIN, 1)
    path.write_text(f"{head}{BEGIN}\n{text.strip()}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def report(entries: Sequence[Entry], count: int, steps: Sequence[int], seed: int) -> str:
    """The section of RESULTS.md."""
    return f"""## Reasoning: `make bench-reasoning`

{count} held-out problems of {steps[0]} to {steps[1]} steps, seed {seed}. The model: {load_lm().describe()}.
ppl {__version__}, torch {torch.__version__.partition("+")[0]}, {os.cpu_count()} CPU cores ({platform.machine()}).

The program is `solve` of `ppl/demo.py`: one line a step, and the evidence that each line is right arithmetic. A problem
without an answer, because all particles were ruled out, counts as wrong. Seconds leave out loading the model.

{table(entries)}

{comparison(entries)}
"""


def _save(entries: Sequence[Entry]) -> None:
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    figures = [{**asdict(e), "accuracy": e.accuracy, "interval": e.interval} for e in entries]
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--n", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--steps", type=int, nargs=2, default=[4, 8], metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    asked = problems(options.problems, list(range(options.steps[0], options.steps[1] + 1)), seed=options.seed)
    torch.set_num_threads(1)  # so small a model is no work to share: several threads would only wait for each other
    solve("Start with 1. Add 1.")  # the first call of a model is slow
    entries: list[Entry] = []
    for n in options.n:
        baseline = "sample" if n == 1 else "majority"
        for name, method in ((baseline, "forward"), ("SMC", "smc")):
            entries.append(measure(name, method, n, asked, options.seed))
            _save(entries)  # at once: the large ones take minutes
    entries.sort(key=lambda e: (("sample", "majority", "SMC").index(e.method), e.n))
    text = report(entries, options.problems, options.steps, options.seed)
    print(text)
    if not options.no_write:
        write_section(RESULTS, text)


if __name__ == "__main__":
    main()
