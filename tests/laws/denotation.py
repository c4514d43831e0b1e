"""What a program denotes, worked out without the package: an oracle that shares nothing with it but the program's text.

CPython runs the text as it stands. What it imports from ``ppl`` is found here instead: primitives that follow one path
of choices, multiply the densities they meet, and are deaf to hints and proposals. Every path is run, one after the
other, from the start. So a mistake in what the package makes of a statement, which its enumeration and its methods
have in common, shows as a difference from :func:`denotation`.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from .denotation_places import Place, placed
from .denotation_text import Row, Table, Words

Law = list[tuple[Any, float]]
"""Outcomes with their probabilities."""
Run = tuple[Any, tuple[tuple[str, Any], ...]]
"""What tells a run from others: what it returned, and the address and value of each choice, in their order."""


class RuledOut(BaseException):
    """The path has no mass. No error, so nothing in a program may catch it."""


class TooManyPaths(Exception):
    """There are more paths than were allowed for."""


@dataclass(frozen=True)
class Denoted:
    """A program's measure.

    Attributes:
        measure: run → mass.
        paths: how many sequences of choices there are, those that were ruled out included.
        most: how many choices the longest of them makes.
    """

    measure: Mapping[Run, float]
    paths: int
    most: int

    @property
    def evidence(self) -> float:
        """Its total mass."""
        return math.fsum(self.measure.values())

    def distance(self, other: Mapping[Run, float]) -> float:
        """The largest difference of mass at a run, or in all."""
        gaps = [abs(self.measure.get(run, 0.0) - other.get(run, 0.0)) for run in {*self.measure, *other}]
        return max([*gaps, abs(self.evidence - math.fsum(other.values()))])


def plain(value: Any) -> Any:
    """A value without what is only the package's: a text as its characters and tokens."""
    if isinstance(value, str):
        tokens = getattr(value, "tokens", None)
        return (str.__str__(value), tuple(tokens)) if tokens else str.__str__(value)
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(plain, value))
    return type(value).__name__, value


class Path:
    """One run of a program.

    Attributes:
        taken: which outcome to take at each choice, and of how many; longer after the run.
        made: how many choices were made.
        mass: of the path.
        trace: the address and value of each choice.
        scope: what addresses begin with here.
        fixed: address in this scope → value, and whether it is an observation.
    """

    def __init__(self, taken: list[tuple[int, int]]) -> None:
        self.taken = taken
        self.made = 0
        self.mass = 1.0
        self.trace: list[tuple[str, Any]] = []
        self.scope = ""
        self.fixed: dict[str, tuple[Any, bool]] = {}

    def choose(self, law: Law) -> Any:
        """The outcome of the next choice."""
        law = [(value, p) for value, p in law if p > 0.0]
        if self.made == len(self.taken):
            self.taken.append((0, len(law)))
        index, count = self.taken[self.made]
        assert count == len(law), "the program is no function of its choices"
        self.made += 1
        value, p = law[index]
        self.weigh(p)
        return value

    def weigh(self, density: float) -> None:
        """Multiply the mass."""
        self.mass *= density
        if self.mass == 0.0:
            raise RuledOut


class Finite:
    """A distribution over listed values."""

    def __init__(self, law: Law) -> None:
        total = math.fsum(p for _, p in law)
        self.law = [(value, p / total) for value, p in law]

    def density(self, value: Any) -> float:
        """The probability of a value."""
        return next((p for outcome, p in self.law if outcome == value), 0.0)


def _categorical(weights: Mapping[Any, float] | Sequence[float]) -> Finite:
    return Finite(list(weights.items() if isinstance(weights, Mapping) else enumerate(weights)))


DIST = SimpleNamespace(
    flip=lambda p=0.5: Finite([(True, p), (False, 1.0 - p)]),
    categorical=_categorical,
    uniform=lambda outcomes: Finite([(value, 1.0) for value in outcomes]),
    delta=lambda value: Finite([(value, 1.0)]),
)


