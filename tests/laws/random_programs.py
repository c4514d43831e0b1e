"""Random finite programs, for laws to be tried on; they shrink to small counterexamples.

:func:`programs` is a hypothesis strategy of :class:`RandomProgram`: source text that runs as it stands, the compiled
program ``main`` and its arguments. A failing test prints the source::

    @given(programs())
    def test_a_law(case: RandomProgram) -> None:
        assert law_holds(case.program, *case.args), case.source

Programs branch, loop (with break, continue and early return), call programs that are random too, change lists that
have two names, take steps of a table model, and hold every kind of evidence, hints and proposals.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from ppl import Program

HEADER = """\
from ppl import barrier, call, condition, dist, factor, observe, program, sample, table_lm, twist

lm = table_lm(["a", "b", "<eos>"], {(): {"a": 1, "b": 1}, ("a",): {"b": 1, "<eos>": 2}, ("b",): {"a": 1, "b": 3}})


def plus_one(xs):
    return [x + 1 for x in xs]

"""

PROBABILITIES = ["0.5", "0.25", "0.9"]
LOGS = ["0.5", "-0.7", "-1.5"]

Lines = list[str]


@dataclass(frozen=True)
class RandomProgram:
    """A random program.

    Attributes:
        source: a module that defines it as ``main``.
        program: the compiled ``main``.
        args: what to call it with.
    """

    source: str
    program: Program
    args: tuple[Any, ...] = (1,)

    def __repr__(self) -> str:
        """The source, which is what a failing test prints."""
        return f"\n{self.source}"


@dataclass
class Writer:
    """A program being written.

    Attributes:
        draw: hypothesis's draw.
        budget: how many random choices a run may still make.
        names: integer variables that are bound here.
        helper: the name of a program that may be called, and how many choices it makes at most.
    """

    draw: Callable[[Any], Any]
    budget: int
    names: list[str] = field(default_factory=lambda: ["n"])
    helper: tuple[str, int] | None = None
    fresh: Any = field(default_factory=lambda: itertools.count())

    def pick(self, options: list[str]) -> str:
        return str(self.draw(st.sampled_from(options)))

    def number(self) -> str:
        """An integer expression."""
        name = self.pick(self.names)
        return self.pick([name, f"{name} % 2", f"({name} + 1) % 3", "sum(xs)", "len(xs)"])

    def probability(self) -> str:
        p, q = self.pick(PROBABILITIES), self.pick(PROBABILITIES)
        return self.pick([p, f"({p} if {self.number()} else {q})"])

    def block(self, depth: int, loops: int) -> Lines:
        """Some statements, which bind no names for those after it."""
        known = len(self.names)
        lines = [line for _ in range(self.draw(st.integers(1, 3))) for line in self.statement(depth, loops)]
        del self.names[known:]
        return lines

    def statement(self, depth: int, loops: int) -> Lines:
        """One statement; random choices inside loops cost as often as they run."""
        kinds = [*_PLAIN]
        kinds += [kind for kind, cost in _RANDOM.items() if cost * 2**loops <= self.budget for _ in range(2)]
        if self.helper and self.helper[1] * 2**loops <= self.budget:
            kinds += ["nested", "nested"]
        if depth:
            kinds += ["if", "if", "while", "for", "return"]
        kind = self.pick(kinds)
        if kind == "nested":
            assert self.helper is not None
            self.budget -= self.helper[1] * 2**loops
            return [f"z = {self.helper[0]}({self.number()})", *self.assign("z")]
        if kind in ("if", "while", "for"):
            return getattr(self, f"_{kind}")(depth, loops)
        self.budget -= _RANDOM.get(kind, 0) * 2**loops
        return self._simple(kind)

    def assign(self, value: str) -> Lines:
        name = self.pick([f"v{next(self.fresh)}", *self.names])
        if name not in self.names:
            self.names.append(name)
        return [f"{name} = {value}"]

    def _simple(self, kind: str) -> Lines:
        """A statement without others inside."""
        p, number = self.probability(), self.number()
        context = f'lm.context("a" * ({number} % 2 + 1))'
        values = {
            "flip": f"int(sample(dist.flip({p})))",
            "categorical": "sample(dist.categorical([0.5, 0.2, 0.3]))",
            "proposal": f"int(sample(dist.flip({p}), proposal=dist.flip({self.probability()})))",
            "token": f"len(sample({context}.token(temperature=0.8)))",
            "text": f'len(sample({context}.text(stop="b", max_tokens=2)))',
            "choice": f'int(sample({context}.choice(["a", "ba"])) == "a")',
            "call": f"call(plus_one, {number})",
        }
        if kind in values:
            return self.assign(values[kind])
        return {
            "comprehension": [f"xs = [int(sample(dist.flip({p}))) for i in range(2)]"],
            "factor": [f"factor({self.pick(LOGS)} * {number})"],
            "twist": [f"twist({self.pick(LOGS)} * {number})"],
            "condition": [f"condition({number} < 2)"],
            "observe": [f"observe(dist.flip({p}), bool({number}))"],
            "observe text": [f'observe({context}.token(), "b")'],
            "append": [f"xs.append({number})"],
            "append to another name": [f"ys.append({number})"],
            "rename": ["ys = xs"],
            "barrier": ["barrier()"],
            "return": [f"if {number}:", f"    return {self.number()}"],
        }[kind]

    def _if(self, depth: int, loops: int) -> Lines:
        test = self.number()
        then, orelse = self.block(depth - 1, loops), self.block(depth - 1, loops)
        return [f"if {test}:", *indented(then), "else:", *indented(orelse)]

    def _for(self, depth: int, loops: int) -> Lines:
        i = f"i{next(self.fresh)}"
        self.names.append(i)
        body = self.block(depth - 1, loops + 1)
        stop = [f"if {self.number()}:", f"    {self.pick(['break', 'continue', 'pass'])}"]
        self.names.remove(i)
        return [f"for {i} in range(2):", *indented([*body, *stop])]

    def _while(self, depth: int, loops: int) -> Lines:
        w = f"w{next(self.fresh)}"
        body = self.block(depth - 1, loops + 1)
        return [f"{w} = 0", f"while {w} < 2:", *indented([f"{w} += 1", *body])]


_PLAIN = ["factor", "factor", "factor", "observe", "observe", "observe text", "condition", "twist", "barrier", "call"]
_PLAIN += ["append", "append to another name", "rename"]
_RANDOM = {"flip": 1, "categorical": 1, "proposal": 1, "token": 1, "text": 2, "choice": 1, "comprehension": 2}
"""Kinds of statement, with the number of random choices that each makes."""


def indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]


def function(name: str, writer: Writer, statements: int) -> Lines:
    """A program of a random choice and at most ``statements`` statements after it."""
    body = ["xs = []", "ys = xs"]
    writer.budget -= 1
    body += writer.assign(f"int(sample(dist.flip({writer.pick(PROBABILITIES)})))")
    for _ in range(writer.draw(st.integers(1, statements))):
        body += writer.statement(2, 0)
    result = f"return ({', '.join(dict.fromkeys(writer.names))}, tuple(xs), len(ys))"
    return ["@program", f"def {name}(n):", *indented([*body, result if name == "main" else "return n + sum(xs)"])]


@st.composite
def sources(draw: Callable[[Any], Any], choices: int = 3) -> str:
    """The source of a module with a program ``main(n)`` that makes at most about ``choices`` random choices."""
    lines: Lines = []
    helper = None
    if choices > 1 and draw(st.booleans()):
        lines = [*function("helper", Writer(draw, choices // 2), 2), "", ""]
        helper = ("helper", choices // 2)
    lines += function("main", Writer(draw, choices, helper=helper), 5)
    return HEADER + "\n" + "\n".join(lines) + "\n"


def programs(choices: int = 3) -> st.SearchStrategy[RandomProgram]:
    """Programs that make at most about ``choices`` random choices in a run; their argument is 1."""
    return sources(choices).map(lambda source: RandomProgram(source, compiled(source)))


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
