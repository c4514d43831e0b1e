"""Certificates of Markov chains: the exact transition matrix of a kernel, and what must be true of it.

The support of a finite program is enumerated. From each of its runs the production code of the kernel is put through
every random outcome, which gives a row of the transition matrix K. Then, with π the program's measure normalised:

- each row sums to 1, and πK = π (stationarity);
- π(x) K(x, y) = π(y) K(y, x) where the kernel claims to be reversible (detailed balance);
- every run can be reached from every other (irreducibility on the support), without which a chain's average may never
  come near the posterior.

Where a state is more than a run (PMMH keeps an estimate), states and their law are found the same way, and the law of
their runs is compared with the program's measure, or with another that the method claims because an option asks for it.
``certificate_parts.py`` puts steps through their outcomes; ``certificate_chain_runs.py`` checks what a method makes of
them.

:class:`Transitions` holds matrix and target, with their errors as properties; :func:`transitions` makes it for a
kernel, :func:`method_transitions` for a method; :func:`check_chains` is the row for ``stationary`` in
``certificate.CHECKS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .certificate_chain_runs import check_run
from .certificate_keys import check_keys
from .certificate_parts import Explorer, alone, identity, key_of
from .expectation import Call, Finding, most_runs, outcome
from .posterior_values import show
from .program import Program, needs_program
from .runtime.kernels import Kernel, Target, joint
from .runtime.methods import MH, Enumerate, Method
from .runtime.methods.chains import Chains
from .runtime.particle import Particle, Status
from .runtime.population import World
from .runtime.replay import generate, recording
from .runtime.result import log_sum_exp
from .runtime.scheduler import Task
from .runtime.source import PreciseSource, derive

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np

T = TypeVar("T")

LAW = "pi K = pi, detailed balance where claimed, every run reached"
CHAIN_LAW = f"{LAW}; the posterior is the chain's states"


@dataclass(frozen=True)
class Transitions:
    """A Markov chain on the support of a finite program.

    Attributes:
        states: what tells each apart.
        target: π, float64 [states].
        matrix: K, float64 [states, states]; row x is the law of the next state after x.
        reversible: whether detailed balance is claimed.
        leaves: how many steps were run; what several steps have in common is run once (``certificate_parts.py``).
        outside: the largest probability of a step to what is no state.
        margin: the largest difference between the law of the states' runs and what is claimed of it.
        held: the states themselves.
        runs: the run that each state holds.
    """

    states: tuple[Any, ...]
    target: np.ndarray
    matrix: np.ndarray
    reversible: bool
    leaves: int
    outside: float = 0.0
    margin: float = 0.0
    held: tuple[Any, ...] = ()
    runs: tuple[Particle, ...] = ()

    @property
    def values(self) -> tuple[Any, ...]:
        """What the program returned, in each state."""
        return tuple(run.value for run in self.runs)

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

    exact = True
    law = LAW

    def __bool__(self) -> bool:
        return self.error <= 1e-9

    @property
    def error(self) -> float:
        """The largest of all errors; infinite for a chain that can't reach some state."""
        errors = [self.stationarity, self.row_sums, self.outside, self.margin]
        errors += [self.balance] if self.reversible else []
        return max(errors) if self.irreducible else math.inf

    @property
    def reason(self) -> str | None:
        """Why the chain is wrong, where there is more to say than the error."""
        missed = self._missed()
        if missed is not None:
            start, end = (_described(self.runs[state]) for state in missed)
            return (
                f"from {start} the chain never comes to {end}; take a kernel that can, such as one that changes "
                "several choices at once: Block()"
            )
        if self.margin > 1e-9:
            return "the law that its steps leave invariant is not the one that the method claims (Chains.claim)"
        return None

    def _missed(self) -> tuple[int, int] | None:
        """Two states such that the second can't be reached from the first, if there are any."""
        import networkx as nx

        if self.irreducible:
            return None
        graph = self.graph
        for state in graph:
            missed = set(graph) - nx.descendants(graph, state) - {state}
            if missed:
                return state, min(missed)
        return None

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
        KeyReused: draws that have to be independent have the same key.
    """
    needs_program(program, "transitions")
    return method_transitions(program, (args, {}), _Alone(kernel=kernel, log_density=target), limit)


@dataclass(frozen=True)
class _Alone(MH):
    """The chain of a kernel under any target."""

    log_density: Target = joint

    @property
    def claim(self) -> Target:
        return self.log_density


def method_transitions(program: Program, call: Call, method: Chains, limit: int = 100_000) -> Transitions:
    """The exact transition matrix of a method's step; see :func:`transitions`."""
    import numpy as np

    counted = Explorer(program, call, limit, method)
    runs = support(program, call, limit)
    states, masses = _states(counted, method, runs)
    index = {key: i for i, key in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    outside = 0.0
    for done, (key, state) in enumerate(states.items()):
        counted.part = (done, len(states))
        for log_p, reached in counted.explore(lambda s, k, state=state: method.step(s, state, k)):  # type: ignore[misc]
            j = index.get(identity(reached))
            if j is None:
                outside = max(outside, math.exp(log_p))
            else:
                matrix[index[key], j] += math.exp(log_p)
    total = log_sum_exp(list(masses.values()))
    pi = np.array([math.exp(mass - total) for mass in masses.values()])
    margin = _margin(method, runs, states, pi)
    if states:
        short = replace(method, steps=2, chains=2, burn_in=0, thin=1)
        check_keys(lambda source, seed: outcome(program, call, short, source, seed))
    held = tuple(states.values())
    held_runs = tuple(map(method.run_of, held))
    return Transitions(tuple(index), pi, matrix, method.reversible, counted.leaves, outside, margin, held, held_runs)


def _states(counted: Explorer, method: Chains, runs: list[Particle]) -> tuple[dict[Any, Any], dict[Any, float]]:
    """Every state of positive mass, with its log-mass."""
    states: dict[Any, Any] = {}
    masses: dict[Any, float] = {}
    lifted = {tuple(identity(step) for step in method.shared(run)): run for run in runs}
    for done, run in enumerate(lifted.values()):
        counted.part = (done, len(lifted))
        for log_p, found in counted.explore(lambda s, k, run=run: method.lift(s, run, k)):  # type: ignore[misc]
            if found is not None:
                state, mass = found
                key = identity(state)
                states[key] = state
                masses[key] = log_sum_exp([masses.get(key, -math.inf), log_p + mass])
    return states, masses


def _margin(method: Chains, runs: list[Particle], states: dict[Any, Any], pi: np.ndarray) -> float:
    """The largest difference between the law of the states' runs and what the method claims."""
    weights = [method.claim(run) for run in runs]
    total = log_sum_exp(weights)
    masses = {key_of(run): math.exp(w - total) for run, w in zip(runs, weights, strict=True)}
    for state, p in zip(states.values(), pi, strict=True):
        key = key_of(method.run_of(state))
        masses[key] = masses.get(key, 0.0) - float(p)
    return max(map(abs, masses.values()), default=0.0)


def check_chains(program: Program, call: Call, recipes: Sequence[Method], limit: int) -> list[Finding]:
    """How far chains are from stationary, reversible where they claim so, and irreducible; and from what they return.

    Raises:
        TypeError: a method is no ``Chains``, or estimates an evidence.
    """
    found = []
    for recipe in recipes:
        if not isinstance(recipe, Chains):
            raise TypeError(f"{type(recipe).__name__} promises a stationary chain, so it must be a Chains method")
        if recipe.evidence:
            raise TypeError(f"{type(recipe).__name__} is a chain, which estimates no evidence: write evidence = False")
        chain = method_transitions(program, call, recipe, limit)
        found.append(Finding(chain.error, chain.leaves, chain.reason))
        if chain.held:
            found.append(check_run(program, call, recipe, chain.held, chain.matrix, limit))
    return found


def _described(run: Particle) -> str:
    """A run by what it drew."""
    choices = [c for c in (run.trace.choices() if run.trace else ()) if not c.observed]
    return f"the run {', '.join(f'{c.address}={show(c.value, 20)}' for c in choices) or 'without choices'}"


def support(program: Program, call: Call, limit: int = 100_000) -> list[Particle]:
    """Every finished run of positive mass, recorded as if it had been drawn."""

    def task(world: World) -> Task[list[Particle]]:
        world = recording(world)
        population = yield from Enumerate(max_runs=most_runs(limit)).run(world)
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

    return alone(program, call, task, PreciseSource())
