"""All methods at equal token budgets, with the bundled model on held-out problems.

    python benchmarks/methods.py [--problems 200] [--seeds 5] [--tokens 1000 4000] [--steps 4 8] [--no-write]

One program for all: it writes a line at a time, and each line multiplies the weight by a checker's reward. The checker
says whether the lines so far are how the right solution begins. It is *exact* (reward 0.99 or 0.01), or *noisy*: each
prefix's verdict is flipped with probability 0.15, by a hash of the prefix (reward 0.85 or 0.15).

A method gets as many particles as its budget surely feeds, by the number of operations that the question shows; the
budget itself is enforced by the library. The answer is the mode of what comes back; a problem without one is wrong.

Prints a table, writes it into ``benchmarks/RESULTS.md``, and all figures into ``out/``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path

import torch
from results import machine, table, write_section

from ppl import SMC, Forward, Importance, Method, Posterior, factor, infer_many, load_lm, program, sample
from ppl.bundled.problems import Problem, check_step, problems
from ppl.kernels import Regenerate
from ppl.runtime.methods import (
    MH,
    AStar,
    Beam,
    BestOfN,
    DiverseTrees,
    Entropic,
    LookAhead,
    Published,
    Revision,
    SelfConsistency,
    Steering,
)

FIGURES = Path("out/bench-methods.json")
BOOTSTRAPS = 2000
PROBLEMS, SEEDS = 200, 5
NOISE = {"exact": 0.0, "noisy": 0.15}
LINE = 12.5
"""Tokens of a line, in problems with long numbers: most get by with 10."""

Maker = Callable[[int, int], Method]
"""From how many whole runs a budget feeds, and the lines of a run, to the method."""

METHODS: dict[str, Maker] = {
    "sample": lambda runs, lines: Forward(n=1),
    "majority": lambda runs, lines: SelfConsistency(n=runs),
    "best-of-n": lambda runs, lines: BestOfN(n=runs),
    "importance, weighted majority": lambda runs, lines: Importance(n=runs),  # they take the same vote
    "smc": lambda runs, lines: SMC(n=runs),
    "steering": lambda runs, lines: Steering(n=max(1, runs // 4), factor=4),
    "look-ahead": lambda runs, lines: LookAhead(n=max(1, runs // 2)),
    "entropic": lambda runs, lines: Entropic(n=runs, steps=lines),
    "beam": lambda runs, lines: Beam(n=runs, m=4),
    "beam, rollouts": lambda runs, lines: Beam(n=max(1, runs // 2), m=4, rollouts=1),
    "dvts": lambda runs, lines: DiverseTrees(n=runs, m=4),
    "a-star": lambda runs, lines: AStar(n=max(1, min(4, runs // 3)), answers=max(1, runs // 4)),
    "published, softmax": lambda runs, lines: Published(n=runs),
    "published, logit": lambda runs, lines: Published(n=runs, weighting="logit"),
    "published, products": lambda runs, lines: Published(n=runs, weighting="products"),
    "published, entropic": lambda runs, lines: Published(n=runs, weighting="entropic", steps=lines),
    "mh, suffix": lambda runs, lines: _chains(runs),
    "revision": lambda runs, lines: Revision(n=runs, argument=None),
}


def _chains(runs: int) -> Method:
    """Chains that regenerate a tail, half a run on average, at each step."""
    chains = max(1, runs // 8)
    return MH(kernel=Regenerate("site"), chains=chains, steps=max(2, round(1.6 * (runs / chains - 1))), burn_in=1)


@program
def attempt(question: str, noise: float, relative: bool = False) -> str:
    thought = load_lm().context(f"Q: {question}\n")
    lines: tuple[str, ...] = ()
    for _ in range(13):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        lines = (*lines, str(line))
        # A* compares runs of different lengths: a right line must cost nothing, or short runs would always lead.
        factor(math.log(reward(question, lines, noise) / (trust(noise) if relative else 1.0)))
        if line.startswith("A:"):
            break
    return line.removeprefix("A:").strip()


def reward(question: str, lines: Sequence[str], noise: float) -> float:
    """The checker's probability that the lines so far are right."""
    right = check_step(question, lines[:-1], lines[-1])
    digest = blake2b("".join((question, "\n", *lines)).encode(), digest_size=8).digest()
    flipped = int.from_bytes(digest, "little") < noise * 2**64
    return trust(noise) if right != flipped else 1.0 - trust(noise)


def trust(noise: float) -> float:
    """The reward of what is found right."""
    return 1.0 - (noise or 0.01)


