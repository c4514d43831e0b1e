"""``ppl ir``: the IR as text, as a graph, and as it changes from pass to pass."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from .cli_errors import Misuse
from .compiler.passes import Optimised, Step
from .compiler.printer import to_text
from .program import Program

STYLES = {"+": "green", "-": "red", "@": "cyan", "=": "bold", "!": "yellow"}
"""The colours of a diff's lines, by their first character."""


def show_ir(program: Program, passes: bool, only: Sequence[str], dot: bool, svg: Path | None) -> None:
    """Print or draw a program's IR.

    Args:
        program: the program.
        passes: show each step of the pipeline, rather than what comes out.
        only: the passes to run; none by default, or the default ones with ``passes``.
        dot: print the graph in graphviz's language.
        svg: where to draw the graph.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # a file of IR is read as such, wherever it was written
    if dot and passes:
        raise Misuse("--dot prints one graph and --passes the steps between two: leave one of them out")
    done = _run(program, passes, only)
    if svg is not None:
        from .compiler.svg import to_svg

        if svg.suffix != ".svg":
            raise Misuse(f"--svg writes SVG: call the file {svg.with_suffix('.svg')}")
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(to_svg(done.program), encoding="utf-8")
        print(f"Graph drawn in {svg}", file=sys.stderr)
    if dot:
        from .compiler.dot import to_dot

        print(to_dot(done.program), end="")
    elif passes:
        console = Console(soft_wrap=True, highlight=False)
        for line in _steps(done):
            console.print(Text(line, style=STYLES.get(line[:1], "")))
    elif svg is None:
        print(to_text(done.program), end="")


def _run(program: Program, passes: bool, only: Sequence[str]) -> Optimised:
    """The program after the passes that were asked for."""
    try:
        if not only:
            return program.optimised(None if passes else [])
        return program.optimised("all" if list(only) == ["all"] else list(only))
    except ValueError as error:
        raise Misuse(str(error)) from error


def _steps(done: Optimised) -> Iterator[str]:
    """What each pass did: its remarks, and the difference that it made to the text."""
    for number, step in enumerate(done.steps, 1):
        yield f"=== {number}. {step.pass_.name} (keeps {step.pass_.level.name})"
        for remark in step.remarks:
            yield f"{'! ' if remark.kind == 'missed' else '  '}{remark}"
        yield from _difference(step) if step.before is not step.after else ["  the same as before"]
    if not done.steps:
        yield "no passes"


def _difference(step: Step) -> Iterator[str]:
    before, after = (to_text(program).splitlines() for program in (step.before, step.after))
    return difflib.unified_diff(before, after, "before", f"after {step.pass_.name}", lineterm="", n=2)
