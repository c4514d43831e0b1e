"""Random finite programs as source text, for the laws to be tried on; they shrink to small counterexamples."""

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

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


def plus_one(xs):
    return [x + 1 for x in xs]


@program
def coin(bias):
    side = sample(dist.flip(bias))
    factor(0.4 if side else -0.2)
    return int(side)

"""

PROBABILITIES = ["0.5", "0.25", "0.9"]
LOGS = ["0.5", "-0.7", "0.0", "-1.5"]


@dataclass
class Writer:
    """A program being written.

    Attributes:
        draw: hypothesis's draw.
        budget: how many random choices a run may still make.
        names: integer variables that are bound here.
    """

    draw: Callable[[Any], Any]
    budget: int
    names: list[str] = field(default_factory=lambda: ["n"])
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

    def block(self, depth: int, loops: int, indent: str) -> list[str]:
        """Some statements."""
        lines: list[str] = []
        known = len(self.names)
        for _ in range(self.draw(st.integers(1, 3))):
            lines += self.statement(depth, loops, indent)
        del self.names[known:]
        return lines

    def assign(self, value: str, indent: str) -> list[str]:
        name = self.pick([f"v{next(self.fresh)}", *self.names])
        line = f"{indent}{name} = {value}"
        if name not in self.names:
            self.names.append(name)
        return [line]

    def statement(self, depth: int, loops: int, indent: str) -> list[str]:
        """One statement; random choices inside loops cost as often as they run."""
        random = self.budget >= 2**loops
        kinds = ["factor", "factor", "condition", "observe", "twist", "append", "barrier", "call"]
        if random:
            kinds += ["flip", "flip", "flip", "categorical", "coin", "token", "choice", "proposal", "comprehension"]
        if depth:
            kinds += ["if", "if", "while", "for", "return"]
        kind = self.pick(kinds)
        if kind in ("flip", "categorical", "coin", "token", "choice", "proposal"):
            self.budget -= 2**loops
        p = self.probability()
        if kind == "flip":
            return self.assign(f"int(sample(dist.flip({p})))", indent)
        if kind == "categorical":
            return self.assign("sample(dist.categorical([0.5, 0.2, 0.3]))", indent)
        if kind == "coin":
            return [f"{indent}c = coin({p})", *self.assign("c", indent)]
        if kind == "token":
            return self.assign(f'len(sample(lm.context("a" * ({self.number()} + 1)).token(temperature=0.8)))', indent)
        if kind == "choice":
            return self.assign('int(sample(lm.context("ab").choice(["a", "ba"])) == "a")', indent)
        if kind == "proposal":
            return self.assign(f"int(sample(dist.flip({p}), proposal=dist.flip({self.probability()})))", indent)
        if kind == "comprehension":
            self.budget -= 2 * 2**loops
            return [f"{indent}xs = [int(sample(dist.flip({p}))) for i in range(2)]"] if self.budget >= 0 else []
        if kind == "factor":
            return [f"{indent}factor({self.pick(LOGS)} * {self.number()})"]
        if kind == "twist":
            return [f"{indent}twist({self.pick(LOGS)} * {self.number()})"]
        if kind == "condition":
            return [f"{indent}condition({self.number()} < 2)"]
        if kind == "observe":
            return [f"{indent}observe(dist.flip({p}), bool({self.number()}))"]
        if kind == "append":
            return [f"{indent}xs.append({self.number()})"]
        if kind == "barrier":
            return [f"{indent}barrier()"]
        if kind == "call":
            return self.assign(f"call(plus_one, {self.number()})", indent)
        if kind == "return":
            return [f"{indent}if {self.number()}:", f"{indent}    return {self.number()}"]
        inner = indent + "    "
        if kind == "if":
            then, orelse = self.block(depth - 1, loops, inner), self.block(depth - 1, loops, inner)
            return [f"{indent}if {self.number()}:", *then, f"{indent}else:", *orelse]
        if kind == "for":
            i = f"i{next(self.fresh)}"
            self.names.append(i)
            body = self.block(depth - 1, loops + 1, inner)
            self.names.remove(i)
            stop = [f"{inner}if {self.number()}:", f"{inner}    {self.pick(['break', 'continue', 'pass'])}"]
            return [f"{indent}for {i} in range(2):", *body, *(s.replace(i, "n") for s in stop)]
        w = f"w{next(self.fresh)}"
        body = self.block(depth - 1, loops + 1, inner)
        return [f"{indent}{w} = 0", f"{indent}while {w} < 2:", f"{inner}{w} += 1", *body]


@st.composite
def sources(draw: Callable[[Any], Any], choices: int = 3) -> str:
    """The source of a module with a program ``main(n)`` that makes at most about ``choices`` random choices."""
    writer = Writer(draw, choices)
    lines = ["@program", "def main(n):", "    xs = []"]
    for _ in range(draw(st.integers(2, 5))):
        lines += writer.statement(2, 0, "    ")
    return HEADER + "\n".join([*lines, f"    return ({', '.join(dict.fromkeys(writer.names))}, tuple(xs))"]) + "\n"


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
