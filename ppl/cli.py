"""The ``ppl`` command.

Exit codes: 0 done; 1 the program or inference failed, or a law that was checked does not hold; 2 called wrongly; 3 all
was ruled out: there is no posterior.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import __version__, infer
from .cli_errors import FAILED, one_screen, refusals_are_misuse
from .cli_input import check_picture, given, read_arguments, read_method, read_program
from .posterior import Posterior
from .runtime.methods import METHODS

RULED_OUT = 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Probabilistic programs that reason with language models.",
)

Target = Annotated[str, typer.Argument(metavar="FILE.py:PROGRAM", help="A @program and the file that it is in.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show full tracebacks.")]


def main() -> None:
    """What the ``ppl`` script runs."""
    for stream in (sys.stdout, sys.stderr):  # no result is lost for a character that the output can't hold
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="ppl")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ppl {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What goes before a command's name."""


@app.command()
def demo(
    problems: Annotated[int, typer.Option(min=1, help="How many problems.")] = 6,
    n: Annotated[int, typer.Option("--n", min=1, help="Particles, and samples to vote, for each problem.")] = 32,
    seed: Annotated[int, typer.Option(help="What makes the run reproducible.")] = 0,
    debug: Debug = False,
) -> None:
    """Solve problems of several steps: one sample, majority vote and SMC side by side."""
    with one_screen(debug):
        from .demo import run_demo

        run_demo(problems, n, seed)


@app.command()
def run(
    target: Target,
    arg: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="An argument by name; read as JSON if it is, else as text.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "smc",
    n: Annotated[int | None, typer.Option("--n", help="Particles; 32 where the method takes them.")] = None,
    seed: Annotated[int, typer.Option(help="What makes the run reproducible.")] = 0,
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="What load_lm() gives: a folder or a hub name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the posterior as JSON, and nothing else.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the posterior: .png, .svg or .pdf.")] = None,
    progress: Annotated[bool, typer.Option(help="A live display, where stderr is a terminal.")] = True,
    option: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An option of the method.")] = None,
    debug: Debug = False,
) -> None:
    """Infer the posterior of a program. Exit codes: 0 done, 1 it failed, 2 called wrongly, 3 all runs ruled out."""
    with one_screen(debug):
        check_picture(plot)
        if model is not None:
            os.environ["PPL_MODEL"] = str(Path(model).resolve()) if Path(model).is_dir() else model
        # What the user's file prints must not end up in the middle of the JSON.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            program = read_program(target)  # which may make methods of its own known
            recipe = read_method(method, n, option or [])
            args, kwargs = read_arguments(program, arg or [])
            posterior = infer(program, *args, kwargs=kwargs, method=recipe, seed=seed, progress=progress)
        _show(posterior, as_json, plot)
    if posterior.empty:
        raise typer.Exit(RULED_OUT)


@app.command()
def ir(
    target: Target,
    passes: Annotated[bool, typer.Option("--passes", help="Show what each pass changes, and why it did not.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--pass", metavar="NAME", help="A pass to run, in this order; or all.")
    ] = None,
    dot: Annotated[bool, typer.Option("--dot", help="Print the graph in graphviz's language.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the graph.")] = None,
    debug: Debug = False,
) -> None:
    """Print the program's intermediate representation, as load_ir reads it; after passes, if any are asked for."""
    with one_screen(debug):
        from .cli_ir import show_ir

        show_ir(read_program(target), passes, only or [], dot, svg)