@dataclass(frozen=True)
class Entry:
    """How a method did.

    Attributes:
        method, checker, budget: which, with which checker, and tokens a problem.
        right: for each problem, the share of seeds with a right answer.
        silent: the share of problems without an answer.
        tokens: used a problem, on average; ``most``: at the most.
        seconds: of the processor, a problem.
    """

    method: str
    checker: str
    budget: int
    right: tuple[float, ...]
    silent: float
    tokens: float
    most: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the accuracy: bootstrap over problems, each with all its seeds."""
        rng = random.Random(0)
        n = len(self.right)
        means = sorted(sum(rng.choices(self.right, k=n)) / n for _ in range(BOOTSTRAPS))
        return means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS) - 1]


def measure(name: str, checker: str, budget: int, asked: Sequence[Problem], seeds: int) -> Entry:
    """Answer all problems with all seeds, in shared batches of problems that are of one length."""
    started = time.process_time()
    found: dict[int, list[Posterior]] = {i: [] for i in range(len(asked))}
    for length in sorted({p.length for p in asked}):
        group = [i for i, p in enumerate(asked) if p.length == length for _ in range(seeds)]
        # Problems with one seed would share their random numbers, and so their luck.
        keys = [1_000_003 * (j % seeds) + i for j, i in enumerate(group)]
        lines = length + 1
        method = METHODS[name](max(1, int(budget / (lines * LINE))), lines)
        inputs = [(asked[i].question, NOISE[checker], name == "a-star") for i in group]
        posteriors = infer_many(attempt, inputs, method=method, seed=keys, budget={"tokens": budget})
        for i, posterior in zip(group, posteriors, strict=True):
            found[i].append(posterior)
    everything = [posterior for each in found.values() for posterior in each]
    return Entry(
        name,
        checker,
        budget,
        tuple(sum(answer(p) == asked[i].answer for p in each) / seeds for i, each in found.items()),
        sum(p.empty for p in everything) / len(everything),
        sum(p.cost.tokens for p in everything) / len(everything),
        max(p.cost.tokens for p in everything),
        (time.process_time() - started) / len(everything),
    )


def answer(posterior: Posterior) -> str | None:
    """The answer, if there is one."""
    return None if posterior.empty else str(posterior.mode())


def report(entries: Sequence[Entry], count: int, seeds: int, steps: Sequence[int]) -> str:
    """The section of RESULTS.md."""
    budgets = sorted({e.budget for e in entries})
    fewer = (
        "" if count >= PROBLEMS and seeds >= SEEDS else f" (fewer than the {PROBLEMS} and {SEEDS} of a full measure)"
    )
    parts = [
        "## All methods at equal token budgets\n",
        f"`python benchmarks/methods.py --problems {count} --seeds {seeds} --tokens {' '.join(map(str, budgets))}`: "
        f"{count} held-out problems of {steps[0]} to {steps[1]} steps, {seeds} seeds each{fewer}. "
        f"{load_lm().describe()}. {machine()}.\n",
        "The checker tells whether the lines so far are how the right solution begins: the exact one always, the noisy "
        "one wrongly for 15 % of all prefixes, by a hash. *right*: the share of right answers, with a 95 % bootstrap "
        "interval over problems; a problem without an answer counts as wrong. *tokens*: used a problem, on average and "
        "at the most; the budget is never exceeded. *seconds*: of the processor, a problem. `sample` and `majority` "
        "see no checker, and are measured once. For `a-star` a right line costs nothing. `revision` does not tell "
        "an attempt what came before: this model never learnt to revise.\n",
    ]
    for checker in NOISE:
        for budget in budgets:
            chosen = [e for e in entries if (e.checker, e.budget) == (checker, budget)]
            rows = []
            for e in sorted(chosen, key=lambda e: -e.accuracy):
                low, high = e.interval
                rows.append(
                    (
                        e.method,
                        f"{100 * e.accuracy:.1f} %",
                        f"{100 * low:.1f} – {100 * high:.1f} %",
                        f"{100 * e.silent:.1f} %",
                        f"{e.tokens:,.0f}",
                        f"{e.most:,}",
                        f"{e.seconds:.2f}",
                    )
                )
            heads = ("method", "right", "95 % interval", "no answer", "tokens", "most", "seconds")
            parts.append(f"### {checker.capitalize()} checker, {budget:,} tokens a problem\n\n{table(heads, rows)}\n")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--steps", type=int, nargs=2, default=[4, 8], metavar=("LOW", "HIGH"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    asked = problems(options.problems, list(range(options.steps[0], options.steps[1] + 1)))
    torch.set_num_threads(1)  # so small a model is no work to share
    attempt("Start with 1. Add 1.", 0.0)  # the first call of a model is slow
    entries: list[Entry] = []
    for budget in options.tokens:
        for checker in NOISE:
            for name in options.methods:
                blind = name in ("sample", "majority") and checker == "noisy"
                known = next((e for e in entries if blind and (e.method, e.budget) == (name, budget)), None)
                entry = (
                    replace(known, checker=checker) if known else measure(name, checker, budget, asked, options.seeds)
                )
                entries.append(entry)
                print(f"{checker} {budget} {name}: {entry.accuracy:.3f}, {entry.tokens:.0f} tokens", flush=True)
                FIGURES.parent.mkdir(parents=True, exist_ok=True)
                FIGURES.write_text(json.dumps([asdict(e) for e in entries], indent=1) + "\n", encoding="utf-8")
        text = report(entries, options.problems, options.seeds, options.steps)
        if not options.no_write:
            write_section("methods", text)
    print(text)


if __name__ == "__main__":
    main()
