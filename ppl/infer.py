"""``infer`` and ``infer_many``."""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral
from typing import TYPE_CHECKING, Any

from .compiler.requests import Block
from .compiler.scan import parameters
from .guides import check_guide
from .posterior import Posterior
from .program import Passes, Program, check_address
from .runtime.budget import Budget, Control, controlled
from .runtime.guide import GuidedMachine
from .runtime.machine import Machine, Tally
from .runtime.methods import Method, UnknownOption, make_method
from .runtime.operands import Proposal
from .runtime.population import Population, World
from .runtime.recording import recorded
from .runtime.result import Cost, Death, Result
from .runtime.scheduler import Scheduler, Task
from .runtime.source import RandomSource, Source, derive, fresh_seed

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

Progress = Callable[[int, Population], None]
Proposals = Mapping[str, Proposal] | Program | None
Stop = Callable[[Population], bool]
Limits = Mapping[str, float]

_OUTSIDE = 5
"""The stack level of whoever called ``infer`` or ``infer_many``, for warnings."""
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


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
        progress: show a live display, or call this after every step with the problem's number and its population.
        budget: the most to use, such as ``{"tokens": 2000}``; see ``Budget``. What would go past it is not begun, and
            what is finished by then comes back, marked ``posterior.incomplete``.
        stop: called with the population after each step; true ends the run in the same way. See ``ppl.stopping``.
        passes: the compiler's passes to run it under, by name, ``"all"``, or ``[]`` for none; by default what the
            program was given by ``with_passes``, else those that keep the measure over traces. With ``proposals`` the
            default is none: they look at the program's variables at a site, and those depend on what comes after it.
        keep: addresses that passes must leave; only matters with passes that may drop some.
        checkpoint: a folder in which to write down what models and functions answer. If this process dies, the same
            call goes on from there to the posterior that it would have had; what was finished is not computed again.
            The cost in positions, forwards and seconds is then that of the last attempt.
        options: the method's own, such as ``n=32``.

    Returns:
        The weighted posterior.

    Raises:
        ValueError, TypeError: an argument makes no sense.
        CheckpointMismatch: the checkpoint is of another run, with another program, other arguments, another model, ...;
            the text says what differs.
        ProgramError: the program asked for something meaningless; names its file and line.
    """
    call = (tuple(args), dict(kwargs or {}))
    program = _under(program, passes, keep, proposals)
    limits = (budget, stop)
    return _infer(program, [call], method, [seed], proposals, on_error, progress, limits, 1, checkpoint, options)[0]


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

    Returns:
        The posteriors, in the order of the inputs.
    """
    calls: list[Arguments] = [(each if isinstance(each, tuple) else (each,), {}) for each in inputs]
    seeds: list[int | None]
    if seed is None or isinstance(seed, int | Integral):  # numpy's integers are no int
        seeds = [seed] * len(calls)
    else:
        seeds = list(seed)
        if len(seeds) != len(calls):
            raise ValueError(f"{len(seeds)} seeds for {len(calls)} inputs; give one seed for all, or one for each")
    program = _under(program, passes, keep, proposals)
    limits = (budget, stop)
    return _infer(
        program, calls, method, seeds, proposals, on_error, progress, limits, concurrency, checkpoint, options
    )


def _under(program: Program, passes: Passes, keep: Iterable[str], proposals: Proposals) -> Program:
    """The program under the passes that were asked for."""
    if not isinstance(program, Program):
        return program  # refused later, with all other arguments
    addresses = [keep] if isinstance(keep, str) else keep
    if passes is None and program.pipeline is None and proposals:
        passes = []
    if passes is None and program.pipeline is not None:
        passes = program.pipeline
    proposed = ("*",) if isinstance(proposals, Program) else tuple(proposals or ())
    return program.with_passes(passes, (*addresses, *proposed))


def _infer(
    program: Program,
    calls: Sequence[Arguments],
    method: str | Method,
    seeds: Sequence[int | None],
    proposals: Proposals,
    on_error: str,
    progress: bool | Progress,
    limits: tuple[Budget | Limits | None, Stop | None],
    concurrency: int,
    checkpoint: str | os.PathLike[str] | None,
    options: dict[str, Any],
) -> list[Posterior]:
    if not isinstance(program, Program):
        hint = "put @program above it" if callable(program) else "write infer(program, x), not infer(program(x))"
        raise TypeError(f"infer takes a @program, got {type(program).__name__}: {hint}")
    for seed in seeds:
        if seed is not None and not isinstance(seed, Integral):
            raise TypeError(f"seed is an integer, got {seed!r}")
    seeds = [None if seed is None else int(seed) for seed in seeds]
    if on_error not in ("raise", "kill"):
        raise ValueError(f"on_error is 'raise' or 'kill'; got {on_error!r}")
    try:
        recipe = make_method(method, options)
    except UnknownOption as error:
        if error.option not in parameters(program.compiled.ir.signature):
            raise
        hint = f"An argument of {program.name} goes into kwargs={{{error.option!r}: ...}}"
        raise ValueError(f"{error}. {hint}") from None
    recipe.check(program.sites)
    bounds = Budget.of(limits[0]), limits[1]
    _check_proposals(program, proposals)
    with ExitStack() as stack:
        report = progress if callable(progress) else None
        if progress is True:
            from .progress import LiveProgress

            report = stack.enter_context(LiveProgress(len(calls), recipe)).report
        saved = None
        if checkpoint is not None:
            from .checkpoint import open_checkpoint, settings_of

            settings = settings_of(program, proposals, on_error, bounds)
            saved = stack.enter_context(open_checkpoint(checkpoint, program, calls, recipe, seeds, settings))
        before = _global_randomness()
        found = run_problems(
            program, calls, recipe, seeds, proposals, on_error, report, concurrency, limits=bounds, checkpoint=saved
        )
        after = _global_randomness()
    # A generator that was not loaded before can't be compared.
    if any(old is not None and old != new for old, new in zip(before, after, strict=True)):
        warnings.warn(
            f"{program.name} drew from a global random generator (random, numpy or torch): such draws are no part of "
            "the posterior and no seed repeats them. Draw with sample(distribution) instead.",
            stacklevel=3,
        )
    return found


