"""What running a program costs without any model: statements, effects, forks, many particles, the import.

    python benchmarks/execution.py [--no-write]

- *statements*: native Python in a loop with a rare effect, against the same code as a Python generator.
- *effects*: each kind of effect in the runtime, against ``yield`` in a generator.
- *forks*: a particle's copy, against ``copy.deepcopy`` of the same state.
- *particles*: 10,000 of them, of a program of 100 statements.

Prints tables, and writes them into ``benchmarks/RESULTS.md``. Takes a minute or two.
"""

from __future__ import annotations

import copy
import linecache
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from execution_programs import (
    COIN,
    LOOPS,
    barriers,
    conditions,
    factors,
    normals,
    observations,
    samples,
    yields,
)
from results import best, command, machine, once, paired, table

from ppl import Program, infer, load_lm, observe, program, sample, shared
from ppl.runtime.machine import Machine
from ppl.runtime.particle import Particle, Scope, Status
from ppl.runtime.source import RandomSource

STEPS, RARE = 20_000, 1000
EFFECTS = 1000


# --- statements -----------------------------------------------------------------------------------------------------


def drive(prog: Program, *args: Any) -> Any:
    """Run to the end, answering 1: what a generator is given by ``send``."""
    ask, block, live = prog.entry(*args)
    while block is not None:
        ask, block, live = block(*live) if ask is None else block(1, *live)
    return ask


def exhaust(make: Callable[..., Generator[Any, Any, Any]], *args: Any) -> Any:
    """The same with a generator."""
    running = make(*args)
    try:
        next(running)
        while True:
            running.send(1)
    except StopIteration as stop:
        return stop.value


def statements() -> str:
    """Native statements around a rare effect."""
    rows = []
    for title, function, generator, count in LOOPS:
        prog = program(function)
        assert drive(prog, 50, 7) == exhaust(generator, 50, 7)

        def ours(prog: Program = prog) -> object:
            return drive(prog, STEPS, RARE)

        def theirs(generator: Callable[..., Any] = generator) -> object:
            return exhaust(generator, STEPS, RARE)

        a, b = paired(ours, theirs)
        extra = (a - b) / STEPS / count * 1e9
        rows.append([title, f"{b / STEPS * 1e9:.0f}", f"{a / STEPS * 1e9:.0f}", f"{a / b:.2f} ×", f"{extra:+.0f}"])
    heads = ["loop", "generator, ns an iteration", "program, ns", "ratio", "more, ns a statement"]
    return table(heads, rows)


# --- effects --------------------------------------------------------------------------------------------------------


def run_one(prog: Program, *args: Any) -> Particle:
    """One particle, to its end."""
    particle = Particle(lambda: prog.entry(*args), (), Scope(), 1)
    Machine(RandomSource()).run(particle, through=True)
    assert particle.status is Status.DONE
    return particle


def effects() -> str:
    """Each kind of effect."""
    rows = []
    base = best(lambda: exhaust(yields, EFFECTS)) / EFFECTS
    for prog in (barriers, factors, conditions, observations, samples, normals):

        def run(prog: Program = prog) -> object:
            return run_one(prog, EFFECTS)

        run()
        spent = best(run) / EFFECTS
        title = f"{prog.sites[0].kind}" + (" of a torch Normal" if prog is normals else "")
        rows.append([f"`{title}`", f"{spent * 1e6:.2f}", f"{(spent - base) * 1e6:.2f}"])
    return table(["effect", "µs", f"over a generator's `yield` ({base * 1e6:.2f} µs)"], rows)


# --- forks ----------------------------------------------------------------------------------------------------------


def states() -> list[tuple[str, tuple[Any, ...]]]:
    """The values that live across an effect."""
    import torch

    names = [f"word{i}" for i in range(20)]
    table_ = {name: i for i, name in enumerate(names)}
    large = {i: str(i) for i in range(10_000)}
    return [
        ("ten numbers and strings", (1, 2.5, "a", True, None, "b", 3, 4, 5, "c")),
        ("a list of 100 numbers", (list(range(100)), 1, "a")),
        ("a list of 20 strings, a dict of 20, a set of 20", (names, table_, set(names), 1)),
        ("a list of 20 lists of 5", ([[i, j, j, j, j] for i, j in enumerate(range(20))], 1)),
        ("a dict of 20 tuples", ({name: (i, i + 1) for i, name in enumerate(names)}, 1)),
        ("a list of 20 dicts", ([{"x": i, "y": i} for i in range(20)], 1)),
        ("a dict of lists, tensors", ({"path": list(range(10)), "mean": torch.zeros(8)}, torch.zeros(8))),
        ("a context of a model, two strings", (load_lm().context("Q: 1 + 1\n"), "a", "b")),
        ("a dict of 10,000 strings", (large, 1)),
        ("the same, marked by `shared`", (shared(large), 1)),
    ]


