"""Running a method on problems: what is behind ``infer``, in this process or in a worker's."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from .compiler.requests import Block
from .posterior import Posterior
from .posterior_values import listed, show
from .program import Program
from .runtime.budget import Budget, Control, controlled
from .runtime.collecting import young_collections
from .runtime.engines.model import Usage
from .runtime.guide import GuidedMachine, GuideMachine
from .runtime.journal import Journal
from .runtime.kernels.addresses import matches, patterns_of
from .runtime.machine import Machine, Tally
from .runtime.methods import Method
from .runtime.operands import Proposal
from .runtime.outside import Outside
from .runtime.population import Population, World
from .runtime.recording import recorded
from .runtime.result import Cost, Death, Result
from .runtime.scheduler import Scheduler, Task
from .runtime.source import RandomSource, Source, derive, fresh_seed

Progress = Callable[[int, Population], None]
Proposals = Mapping[str, Proposal] | Program | None
Stop = Callable[[Population], bool]
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Journals = Callable[[int], Journal]

_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Problems:
    """What is to be inferred: a program on some inputs, and how.

    Attributes:
        program: what is run.
        calls: its arguments, for each problem.
        method: how each is inferred.
        seeds: of each problem; ``None`` for a fresh one.
        proposals: see ``infer``.
        on_error: ``raise`` or ``kill``.
        limits: what each problem may use, and a rule that ends it.
        concurrency: how many problems to work on at a time.
    """

    program: Program
    calls: Sequence[Arguments]
    method: Method
    seeds: Sequence[int | None]
    proposals: Proposals = None
    on_error: str = "raise"
    limits: tuple[Budget | None, Stop | None] = (None, None)
    concurrency: int = 64


def stream(
    problems: Problems,
    numbers: Sequence[int] | None = None,
    report: Progress | None = None,
    source: Source | None = None,
    journals: Journals | None = None,
) -> Iterator[tuple[int, Posterior]]:
    """Run a method on several problems, in shared batches.

    Args:
        problems: the problems.
        numbers: which of them; all by default.
        report: told the number of a problem and its population after each step, and at its end.
        source: where outcomes come from; random numbers by default, the exact source for certificates.
        journals: where each problem writes down what it was answered, and finds what it was answered before.

    Yields:
        The number of a problem and its posterior, in order of completion.
    """
    source = source or RandomSource()
    program, method = suited(problems.program, problems.method), problems.method
    machines: dict[int, Machine] = {}
    chosen: dict[int, int] = {}
    started: dict[int, float] = {}
    scheduler = Scheduler(problems.concurrency)
    prepare = None if program.pipeline is None else program.prepared(program.pipeline)
    asked = list(range(len(problems.calls)) if numbers is None else numbers)

    def tasks() -> Iterator[tuple[Task[Population], Source]]:
        shared = Outside(program.function)
        for number in asked:
            args, kwargs = problems.calls[number]
            control = Control(*problems.limits)
            machine = machine_for(source, problems.proposals, args, kwargs, problems.on_error, prepare, control)
            machines[number] = machine
            started[number] = time.perf_counter()
            seed = problems.seeds[number]
            chosen[number] = fresh_seed() if seed is None else seed
            key = derive(chosen[number] % 2**64, "infer")
            told = None if report is None else _reporter(report, number)
            world = World(program, args, kwargs, machine, key, told, outside=shared)
            task = controlled(method.run(world), control)
            yield task if journals is None else recorded(task, journals(number), control), source

    results = scheduler.run(tasks())
    while True:
        with young_collections():  # not while whoever asked does something else
            try:
                found = next(results, None)
            except Exception as error:
                if len(problems.calls) > 1 and scheduler.failed is not None and hasattr(error, "add_note"):
                    error.add_note(_which(problems, asked[scheduler.failed]))
                raise
            if found is None:
                return
            number, population = asked[found[0]], found[1]
            machine = machines.pop(number)
            population.ended = True
            if report is not None:
                report(number, population)
            cost = _cost(machine.tally, scheduler.usage(), time.perf_counter() - started[number])
            if isinstance(source, RandomSource):  # a check explores runs one by one, and each reaches but some sites
                _warn_of_unused(program, machine)
                _warn_of_missed(machine)
                _warn_of_patterns(program, method, population)
            posterior = Posterior(_result(program, method, population, machine.tally, chosen[number], cost))
        yield number, posterior


def _which(problems: Problems, number: int) -> str:
    """Which of several problems, in words."""
    args, kwargs = problems.calls[number]
    given = ", ".join([*(show(arg, 60) for arg in args), *(f"{name}={show(arg, 60)}" for name, arg in kwargs.items())])
    return f"in problem {number} of {len(problems.calls)} (counted from 0): {problems.program.name}({given})"


def run_problems(
    program: Program,
    calls: Sequence[Arguments],
    method: Method,
    seeds: Sequence[int | None],
    proposals: Proposals = None,
    source: Source | None = None,
) -> list[Posterior]:
    """The posteriors of several problems, in their order; for whoever needs no more than that.

    Args:
        program, calls, method, seeds, proposals: see :class:`Problems`.
        source: see :func:`stream`.
    """
    found = dict(stream(Problems(program, calls, method, seeds, proposals), source=source))
    return [found[number] for number in range(len(calls))]


def warn_user(message: str) -> None:
    """Warn, at the line outside this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _cost(tally: Tally, models: Mapping[str, Usage], seconds: float) -> Cost:
    """What was counted for a problem, and what the models computed meanwhile."""
    used = reduce(Usage.plus, models.values(), Usage())
    return Cost(tally.tokens, used.positions, used.forwards, tally.model_calls, tally.calls, seconds, models)


