"""``ppl demo``: problems of several steps, solved by one sample, by majority vote, and by inference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from . import SMC, Forward, Posterior, condition, infer_many, load_lm, program, sample
from .bundled.problems import Problem, arithmetic_holds, problems
from .posterior_report import probability

PICTURE = Path("out/demo-posterior.png")
STEPS = (9, 12)


@program
def solve(question):  # type: ignore[no-untyped-def]
    thought = load_lm().context(f"Q: {question}\n")
    for _ in range(13):
        line = sample(thought.line())  # a random variable: one step
        thought = thought + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))  # evidence about it
    return line.removeprefix("A:").strip()


@dataclass(frozen=True)
class Contest:
    """Three ways to answer the same problems.

    Attributes:
        problems: what was asked.
        one: one forward run each.
        vote: ``n`` forward runs each.
        smc: inference with ``n`` particles each.
        n: that.
    """

    problems: Sequence[Problem]
    one: Sequence[Posterior]
    vote: Sequence[Posterior]
    smc: Sequence[Posterior]
    n: int

    @property
    def ways(self) -> list[tuple[str, Sequence[Posterior]]]:
        """The three, by name."""
        return [("one sample", self.one), (f"majority of {self.n}", self.vote), (f"SMC, n={self.n}", self.smc)]


def answer(posterior: Posterior) -> str | None:
    """The most probable answer, or ``None`` where everything was ruled out."""
    return None if posterior.empty else str(posterior.mode())


def hold_contest(asked: Sequence[Problem], n: int, seed: int, progress: bool = True) -> Contest:
    """Answer problems in three ways.

    Args:
        asked: the problems.
        n: particles, and samples to vote.
        seed: what makes it reproducible.
        progress: show a live display.
    """
    questions = [p.question for p in asked]
    # A seed for each: problems with one seed would share their random numbers, and so their luck.
    seeds = [1000 * seed + i for i in range(len(asked))]
    found = [
        infer_many(solve, questions, method=method, seed=seeds, progress=progress)
        for method in (Forward(n=1), Forward(n=n), SMC(n=n))
    ]
    return Contest(asked, found[0], found[1], found[2], n)


def run_demo(
    count: int = 6, n: int = 32, seed: int = 0, console: Console | None = None, picture: Path = PICTURE
) -> Contest:
    """Run the demo and print what comes of it.

    Args:
        count: how many problems.
        n: particles, and samples to vote, a problem.
        seed: what makes it reproducible; it selects the problems too.
        console: where to print; by default stdout.
        picture: where to save the picture of a posterior.

    Returns:
        The answers.
    """
    console = Console(highlight=False) if console is None else console
    import torch

    torch.set_num_threads(1)  # so small a model is no work to share: several threads would only wait for each other
    with console.status("Loading the model …") if console.is_terminal else nullcontext():
        model = load_lm().describe()
        solve("Start with 1. Add 1.")  # the first call of a model is slow
    asked = problems(count, STEPS, seed=seed)
    console.print("\n[bold]Reasoning as inference[/bold]\n")
    console.print(
        Text.assemble(
            "A tiny model that works a line at a time, and now and then gets a line wrong:\n", (model, "cyan")
        )
    )
    console.print("\nThe whole program:\n")
    console.print(Padding(Syntax(_source(), "python", theme="ansi_dark", background_color="default"), (0, 2)))
    console.print(f"\n{len(asked)} held-out problems:\n")
    for i, each in enumerate(asked, 1):
        console.print(Text.assemble((f"  #{i}", "bold"), f"  {chain(each)}"))
    contest = hold_contest(asked, n, seed)
    console.print(answers_table(contest))
    console.print(totals_table(contest))
    console.print(_legend(contest))
    _draw(contest, picture, console)
    return contest


def _source() -> str:
    text = inspect.getsource(inspect.unwrap(solve))
    return re.sub(r"  # type: ignore\[.*?\]", "", text).rstrip()


def chain(problem: Problem) -> str:
    """The problem as one writes it on paper: ``17 +25 ×3 −40``."""
    short = problem.question.replace("Start with ", "").replace(".", "")
    return short.replace("Add ", "+").replace("Subtract ", "−").replace("Multiply by ", "×")


def answers_table(contest: Contest) -> Table:
    """A line a problem: what is right, and what each way said."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("", style="bold")
    for name in ("truth", "sample", "vote", "SMC"):
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == "truth" else "")
    for name in ("P", "log Z", "ESS", "tokens", "sec"):
        table.add_column(name, justify="right", no_wrap=True, style="" if name == "P" else "dim")
    rows = zip(contest.problems, contest.one, contest.vote, contest.smc, strict=True)
    for i, (problem, one, vote, smc) in enumerate(rows, 1):
        table.add_row(
            f"#{i}",
            problem.answer,
            *(_marked(answer(p), problem.answer) for p in (one, vote, smc)),
            "" if smc.empty else probability(smc.probability(smc.mode()), 2),
            f"{round(smc.log_evidence, 2) + 0.0:.2f}",
            f"{smc.ess:.1f}",
            f"{smc.cost.tokens:,}",
            f"{smc.cost.seconds:.1f}",
        )
    return table


def _marked(said: str | None, truth: str) -> Text:
    if said is None:
        return Text("ruled out ✗", "yellow")
    shown = said if len(said) <= 8 else said[:7] + "…"
    return Text(f"{shown} ✓", "green") if said == truth else Text(f"{shown} ✗", "red")


def right(contest: Contest, posteriors: Sequence[Posterior]) -> int:
    """How many answers are right."""
    return sum(answer(p) == problem.answer for p, problem in zip(posteriors, contest.problems, strict=True))


def totals_table(contest: Contest) -> Table:
    """A line a way: how many are right, and what it cost."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for name in ("right", "tokens", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    total = len(contest.problems)
    best = max(right(contest, posteriors) for _, posteriors in contest.ways)
    for name, posteriors in contest.ways:
        hits = right(contest, posteriors)
        table.add_row(
            name,
            Text(f"{hits} of {total}", "bold green" if hits == best else ""),
            f"{sum(p.cost.tokens for p in posteriors):,}",
            f"{max(p.cost.seconds for p in posteriors):.1f}",
            Text.assemble(("✓" * hits, "green"), ("✗" * (total - hits), "red")),
        )
    return table


def _legend(contest: Contest) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("")
    for name, meaning in (
        ("P", "posterior probability of SMC's answer"),
        ("log Z", "estimated log-probability that all lines of a run are right"),
        ("ESS", f"how many equally weighted particles of {contest.n} the posterior is worth"),
        ("tokens, sec", "of SMC; the problems run side by side, so their seconds overlap"),
    ):
        table.add_row(Text(name, "dim bold"), Text(meaning, "dim"))
    return table


def _draw(contest: Contest, picture: Path, console: Console) -> None:
    """Save a picture of the posterior that had most to sort out."""
    drawable = [(p, q) for p, q in zip(contest.smc, contest.problems, strict=True) if not p.empty]
    if not drawable:
        return
    posterior, problem = max(drawable, key=lambda pair: (pair[0].distinct, len(pair[0].ancestry)))
    picture.parent.mkdir(parents=True, exist_ok=True)
    try:
        posterior.plot(picture)
    except ImportError as error:
        console.print(Text(f"\nNo picture: {error}", "yellow"))
        return
    number = contest.problems.index(problem) + 1
    console.print(Text.assemble(f"\nThe posterior of #{number} and its family tree: ", (str(picture), "cyan")))
