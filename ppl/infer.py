"""``infer``, ``infer_many`` and ``infer_stream``."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .compiler.scan import parameters
from .guides import check_guide
from .posterior import Posterior
from .program import Passes, Program, check_address, check_kept, needs_program
from .running import Arguments, Journals, Problems, Progress, Proposals, Stop, run_problems, stream, warn_user
from .runtime.budget import Budget
from .runtime.methods import Method, UnknownOption, make_method

if TYPE_CHECKING:
    from .cluster import Workers

__all__ = ["infer", "infer_many", "infer_stream", "run_problems"]

Limits = Mapping[str, float]


def infer(
    program: Program,
    *args: Any,
    method: str | Method = "smc",
    seed: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    proposals: Proposals = None,
    on_error: str = "raise",
    progress: bool | Progress = False,
    budget: Budget | Limits | None = None,
    stop: Stop | None = None,
    passes: Passes = None,
    keep: Iterable[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Posterior:
    """The posterior of a program on these arguments.

    Args:
        program: a ``@program``.
        args: its arguments.
        method: a name (``"smc"``, ``"importance"``, ``"enumerate"``, ``"forward"``) or a method object.
        seed: what makes the run reproducible; a fresh one by default (``posterior.seed`` tells which).
        kwargs: the program's keyword arguments.
        proposals: name or address of a sample site → a function from a ``ProposalSite`` to the distribution to draw
            from instead; the weight accounts for it, so the posterior stays the same. Or a guide: a ``@program`` of the
            same arguments that samples sites of the same names, and whose draws are the proposals.
        on_error: ``"raise"``, or ``"kill"``: a particle in which the program raises gets weight zero and is counted.
        progress: show a live display, or call this with the problem's number and its population after each step, and
            at its end (``population.ended``).
        budget: the most to use, such as ``{"tokens": 2000}``; see ``Budget``. What would go past it is not begun, and
            what is finished by then comes back, marked ``posterior.incomplete``.
        stop: called with the population after each step; true ends the run in the same way. See ``ppl.stopping``.
        passes: the compiler's passes to run it under, by name, ``"all"``, or ``[]`` for none; by default what the
            program was given by ``with_passes``, else those that keep the measure over traces. With ``proposals`` the
            default is none: they look at the program's variables at a site, and those depend on what comes after it.
        keep: addresses that passes must leave; only matters with passes that may drop some.
        checkpoint: a folder in which to write down what models and functions answer. If this process dies, the same
            call goes on from there to the posterior that it would have had; what was finished is not computed again.
            The cost in positions, forwards and seconds is then that of the last attempt, and a budget in seconds
            counts anew.
        options: the method's own, such as ``n=32``.

    Returns:
        The weighted posterior.

    Raises:
        ValueError, TypeError: an argument makes no sense.
        CheckpointMismatch: the checkpoint is of another run, with another program, other arguments, another model, ...;
            the text says what differs.
        ProgramError: the program asked for something meaningless; names its file and line.
    """
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs maps the program's parameters to arguments, as in kwargs={{'x': 1}}; got {kwargs!r}")
    call = (tuple(args), dict(kwargs or {}))
    program = under(program, passes, keep, proposals)
    recipe = _recipe(program, method, options)
    limits = (Budget.of(budget), stop)
    problems = Problems(program, [call], recipe, [seed], proposals, on_error, limits)
    ((_, posterior),) = _run(_checked(problems), progress, checkpoint)
    return posterior


def infer_many(
    program: Program,
    inputs: Iterable[Any],
    *,
    method: str | Method = "smc",
    seed: int | Sequence[int] | None = None,
    proposals: Proposals = None,
    on_error: str = "raise",
    progress: bool | Progress = False,
    budget: Budget | Limits | None = None,
    stop: Stop | None = None,
    concurrency: int = 64,
    passes: Passes = None,
    keep: Iterable[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | Workers | None = None,
    **options: Any,
) -> list[Posterior]:
    """The posteriors of a program on many inputs; their model calls share batches.

    Each posterior is the same as ``infer(program, input, seed=seed)`` would give by itself.

    Args:
        program: a ``@program``.
        inputs: one entry a problem: a tuple of arguments, or a single argument that is no tuple.
        method, proposals, on_error, progress, budget, stop, passes, keep, checkpoint, options: as for :func:`infer`.
        seed: one for all problems, or one for each.
        concurrency: how many problems to work on at a time.
        workers: how many processes of a Ray cluster to share the problems among, each with models of its own; see
            :mod:`ppl.cluster`. By default this process does it all. Nothing but the cost depends on it.

    Returns:
        The posteriors, in the order of the inputs.

    Raises:
        ImportError: ``workers`` was given, and Ray is not installed.
    """
    found = dict(
        infer_stream(
            program,
            inputs,
            method=method,
            seed=seed,
            proposals=proposals,
            on_error=on_error,
            progress=progress,
            budget=budget,
            stop=stop,
            concurrency=concurrency,
            passes=passes,
            keep=keep,
            checkpoint=checkpoint,
            workers=workers,
            **options,
        )
    )
    return [found[number] for number in range(len(found))]


def infer_stream(
    program: Program,
    inputs: Iterable[Any],
    *,
    method: str | Method = "smc",
    seed: int | Sequence[int] | None = None,
    proposals: Proposals = None,
    on_error: str = "raise",
    progress: bool | Progress = False,
    budget: Budget | Limits | None = None,
    stop: Stop | None = None,
    concurrency: int = 64,
    passes: Passes = None,
    keep: Iterable[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | Workers | None = None,
    **options: Any,
) -> Iterator[tuple[int, Posterior]]:
    """:func:`infer_many`, one by one: what is finished is there at once.

    Args:
        program, inputs: the program, and one entry a problem.
        method, seed, proposals, on_error, progress, budget, stop, passes, keep, options: as for :func:`infer_many`.
        concurrency, checkpoint, workers: as for :func:`infer_many` too.

    Returns:
        An iterator over pairs of an input's place and its posterior, in order of completion. Work is done while it
        is asked for the next; closed before its end, it drops the rest.
    """
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs holds one entry a problem; got {inputs!r}. For a single problem write [{inputs!r}]")
    calls: list[Arguments] = [(each if isinstance(each, tuple) else (each,), {}) for each in inputs]
    seeds: Sequence[int | None]
    if seed is None or isinstance(seed, int | Integral):  # numpy's integers are no int
        seeds = [seed] * len(calls)
    elif isinstance(seed, str | bytes) or not isinstance(seed, Iterable):
        raise TypeError(f"seed is an integer for all inputs, or a sequence of one for each; got {seed!r}")
    else:
        seeds = list(seed)
        if len(seeds) != len(calls):
            raise ValueError(f"{len(seeds)} seeds for {len(calls)} inputs; give one seed for all, or one for each")
    program = under(program, passes, keep, proposals)
    recipe = _recipe(program, method, options)
    problems = Problems(program, calls, recipe, seeds, proposals, on_error, (Budget.of(budget), stop), concurrency)
    return _run(_checked(problems), progress, checkpoint, workers)


def under(program: Program, passes: Passes, keep: Iterable[str], proposals: Proposals) -> Program:
    """The program under the passes that were asked for."""
    if not isinstance(program, Program):
        return program  # refused later, with all other arguments
    addresses = check_kept(program, keep)
    if passes is None and program.pipeline is None and proposals:
        passes = []
    if passes is None and program.pipeline is not None:
        passes = program.pipeline
    proposed = ("*",) if isinstance(proposals, Program) else tuple(proposals if isinstance(proposals, Mapping) else ())
    return program.with_passes(passes, (*addresses, *proposed))


def _recipe(program: Program, method: str | Method, options: dict[str, Any]) -> Method:
    """The method that is meant."""
    needs_program(program, "infer")
    try:
        recipe = make_method(method, options)
    except UnknownOption as error:
        if error.option not in parameters(program.compiled.ir.signature):
            raise
        hint = f"An argument of {program.name} goes into kwargs={{{error.option!r}: ...}}"
        raise ValueError(f"{error}. {hint}") from None
    recipe.check(program.sites)
    return recipe


def _checked(problems: Problems) -> Problems:
    """The same, unless something makes no sense."""
    for seed in problems.seeds:
        if seed is not None and not isinstance(seed, Integral):
            raise TypeError(f"seed is an integer, got {seed!r}")
    if problems.on_error not in ("raise", "kill"):
        raise ValueError(f"on_error is 'raise' or 'kill'; got {problems.on_error!r}")
    stop = problems.limits[1]
    if isinstance(stop, FunctionType) and stop.__module__ == f"{__package__}.stopping":
        raise TypeError(f"stop={stop.__name__} makes rules and is none: write stop=ppl.stopping.{stop.__name__}()")
    if stop is not None and not callable(stop):
        raise TypeError(f"stop is called with the population after each step; got {stop!r}. See ppl.stopping")
    check_proposals(problems.program, problems.proposals)
    return replace(problems, seeds=[None if seed is None else int(seed) for seed in problems.seeds])


def _run(
    problems: Problems,
    progress: bool | Progress,
    checkpoint: str | os.PathLike[str] | None,
    workers: int | Workers | None = None,
) -> Iterator[tuple[int, Posterior]]:
    """Run problems where and as they are to be run."""
    with ExitStack() as stack:
        journals: Journals | None = None
        saved = None
        left = list(range(len(problems.calls)))
        if checkpoint is not None:
            from .checkpoint import open_checkpoint

            saved = stack.enter_context(open_checkpoint(checkpoint, problems))
            problems, journals = replace(problems, seeds=saved.seeds), saved.journals
            left = []
            for number in range(len(problems.calls)):
                if (posterior := saved.finished(number)) is None:
                    left.append(number)
                else:
                    yield number, posterior
        report = progress if callable(progress) else None
        if progress is True:
            from .progress import LiveProgress

            total = len(problems.calls)
            report = stack.enter_context(LiveProgress(total, problems.method, finished=total - len(left))).report
        if workers is None:
            found = _watched(problems.program, stream(problems, left, report, journals=journals))
        else:
            from .cluster import stream_on_workers

            if progress:
                raise ValueError("progress is not shown from workers; iterate over infer_stream, and show what comes")
            found = stream_on_workers(problems, workers, left, journals)
        for number, posterior in found:
            if saved is not None:
                saved.finish(number, posterior)
            yield number, posterior


def _watched(program: Program, found: Iterator[tuple[int, Posterior]]) -> Iterator[tuple[int, Posterior]]:
    """What was found; with a warning if it involved randomness that no seed repeats."""
    drew = False
    while True:
        before = _global_randomness()
        entry = next(found, None)
        after = _global_randomness()
        # A generator that was not loaded before can't be compared.
        drew |= any(old is not None and old != new for old, new in zip(before, after, strict=True))
        if entry is None:
            break
        yield entry
    if drew:
        warn_user(
            f"{program.name} drew from a global random generator (random, numpy or torch): such draws are no part of "
            "the posterior and no seed repeats them. Draw with sample(distribution) instead."
        )


def check_proposals(program: Program, proposals: Proposals) -> None:
    """Proposals are functions, each for a name (all its addresses) or for one address; or a guide draws them."""
    if isinstance(proposals, Program):
        check_guide(program, proposals)
        return
    if proposals is not None and not isinstance(proposals, Mapping):
        raise TypeError(
            "proposals maps site names to functions of a ProposalSite, or is a guide @program; got "
            f"{type(proposals).__name__}"
        )
    for name, make in (proposals or {}).items():
        if not callable(make):
            raise TypeError(
                f"the proposal for {name!r} is a {type(make).__name__}; give a function of a ProposalSite that returns "
                f"a distribution, for example {{{name!r}: lambda site: ...}}"
            )
        nested = any(site.kind == "program" for site in program.sites)
        if not nested and all(site.name != name for site in program.sites):
            check_address(program, name)


def _global_randomness() -> tuple[Any, ...]:
    """The states of the global random generators, as far as they are loaded."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return (
        hash(random.getstate()),
        None if torch is None else torch.default_generator.get_state().numpy().tobytes(),
        None if numpy is None else numpy.random.get_state()[1].tobytes(),
        None if numpy is None else numpy.random.get_state()[2],
    )
