"""The exact source: explores every outcome of a randomised computation, with its probability.

Hand it to a method instead of random numbers, and the expectation of whatever the method computes is a finite sum over
the production code itself. :func:`explore` runs the computation once for each sequence of outcomes;
:func:`explore_merged` runs it only as far as the next step of the population and goes on once from each distinct one.

Outcomes are explored as if draws were independent. In production they are if no two of a run have the same key, so a
run that uses one twice ends with :class:`KeyReused`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os.path import basename
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .lazy import lazy
from .source import Key, Laws, Source, relative

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy")

T = TypeVar("T")

Path = list[tuple[int, int]]
"""For each choice that was made, the outcome taken and how many there were."""

Look = Callable[[str, Any], "tuple[Hashable, float] | None"]
"""An operation and the population after it → what makes that what it is, apart from its scale, and the logarithm of
the scale; ``None``: don't stop here."""


Place = tuple[tuple[str, str, int], ...]
"""Where something was drawn: the innermost calls, each by its file, its function and its line."""

_EDGE = 2.0**-10
"""How near the end of a cell an offset is, as a share of the cell. Far more than what rounds a weight."""


class KeyReused(Exception):
    """Draws that have to be independent have the same key, so in production they are the same random number."""


class NotFinite(Exception):
    """A draw has infinitely many outcomes."""


class TooMany(NotFinite):
    """There are more outcomes in all than were allowed for."""


class ExactSource(Source):
    """Follows a given path of outcomes, then takes the first outcome of each further choice.

    Attributes:
        path: the path followed, and what was taken after its end.
        made: how many choices were made so far.
        log_probability: of the choices after the first ``fixed``.
        used: the key and the counter of each draw → where it was made.
    """

    def __init__(self, path: Path, fixed: int = 0, look: Look | None = None, passed: int = 0) -> None:
        """Follow ``path``.

        Args:
            path: changed in place.
            fixed: how many of its choices are accounted for already.
            look: stop at boundaries that it tells from others; ``None``: never stop.
            passed: how many boundaries not to stop at.
        """
        self.path = path
        self.made = 0
        self.log_probability = 0.0
        self.used: dict[tuple[Key, int], Place] = {}
        self._fixed = fixed
        self._look = look
        self._passed = passed
        self._boundaries = 0
        self._rank = (0, 0)

    def boundary(self, operation: str, population: Any) -> None:
        steps, since = self._rank
        self._rank = (steps + 1, 0) if operation == "advance" else (steps, since + 1)
        self._boundaries += 1
        # Where nothing was drawn since the last stop, there is but one path to here.
        if self._look is None or self._boundaries <= self._passed or self.made <= self._fixed:
            return
        found = self._look(operation, population)
        if found is not None:
            raise _Stopped(self._rank, found, self._boundaries)

    def _branch(self, log_probs: Sequence[float], key: Key) -> int:
        """One outcome of a choice; log-probabilities are normalised and finite."""
        if self.made == len(self.path):
            self.path.append((self._first(len(log_probs), key), len(log_probs)))
        taken, count = self.path[self.made]
        if count != len(log_probs):
            raise RuntimeError(
                "the computation is not a function of its random choices: a choice had "
                f"{count} outcomes and now has {len(log_probs)}"
            )
        self.made += 1
        if self.made > self._fixed:
            self.log_probability += log_probs[taken]
        return taken

    def _first(self, count: int, key: Key) -> int:
        """The outcome of a choice that the path does not tell."""
        return 0

    def _use(self, key: Key, counter: int = 0) -> None:
        """Note that a draw uses a number of a key's stream.

        Raises:
            KeyReused: another draw on this path did.
        """
        here = _place()
        if (key, counter) in self.used:
            raise KeyReused(
                "two draws of one run have the same key, so in production they are the same random number: one in "
                f"{describe_place(self.used[key, counter])}, and one in {describe_place(here)}. Derive a key of its "
                "own for each, as in derive(key, 'accept')"
            )
        self.used[key, counter] = here

    def choose(self, log_weights: Sequence[float], key: Key) -> int:
        self._use(key)
        return self._choose(log_weights, key)

    def _choose(self, log_weights: Sequence[float], key: Key) -> int:
        _, mass, top = relative(log_weights)
        total = top + math.log(mass)
        alive = [i for i, w in enumerate(log_weights) if w != -math.inf]
        if len(alive) == 1:
            return alive[0]
        return alive[self._branch([log_weights[i] - total for i in alive], key)]

    def choose_rows(self, laws: Laws, rows: Sequence[int], keys: Sequence[Key], counters: Sequence[int]) -> np.ndarray:
        for key, counter in zip(keys, counters, strict=True):
            self._use(key, counter)
        return np.array([self._choose(row, key) for row, key in zip(laws.table(rows).tolist(), keys, strict=True)])

    def offset(self, key: Key, breaks: Callable[[], Sequence[float]]) -> float:
        self._use(key)
        cuts = [0.0, *sorted({b for b in breaks() if 0.0 < b < 1.0}), 1.0]
        cells = [(a, b) for a, b in pairwise(cuts) if b - a > 1e-12]
        cell = self._choose([math.log(b - a) for a, b in cells], key)
        a, b = cells[cell]
        return a + (b - a) * self._within(cell, len(cells))

    def _within(self, cell: int, count: int) -> float:
        """Where in a cell an offset is, as a share of it.

        Anywhere would do, if all of the cell has the same effect. Near a break it shows if the number is used for
        something else than what the breaks were given for, as if it were not uniform, say.
        """
        if count == 1:
            return 0.5
        low = cell == count - 1 or (cell > 0 and (cell + self.made) % 2 == 0)
        return _EDGE if low else 1.0 - _EDGE

    def draw(self, distribution: Any, key: Key) -> Any:
        name = getattr(distribution, "name", type(distribution).__name__)
        raise NotFinite(f"{name} has no finite support, so its outcomes can't all be explored")


