"""Random finite programs, for laws to be tried on.

:func:`random_source` makes a module by a seed, as text that runs as it stands; :func:`compiled` gives its program
``main``, whose argument is 1. :func:`shrunk` makes of one that breaks a law a small one that does.

Programs branch, loop (with choices inside, break, continue and early return), call programs that are random too and
may call themselves, change lists that have two names, take steps of a table model that go on from what it wrote, and
hold every kind of evidence, hints and proposals. How large they are is a matter of how many *paths* they have, that is
sequences of choices: after each statement of ``main`` the paths are counted, by ``denotation.py``, and the next
statement gets what is left. So a choice that most runs never come to costs little, and programs are full.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st

from ppl import Program

from .denotation import Meaning, TooManyPaths

HEADER = """\
from ppl import barrier, call, condition, dist, factor, observe, program, sample, table_lm, twist

lm = table_lm(
    ["a", "b", "ab", "\\n"],
    {
        (): {"a": 1, "b": 2},
        ("a",): {"b": 5, "\\n": 3, "ab": 2},
        ("b",): {"<eos>": 3, "a": 1},
        ("ab",): {"\\n": 3, "b": 1},
        ("a", "b"): {"b": 1, "<eos>": 4},
    },
    eos="<eos>",
)


def plus_one(xs):
    return [x + 1 for x in xs]

