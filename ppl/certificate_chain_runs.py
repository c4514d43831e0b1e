"""What a chain's method makes of its steps: which states it keeps, how often, and by what weight.

The transition matrix says nothing of that. So the production ``run`` of a few short chains is put through all its
outcomes, and what it returns is compared with the law of the states to be kept. With K the matrix and ν the law of the
start, that is the mean of ν K^(i+1) over the steps i after burn-in, every ``thin``-th, all of one weight. ``start`` and
``step`` are replaced: a chain starts at one of two states, and a step is a draw from the row of K of its state, thinned
to a few outcomes. For a ``run`` has to keep the law of any chain.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .certificate_parts import alone, identity
from .expectation import Call, Finding, Measure, trace_key
from .program import Program
from .runtime.exact import explore
from .runtime.kernels import Setting
from .runtime.methods.chains import Chains
from .runtime.population import Population, World
from .runtime.result import Run
from .runtime.scheduler import Task
from .runtime.source import Key, Source

if TYPE_CHECKING:
    import numpy as np

SHAPES: tuple[dict[str, Any], ...] = (
    {"steps": 2, "chains": 1, "burn_in": 0, "thin": 1},
    {"steps": 2, "chains": 1, "burn_in": None, "thin": 1},
    {"steps": 2, "chains": 1, "burn_in": 0, "thin": 2},
    {"steps": 1, "chains": 2, "burn_in": None, "thin": 1},
)
"""How long the chains are. The default of ``burn_in`` is half of the steps."""

OUTCOMES = 2
"""The most outcomes of a step."""


def check_run(
    program: Program, call: Call, method: Chains, states: Sequence[Any], matrix: np.ndarray, limit: int
) -> Finding:
    """How far the posterior that a method's run returns is from the law of its states.

    Args:
        program, call: what the chains are about.
        method: the method.
        states: some states, at least one.
        matrix: the probability of each after each, float64 [states, states].
        limit: the most sequences of outcomes for one shape.

    Raises:
        TypeError: the run does not go by ``start`` and ``step``.
    """
    law = _Steps(states, matrix)
    worst = Finding(0.0, 0)
    for shape in SHAPES:
        found = _check_shape(program, call, replace(method, **shape), law, limit)
        leaves = worst.leaves + found.leaves
        worst = replace(found if found.error > worst.error else worst, leaves=leaves)
    return worst


class _Steps:
    """A chain on some states, whose steps have few outcomes.

    Attributes:
        starts: where it may start, each as likely as the others.
        rows: for each state, what may follow it, and how probable each is.
    """

    def __init__(self, states: Sequence[Any], matrix: np.ndarray) -> None:
        self.states = states
        self.starts = sorted({0, len(states) - 1})
        self.rows = [_thinned(i, row) for i, row in enumerate(matrix.tolist())]
        self.started = self.stepped = False
        self._places = {identity(state): i for i, state in enumerate(states)}

    def start(self, world: World) -> Task[Any]:
        """The state of a chain before its first step."""
        self.started = True
        return self.states[self.starts[world.machine.source.choose([0.0] * len(self.starts), world.key)]]
        yield  # a task that waits for nothing

    def step(self, setting: Setting, state: Any, key: Key) -> Task[Any]:
        """The next state; ``state`` itself, if the chain stays."""
        self.stepped = True
        here = self._places[identity(state)]
        following, probabilities = self.rows[here]
        chosen = setting.world.machine.source.choose([math.log(p) for p in probabilities], key)
        return state if following[chosen] == here else self.states[following[chosen]]
        yield

    def law(self, steps: int) -> list[float]:
        """How probable each state is after some steps."""
        law = [(i in self.starts) / len(self.starts) for i in range(len(self.states))]
        for _ in range(steps):
            after = [0.0] * len(law)
            for mass, (following, probabilities) in zip(law, self.rows, strict=True):
                for j, p in zip(following, probabilities, strict=True):
                    after[j] += mass * p
            law = after
        return law


def _thinned(here: int, row: Sequence[float]) -> tuple[list[int], list[float]]:
    """Staying, if that can be, and the most probable other outcomes of a step."""
    others = sorted((j for j, p in enumerate(row) if p > 0.0 and j != here), key=lambda j: -row[j])
    kept = ([here] if row[here] > 0.0 or not others else []) + others
    kept = kept[:OUTCOMES]
    total = math.fsum(row[j] for j in kept)
    return kept, [row[j] / total if total > 0.0 else 1.0 for j in kept]


def _check_shape(program: Program, call: Call, method: Chains, law: _Steps, limit: int) -> Finding:
    """:func:`check_run`, for chains of one length."""
    burn_in = method.steps // 2 if method.burn_in is None else method.burn_in
    kept = range(burn_in, method.steps, method.thin)
    due = method.chains * len(kept)
    made = _replaced(method, law)

    def outcome(source: Source) -> Population:
        return alone(program, call, made.run, source)

    posterior: Measure = defaultdict(float)
    unequal, leaves = 0.0, 0
    for log_p, population in explore(outcome, limit):
        leaves += 1
        if not law.started or not law.stepped:
            raise TypeError(
                f"{type(method).__name__}.run() must go by start() and step(), which the exact check replaces; it did "
                f"not call {'step' if law.started else 'start'}()"
            )
        runs = population.runs()
        if len(runs) != due or population.chains != (len(kept),) * method.chains:
            return Finding(math.inf, leaves, _miscounted(method, population, len(runs), due))
        weights = [math.exp(min(run.log_weight, 700.0)) for run in runs]
        unequal = max(unequal, *(abs(weight * due - 1.0) for weight in weights))
        for run_, weight in zip(runs, weights, strict=True):
            posterior[trace_key(run_)] += math.exp(log_p) * weight
    for i in kept:
        for state, p in zip(law.states, law.law(i + 1), strict=True):
            posterior[_key(method, state)] -= p / len(kept)
    gap = max(map(abs, posterior.values()))
    if max(unequal, gap) <= 1e-9:
        return Finding(max(unequal, gap), leaves)
    run = f"{type(method).__name__}.run()"
    if unequal > gap:
        return Finding(unequal, leaves, f"the states that {run} returns are not of one weight")
    return Finding(gap, leaves, f"the states that {run} keeps are not those after its steps")


def _miscounted(method: Chains, population: Population, found: int, due: int) -> str:
    told = ", ".join(map(str, population.chains or ())) or "none"
    return (
        f"{type(method).__name__}.run() returns {found} states of positive weight, and says that its chains have "
        f"{told}, where {due} of {method.chains} chains are due: steps={method.steps}, burn_in={method.burn_in}, "
        f"thin={method.thin}"
    )


def _key(method: Chains, state: Any) -> Any:
    """A state's run, as it is looked up in a posterior."""
    run = method.run_of(state)
    return trace_key(Run(run.value, 0.0, run.trace.choices() if run.trace else (), run.log_joint))


def _replaced(method: Chains, law: _Steps) -> Chains:
    """The method with another start and other steps; the rest is production code."""

    def start(self: Chains, world: World, key: Key) -> Task[Any]:
        return law.start(replace(world, key=key))

    def step(self: Chains, setting: Setting, state: Any, key: Key) -> Task[Any]:
        return law.step(setting, state, key)

    kind = type(method)
    made: Chains = object.__new__(type(kind.__name__, (kind,), {"start": start, "step": step}))
    vars(made).update(vars(method))
    return made
