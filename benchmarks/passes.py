"""What the compiler's passes buy, and what they cost.

- Round trips to the model, before and after batching, of programs with k independent calls.
- The variance of log Ẑ at equal n, before and after a pass. ``VARIANCE`` has a row for each: add yours.
- The time that passes take, per program.

    python benchmarks/passes.py
"""

from __future__ import annotations

import linecache
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from results import best, machine, table, write_section

from ppl import Program, call, condition, dist, factor, infer, load_lm, observe, program, sample, table_lm
from ppl.compiler.names import Names
from ppl.compiler.passes import Pass, Pipeline, make_pipeline
from ppl.compiler.passes.split import SplitTexts
from ppl.law_programs import CORPUS

lm = table_lm(["a", "b", "c"], seed=1)
flip = dist.flip
RUNS = 300


# --- round trips ------------------------------------------------------------------------------------------------------


def verdict(text: str, k: int) -> Any:
    return lm.context(text * (k + 1)).token()


def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@program
def comprehension(k: int) -> list[str]:
    """One judge, k things to judge."""
    return [sample(verdict("a", i)) for i in range(k)]


@program
def panel(k: int) -> tuple[str, ...]:
    """Four samples in a row, whatever k is."""
    a = sample(verdict("a", 0))
    b = sample(verdict("b", 1))
    c = sample(verdict("c", 2))
    d = sample(verdict("a", 3))
    return a, b, c, d


@program
def evidence(k: int) -> None:
    """k observations."""
    for i in range(k):
        observe(verdict("b", i), "a")


@program
def chain(k: int) -> str:
    """Each call depends on the one before: nothing to gain."""
    text = "a"
    for _ in range(k):
        text = text + sample(lm.context(text).token())
    return text


TRIPS: list[tuple[Program, int]] = [(comprehension, 4), (comprehension, 32), (panel, 4), (evidence, 16), (chain, 4)]


def round_trips() -> str:
    """How often the model is asked, for 16 particles in step."""
    rows = []
    for prog, k in TRIPS:
        plain = infer(prog, k, method="importance", n=16, seed=0, passes=[])
        batched = infer(prog, k, method="importance", n=16, seed=0)
        assert [r.value for r in plain.runs] == [r.value for r in batched.runs]
        rows.append([f"`{prog.name}`", str(k), str(plain.cost.forwards), str(batched.cost.forwards)])
    asked: list[int] = []

    def counted(texts: list[str]) -> list[int]:
        asked.append(len(texts))
        return lengths(texts)

    tools, trips = _tools(counted), []
    choices: list[Any] = [[], None]
    for passes in choices:
        asked.clear()
        infer(tools, 8, method="importance", n=16, seed=0, passes=passes)
        trips.append(str(len(asked)))
    rows.append(["`tools` (batched function)", "8", *trips])
    return table(["program", "k", "round trips as written", "with passes"], rows)


def _tools(function: Callable[[list[str]], list[int]]) -> Program:
    @program
    def tools(k: int) -> int:
        """k calls of a batched function."""
        return sum([call(function, "a" * i) for i in range(k)])

    return tools


def bundled_seconds() -> str:
    """The same on the bundled model, in seconds."""
    model = load_lm()

    @program
    def judge_all(k: int) -> int:
        marks = [sample(model.context(f"Q: is {i} even?\nA:").choice([" yes", " no"])) for i in range(k)]
        return sum(mark == " yes" for mark in marks)

    def seconds(passes: Any) -> float:
        started = time.perf_counter()
        infer(judge_all, 16, method="importance", n=1, seed=0, passes=passes)
        return time.perf_counter() - started

    seconds([])
    before, after = min(seconds([]) for _ in range(3)), min(seconds("default") for _ in range(3))
    return f"16 choices by the bundled model, one particle: {before:.2f} s as written, {after:.2f} s with passes."


# --- variance ---------------------------------------------------------------------------------------------------------


@program
def late_news() -> tuple[bool, ...]:
    """Six hidden states, and the six observations after all of them."""
    a = sample(flip(0.5))
    b = sample(flip(0.8 if a else 0.2))
    c = sample(flip(0.8 if b else 0.2))
    d = sample(flip(0.8 if c else 0.2))
    e = sample(flip(0.8 if d else 0.2))
    f = sample(flip(0.8 if e else 0.2))
    observe(flip(0.95 if a else 0.05), True)
    observe(flip(0.95 if b else 0.05), True)
    observe(flip(0.95 if c else 0.05), False)
    observe(flip(0.95 if d else 0.05), False)
    observe(flip(0.95 if e else 0.05), True)
    observe(flip(0.95 if f else 0.05), True)
    return a, b, c, d, e, f


@program
def mixture(data: list[bool]) -> float:
    """A bias that matters, and a hidden state for each datum that only weighs the run."""
    bias = sample(dist.categorical({0.2: 0.5, 0.8: 0.5}))
    for seen in data:
        part = sample(flip(bias))
        observe(flip(0.9 if part else 0.1), seen)
    return float(bias)


