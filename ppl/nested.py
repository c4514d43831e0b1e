"""Inference inside inference: a judge that reasons, a planner that simulates.

- :func:`nested`: a program that is run by a method of its own wherever another calls it. ``z = nested(judge)(x)`` means
  exactly what ``z = judge(x)`` does, the inner evidence included; only the estimate is better. As a statement of its
  own, its value unused, it is a ``factor`` by the evidence of ``judge(x)``, estimated without bias (pseudo-marginal).
- :func:`posterior_of`: the *normalised* posterior, a distribution like any other. An estimate of it would have to be
  divided by an estimate of the evidence, which is biased with any number of particles; so it is computed exactly.

Which of the two is meant makes a difference: a nested program's evidence counts in the caller, for example in which of
two steps are worth going on from, and that of a posterior does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .compiler.requests import Ask, Block, Site
from .dist import Finite
from .posterior_values import freeze
from .program import Program
from .runtime.distributions import Deferred
from .runtime.machine import Machine, Wait
from .runtime.methods import Method, make_method
from .runtime.nested import Finding, entry, unfinished
from .runtime.particle import Fixed, Particle
from .runtime.population import Population
from .runtime.result import log_sum_exp

if TYPE_CHECKING:
    from .compiler.passes import Pipeline

__all__ = ["PosteriorOf", "nested", "posterior_of"]


class NestedProgram(Program):
    """See :func:`nested`."""

    def __init__(self, inner: Program, method: Method) -> None:
        super().__init__(inner.function, inner.fixed, inner.compiler, inner.pipeline)
        self.inner = inner
        self.method = method

    def _like(
        self, function: Callable[..., Any], fixed: Mapping[str, Fixed] | None, pipeline: Pipeline | None
    ) -> Program:
        return NestedProgram(Program(function, fixed, self._compiler, pipeline), self.method)

    @property
    def entry(self) -> Block:
        site = Site("program", self.name, 0, self.name, self.compiled.ir.span)
        return entry(site, self.inner, self.method)

    def entry_under(self, pipeline: Pipeline) -> Block:
        return self.entry  # its machine prepares the inner program

    def __reduce__(self) -> tuple[Any, ...]:
        return NestedProgram, (self.inner, self.method)

    def __repr__(self) -> str:
        return f"nested({self.inner!r}, {self.method.describe()})"


def nested(program: Program, method: str | Method = "smc", **options: Any) -> Program:
    """The same program, run by a method of its own wherever another program calls it.

    It means what ``program`` means, inline: E[weight · f] is the same, whatever the number of inner particles. Each
    caller runs an inner population to its end, takes over one of its runs, picked by weight, with its choices at their
    usual addresses, and multiplies its own weight by the inner estimate of the evidence (nested SMC: Naesseth, Lindsten
    and Schön, 2015). The calls of all inner populations share batches with each other and with all else.

    Worth it where the inner program's evidence is hard to meet by single runs: its own particles resample, and the
    caller's weights vary less. Methods that record or branch (MCMC, ``move=``, guides, enumeration) run it inline.
    Whatever the inner program changes of its arguments, or, where the run defined it, of what it captured, are its own
    copies. Inner particles, their tokens and their calls count in the caller's budget. Patterns among the options meet
    whole addresses: ``*/line``, not ``line``.

    Args:
        program: a ``@program``.
        method: a name or a method object whose guarantee is ``proper`` or ``exact`` and that estimates the evidence.
        options: the method's own, such as ``n=4``.

    Returns:
        A program; call it inside others, by a name of its own.

    Raises:
        ValueError: the method estimates no evidence, so its runs can't be weighed.
        TypeError: it is no program.
    """
    if not isinstance(program, Program):
        raise TypeError(
            f"nested() takes a @program, got {type(program).__name__}; write nested(judge), not nested(judge(x))"
        )
    recipe = make_method(method, dict(options))
    if recipe.guarantee not in ("proper", "exact") or not recipe.evidence:
        raise ValueError(
            f"nested() needs a method that estimates the evidence without bias, such as SMC(n=4) or Enumerate(); "
            f"{recipe.describe()} is {recipe.guarantee} and does not, so its caller could not be weighed"
        )
    recipe.check(program.sites)
    inner = program.inner if isinstance(program, NestedProgram) else program
    return NestedProgram(inner, recipe)


class PosteriorOf(Deferred):
    """The exact posterior of a program over what it returns; see :func:`posterior_of`.

    It is found when it is first asked for, and known from then on.

    Args:
        program: a program with finitely many runs.
        args, kwargs: its arguments.
        method: an exact one.
    """

    __ppl_immutable__ = True  # what is found is the same whoever finds it

    def __init__(self, program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: Method) -> None:
        self.program = program
        self.args = args
        self.kwargs = kwargs
        self.method = method
        self.law: Finite | None = None
        self._log_evidence = math.nan

    @property
    def log_evidence(self) -> float:
        """log Z of the program."""
        self.found()
        return self._log_evidence

    def found(self) -> Finite:
        """The law; found now, in batches of its own that no budget counts, if it is not known.

        Raises:
            ValueError: the program has no mass, or the method left some of it out.
        """
        if self.law is None:
            from .infer import infer

            found = infer(self.program, *self.args, method=self.method, kwargs=self.kwargs)
            if found.incomplete is not None:
                raise ValueError(f"{self!r}: {unfinished(found.incomplete)}")
            missing = self._take([(run.value, run.log_weight) for run in found.runs])
            if missing is not None:
                raise ValueError(missing)
        assert self.law is not None
        return self.law

    def begin(self, machine: Machine, particle: Particle, ask: Ask) -> Wait | None:
        def take(population: Population) -> str | None:
            return self._take([(run.value, run.log_weight) for run in population.runs()])

        return Finding(machine, particle, ask, (self.program, self.args, self.kwargs, self.method), take).go(None)

    def support(self) -> Sequence[tuple[Any, float]]:
        """Every value with its log-probability."""
        return self.found().support()

    def log_prob(self, value: Any) -> float:
        """The log-probability of a value."""
        return self.found().log_prob(value)

    def sample(self, seed: int | None = None) -> Any:
        """A value, for use at the prompt; inside a program write ``sample(posterior_of(...))``."""
        return self.found().sample(seed)

    def _take(self, runs: Sequence[tuple[Any, float]]) -> str | None:
        """Take what was found, values and log-masses; why there is no law, if so."""
        if not runs:
            return f"{self.program.name} rules out all its runs on these arguments, so it has no posterior"
        values: dict[Any, Any] = {}
        masses: dict[Any, list[float]] = {}
        for value, log_mass in runs:
            key = freeze(value)
            values.setdefault(key, value)
            masses.setdefault(key, []).append(log_mass)
        totals = {key: log_sum_exp(found) for key, found in masses.items()}
        self._log_evidence = log_sum_exp(list(totals.values()))
        self.law = Finite(list(values.values()), [total - self._log_evidence for total in totals.values()])
        return None

    def __repr__(self) -> str:
        return f"posterior_of({self.program.name})" if self.law is None else repr(self.law)


def posterior_of(
    program: Program,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    method: str | Method = "enumerate",
    **options: Any,
) -> PosteriorOf:
    """The normalised posterior of a finite program over what it returns, exactly: to sample, to observe, to look at.

    This is how programs reason about each other: ``observe(posterior_of(listener, word), meaning)`` in a speaker. It is
    found when it is first asked for. Where a program samples or observes it, its model calls share batches with those
    of all particles, and count in the budget. In a Markov chain or a guide, in a mixture, and where its
    ``log_evidence`` is asked for, a number to reckon with, it is found on the spot; wrap the call in
    ``functools.cache`` where many runs ask for the same.

    Args:
        program: a ``@program`` with finitely many runs on these arguments.
        args, kwargs: its arguments.
        method: an exact one; ``Enumerate(...)``.
        options: its own, such as ``max_runs``.

    Raises:
        TypeError: it is no program.
        ValueError: the method is not exact. Later, where it is asked for: the posterior has no mass.
    """
    from .runtime.methods import Enumerate

    if not isinstance(program, Program):
        raise TypeError(f"posterior_of() takes a @program and its arguments, got {type(program).__name__}")
    recipe = make_method(method, dict(options))
    if not isinstance(recipe, Enumerate) or recipe.ignore_evidence:
        raise ValueError(
            f"posterior_of() is normalised, and {recipe.describe()} only estimates what to divide by, which is biased; "
            f"leave method= out to enumerate, or write judge = nested({program.name}, {recipe.describe()}) and call "
            "z = judge(...), whose weight carries the evidence"
        )
    return PosteriorOf(program, args, dict(kwargs or {}), recipe)
