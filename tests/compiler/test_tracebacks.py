"""Errors in compiled programs show the user's code, and loops leave the Python stack as it is."""

from __future__ import annotations

import sys
import time
import traceback

import pytest

from .driver import Machine, define

PROGRAM = """\
def f(a, b=2):
    total = 0
    for i in range(a):
        x = sample(i)
        if x > 2:
            total += helper(x)  # 6
        note(total)
    def inner(v):
        return 1 // v  # 9
    return (
        inner(b)
    )
def helper(x):
    return [x][a]
"""


def _error(source: str, a: int, b: int, answer: int) -> traceback.TracebackException:
    _, compiled = define(source)
    try:
        step = compiled.entry(a, b)
        while step[1] is not None:
            step = step[1](*((answer, *step[2]) if step[0] is not None else step[2]))
    except Exception as error:
        return traceback.TracebackException.from_exception(error)
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("a", "b", "answer", "frames"),
    [
        (3, 0, 1, [("f", 11, "inner(b)"), ("inner", 9, "return 1 // v  # 9")]),
        (3, 1, 5, [("f", 6, "total += helper(x)  # 6"), ("helper", 14, "return [x][a]")]),
        ("three", 1, 0, [("f", 3, "for i in range(a):")]),
    ],
)
def test_a_traceback_shows_the_users_lines(a: int, b: int, answer: int, frames: list[tuple[str, int, str]]) -> None:
    error = _error(PROGRAM, a, b, answer)
    ours = [s for s in error.stack if s.filename.startswith("<program")]
    assert [(s.name, s.lineno, s.line) for s in ours][-len(frames) :] == frames
    assert {s.name for s in ours} <= {"f", "inner", "helper"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="positions within a line came with 3.11")
def test_a_traceback_marks_the_expression() -> None:
    error = _error("def f(a, b):\n    x = sample(a)\n    return x + (a // b) + x\n", 1, 0, 1)
    assert "       ~~^^~~" in "".join(error.format())


def test_a_long_loop_with_a_rare_effect_keeps_the_stack() -> None:
    source = """\
def f(a, b=2):
    total = 0
    for i in range(100000):
        if i % 10000 == 7:
            total += sample(i)
        if i % 30000 == 8:
            observe(i, total)
            continue
        total += 1
    return total
"""
    _, compiled = define(source)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(traceback.extract_stack()) + 80)
    try:
        start = time.perf_counter()
        outcome = Machine().start(compiled, (0, 0), [1] * 20)
        took = time.perf_counter() - start
    finally:
        sys.setrecursionlimit(limit)
    assert outcome.value == str(100000 - 4 + 10)
    assert took < 5  # a twentieth of a second on an idle machine


@pytest.mark.parametrize("test", ["True", "sample(a) >= 0", "a >= 0 and sample(a) >= 0"])
def test_a_long_loop_of_effects_keeps_the_stack(test: str) -> None:
    source = f"def f(a, b):\n    while {test}:\n        a += 1\n        sample(a)\n        if a > 3000: return a\n"
    _, compiled = define(source)
    step = compiled.entry(0, 0)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(traceback.extract_stack()) + 60)
    try:
        while step[1] is not None:
            step = step[1](*((1, *step[2]) if step[0] is not None else step[2]))
    finally:
        sys.setrecursionlimit(limit)
    assert step[0] == 3001
