"""All methods at equal token budgets, with the bundled model on held-out problems.

    python benchmarks/methods.py [--problems 200] [--seeds 5] [--tokens 300 1000] [--steps 4 8] [--no-write]

One program for all: it writes a line at a time, and each line multiplies the weight by a checker's reward. The checker
says whether the lines so far are how the right solution begins. It is *exact* (reward 0.99 or 0.01), or *noisy*: each
prefix's verdict is flipped with probability 0.15, by a hash of the prefix (reward 0.85 or 0.15).

A method gets as many particles as its budget surely feeds, by the number of operations that the question shows; the
budget itself is enforced by the library. The answer is the mode of what comes back; a problem without one is wrong.

The model computes every prefix once for all methods, seeds, checkers and budgets. Each cell is kept in ``out/`` as soon
as it is measured: started again, the benchmark goes on where it stopped, unless the code has changed. Prints tables and
writes them into ``benchmarks/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from ceiling import reachable, step_probabilities
from cells import Cell, Entry, Store, Task, code, measure
from contenders import LEFT_OUT, METHODS, NOISE, particles
from remembering import Remembering
from results import machine, table, write_section

from ppl import load_lm
from ppl.bundled.problems import Problem, problems
from ppl.lm import LM

CELLS = Path("out/bench-methods.jsonl")
PROBLEMS, SEEDS, STEPS, BUDGETS = 200, 5, (4, 8), (300, 1000)
BLIND = ("sample", "majority")
"""Methods that see no checker: measured with one, they hold for both."""
AGAINST = "smc"
"""What the others are compared with, problem by problem."""
CEILING = "n tries at each step"

Kind = tuple[str, str, int]
"""Method, checker and budget."""


def measured(kinds: Sequence[Kind], options: argparse.Namespace, store: Store) -> dict[Kind, Entry]:
    """Measure what is not kept yet, one length of problems after the other."""
    model = Remembering(load_lm().model)  # type: ignore[arg-type]
    lm = load_lm(model)
    asked = _asked(options)
    found: dict[Kind, list[Cell]] = {kind: [] for kind in kinds}
    for length in sorted({p.length for p in asked}):
        group = [p for p in asked if p.length == length]
        for method, checker, budget in kinds:
            seen = next(iter(NOISE)) if method in BLIND else checker
            task = Task(method, seen, budget, length, len(group), options.seeds, options.draw, code())
            found[method, checker, budget].append(store.cell(task, partial(_measure, task, group, lm)))
        model.forget()  # no other length asks about these prefixes
    return {kind: Entry(tuple(cells)) for kind, cells in found.items()}


def ceiling(budget: int, options: argparse.Namespace) -> float:
    """The accuracy to expect of as many tries at each step as ``smc`` has particles, rightly judged."""
    asked = _asked(options)
    tries = [particles(budget, p.length + 1) for p in asked]
    reached = [reachable(step_probabilities(p, load_lm()), n) for p, n in zip(asked, tries, strict=True)]
    return sum(reached) / len(reached)


def _asked(options: argparse.Namespace) -> list[Problem]:
    low, high = options.steps
    return problems(options.problems, list(range(low, high + 1)), seed=options.draw)


def _measure(task: Task, asked: Sequence[Problem], lm: LM) -> Cell:
    started = time.process_time()
    cell = measure(task, asked, lm)
    seconds = time.process_time() - started
    share = sum(cell.right) / (task.problems * task.seeds)
    print(f"{task.length} steps, {task.checker}, {task.budget}: {task.method} {share:.3f} {seconds:.1f} s", flush=True)
    return cell


def report(found: dict[Kind, Entry], options: argparse.Namespace) -> str:
    """The section of RESULTS.md."""
    columns = [(checker, budget) for checker in NOISE for budget in options.tokens]
    names = list(dict.fromkeys(method for method, _, _ in found))
    ceilings = {budget: ceiling(budget, options) for budget in options.tokens}
    parts = [_about(options), _summary(found, names, columns, ceilings)]
    for checker, budget in columns:
        rows = {name: found[name, checker, budget] for name in names}
        title = f"### {checker.capitalize()} checker, {budget:,} tokens a problem"
        parts.append(f"{title}\n\n{_details(rows)}\n")
    return "\n".join(parts)


def _about(options: argparse.Namespace) -> str:
    low, high = options.steps
    full = (options.problems, options.seeds) == (PROBLEMS, SEEDS)
    fewer = "" if full else f" (a full measure has {PROBLEMS} and {SEEDS})"
    left_out = "; ".join(f"`{name}`: {why}" for name, why in LEFT_OUT.items())
    return (
        "## All methods at equal token budgets: `make bench-methods`\n\n"
        f"{options.problems} held-out problems of {low} to {high} steps, {options.seeds} seeds each{fewer}. "
        f"{load_lm().describe()}. {machine()}.\n\n"
        "The checker tells whether the lines so far are how the right solution begins: the exact one always, the noisy "
        "one wrongly for 15 % of all prefixes, by a hash. *right*: the share of right answers; a problem without an "
        f"answer counts as wrong. *against {AGAINST}*: the difference to `{AGAINST}` on the same problems. Intervals "
        "are 95 %, by bootstrap over problems. *tokens*: used a problem, on average and at the most; a run over its "
        "budget would have stopped the benchmark. How many particles a method gets is fixed beforehand by what a run "
        "of so many lines can take, so that most budgets are not used up; no option was chosen by these figures "
        "(`--draw 1` gives other problems to choose by).\n\n"
        "`sample` and `majority` see no checker, and are measured once. `importance` and `weighted-majority` take the "
        "same vote. For `a-star` a right line costs nothing. `revision` does not tell an attempt what came before: "
        "this model never learnt to revise. `smc` resamples where the effective sample size has fallen under half of "
        "the particles; of two particles it never does, since it is at least 1, and of three only where two are as "
        "good as ruled out. `smc, at every step` resamples wherever weights differ. "
        f"Left out: {left_out}.\n\n"
        f"*{CEILING}*: what to expect of as many tries as `{AGAINST}` has particles at each step, all from the right "
        "beginning and rightly judged; by the model's own probabilities of the right lines, not by runs. Methods with "
        "that many runs side by side can only be luckier, or reach a right answer by a wrong line.\n"
    )


def _summary(
    found: dict[Kind, Entry], names: Sequence[str], columns: Sequence[tuple[str, int]], ceilings: dict[int, float]
) -> str:
    """All accuracies side by side, the best on average first."""

    def average(name: str) -> float:
        return sum(found[(name, *column)].accuracy for column in columns) / len(columns)

    heads = ("right", *(f"{checker}, {budget:,}" for checker, budget in columns))
    rows = [
        (name, *(f"{100 * found[(name, *column)].accuracy:.1f} %" for column in columns))
        for name in sorted(names, key=average, reverse=True)
    ]
    rows.append((f"*{CEILING}*", *(f"{100 * ceilings[budget]:.1f} %" for _, budget in columns)))
    return f"{table(heads, rows)}\n"


def _details(rows: dict[str, Entry]) -> str:
    """One checker and budget, the best first."""
    shown = []
    for name, entry in sorted(rows.items(), key=lambda row: -row[1].accuracy):
        low, high = entry.interval
        shown.append(
            (
                name,
                f"{100 * entry.accuracy:.1f} %",
                f"{100 * low:.1f} – {100 * high:.1f} %",
                _against(entry, rows.get(AGAINST)),
                f"{100 * entry.silent:.1f} %",
                f"{entry.tokens:,.0f}",
                f"{entry.most:,}",
            )
        )
    heads = ("method", "right", "95 % interval", f"against {AGAINST}", "no answer", "tokens", "most")
    return table(heads, shown)


def _against(entry: Entry, other: Entry | None) -> str:
    if other is None or entry is other:
        return ""
    ahead, (low, high) = entry.ahead_of(other)
    return f"{100 * ahead:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tokens", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--steps", type=int, nargs=2, default=STEPS, metavar=("LOW", "HIGH"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--draw", type=int, default=0, help="which list of held-out problems; the table has 0")
    parser.add_argument("--cells", type=Path, default=CELLS, help="where cells are kept")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a model is no work to share
    kinds = [(name, checker, budget) for name in options.methods for checker in NOISE for budget in options.tokens]
    text = report(measured(kinds, options, Store(options.cells)), options)
    if not options.no_write:
        write_section("methods", text)
    print(text)


if __name__ == "__main__":
    main()