def suited(program: Program, method: Method) -> Program:
    """A program under those of its passes that leave what a method's law is of."""
    pipeline = program.pipeline
    if pipeline is None or not method.by_traces:
        return program
    from .compiler.passes import Level

    return program.with_passes([each for each in pipeline.passes if each.level <= Level.JOINT], pipeline.keep)


def machine_for(
    source: Source,
    proposals: Proposals,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    on_error: str = "raise",
    prepare: Callable[[Any], Block] | None = None,
    control: Control | None = None,
) -> Machine:
    """The machine of one problem."""
    control = control or Control()
    if not isinstance(proposals, Program):
        return Machine(source, dict(proposals or {}), on_error=on_error, prepare=prepare, control=control)
    tally = Tally()
    guide = World(proposals, args, kwargs, GuideMachine(source, ignore_evidence=True, tally=tally), 0)
    return GuidedMachine(source, on_error=on_error, prepare=prepare, tally=tally, control=control, guide=guide)


def _result(program: Program, method: Method, population: Population, tally: Tally, seed: int, cost: Cost) -> Result:
    return Result(
        runs=population.runs(),
        log_evidence=population.log_evidence if method.evidence and population.incomplete is None else None,
        guarantee=method.guarantee if population.incomplete is None else "heuristic",
        method=method.describe(),
        program=program.name,
        particles=population.size,
        seed=seed,
        history=tuple(population.history),
        deaths=tuple(Death(site, count, error) for (site, error), count in tally.deaths.most_common()),
        cost=cost,
        incomplete=population.incomplete,
        bounds=population.bounds,
        lengths=population.chains,
        remedy=method.remedy,
        listed=method.guarantee == "exact",
    )


def _reporter(report: Progress, number: int) -> Callable[[Population], None]:
    return lambda population: report(number, population)


def _warn_of_unused(program: Program, machine: Machine) -> None:
    """A fixed site or a proposal that no run reached is most likely misspelt."""
    asked = [*(program.fixed or {}), *machine.proposals]
    unused = [name for name in asked if name not in machine.used]
    if unused:
        warn_user(
            f"no run of {program.name} reached {', '.join(map(repr, unused))}, so what was given for it had no effect; "
            f"infer({program.name}, ..., method='forward').addresses() lists the addresses"
        )


def _warn_of_missed(machine: Machine) -> None:
    """What a guide never draws is lost, unless the program rules it out, as only its author knows."""
    for site, missed in machine.missed.items() if isinstance(machine, GuidedMachine) else ():
        warn_user(f"the guide: {missed} ({site.span}). Where the program rules that out in any case, nothing is lost")


def _warn_of_patterns(program: Program, method: Method, population: Population) -> None:
    """A pattern that no run has an address for is most likely misspelt too: a kernel would leave all as it is."""
    asked = patterns_of(method)
    if not asked:
        return
    addresses = {choice.address for run in population.runs() for choice in run.trace}
    unused = [pattern for pattern in asked if not any(matches(pattern, address) for address in addresses)]
    if unused and addresses:
        warn_user(
            f"{', '.join(map(repr, unused))} in {method.describe()} matches no address of {program.name}, so it had no "
            f"effect; there are {listed(sorted(addresses), 12)}"
        )