def run_problems(
    program: Program,
    calls: Sequence[Arguments],
    method: Method,
    seeds: Sequence[int | None],
    proposals: Proposals = None,
    on_error: str = "raise",
    report: Progress | None = None,
    concurrency: int = 64,
    source: Source | None = None,
    limits: tuple[Budget | None, Stop | None] = (None, None),
    checkpoint: Checkpoint | None = None,
) -> list[Posterior]:
    """Run a method on several problems, in shared batches. :func:`infer` and :func:`infer_many` are front ends of it.

    Args:
        source: where outcomes come from; random numbers by default, the exact source for certificates.
        limits: what each problem may use, and a rule that ends it.
        checkpoint: where to write down what was answered, and whose seeds to take.
    """
    source = source or RandomSource()
    machines: dict[int, Machine] = {}
    chosen = [fresh_seed() if seed is None else seed for seed in seeds] if checkpoint is None else checkpoint.seeds
    started: dict[int, float] = {}
    scheduler = Scheduler(concurrency)
    prepare = None if program.pipeline is None else program.prepared(program.pipeline)

    def tasks() -> Iterator[tuple[Task[Population], Source]]:
        for number, (args, kwargs) in enumerate(calls):
            machine = machines[number] = _machine(source, proposals, args, kwargs, on_error, prepare)
            started[number] = time.perf_counter()
            key = derive(chosen[number] % 2**64, "infer")
            told = None if report is None else _reporter(report, number)
            control = Control(*limits)
            task = controlled(method.run(World(program, args, kwargs, machine, key, told, control)), control)
            yield task if checkpoint is None else recorded(task, checkpoint.journal(number)), source

    found: dict[int, Posterior] = {}
    for number, population in scheduler.run(tasks()):
        tally = machines[number].tally
        used = scheduler.usage()
        seconds = time.perf_counter() - started[number]
        cost = Cost(tally.tokens, used.positions, used.forwards, tally.model_calls, tally.calls, seconds)
        _warn_of_unused(program, machines[number])
        found[number] = Posterior(_result(program, method, population, tally, chosen[number], cost))
    return [found[number] for number in range(len(calls))]


def _machine(
    source: Source,
    proposals: Proposals,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    on_error: str,
    prepare: Callable[[Any], Block] | None,
) -> Machine:
    """The machine of one problem."""
    if not isinstance(proposals, Program):
        return Machine(source, dict(proposals or {}), on_error=on_error, prepare=prepare)
    tally = Tally()
    guide = World(proposals, args, kwargs, Machine(source, ignore_evidence=True, tally=tally), 0)
    return GuidedMachine(source, on_error=on_error, prepare=prepare, tally=tally, guide=guide)


def _result(program: Program, method: Method, population: Population, tally: Tally, seed: int, cost: Cost) -> Result:
    return Result(
        runs=population.runs(),
        log_evidence=population.log_evidence if method.evidence and population.incomplete is None else None,
        guarantee=method.guarantee if population.incomplete is None else "heuristic",
        method=method.describe(),
        program=program.name,
        particles=len(population.particles),
        seed=seed,
        history=tuple(population.history),
        deaths=tuple(Death(site, count, error) for (site, error), count in tally.deaths.most_common()),
        cost=cost,
        incomplete=population.incomplete,
        bounds=population.bounds,
        chains=population.chains,
    )


def _reporter(report: Progress, number: int) -> Callable[[Population], None]:
    return lambda population: report(number, population)


def _check_proposals(program: Program, proposals: Proposals) -> None:
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


def _warn_of_unused(program: Program, machine: Machine) -> None:
    """A fixed site or a proposal that no run reached is most likely misspelt."""
    asked = [*(program.fixed or {}), *machine.proposals]
    unused = [name for name in asked if name not in machine.used]
    if unused:
        warnings.warn(
            f"no run of {program.name} reached {', '.join(map(repr, unused))}, so what was given for it had no effect; "
            f"infer({program.name}, ..., method='forward').addresses() lists the addresses",
            stacklevel=_OUTSIDE,
        )


def _global_randomness() -> tuple[Any, ...]:
    """The states of the global random generators, as far as they are loaded."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return (
        hash(random.getstate()),
        None if torch is None else torch.default_generator.get_state().numpy().tobytes(),
        None if numpy is None else numpy.random.get_state()[1].tobytes(),
        None if numpy is None else numpy.random.get_state()[2],
    )
