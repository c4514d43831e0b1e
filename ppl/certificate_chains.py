"""Certificates of Markov chains: the exact transition matrix of a kernel, and what must be true of it.

The support of a finite program is enumerated. From each of its runs the production code of the kernel is put through
every random outcome, which gives a row of the transition matrix K. Then, with π the program's measure normalised:

- each row sums to 1, and πK = π (stationarity);
- π(x) K(x, y) = π(y) K(y, x) where the kernel claims to be reversible (detailed balance);
- every run can be reached from every other (irreducibility on the support), without which a chain's average may never
  come near the posterior.

:class:`Transitions` holds matrix and target, with their errors as properties; :func:`transitions` makes it;
:func:`check_chains` is the row for ``stationary`` in ``certificate.CHECKS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .expectation import Call, TooLarge
from .posterior_values import freeze
from .program import Program
from .runtime.exact import NotFinite, explore
from .runtime.kernels import Kernel, Setting, Target, joint
from .runtime.machine import Machine
from .runtime.methods import Enumerate, Method
from .runtime.methods.chains import Chains
from .runtime.particle import Particle, Status
from .runtime.population import World
from .runtime.replay import generate, recording
from .runtime.result import log_sum_exp
from .runtime.scheduler import Scheduler, Task
from .runtime.source import RandomSource, Source, derive

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np

T = TypeVar("T")

Step = Callable[[Setting, Any, int], Task[Any]]
"""A setting, a state and a key → a task that ends with the next state."""


@dataclass(frozen=True)
class Transitions:
    """A Markov chain on the support of a finite program.

    Attributes:
        states: what tells each apart: its choices.
        target: π, float64 [states].
        matrix: K, float64 [states, states]; row x is the law of the next state after x.
        reversible: whether detailed balance is claimed.
        leaves: how many steps were run.
        outside: the largest probability of a step to what is no state.
    """

    states: tuple[Any, ...]
    target: np.ndarray
    matrix: np.ndarray
    reversible: bool
    leaves: int
    outside: float = 0.0

    @property
    def stationarity(self) -> float:
        """The largest difference between πK and π."""
        return float(abs(self.target @ self.matrix - self.target).max(initial=0.0))

    @property
    def balance(self) -> float:
        """The largest difference between π(x) K(x, y) and π(y) K(y, x)."""
        flow = self.target[:, None] * self.matrix
        return float(abs(flow - flow.T).max(initial=0.0))

    @property
    def row_sums(self) -> float:
        """The largest difference between the sum of a row and 1."""
        return float(abs(self.matrix.sum(axis=1) - 1.0).max(initial=0.0))

    @property
    def graph(self) -> nx.DiGraph:
        """Which state can follow which."""
        import networkx as nx
        import numpy as np

        graph: nx.DiGraph = nx.DiGraph()
        graph.add_nodes_from(range(len(self.states)))
        graph.add_edges_from(zip(*map(list, np.nonzero(self.matrix > 0.0)), strict=True))
        return graph

    @property
    def irreducible(self) -> bool:
        """Whether every state can be reached from every other."""
        import networkx as nx

        return len(self.states) < 2 or bool(nx.is_strongly_connected(self.graph))

    @property
    def aperiodic(self) -> bool:
        """Whether an irreducible chain forgets where it started."""
        import networkx as nx

        return self.irreducible and (len(self.states) < 2 or bool(nx.is_aperiodic(self.graph)))

    @property
    def error(self) -> float:
        """The largest of all errors; infinite for a chain that can't reach some state."""
        errors = [self.stationarity, self.row_sums, self.outside, self.balance if self.reversible else 0.0]
        return max(errors) if self.irreducible else math.inf

    def __str__(self) -> str:
        balance = f"{self.balance:.1e}" + ("" if self.reversible else " (not claimed)")
        return (
            f"{len(self.states)} states: stationarity {self.stationarity:.1e}, detailed balance {balance}, "
            f"{'irreducible' if self.irreducible else 'NOT irreducible'}, {'a' * self.aperiodic}periodic"
        )


