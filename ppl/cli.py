"""The ``ppl`` command.

Exit codes: 0 done; 1 the program or inference failed; 2 called wrongly; 3 all was ruled out: there is no posterior.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import json
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer

from . import Program, __version__, infer
from .compiler import CompileError
from .posterior import Posterior
from .runtime.errors import ProgramError
from .runtime.methods import METHODS, Method, make_method

FAILED, MISUSED, RULED_OUT = 1, 2, 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Probabilistic programs that reason with language models.",
)

Target = Annotated[str, typer.Argument(metavar="FILE.py:PROGRAM", help="A @program and the file that it is in.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show full tracebacks.")]


class Misuse(Exception):
    """The command was called wrongly; the text says how to call it."""


def main() -> None:
    """What the ``ppl`` script runs."""
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
        recipe = _method(method, n, option or [])
        if model is not None:
            os.environ["PPL_MODEL"] = str(Path(model).resolve()) if Path(model).is_dir() else model
        # What the user's file prints must not end up in the middle of the JSON.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            program = _load(target)
            args, kwargs = _arguments(program, arg or [])
            posterior = infer(program, *args, kwargs=kwargs, method=recipe, seed=seed, progress=progress)
        _show(posterior, as_json, plot)
    if posterior.empty:
        raise typer.Exit(RULED_OUT)


@app.command()
def ir(target: Target, debug: Debug = False) -> None:
    """Print what the compiler made of a program."""
    with one_screen(debug):
        print(_load(target).explain())


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


# ---- From the command line to objects


def _method(name: str, n: int | None, options: Iterable[str]) -> Method:
    if name not in METHODS:
        raise Misuse(f"there is no method {name!r}; there are {', '.join(METHODS)}{_meant(name, METHODS)}")
    known = list(METHODS[name].__dataclass_fields__)
    given: dict[str, Any] = {} if n is None else {"n": n}
    for key, text in _pairs("--option", options):
        if key not in known:
            raise Misuse(f"method {name} has no option {key!r}; it has {', '.join(known)}{_meant(key, known)}")
        value = _value(text)
        given[key] = tuple(value) if isinstance(value, list) else value
    if "n" in known:
        given.setdefault("n", 32)
    elif "n" in given:
        raise Misuse(f"method {name} takes no --n; it has {', '.join(known)}, to be set with --option")
    try:
        return make_method(name, given)
    except (TypeError, ValueError) as error:
        raise Misuse(f"method {name}: {error}") from error


def _load(target: str) -> Program:
    """The program that ``FILE.py:PROGRAM`` names."""
    file, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py"):
        file, name = target, ""
    path = Path(file)
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise Misuse(f"there is no file {file}{_meant(path.name, others)}")
    module = _import(path)
    programs = {k: v for k, v in vars(module).items() if isinstance(v, Program)}
    if not name and len(programs) == 1:
        return next(iter(programs.values()))
    if name in programs:
        return programs[name]
    listed = f"it has {', '.join(programs)}" if programs else "it has no program: put @program above a function"
    if not name:
        raise Misuse(f"say which program of {file} is meant, as in {file}:NAME; {listed}")
    if hasattr(module, name):
        kind = type(getattr(module, name)).__name__
        raise Misuse(f"{name} in {file} is a {kind} and no program: {listed}")
    raise Misuse(f"{file} has no program {name!r}; {listed}{_meant(name, programs)}")


def _import(path: Path) -> ModuleType:
    """The file as a module under its own name, its folder first on the path, as ``python FILE`` would have it."""
    path = path.resolve()
    name = path.stem
    there = sys.modules.get(name)
    if there is not None and Path(getattr(there, "__file__", None) or "").resolve() != path:
        raise Misuse(f"{path.name} has the name of the module {name!r}, which is in use; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Misuse(f"{path.name} is no Python file; its name should end in .py")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _arguments(program: Program, given: Iterable[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    signature = inspect.signature(program)
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    bound = signature.bind_partial()
    for key, text in _pairs("--arg", given):
        parameter = next((p for p in named if p.name == key), None)
        if parameter is not None:
            bound.arguments[key] = text if parameter.annotation in (str, "str") else _value(text)
        else:
            names = [p.name for p in named]
            listed = f"its parameters are {', '.join(names)}" if names else "it takes none"
            raise Misuse(f"{program.name} has no parameter {key!r}; {listed}{_meant(key, names)}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in bound.arguments]
    if missing:
        needed = " ".join(f"--arg {name}=…" for name in missing)
        raise Misuse(f"{program.name}({', '.join(p.name for p in named)}) needs {needed}")
    return bound.args, bound.kwargs


def _pairs(flag: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise Misuse(f"{flag} {text}: write {flag} NAME=VALUE")
        yield key, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]}?" if close else ""


# ---- Errors on one screen


@contextlib.contextmanager
def one_screen(debug: bool) -> Iterator[None]:
    """Turn exceptions into a message that fits on a screen, and an exit code.

    Args:
        debug: leave them as they are.
    """
    try:
        yield
    except Exception as error:
        if debug or isinstance(error, typer.Exit | BrokenPipeError):  # the latter: ppl run … | head
            raise
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    if isinstance(error, Misuse):
        _say(str(error))
        raise typer.Exit(MISUSED) from error
    what = "".join(traceback.format_exception_only(error)).rstrip()
    if isinstance(error, SyntaxError):
        # Python's own form, with file, line and caret; a CompileError adds what to write instead.
        place = what.rpartition(f"{type(error).__name__}: ")[0].rpartition("\n")[0]
        title = "this can't be compiled" if isinstance(error, CompileError) else "this is no Python"
        _say(title, place, str(error.msg))
    elif isinstance(error, ProgramError):
        _say(str(error))
    elif frames := _user_frames(error):
        _say(what, *(f"  {_short(f.filename)}:{f.lineno}, in {f.name}\n      {f.line}" for f in frames[-6:]), _HINT)
    else:
        _say(str(error) or what, _HINT)
    raise typer.Exit(FAILED) from error


_HINT = "(--debug shows the full traceback)"


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames in files of the user: not in this package, Python or what is installed."""
    ours = Path(__file__).resolve().parent
    installed = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")]
    roots = [ours, (ours / "compiler").resolve(), (ours / "runtime").resolve(), *installed]
    files = [(frame, Path(frame.filename).resolve()) for frame in traceback.extract_tb(error.__traceback__)]
    return [f for f, path in files if path.is_file() and not any(path.is_relative_to(root) for root in roots)]


def _short(file: str) -> str:
    return file.removeprefix(os.path.join(os.getcwd(), ""))


def _say(headline: str, *more: str) -> None:
    typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo("\n".join((headline, *more)), err=True)
