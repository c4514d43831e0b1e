"""How long programs take to compile.

    python benchmarks/compile_time.py [--no-write]

Prints a table of what 100 statements take, in programs of several kinds and sizes, and writes it into
``benchmarks/RESULTS.md``. Takes some seconds.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from results import best, command, machine, table

from ppl import condition, dist, factor, observe, program, sample, table_lm
from ppl.compiler import Compiled, compile_function, link
from ppl.compiler.passes import make_pipeline, optimise

SCOPE: dict[str, Any] = {"sample": sample, "observe": observe, "factor": factor, "condition": condition}
SCOPE |= {"program": program, "COIN": dist.flip(0.5), "CONTEXT": table_lm(["a", "b"], seed=0).context("a")}


def plain(count: int) -> list[str]:
    """Statements of which none is an effect."""
    kinds = (
        "total = total * 3 + {i}",
        "x{i} = [total, {i}]",
        "total += len(x{p}) if {i} % 2 else -1",
        "y = (total, {i})",
    )
    return [kinds[i % 4].format(i=i, p=i - 1) for i in range(count)]


def mixed(count: int) -> list[str]:
    """One statement in five is an effect."""
    effects = ("a{i} = sample(COIN)", "observe(COIN, total > {i})", "factor(-0.1 * total)", "condition(total >= 0)")
    lines = plain(count)
    return [effects[i // 5 % 4].format(i=i) if i % 5 == 4 else line for i, line in enumerate(lines)]


def effects_only(count: int) -> list[str]:
    """Every statement is an effect."""
    return [
        (f"a{i} = sample(COIN)" if i % 2 else f"observe(COIN, a{i - 1})") if i else "a0 = sample(COIN)"
        for i in range(count)
    ]


def asked(count: int) -> list[str]:
    """Every statement asks a model, and none depends on another: all become one batch."""
    return [f"a{i} = sample(CONTEXT.line())" for i in range(count)]


def nested(count: int) -> list[str]:
    """Loops and branches with effects in them, five statements each."""
    lines: list[str] = []
    for i in range(count // 10):
        lines += [f"for i{i} in range(3):", f"    total += i{i}", f"    a{i} = sample(COIN)"]
        lines += [f"    if a{i} and total > {i}:", f"        total -= {i}", "        observe(COIN, True)"]
        lines += ["    else:", "        total += 1", f"x{i} = [total, {i}]", f"y{i} = x{i}[0] * 2", f"total = y{i} + 1"]
    return lines


KINDS: tuple[tuple[str, Callable[[int], list[str]]], ...] = (
    ("no effects", plain),
    ("one in five an effect", mixed),
    ("all effects", effects_only),
    ("independent calls of a model", asked),
    ("loops and branches with effects", nested),
)


def define(title: str, lines: Sequence[str]) -> tuple[Any, int]:
    """A function of these lines, and how many statements it has."""
    source = "\n    ".join(["def f(total):", *lines, "return total"]) + "\n"
    file = f"<benchmark {title} {len(lines)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope = dict(SCOPE)
    exec(compile(source, file, "exec"), scope)
    tree = ast.parse(source)
    return scope["f"], sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - 2


def decorated(fn: Callable[..., Any]) -> Compiled:
    """What ``@program`` does."""
    link.forget()
    return compile_function(fn)


def as_written(fn: Callable[..., Any]) -> object:
    """And the code, as it is for a program that runs without passes."""
    return decorated(fn).entry


def with_passes(fn: Callable[..., Any]) -> object:
    """And the code of what the default passes make of it, as it is when ``infer`` is called for the first time."""
    return optimise(fn, decorated(fn), make_pipeline(None))[0].entry


STAGES: tuple[tuple[str, Callable[[Callable[..., Any]], object]], ...] = (
    ("decorator", decorated),
    ("code", as_written),
    ("passes and code", with_passes),
)


def report() -> str:
    """The section of RESULTS.md."""
    rows = []
    for title, write in KINDS:
        row = [title]
        for size in (20, 100, 400):
            fn, statements = define(title, write(size))
            for _, stage in STAGES:
                spent = best(partial(stage, fn), max(3, 400 // size))
                row.append(f"{spent * 1e3 / statements * 100:.1f}")
        rows.append(row)
    heads = ["program", *(f"of {size}: {stage}" for size in (20, 100, 400) for stage, _ in STAGES)]
    return f"""## Compile time: `make bench-compile`

{machine()}. Milliseconds for 100 statements, in programs of 20, 100 and 400, the fastest of several times: until the
decorator returns; until the program as written has code; until what the default passes make of it has code. Code is
generated when a program first runs, of the one or of the other.

{table(heads, rows)}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    command(__doc__, "compile time", report, argv)


if __name__ == "__main__":
    main()