def transitions(
    program: Program, *args: Any, kernel: Kernel, target: Target = joint, limit: int = 100_000
) -> Transitions:
    """The exact transition matrix of a kernel on a finite program.

    Args:
        program: a program with finitely many runs on these arguments.
        args: its arguments.
        kernel: the kernel.
        target: the log-density it is to leave invariant; the program's own measure by default.
        limit: the most steps to run.

    Raises:
        TooLarge: there are more steps, or infinitely many outcomes.
    """
    return transitions_of(program, (args, {}), kernel.step, target, kernel.reversible, limit)


def transitions_of(
    program: Program, call: Call, step: Step, target: Target, reversible: bool, limit: int
) -> Transitions:
    """:func:`transitions`, for whatever makes a step."""
    import numpy as np

    runs = support(program, call)
    index = {key_of(run): i for i, run in enumerate(runs)}
    weights = [target(run) for run in runs]
    total = log_sum_exp(weights)
    matrix = np.zeros((len(runs), len(runs)))
    leaves, outside = 0, 0.0
    for i, run in enumerate(runs):
        task = _stepping(step, target, run)

        def reach(source: Source, task: Callable[[World], Task[Particle]] = task) -> Any:
            return key_of(alone(program, call, task, source))

        try:
            for log_p, reached in explore(reach, limit - leaves):
                leaves += 1
                j = index.get(reached)
                if j is None:
                    outside = max(outside, math.exp(log_p))
                else:
                    matrix[i, j] += math.exp(log_p)
        except NotFinite as error:
            raise TooLarge(f"{program.name}: {error}", Enumerate()) from error
    pi = np.array([math.exp(w - total) for w in weights])
    return Transitions(tuple(index), pi, matrix, reversible, leaves, outside)


def check_chains(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> tuple[list[float], int]:
    """How far a chain is from stationary, reversible where it claims so, and irreducible."""
    errors, leaves = [], 0
    for recipe in recipes:
        if not isinstance(recipe, Chains):
            raise TypeError(f"{type(recipe).__name__} promises a stationary chain, so it must be a Chains method")
        try:
            found = recipe_transitions(program, call, recipe, limit)
        except TooLarge as error:
            raise TooLarge(f"{program.name} by {recipe.describe()}: {error}", recipe) from error.__cause__
        errors.append(found.error)
        leaves += found.leaves
    return errors, leaves


def recipe_transitions(program: Program, call: Call, recipe: Chains, limit: int = 100_000) -> Transitions:
    """The exact transition matrix of a method's step."""
    return transitions_of(program, call, recipe.step, recipe.target, recipe.reversible, limit)


def support(program: Program, call: Call) -> list[Particle]:
    """Every finished run of positive mass, recorded as if it had been drawn."""

    def task(world: World) -> Task[list[Particle]]:
        world = recording(world)
        population = yield from Enumerate().run(world)
        found = []
        for particle in population.particles:
            if particle.status is not Status.DONE:
                continue
            # Enumeration knows nothing of proposals: run each again, so that the densities under them are recorded.
            choices = particle.trace.choices() if particle.trace else ()
            values = {choice.address: choice.value for choice in choices if not choice.observed}
            again = yield from generate(world, values, derive(world.key, "again"))
            found.append(again.particle)
        return found

    return alone(program, call, task, RandomSource())


def alone(program: Program, call: Call, task: Callable[[World], Task[T]], source: Source) -> T:
    """Run a task on one problem."""
    prepare = None if program.pipeline is None else program.prepared(program.pipeline)
    world = World(program, *call, Machine(source, prepare=prepare), derive(0, "law"))
    [(_, found)] = Scheduler(1).run([(task(world), source)])
    return found


def key_of(run: Particle) -> Any:
    """What tells a finished run from others: every choice. Texts that read the same may differ in their tokens."""
    choices = run.trace.choices() if run.trace else ()
    return tuple((c.address, freeze(c.value), getattr(c.value, "tokens", None)) for c in choices)


def _stepping(step: Step, target: Target, state: Any) -> Callable[[World], Task[Any]]:
    return lambda world: step(Setting(recording(world), target=target), state, derive(world.key, "step"))