class Placed:
    """Something whose calls have a place: a primitive, or a program."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def at(self, place: Place, *args: Any, **kwargs: Any) -> Any:
        """Call it at a place of the text."""
        return self.function(place, *args, **kwargs)


class Meaning:
    """A module under CPython, its ``ppl`` replaced.

    Args:
        text: of the module.
        random_rows: the probabilities of a table model that is given by a seed, which are data.
        evidence: whether evidence counts; without it a program denotes what it draws.

    Attributes:
        module: its globals; programs among them are for :meth:`denotation`.
    """

    def __init__(self, text: str, random_rows: Callable[..., Row] | None = None, evidence: bool = True) -> None:
        self._path = Path([])
        self._evidence = evidence
        self._random_rows = random_rows
        language = SimpleNamespace(
            sample=Placed(self._sample),
            observe=Placed(self._observe),
            factor=Placed(lambda place, log_weight, name=None: self._weigh(math.exp(log_weight))),
            condition=Placed(lambda place, holds, name=None: self._weigh(1.0 if holds else 0.0)),
            twist=Placed(lambda place, log_value, name=None: None),
            barrier=Placed(lambda place, name=None: None),
            call=Placed(lambda place, function, *args, name=None: function(*([arg] for arg in args))[0]),
            program=lambda function: Program(self, function, {}),
            Program=Program,
            nested=lambda program, *args, **kwargs: program,  # it means what the program means
            Importance=lambda **kwargs: None,
            StartsWith=lambda prefixes: None,  # a proposal means nothing
            Text=str,
            table_lm=self._table,
            dist=DIST,
        )

        def find(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
            ours = level > 0 or name.split(".")[0] == "ppl"
            return language if ours else builtins.__import__(name, globals, locals, fromlist, level)

        tree = placed(ast.parse(text))
        self.module: dict[str, Any] = {
            "__name__": "meaning",
            "__builtins__": {**vars(builtins), "__import__": find},
            "__Place": Place,
            "__placed": lambda f, place: (lambda *a, **k: f.at(place, *a, **k)) if isinstance(f, Placed) else f,
        }
        exec(compile(tree, "<meaning>", "exec"), self.module)

    def denotation(self, program: Program, *args: Any, limit: int = 10_000) -> Denoted:
        """The measure of a program of this module.

        Raises:
            TooManyPaths: it has more paths than ``limit``.
        """
        measure: dict[Run, float] = defaultdict(float)
        taken: list[tuple[int, int]] = []
        paths = most = 0
        while True:
            if (paths := paths + 1) > limit:
                raise TooManyPaths
            self._path = path = Path(taken)
            try:
                value = program.inside(dict(program.fixed), args, {})
                measure[plain(value), tuple(path.trace)] += path.mass
            except RuledOut:
                pass
            most = max(most, path.made)
            while taken and taken[-1][0] == taken[-1][1] - 1:
                taken.pop()
            if not taken:
                return Denoted(dict(measure), paths, most)
            taken[-1] = (taken[-1][0] + 1, taken[-1][1])

    def _sample(self, place: Place, distribution: Any, proposal: Any = None, *, name: str | None = None) -> Any:
        path = self._path
        address = place.address(name)
        if address in path.fixed:
            value, observed = path.fixed[address]
            self._weigh(distribution.density(value) if observed else 1.0)
        else:
            value = path.choose(distribution.law)
        path.trace.append((path.scope + address, plain(value)))
        return value

    def _observe(self, place: Place, distribution: Any, value: Any, *, name: str | None = None) -> None:
        self._weigh(distribution.density(value))

    def _weigh(self, density: float) -> None:
        """Evidence."""
        if self._evidence:
            self._path.weigh(density)

    def call(self, place: Place, program: Program, args: Any, kwargs: Any) -> Any:
        """Run a program inside the present one."""
        path, prefix = self._path, place.address(None) + "/"
        before = path.scope, path.fixed
        inner = {address[len(prefix) :]: v for address, v in path.fixed.items() if address.startswith(prefix)}
        path.scope += prefix
        try:
            return program.inside({**program.fixed, **inner}, args, kwargs)
        finally:
            path.scope, path.fixed = before

    def enter(self, fixed: dict[str, tuple[Any, bool]]) -> None:
        """Let the present path go on in a program of which some choices are fixed."""
        self._path.fixed = fixed

    def _table(self, vocabulary: Sequence[str], rows: Any = None, *, eos: str | None = None, **random: Any) -> Table:
        if rows is not None:
            return Table.of_rows(vocabulary, rows, eos)
        assert self._random_rows is not None, "whose rows are these?"
        return Table(vocabulary, self._random_rows(vocabulary, eos=eos, **random), eos)


class Program(Placed):
    """A program, some choices of which may be fixed."""

    def __init__(self, meaning: Meaning, function: Callable[..., Any], fixed: Mapping[str, tuple[Any, bool]]) -> None:
        super().__init__(function)
        self.meaning = meaning
        self.fixed = fixed

    def given(self, values: Mapping[str, Any]) -> Program:
        return Program(self.meaning, self.function, {**self.fixed, **{a: (v, True) for a, v in values.items()}})

    def do(self, values: Mapping[str, Any]) -> Program:
        return Program(self.meaning, self.function, {**self.fixed, **{a: (v, False) for a, v in values.items()}})

    def at(self, place: Place, *args: Any, **kwargs: Any) -> Any:
        return self.meaning.call(place, self, args, kwargs)

    def inside(self, fixed: dict[str, tuple[Any, bool]], args: Any, kwargs: Any) -> Any:
        """Run the function, these of its choices fixed."""
        self.meaning.enter(fixed)
        return self.function(*args, **kwargs)


__all__ = ["Denoted", "Meaning", "Run", "Words", "plain"]
