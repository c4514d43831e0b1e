"""Classes and caches that a program defines: copies of a run share them, so they may hold nothing that a run changes.

What the text tells is refused when the program is decorated (``refused.py``), the rest when a run is copied.
"""

from __future__ import annotations

import linecache
import textwrap
from typing import Any

import pytest

import ppl
from ppl import dist, sample
from ppl.runtime import fork, fork_functions
from ppl.runtime.fork import CannotFork

PROGRAM = """\
@program
def f():
    log = sorted([])
{}
    a = A()
    x = sample(dist.flip(0.5), name="x")
    a.go(x)
    y = sample(dist.flip(0.5), name="y")
    a.go(y)
    return x, y, a.found()
"""


def run(definitions: str) -> set[Any]:
    """The outcomes of a program with a class ``A``."""
    text = PROGRAM.format(textwrap.indent(textwrap.dedent(definitions), "    "))
    linecache.cache["local.py"] = (len(text), None, text.splitlines(True), "local.py")
    names: dict[str, Any] = {"program": ppl.program, "sample": sample, "dist": dist, "__name__": __name__}
    exec(compile(text, "local.py", "exec"), names)
    return {run.value for run in ppl.infer(names["f"], method="enumerate", passes=[]).runs}


FINE = {
    "constants": """
        limit = 3
        class A:
            seen, words = 0, (1, "a")
            def go(self, v): self.seen += v if limit else 1
            def found(self): return self.seen
    """,
    "an object of its own": """
        class A:
            def __init__(self): self.seen = []
            def go(self, v): self.seen.append(v)
            def found(self): return sum(self.seen)
    """,
    "a data class": """
        import dataclasses
        @dataclasses.dataclass
        class A:
            seen: list = dataclasses.field(default_factory=list)
            def go(self, v): self.seen.append(v)
            def found(self): return sum(self.seen)
    """,
    "a frozen one that is captured": """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Step:
            by: int = 1
        one = Step()
        class A:
            seen = 0
            def go(self, v): self.seen += one.by * v
            def found(self): return self.seen
    """,
    "what is not its class's": """
        class A:
            seen = 0
            def go(self, v): setattr(self, "seen", self.seen + v)
            def found(self):
                B = self
                B.total = self.seen
                return self.total
        class B(A): pass
    """,
    "slots": """
        class A:
            __slots__ = ("seen",)
            def go(self, v): self.seen = v + getattr(self, "seen", 0)
            def found(self): return self.seen
    """,
    "bases and super": """
        import abc
        class Base(abc.ABC):
            @abc.abstractmethod
            def go(self, v): self.seen = v + getattr(self, "seen", 0)
        class A(Base):
            def go(self, v): super().go(v)
            def found(self): return self.seen
    """,
    "an enumeration": """
        import enum
        class Side(enum.Enum):
            heads = True
            tails = False
        class A:
            seen = 0
            def go(self, v): self.seen += Side(v) is Side.heads
            def found(self): return self.seen
    """,
    "a named tuple": """
        import typing
        class Pair(typing.NamedTuple):
            first: int = 0
            second: int = 0
        start = Pair()
        class A:
            def go(self, v): self.pair = Pair(v, getattr(self, "pair", start).first)
            def found(self): return sum(self.pair)
    """,
    "an exception": """
        class A(Exception):
            seen = 0
            def go(self, v): self.seen += v
            def found(self): return self.seen
    """,
    "a cache of a pure function": """
        import functools
        @functools.lru_cache
        def as_number(v): return int(v)
        class A:
            seen = 0
            def go(self, v): self.seen += as_number(v)
            def found(self): return self.seen
    """,
}


@pytest.mark.parametrize("case", FINE)
def test_what_holds_nothing_that_changes_is_shared(case: str) -> None:
    assert run(FINE[case]) == {(x, y, x + y) for x in (True, False) for y in (True, False)}


SHARED = {
    "captured": """
        class A:
            def go(self, v): log.append(v)
            def found(self): return sum(log)
    """,
    "captured by a class in a function": """
        def make(kept):
            class Inner:
                def go(self, v): kept.append(v)
                def found(self): return sum(kept)
            return Inner
        A = make(log)
    """,
    "held": """
        class A:
            seen = sorted([])
            def go(self, v): self.seen.append(v)
            def found(self): return sum(self.seen)
    """,
    "captured by a base": """
        class Base:
            def go(self, v): log.append(v)
            @property
            def whole(self): return sum(log)
        class A(Base):
            def found(self): return self.whole
    """,
    "captured by a kind of string": """
        class A(str):
            def go(self, v): log.append(v)
            def found(self): return sum(log)
    """,
    "captured by a cached function": """
        import functools
        @functools.lru_cache
        def note(v): log.append(v)
        class A:
            go = staticmethod(note)
            def found(self): return sum(log)
    """,
}


@pytest.mark.parametrize("case", SHARED)
def test_what_a_run_changes_is_refused_when_it_is_copied(case: str) -> None:
    with pytest.raises(CannotFork, match=r"(?s)but the (class|cache) stays one.*local\.py"):
        run(SHARED[case])


ASSIGNED = {
    "one of several": """
        class A:
            seen = 0
            def go(self, v):
                for kind in (A,): kind.seen += v
            def found(self): return self.seen
    """,
    "held by an object": """
        class A:
            seen = 0
            def __init__(self): self.kind = A
            def go(self, v): self.kind.seen += v
            def found(self): return self.seen
    """,
    "of a base": """
        class Base:
            seen = 0
        class A(Base):
            def go(self, v): self.__class__.__base__.seen += v
            def found(self): return self.seen
    """,
    "new": """
        class A:
            def go(self, v): [kind] = [A]; kind.seen = v + getattr(kind, "seen", 0)
            def found(self): return self.seen
    """,
    "gone": """
        class A:
            seen = 0
            def go(self, v): [kind] = [A]; v and "seen" in vars(kind) and type.__delattr__(kind, "seen")
            def found(self): return hasattr(self, "seen")
    """,
    "by its metaclass": """
        class Counted(type):
            def more(cls, v): cls.seen += v
        class A(metaclass=Counted):
            seen = 0
            def go(self, v): A.more(v)
            def found(self): return self.seen
    """,
}


@pytest.mark.parametrize("case", ASSIGNED)
def test_an_attribute_of_a_class_that_a_run_assigns_is_refused_when_it_is_copied(case: str) -> None:
    with pytest.raises(CannotFork, match=r"(?s)'seen' of the class (A|Base), .* was assigned .*local\.py"):
        run(ASSIGNED[case])


def test_a_name_that_a_nested_function_takes_is_no_class() -> None:
    definitions = """
        def note(A, v): A.seen += v
        class A:
            seen = 0
            def go(self, v): note(self, v)
            def found(self): return self.seen
    """
    assert run(definitions) == {(x, y, x + y) for x in (True, False) for y in (True, False)}


def test_the_runs_would_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the check is needed."""
    monkeypatch.setattr(fork_functions, "changing_attribute", lambda kind, stays: None)
    assert any(found != x + y for x, y, found in run(SHARED["captured"]))


def test_a_class_from_outside_stays_what_it_is() -> None:
    class Tool:
        calls: list[int] = []  # noqa: RUF012

    assert fork.fork(Tool, {}) is Tool
    assert type(fork.fork(Tool(), {})) is Tool
