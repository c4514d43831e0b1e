"""``ppl validate``: an exact check, one of passes, or a statistical one, with a display of how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from .certificate import Certificate, validate
from .certificate_statistical import validate_statistically
from .cli_errors import Misuse, refusals_are_misuse
from .cli_input import given, read_arguments, read_method
from .program import Program
from .watching import listening


def check(
    program: Program,
    arg: Sequence[str],
    method: str | None,
    n: Sequence[int],
    option: Sequence[str],
    exact: Mapping[str, Any],
    passes: Mapping[str, Any],
    sampled: Mapping[str, Any],
    statistical: bool,
) -> Certificate:
    """Make the check that the options ask for.

    Args:
        program: the program.
        arg: its arguments, as NAME=VALUE.
        method, n, option: the method, its numbers of particles, and its options as NAME=VALUE.
        exact, passes, sampled: the options given for exact checks, for passes and for statistical checks.
        statistical: a statistical check is wanted, whether it has options or not.

    Raises:
        Misuse: the options are for different checks, or the check refuses them.
    """
    args, kwargs = read_arguments(program, arg)
    statistical = statistical or bool(sampled.get("sequential"))
    if sampled and not statistical:
        raise Misuse(f"{_flags(sampled)} is for checks by samples: add --statistical, or --sequential")
    if passes:
        others = given(method=method, n=n or None, option=option or None, statistical=statistical or None)
        with _shown(), refusals_are_misuse():
            return validate(program, *args, kwargs=kwargs, **_pipeline(passes, others), **exact)
    recipe = read_method(method or "smc", None, option)
    if n and all(field.name != "n" for field in fields(recipe)):
        raise Misuse(f"method {recipe.name} takes no --n")
    if not statistical:
        with _shown(), refusals_are_misuse():
            return validate(program, *args, kwargs=kwargs, method=recipe, n=n or (1, 2, 3), **exact)
    if exact:
        raise Misuse(f"{_flags(exact)} is for exact checks; by samples say --runs")
    if len(n) > 1:
        raise Misuse("a check by samples takes one --n")
    settings: dict[str, Any] = {**sampled, **({"n": n[0]} if n else {})}
    with _shown(), refusals_are_misuse():
        return validate_statistically(program, *args, kwargs=kwargs, method=recipe, **settings)


def _pipeline(passes: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What ``validate`` is told of passes, if nothing else is asked for."""
    if "pipeline" not in passes:
        raise Misuse("--keep says what passes must leave: add --pipeline PASS, or --pipeline all")
    if others:
        raise Misuse(f"--pipeline checks passes, exactly and without a method: leave out {_flags(others)}")
    names = passes["pipeline"]
    return {"pipeline": "all" if names == ["all"] else names, "keep": passes.get("keep", ())}


def _flags(options: Mapping[str, Any]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)


@contextmanager
def _shown() -> Iterator[None]:
    """Show on stderr what is checked, and how many runs it took; nothing where that is no terminal."""
    from rich.console import Console
    from rich.markup import escape

    with (
        Console(stderr=True).status("enumerating the program") as status,
        listening(lambda what, runs: status.update(f"{escape(what)}: {runs:,} runs")),
    ):
        yield