def _place(depth: int = 4) -> Place:
    """The innermost calls outside this file."""
    found: list[tuple[str, str, int]] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < depth:
        code = frame.f_code
        if code.co_filename != __file__:
            found.append((code.co_filename, code.co_name, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(found)


def describe_place(place: Place) -> str:
    """A place in words, the innermost call first."""
    return ", ".join(f"{name} ({basename(file)}:{line})" for file, name, line in place)


Watch = Callable[[ExactSource], None]
"""Looks at the source of a run that has ended."""


class _Stopped(BaseException):
    """Ends a run at a boundary. No error, so nothing that handles errors may catch it."""

    def __init__(self, rank: tuple[int, int], state: tuple[Hashable, float], boundaries: int) -> None:
        super().__init__()
        self.rank = rank
        self.state = state
        self.boundaries = boundaries


@dataclass(slots=True)
class _Node:
    """A boundary to go on from.

    Attributes:
        path: the outcomes that lead there; of several, the first that was found.
        boundaries: how many boundaries there are on that path, this one included.
        log_probability: of all paths that lead to this population.
        log_mass: the same, each path's probability times its scale over that of ``path``.
        log_scale: of the population at the end of ``path``.
    """

    path: Path
    boundaries: int = 0
    log_probability: float = 0.0
    log_mass: float = 0.0
    log_scale: float = 0.0

    def merge(self, other: _Node) -> None:
        """Take over the probability of paths that lead to the same population."""
        self.log_probability = _log_add(self.log_probability, other.log_probability)
        self.log_mass = _log_add(self.log_mass, other.log_mass + other.log_scale - self.log_scale)


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    """The end of a run, which stands for the ends of all runs that met it in a population on its way.

    Attributes:
        log_probability: of all of them.
        log_mass: by how much, in logarithms, a mass in ``result`` counts in the expectation: the sum of their
            probabilities, each times the scale of its population over that of the one that was run.
        result: what the run gave.
    """

    log_probability: float
    log_mass: float
    result: T


def explore(
    computation: Callable[[Source], T], limit: int = 100_000, watch: Watch | None = None
) -> Iterator[tuple[float, T]]:
    """Run a computation once for each sequence of random outcomes.

    Args:
        computation: deterministic apart from what it draws from the source that it is given.
        limit: the most runs.
        watch: called after each.

    Yields:
        The log-probability of a sequence of outcomes, and the result.

    Raises:
        TooMany: there are more than ``limit`` sequences.
        NotFinite: a draw has no finite support.
        KeyReused: two draws of a run have the same key.
    """
    for leaf in explore_merged(computation, None, limit, watch):
        yield leaf.log_probability, leaf.result


def explore_merged(
    computation: Callable[[Source], T],
    look: Look | None,
    limit: int = 100_000,
    watch: Watch | None = None,
    ahead: Callable[[int, Callable[[], Sequence[_Node]]], None] | None = None,
) -> Iterator[Leaf[T]]:
    """Run a computation through every outcome, going on only once from populations that are the same.

    Breadth first over the boundaries that the computation tells its source: from each distinct population at one
    boundary, one path that leads to it is run again, with every sequence of outcomes up to the next boundary. All of
    the probability that reaches a population is carried on from there. So the runs are as many as there are distinct
    populations times the outcomes of one step, not the product over steps, for which each run repeats its past.

    Args:
        computation: deterministic apart from what it draws. After a boundary it must be a function of the population
            that it told, and linear in that population's scale.
        look: tells populations apart; ``None``: merge nothing.
        limit: the most runs, counting those that end at a boundary.
        watch: called after each of these.
        ahead: called before each with how many there were, and what gives the boundaries still to go on from; may
            raise :class:`TooMany` (``exact_ahead.py``).

    Yields:
        A leaf for each run that ends.

    Raises:
        TooMany: more than ``limit`` runs are needed.
        NotFinite: a draw has no finite support.
        KeyReused: two draws of a run have the same key.
    """
    levels: dict[tuple[int, int], dict[Hashable, _Node]] = {(0, 0): {None: _Node([])}}
    runs = 0

    def waiting() -> list[_Node]:
        return [node for level in levels.values() for node in level.values()]

    while levels:
        if ahead is not None and runs == 0:
            ahead(runs, waiting)
        for node in levels.pop(min(levels)).values():
            path = list(node.path)
            while True:
                if ahead is not None and runs:
                    ahead(runs, waiting)
                runs += 1
                if runs > limit:
                    raise TooMany(f"more than {limit} runs are needed to go through all random outcomes")
                source = ExactSource(path, len(node.path), look, node.boundaries)
                try:
                    result = computation(source)
                except _Stopped as stop:
                    _reach(levels, stop, node, source)
                else:
                    log_p = source.log_probability
                    yield Leaf(node.log_probability + log_p, node.log_mass + log_p, result)
                if watch is not None:
                    watch(source)
                if not _turn(path, len(node.path)):
                    break


def _reach(
    levels: dict[tuple[int, int], dict[Hashable, _Node]], stop: _Stopped, node: _Node, source: ExactSource
) -> None:
    """Note that a path from a boundary reached the next one."""
    identity, log_scale = stop.state
    log_p = source.log_probability
    new = _Node(list(source.path), stop.boundaries, node.log_probability + log_p, node.log_mass + log_p, log_scale)
    level = levels.setdefault(stop.rank, {})
    known = level.setdefault(identity, new)
    if known is not new:
        known.merge(new)


def _turn(path: Path, fixed: int) -> bool:
    """Change a path to the next one that begins with its first ``fixed`` choices, if there is one."""
    while len(path) > fixed and path[-1][0] == path[-1][1] - 1:
        path.pop()
    if len(path) == fixed:
        return False
    taken, count = path[-1]
    path[-1] = (taken + 1, count)
    return True


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