"""

FIRST = "first"
"""What the first choice of most programs is called: a parameter, for methods that have some."""

PROBABILITIES = ["0.5", "0.25", "0.9"]
LOGS = ["0.5", "-0.7", "-1.5"]

Lines = list[str]


T = TypeVar("T")


@dataclass
class Writer:
    """A program being written.

    Attributes:
        draw: hypothesis's draw; see :class:`Rolled` for one without it.
        budget: how many choices between two outcomes a run may still make, each as often as it is run: the binary
            logarithm of by how much the number of paths may grow.
        names: variables that hold numbers here.
        texts: variables that hold texts of the model here.
        helper: the name of a program that may be called, and how many paths it has at most.
        model: whether there may be steps of the model, each of which takes as long as ten other statements.
    """

    draw: Callable[[Any], Any]
    budget: float
    names: list[str] = field(default_factory=lambda: ["n"])
    texts: list[str] = field(default_factory=list)
    helper: tuple[str, int] | None = None
    model: bool = True
    fresh: Any = field(default_factory=lambda: itertools.count())

    def choose(self, options: Sequence[T]) -> T:
        found: T = self.draw(st.sampled_from(options))
        return found

    def pick(self, options: Sequence[str]) -> str:
        return str(self.choose(options))

    def affords(self, outcomes: int, loops: int) -> bool:
        """Whether a choice with so many outcomes may be made here; loops go round twice."""
        return math.log2(outcomes) * 2**loops <= self.budget + 1e-9

    def spend(self, outcomes: int, loops: int) -> None:
        """Note that it is made."""
        self.budget -= math.log2(outcomes) * 2**loops

    def name(self) -> str:
        """A variable that holds a number, most often a new one."""
        return self.pick([*self.names, self.names[-1], self.names[-1]])

    def number(self) -> str:
        """An integer expression."""
        name = self.name()
        other = self.pick([f"({name} % 2)", f"(({name} + 1) % 3)", "sum(xs)", "len(xs)"])
        return self.pick([name, name, other])

    def probability(self) -> str:
        p, q = self.pick(PROBABILITIES), self.pick(PROBABILITIES)
        return self.pick([p, f"({p} if {self.number()} else {q})"])

    def flip(self) -> str:
        return f"sample(dist.flip({self.probability()}))"

    def context(self) -> str:
        """What the model has read: what it wrote before, if it wrote something."""
        start = f'lm.context("a" * ({self.number()} % 2 + 1))'
        return self.pick([start, *(f'(lm.context("a") + {text})' for text in self.texts[-2:])])

    @property
    def known(self) -> tuple[list[str], list[str]]:
        """The variables that are bound here."""
        return list(self.names), list(self.texts)

    @known.setter
    def known(self, known: tuple[list[str], list[str]]) -> None:
        self.names, self.texts = map(list, known)

    def block(self, depth: int, loops: int) -> Lines:
        """Some statements, which bind no names for those after it."""
        known = self.known
        lines = [line for _ in range(self.choose([1, 2])) for line in self.statement(depth, loops)]
        self.known = known
        return lines

    def statement(self, depth: int, loops: int) -> Lines:
        """One statement."""
        return self.of_kind(self.pick(self.kinds(depth, loops)), depth, loops)

    def kinds(self, depth: int, loops: int) -> list[str]:
        """What a statement may be here, the likelier the more often."""
        kinds = [*_PLAIN, *(["observe text"] if self.model else [])]
        for kind, outcomes in _RANDOM.items():
            if self.affords(outcomes, loops) and (self.model or kind not in MODEL_STEPS):
                kinds += [kind] * 2
        if self.helper and self.affords(self.helper[1], loops):
            kinds += ["nested"] * 6
        if depth:
            kinds += ["if", "if", "if", "return"]
            kinds += ["while", "for"] * (4 if self.affords(3, loops) else 1)
        return kinds

    def of_kind(self, kind: str, depth: int, loops: int) -> Lines:
        """A statement of one of these kinds."""
        if kind == "nested":
            assert self.helper is not None
            self.spend(self.helper[1], loops)
            return self.assign(f"{self.helper[0]}({self.number()})")
        if kind in ("if", "while", "for"):
            return getattr(self, f"_{kind}")(depth, loops)
        self.spend(_RANDOM.get(kind, 1), loops)
        return self._simple(kind)

    def assign(self, value: str) -> Lines:
        name = self.pick([f"v{next(self.fresh)}", *self.names])
        if name in self.names:
            self.names.remove(name)
        self.names.append(name)
        return [f"{name} = {value}"]

    def _simple(self, kind: str) -> Lines:
        """A statement without others inside."""
        if kind in MODEL_STEPS:
            t = f"t{next(self.fresh)}"
            step = MODEL_STEPS[kind]
            lines = [f"{t} = sample({self.context()}.{self.pick(step)})"]
            self.texts.append(t)
            return [*lines, *self.assign(f"len({t})")]
        p, number = self.probability(), self.number()
        values = {
            "flip": f"sample(dist.flip({p}))",
            "flip in an expression": f"1 - int(sample(dist.flip({p})))",
            "categorical": "sample(dist.categorical([0.5, 0.2, 0.3]))",
            "proposal": f"sample(dist.flip({p}), proposal=dist.flip({self.probability()}))",
            "and": f"{self.flip()} and {self.flip()}",
            "either": f"{self.flip()} if {number} else {self.flip()}",
            "call": f"call(plus_one, {number})",
        }
        if kind in values:
            return self.assign(values[kind])
        return {
            "comprehension": [f"xs = [sample(dist.flip({p})) for i in range(2)]"],
            "comprehension that draws once": [f"xs += [sample(dist.flip({p})) if i else {number} for i in range(2)]"],
            "append a flip": [f"xs.append(sample(dist.flip({p})))"],
            "factor": [f"factor({self.pick(LOGS)} * {number})"],
            "twist": [f"twist({self.pick(LOGS)} * {number})"],
            "condition": [f"condition({number} < 2)"],
            "demand": [f"condition({number} == {self.name()})"],
            "observe": [f"observe(dist.flip({p}), bool({number}))"],
            "observe text": [f"observe({self.context()}.{self.pick(OBSERVED)})"],
            "append": [f"xs.append({number})"],
            "append to another name": [f"ys.append({number})"],
            "rename": ["ys = xs"],
            "barrier": ["barrier()"],
            "return": [f"if {number}:", f"    return {self.number()}"],
        }[kind]

    def _if(self, depth: int, loops: int) -> Lines:
        test, budget = self.number(), self.budget
        then = self.block(depth - 1, loops)
        left, self.budget = self.budget, budget
        orelse = self.block(depth - 1, loops)
        self.budget = min(left, self.budget)
        return [f"if {test}:", *indented(then), "else:", *indented(orelse)]

    def _for(self, depth: int, loops: int) -> Lines:
        i = f"i{next(self.fresh)}"
        known = self.known
        self.names.append(i)
        body = self._body(depth, loops)
        self.known = known
        return [f"for {i} in range(2):", *indented(body)]

    def _while(self, depth: int, loops: int) -> Lines:
        w = f"w{next(self.fresh)}"
        known = self.known
        body = self._body(depth, loops)
        self.known = known
        return [f"{w} = 0", f"while {w} < 2:", *indented([f"{w} += 1", *body])]

    def _body(self, depth: int, loops: int) -> Lines:
        """What a loop does. It most often begins with a choice, on which it may depend how it goes on: where a loop is
        left by chance, its choices make few paths."""
        kind = self.pick(["break", "break", "break", "continue", "all"])
        outcomes = 3 if kind == "break" else 4
        if not self.affords(outcomes, loops) or (kind == "all" and self.choose([True, False])):
            return [*self.block(depth - 1, loops + 1), *self._leave(self.number(), kind)]
        self.spend(outcomes, loops)
        lines = self.assign(self.flip())
        leave = self._leave(self.names[-1], kind)
        before, after = self.choose([(0, 1), (1, 0), (0, 0), (1, 1)])
        known = self.known
        lines += self.statement(depth - 1, loops + 1) if before else []
        self.known = known  # after a branch or a loop of one's own, what it bound may be unbound
        lines += leave
        lines += self.statement(depth - 1, loops + 1) if after else []
        return lines

    def _leave(self, test: str, kind: str) -> Lines:
        return [] if kind == "all" else [f"if {test}:", f"    {kind}"]


MODEL_STEPS = {
    "token": ["token(temperature=0.8, top_k=2)", "token(top_p=0.6)", "token(top_k=2)", "token()"],
    "text": [
        'text(stop="b", max_tokens=2, top_k=2)',
        'text(stop=["b", "\\n"], max_tokens=2, temperature=1.5, top_p=0.7)',
        "text(max_tokens=2, top_p=0.8)",
        'text(stop="\\n", max_tokens=2, top_k=2, temperature=0.5)',
    ],
    "line": ["line(max_tokens=2)", "line(max_tokens=2, top_k=2)"],
    "choice": ['choice(["b", "a"])', 'choice(["a", "b"], temperature=0.5)'],
}
OBSERVED = [
    'token(), "b"',
    'token(top_k=2), "b"',
    'text(stop="b", max_tokens=2), "b"',
    'text(max_tokens=2, temperature=2.0), "ab"',
    'choice(["b", "a"], temperature=2.0), "b"',
]
"""Distributions over text, and what is observed of them."""

_PLAIN = ["factor", "factor", "factor", "observe", "observe", "condition", "demand", "twist", "barrier"]
_PLAIN += ["call", "append", "append to another name", "rename"]
_RANDOM = {
    "flip": 2,
    "flip in an expression": 2,
    "categorical": 3,
    "proposal": 2,
    "and": 3,
    "either": 2,
    "token": 2,
    "text": 3,
    "line": 3,
    "choice": 2,
    "comprehension": 4,
    "comprehension that draws once": 2,
    "append a flip": 2,
}
"""Kinds of statement, with about how many outcomes each has."""
_LARGE = ("nested", "for", "while", "comprehension", *MODEL_STEPS)
"""Those that are written before the small ones have used up the paths."""


def indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]


class Rolled(Writer):
    """Chooses by random numbers: ``draw`` takes the options. Hypothesis writes most programs several times over."""

    def choose(self, options: Sequence[T]) -> T:
        found: T = self.draw(options)
        return found


def random_source(seed: int, most: int = 6, model: bool | None = None) -> str:
    """The source of a module with a program ``main(n)``.

    Args:
        seed: the same gives the same.
        most: how many paths it has at most, where n is 1.
        model: whether it takes steps of the model; by default some do.
    """
    choice = random.Random(seed).choice
    before, helper = HEADER + "\n", None
    if most > 3 and choice([True, False]):
        lines = _helper(Rolled(choice, math.log2(3), model=model is not False))
        count = max(paths(before + _text(lines), "helper", n, most) for n in (0, 1, 2))
        if count < most:
            before, helper = f"{before}{_text(lines)}\n\n", ("helper", count)
    writer = Rolled(choice, math.log2(most), helper=helper, model=model is not False)
    body: Lines = []
    if choice([True, True, False]):
        body = writer.assign(f'sample(dist.flip({writer.pick(PROBABILITIES)}), name="{FIRST}")')
        writer.spend(2, 0)
    for place in range(choice([3, 4, 5, 6])):
        known, kinds = writer.known, writer.kinds(2, 0)
        large = [kind for kind in kinds if kind in (MODEL_STEPS if model else _LARGE)]
        new = [*body, *writer.of_kind(writer.pick(large if place == 0 and large else kinds), 2, 0)]
        count = paths(before + _text(function(writer, "main", new)), "main", 1, most)
        if count <= most:
            body, writer.budget = new, math.log2(most / count)
        else:
            writer.known = known
    return before + _text(function(writer, "main", body))


def _helper(writer: Writer) -> Lines:
    """A program to be called, which may call itself."""
    body = writer.assign(writer.flip())
    writer.spend(2, 0)
    last = writer.names[-1]
    if writer.choose([True, False]):
        body += writer.statement(1, 0)
    if writer.choose([True, False]):
        body += [f"if {last} and again:", "    more = helper(2, False)", "    n += more"]
    return function(writer, "helper", body)


def function(writer: Writer, name: str, body: Lines) -> Lines:
    """A program by its statements."""
    result = f"return ({', '.join(writer.names)}, tuple(xs), len(ys))"
    lines = ["xs = []", "ys = xs", *body, result if name == "main" else "return n + sum(xs)"]
    return ["@program", f"def {name}({'n' if name == 'main' else 'n, again=True'}):", *indented(lines)]


def paths(source: str, name: str, n: int, most: int) -> int:
    """How many paths a program of a module has; more than ``most`` count as one more."""
    meaning = Meaning(source)
    try:
        return meaning.denotation(meaning.module[name], n, limit=most).paths
    except TooManyPaths:
        return most + 1


def _text(lines: Lines) -> str:
    return "\n".join(lines) + "\n"


def sources() -> st.SearchStrategy[str]:
    """:func:`random_source` as a strategy of hypothesis, which does not shrink."""
    return st.integers(0, 2**32).map(random_source)


def shrunk(source: str, fails: Callable[[str], bool]) -> str:
    """A module from which no statement can be left out, nor be replaced by one that it holds, so that it still fails.

    Args:
        source: one that fails.
        fails: whether another does; errors count as no.
    """
    while True:
        smaller = next((new for new in _smaller(source) if _holds(fails, new)), None)
        if smaller is None:
            return source
        source = smaller


def _holds(fails: Callable[[str], bool], source: str) -> bool:
    try:
        return fails(source)
    except Exception:
        return False


def _smaller(source: str) -> Iterator[str]:
    """The module with a statement less, or with the body of one in its place, each as text; the largest steps first."""
    count = sum(len(block) for block in _blocks(ast.parse(source)))
    for place in range(count):
        for inner in ("", "body", "orelse"):
            tree = ast.parse(source)
            at = place
            for block in _blocks(tree):
                if at < len(block):
                    statement = block[at]
                    block[at : at + 1] = getattr(statement, inner, []) if inner else []
                    if isinstance(statement, ast.FunctionDef | ast.Return) and (inner or block is not tree.body):
                        break  # what is left of them would stand for nothing
                    if inner and not getattr(statement, inner, []):
                        break
                    yield ast.unparse(tree) + "\n"
                    break
                at -= len(block)


def _blocks(tree: ast.Module) -> list[list[ast.stmt]]:
    """All lists of statements, outer ones first."""
    nodes = [node for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)]
    return [block for node in nodes for block in (node.body, getattr(node, "orelse", [])) if block]


_numbers = itertools.count()


def compiled(source: str) -> Program:
    """The program ``main`` of a source text, as if it stood in a file."""
    file = f"<random program {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module: dict[str, Any] = {"__name__": file}
    exec(compile(source, file, "exec"), module)
    found = module["main"]
    assert isinstance(found, Program)
    return found