@program
def answers() -> str:
    """Conditions on a text and on a choice."""
    x = sample(lm.context("a").text(max_tokens=4))
    condition(x.startswith(("a", "b")))
    y = sample(dist.categorical({"u": 0.1, "v": 0.3, "w": 0.6}))
    condition(y in ("u", "v"))
    factor(0.2 * x.count("c"))
    return x + y


@program
def long_answer() -> str:
    """A condition on a text that the model may leave at each token."""
    x = sample(lm.context("a").text(max_tokens=5))
    condition(re.fullmatch("a?(b|c+a)*", x) is not None)
    return x


@program
def clicks(data: list[float]) -> torch.Tensor:
    """A rate and its observations: Beta–Bernoulli."""
    rate = sample(torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)))
    for seen in data:
        observe(torch.distributions.Bernoulli(rate), seen)
    return rate


@dataclass(frozen=True)
class Variance:
    """A program whose estimate of log Z gets better by a pass.

    Attributes:
        passes: which.
        prog: the program.
        args: its arguments.
        method: the method's name; n is 16.
    """

    passes: tuple[str | Pass, ...]
    prog: Program
    args: tuple[Any, ...] = ()
    method: str = "smc"


SEEN = [True, True, False, True, True, True]
VARIANCE: list[Variance] = [
    Variance(("hoist",), late_news),
    Variance(("marginalise",), mixture, (SEEN,), "importance"),
    Variance(("push",), answers, (), "importance"),
    Variance(("push",), long_answer),
    Variance(("push", SplitTexts(by="token")), long_answer),
    Variance(("conjugacy",), clicks, ([float(x) for x in SEEN],), "importance"),
]


def variances() -> str:
    """The spread of log Ẑ over seeds, at n = 16."""
    rows = []
    for case in VARIANCE:
        spreads = []
        for passes in ([], list(case.passes)):
            found = [
                infer(case.prog, *case.args, method=case.method, n=16, seed=seed, passes=passes).log_evidence
                for seed in range(RUNS)
            ]
            values = [z for z in found if z is not None and z > float("-inf")]
            spreads.append((statistics.variance(values), RUNS - len(values)))
        (before, lost), (after, lost_after) = spreads
        gain = "∞" if after < 1e-20 else f"{before / after:.1f}×"
        rows.append(
            [
                ", ".join(p.name for p in make_pipeline(case.passes).passes),
                f"`{case.prog.name}`",
                f"{before:.2g}",
                f"{after:.2g}",
                gain,
            ]
        )
        if lost or lost_after:
            rows[-1][1] += f" (Ẑ = 0 in {lost} and {lost_after} of {RUNS} runs, left out)"
    return table(["pass", "program", "variance as written", "with the pass", "gain"], rows)


# --- cost -------------------------------------------------------------------------------------------------------------


def hundred() -> Program:
    """A third each of model calls, plain Python and evidence: what the passes have most to do with."""
    lines = ["@program", "def hundred():", "    s = 0"]
    for i in range(33):
        lines += [f"    x{i} = sample(lm.context('a').token())", f"    s = s + len(x{i})", "    factor(0.1 * s)"]
    source = "\n".join([*lines, "    return s"]) + "\n"
    linecache.cache["<hundred>"] = (len(source), None, source.splitlines(keepends=True), "<hundred>")
    space: dict[str, Any] = {"program": program, "sample": sample, "factor": factor, "lm": lm}
    exec(compile(source, "<hundred>", "exec"), space)
    found = space["hundred"]
    assert isinstance(found, Program)
    return found


def compile_times() -> str:
    """Milliseconds in the passes, facts included and code generation not."""
    rows = []
    pipelines = {name: make_pipeline(name) for name in ("default", "all")}
    listed = {name: prog for name, (prog, _) in CORPUS.items() if not prog.fixed}
    for name, prog in {**listed, "100 statements": hundred()}.items():
        times = [_milliseconds(prog, pipeline) for pipeline in pipelines.values()]
        rows.append([f"`{name}`", *(f"{each:.2f}" for each in times)])
    return table(["program", *(f"passes={name!r}, ms" for name in pipelines)], rows)


def _milliseconds(prog: Program, pipeline: Pipeline) -> float:
    pipeline.run(prog.compiled.ir, Names(prog._function))  # the first time imports and reads sources
    return 1e3 * best(lambda: pipeline.run(prog.compiled.ir, Names(prog._function)), 3)


def main() -> None:
    parts = [
        "## The compiler's passes",
        f"`python benchmarks/passes.py`; {machine()}.",
        "### Round trips to the model",
        round_trips(),
        bundled_seconds(),
        f"### Variance of log Ẑ, n = 16, {RUNS} seeds",
        variances(),
        "### Time in the passes",
        compile_times(),
    ]
    text = "\n\n".join(parts)
    print(text)
    write_section("passes", text)


if __name__ == "__main__":
    main()
