"""Errors of the command line: one screen, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import typer

from .compiler import CompileError
from .runtime.errors import ProgramError

FAILED, MISUSED = 1, 2


class Misuse(Exception):
    """The command was called wrongly; the text says how to call it."""


@contextlib.contextmanager
def refusals_are_misuse() -> Iterator[None]:
    """Arguments that a function refuses are a wrong call of the command.

    A failure of the program is none: it comes through the user's file, or is an error of a kind of its own.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError) or _user_frames(error):
            raise
        raise Misuse(str(error)) from error


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
