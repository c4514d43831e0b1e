"""Programs with state that a careless pass would get wrong: aliases, iterators, objects that change, early exits.

Each is compared by enumeration with itself as written; ``FIRES`` says on which the default passes do something.
"""

from __future__ import annotations

from typing import Any

import pytest

from ppl import Program, call, dist, factor, observe, program, sample, table_lm
from ppl.certificate_passes import validate_passes
from ppl.compiler.passes import make_pipeline, optimise

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


def up(ts: list[int]) -> list[int]:
    return [t + 1 for t in ts]


def sizes(rows: list[list[int]]) -> list[int]:
    return [len(r) for r in rows]


class Box:
    def __init__(self) -> None:
        self.n = 0

    def bump(self) -> int:
        self.n += 1
        return self.n


@program
def aliased() -> Any:
    xs = [0]
    ys = xs
    a = sample(lm.context("a").token())
    ys.append(1)
    b = sample(lm.context("b" * len(xs)).token())
    factor(0.3 * len(xs))
    return a, b


@program
def mutable_outcomes() -> Any:
    xs = [0]
    a = sample(dist.uniform([xs, [5]]))
    t = sample(lm.context("a").token())
    xs.append(1)
    u = sample(lm.context("a" * len(a)).token())
    factor(0.2 * len(a))
    return a, t, u


@program
def boxed() -> Any:
    b = Box()
    xs = [sample(lm.context("a" * b.bump()).token()) for _ in range(2)]
    factor(0.1 * b.n)
    return xs, b.n


@program
def boxed2() -> Any:
    b = Box()
    xs = []
    for _i in range(2):
        n = b.bump()
        y = sample(lm.context("a" * n).token())
        xs.append(y)
        b.n = b.n + len(y)
    return xs, b.n


@program
def iterator() -> Any:
    it = iter([1, 2, 3, 4])
    xs = []
    for _i in range(2):
        n = next(it)
        y = sample(lm.context("a" * n).token())
        m = next(it)
        xs.append((n, m, y))
    return xs


@program
def nested_lists() -> Any:
    out = [[sample(lm.context("a" * (i + j + 1)).choice(["a", "ba"])) for j in range(i + 1)] for i in range(2)]
    return out


@program
def dict_state() -> Any:
    d: dict[int, str] = {}
    for i in range(2):
        d[i] = sample(lm.context("a" * (1 + len(d))).choice(["a", "ba"]))
    return d


@program
def walrus() -> Any:
    k = 0
    xs = [sample(lm.context("a" * (k := k + 1)).choice(["a", "ba"])) for i in range(2)]
    return xs, k


@program
def swapped() -> Any:
    s, t = 1, 2
    xs = []
    for _i in range(2):
        s, t = t, s
        y = sample(lm.context("a" * s).choice(["a", "ba"]))
        xs.append((y, s, t))
        t = t + len(y)
    return xs, s, t


@program
def early() -> Any:
    x = sample(lm.context("a").token())
    for i in range(2):
        if x == "b":
            return x, i
        y = sample(lm.context("b").token())
    observe(lm.context("a").token(), "b")
    z = sample(lm.context("b").token())
    return x, y, z


@program
def loops_after() -> Any:
    x = y = "a"
    for x in ["a", "b"]:
        y = sample(lm.context(x).choice(["a", "ba"]))
    return x, y


@program
def callee() -> Any:
    rs = [call(up, i) for i in range(3)]
    ss = [call(up, r) for r in rs]
    a = call(sizes, rs)
    b = call(sizes, ss)
    x = sample(dist.flip(0.1 * b))
    return rs, ss, a, b, x


@program
def two_effects() -> Any:
    out = []
    for i, c in enumerate("ab"):
        x = sample(lm.context(c).choice(["a", "ba"]))
        y = sample(lm.context(c + x).choice(["a", "ba"], temperature=0.5))
        out.append((i, x, y))
    return out


@program
def zipped() -> Any:
    d = {"a": 1, "b": 2}
    out = {k: sample(lm.context(k * v).choice(["a", "ba"])) for k, v in d.items()}
    o2 = [sample(lm.context(k + str(v)[:0]).choice(["a", "ba"])) for k, v in zip("ab", out.values(), strict=False)]
    return out, o2


@program
def while_() -> Any:
    i = 0
    out = []
    while i < 2:
        x = sample(lm.context("a" * (i + 1)).choice(["a", "ba"]))
        y = sample(lm.context("b" * (i + 1)).choice(["a", "ba"]))
        out.append((x, y))
        i += 1
    return out


@program
def growing() -> Any:
    xs = ["a"]
    for t in xs:
        y = sample(lm.context(t).choice(["a", "ba"]))
        if len(xs) < 2:
            xs.append(y)
    return xs


@program
def growing2() -> Any:
    xs = ["a", "b"]
    for t in xs:
        if len(xs) < 3:
            xs.append("ab")
        y = sample(lm.context(t).choice(["a", "ba"]))
    return xs, y


PROGRAMS = {name: value for name, value in list(globals().items()) if isinstance(value, Program)}
FIRES = {
    *("aliased", "mutable_outcomes", "boxed", "nested_lists", "walrus", "loops_after", "callee", "two_effects"),
    *("zipped", "while_", "growing2"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_default_passes_keep_the_measure(name: str) -> None:
    prog = PROGRAMS[name]
    assert validate_passes(prog, passes="default")
    changed = optimise(prog._function, prog.compiled, make_pipeline("default"))[1].changed
    assert changed is (name in FIRES)