def forks() -> str:
    """Copies of a suspended run."""
    rows = []
    for title, live in states():
        particle = Particle(lambda: (None, None, ()), live, Scope(), 1)

        repeats = 200 if len(str(live)) < 10_000 else 10

        def ours(particle: Particle = particle, repeats: int = repeats) -> object:
            return [particle.fork(2) for _ in range(repeats)]

        def theirs(live: tuple[Any, ...] = live, repeats: int = repeats) -> object:
            return [copy.deepcopy(live) for _ in range(repeats)]

        a, b = paired(ours, theirs, 5)
        rows.append([title, f"{b / repeats * 1e6:,.1f}", f"{a / repeats * 1e6:,.1f}", f"{b / a:,.1f} ×"])
    return table(["live values", "`copy.deepcopy`, µs", "fork, µs", "faster"], rows)


# --- many particles -------------------------------------------------------------------------------------------------


def written(effects: int, plain: int, distribution: str = "COIN") -> Program:
    """A program of so many effects, one in five of them evidence, with plain statements between them."""
    lines = ["def f(start):", "    total = start", "    path = []"]
    for i in range(effects):
        lines.append(f"    observe({distribution}, x{i - 1})" if i % 5 == 4 else f"    x{i} = sample({distribution})")
        if i % 5 == 4:
            lines.append(f"    x{i} = x{i - 1}")
        lines += [f"    total = total * 3 % 1009 + {i}" for _ in range(plain // effects - (i % 5 == 4))]
    lines.append("    return total")
    return from_source("\n".join(lines))


def from_source(source: str) -> Program:
    """The program ``f`` of a piece of source."""
    file = f"<benchmark {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope: dict[str, Any] = {"sample": sample, "observe": observe, "COIN": COIN}
    if "NORMAL" in source:
        import torch

        scope["NORMAL"] = torch.distributions.Normal(0.0, 1.0)
    exec(compile(source, file, "exec"), scope)
    return program(scope["f"])


def particles(n: int = 10_000) -> str:
    """Many particles of a program without a model."""
    rows = []
    cases = (
        ("20 effects, 80 plain", written(20, 80)),
        ("100 effects", written(100, 0)),
        ("20 effects of a torch Normal, 80 plain", written(20, 80, "NORMAL")),
    )
    for title, prog in cases:
        for method in ("importance", "smc"):

            def run(prog: Program = prog, method: str = method) -> object:
                return infer(prog, 1, method=method, n=n, seed=0)

            seconds = min(once(run) for _ in range(2))
            rows.append([title, method, f"{seconds:.2f}", f"{seconds / n / 100 * 1e6:.2f}"])
    return table(["100 statements", "method", f"{n:,} particles, s", "µs a statement"], rows)


# --- beside a model -------------------------------------------------------------------------------------------------


def bookkeeping(n: int = 32) -> float:
    """The share of an inference's time that is not its model's engine, with the bundled model."""
    import torch

    from ppl.bundled.problems import problems
    from ppl.demo import solve

    torch.set_num_threads(1)
    kind = type(load_lm().engine.session())
    inside = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal inside
            started = time.process_time()
            try:
                return method(*args)
            finally:
                inside += time.process_time() - started

        return run

    step, submit = kind.step, kind.submit
    kind.step, kind.submit = timed(step), timed(submit)  # type: ignore[method-assign]
    shares = []
    try:
        for problem in problems(6, [8], seed=3):
            inside = 0.0
            whole = once(partial(infer, solve, problem.question, method="smc", n=n, seed=0))
            shares.append(1.0 - inside / whole)
    finally:
        kind.step, kind.submit = step, submit  # type: ignore[method-assign]
    return sorted(shares)[len(shares) // 2]


# --- the import -----------------------------------------------------------------------------------------------------


def import_seconds() -> float:
    """Seconds of the processor that ``import ppl`` adds to the start of Python."""

    def run(code: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    return min(run("import ppl") for _ in range(5)) - min(run("pass") for _ in range(5))


def report() -> str:
    """The section of RESULTS.md."""
    return f"""## Cost of execution: `make bench-execution`

{machine()}. A program that holds no model, the fastest of several runs.

Native statements around an effect every {RARE:,} iterations, against the same code as a generator:

{statements()}

Effects, in the runtime and one particle:

{effects()}

A particle's copy at a resampling:

{forks()}

Whole inferences:

{particles()}

With the bundled model and 32 particles, {100 * bookkeeping():.1f} % of the time is not spent in the model's engine.

`import ppl` takes {import_seconds() * 1e3:.0f} ms beyond Python's own start.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    command(__doc__, "execution", report, argv)


if __name__ == "__main__":
    main()
