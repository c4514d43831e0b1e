"""Conditional SMC, the production code, against an evidence that is known: E[1/Ẑ] = 1/Z."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .closed_form import validate_inverse_evidence
from .infer import run_problems
from .posterior_draws import draw
from .program import Program, needs_program
from .runtime.kernels import conditional_smc
from .runtime.machine import Machine
from .runtime.methods import Enumerate
from .runtime.population import World
from .runtime.replay import generate, recording
from .runtime.scheduler import Scheduler, Task
from .runtime.source import RandomSource, derive
from .statistical import StatisticalCertificate

Reference = Callable[[int], Mapping[str, Any]]
"""A seed → the choices of a run drawn from the exact posterior, by address."""


def validate_conditional(
    program: Program,
    *args: Any,
    n: int = 3,
    reference: Reference | None = None,
    log_evidence: float | None = None,
    ess_threshold: float = 1.0,
    ancestor_sampling: bool = False,
    runs: int = 500,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    bound: float | None = None,
    deviation: float | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> StatisticalCertificate:
    """Check on a program that conditional SMC keeps its law: E[1/Ẑ] = 1/Z for a reference drawn from the posterior.

    Where the program is finite, references and Z come from enumeration; else give both.

    Args:
        program: a program in which SMC can't lose all its particles.
        args, kwargs: its arguments.
        n: the number of particles, the reference included; some bugs hide at 2.
        reference: draws the choices of a run from the exact posterior, given a seed.
        log_evidence: log Z.
        ess_threshold: resample when the effective sample size falls under this fraction of n.
        ancestor_sampling: draw the reference's past anew at each resampling.
        runs, seed, false_alarm, sequential, bound, deviation: as for
            :func:`~ppl.closed_form.validate_inverse_evidence`.

    Returns:
        A certificate, true when the law holds.

    Raises:
        ValueError: only one of ``reference`` and ``log_evidence`` was given, or an argument makes no sense.
    """
    needs_program(program, "validate_conditional")
    if (reference is None) != (log_evidence is None):
        raise ValueError("give both reference= and log_evidence=, or neither for a finite program")
    call = (tuple(args), dict(kwargs or {}))
    if reference is None or log_evidence is None:
        reference, log_evidence = _enumerated(program, call)
    draw_reference = reference

    def estimate(key: int) -> float:
        machine = Machine(RandomSource())
        world = recording(World(program, *call, machine, derive(key, "world")))

        def task() -> Task[Any]:
            kept = yield from generate(world, draw_reference(derive(key, "reference")), derive(key, "start"))
            settings = n, derive(key, "smc"), ess_threshold, ancestor_sampling
            return (yield from conditional_smc(world, kept.particle, *settings))

        ((_, population),) = Scheduler(1).run(iter([(task(), machine.source)]))
        return population.log_evidence

    method = f"conditional SMC(n={n}{', ancestor_sampling=True' if ancestor_sampling else ''})"
    return validate_inverse_evidence(
        estimate, log_evidence, runs=runs, seed=seed, false_alarm=false_alarm, sequential=sequential, bound=bound,
        deviation=deviation, name=program.name, method=method,
    )  # fmt: skip


def _enumerated(program: Program, call: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[Reference, float]:
    """References and log Z of a finite program."""
    exact = run_problems(program, [call], Enumerate(), [0])[0]
    if exact.empty or not math.isfinite(exact.log_evidence):
        raise ValueError(f"{program.name} has no posterior on these arguments: no run has positive mass")

    def reference(seed: int) -> dict[str, Any]:
        run = exact.runs[draw(exact.runs.weights, 1, seed)[0]]
        return {choice.address: choice.value for choice in run.trace if not choice.observed}

    return reference, exact.log_evidence