@app.command()
def validate(
    target: Target,
    arg: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An argument by name, as for run.")] = None,
    method: Annotated[str | None, typer.Option(help=f"One of {', '.join(METHODS)}; smc.")] = None,
    n: Annotated[list[int] | None, typer.Option("--n", min=1, help="Particles; by default 1, 2 and 3.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most runs to explore at one n; 100,000.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An option of the method.")] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option(metavar="PASS", help="Check passes, in this order, or all; not a method.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="With --pipeline: what the passes must leave.")
    ] = None,
    statistical: Annotated[
        bool, typer.Option("--statistical", help="By many runs at one n (8), where there are too many outcomes.")
    ] = False,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Statistically, and stop as soon as the law is rejected.")
    ] = False,
    runs: Annotated[int | None, typer.Option(min=20, help="Statistically: how many; 2,000.")] = None,
    seed: Annotated[int | None, typer.Option(help="Statistically: what makes it reproducible.")] = None,
    false_alarm: Annotated[
        float | None, typer.Option(help="Statistically: how often a right method may fail, at most; 1e-6.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Check that a method, or the compiler's passes, keep their law on a finite program.

    Exit codes: 0 the law holds, 1 it does not, or the program failed, 2 called wrongly.
    """
    with one_screen(debug):
        from .cli_validate import check

        # What the user's file prints must not end up in the middle of the JSON.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            certificate = check(
                read_program(target), arg or [], method, n or [], option or [],
                exact=given(limit=limit), passes=given(pipeline=pipeline, keep=keep),
                sampled=given(runs=runs, seed=seed, false_alarm=false_alarm, sequential=sequential or None),
                statistical=statistical,
            )  # fmt: skip
        print(certificate.to_json() if as_json else certificate)
    if not certificate:
        raise typer.Exit(FAILED)


@app.command()
def calibrate(
    target: Target,
    arg: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An argument by name, as for run.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A sample site that is data, besides every observe.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "smc",
    n: Annotated[int | None, typer.Option("--n", min=1, help="Particles; 200 where the method takes them.")] = None,
    runs: Annotated[int, typer.Option(min=20, help="Simulated data sets; at most so many with --sequential.")] = 200,
    seed: Annotated[int, typer.Option(help="What makes the check reproducible.")] = 0,
    false_alarm: Annotated[float, typer.Option(help="How often calibrated inference may fail, at most.")] = 1e-3,
    sequential: Annotated[bool, typer.Option("--sequential", help="Stop as soon as the law is rejected.")] = False,
    option: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An option of the method.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the ranks: .png, .svg or .pdf.")] = None,
    debug: Debug = False,
) -> None:
    """Check by simulation that a method's posteriors are calibrated, on any program.

    Exit codes: 0 they are, 1 they are not, or the program failed, 2 called wrongly.
    """
    with one_screen(debug):
        from .calibration import calibrate as check

        check_picture(plot)
        program = read_program(target)  # which may make methods of its own known
        takes_n = "n" in getattr(METHODS.get(method), "__dataclass_fields__", ())
        recipe = read_method(method, 200 if n is None and takes_n else n, option or [])
        args, kwargs = read_arguments(program, arg or [])
        with refusals_are_misuse():
            certificate = check(
                program, *args, kwargs=kwargs, data=data or (), method=recipe, runs=runs, seed=seed,
                false_alarm=false_alarm, sequential=sequential,
            )  # fmt: skip
        print(certificate.to_json() if as_json else certificate)
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            certificate.plot(plot)
            print(f"Plot written to {plot}", file=sys.stderr)
    if not certificate:
        raise typer.Exit(FAILED)


@app.command()
def laws(
    limit: Annotated[int, typer.Option(min=1, help="The most runs to explore a program.")] = 100,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the table as Markdown.")] = None,
    debug: Debug = False,
) -> None:
    """Check every method's law on the corpus of programs, and print the table. Exit code 1 if one does not hold."""
    with one_screen(debug):
        from .laws import show_table

        rows = show_table(limit, markdown)
    if not all(row.holds for row in rows):
        raise typer.Exit(FAILED)


def _show(posterior: Posterior, as_json: bool, plot: Path | None) -> None:
    if as_json:
        print(posterior.to_json())
    else:
        from rich.console import Console

        Console().print(posterior)
    if plot is not None and not posterior.empty:
        plot.parent.mkdir(parents=True, exist_ok=True)
        posterior.plot(plot)
        print(f"Plot written to {plot}", file=sys.stderr)
