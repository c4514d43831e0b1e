"""Loops that are cut run natively between effects, and their code stays in proportion to what was written."""

from __future__ import annotations

from typing import Any

import pytest

from ppl.compiler import Compiled

from .driver import define

ONE = """
def f(n, k):
    total = 0
    for i in range(n):
        total = total + i
        if i % k == 0:
            total = total + sample(i)
    return total
"""
NESTED = """
def f(n, k):
    total = 0
    for i in range(n):
        for j, item in enumerate([1, 2, 3]):
            if item == 2 and i % k != 0:
                continue
            total = total + item
            if i % k == 0 and j == 0:
                total = total + sample(i)
                if total < 0:
                    break
        while total % 5 == 4:
            total = total + 1
            if total < 0:
                total = sample(total)
    return total
"""


def trips(compiled: Compiled, *args: Any) -> tuple[Any, int, int]:
    """The value, how many effects there were, and how often a block was called; effects are answered with 1."""
    ask, block, live = compiled.entry(*args)
    effects, calls = 0, 1
    while block is not None:
        calls += 1
        effects += ask is not None
        ask, block, live = block(*live) if ask is None else block(1, *live)
    return ask, effects, calls


@pytest.mark.parametrize("source", [ONE, NESTED])
def test_iterations_without_effect_are_native(source: str) -> None:
    compiled = define(source)[1]
    _, effects, calls = trips(compiled, 1000, 200)
    assert effects == 5
    assert calls <= 4 * effects + 3
    assert trips(compiled, 10_000, 2000)[1:] == (effects, calls)


def _nest(depth: int) -> str:
    lines = ["def f(n, k):", "    total = 0"]
    for i in range(depth):
        lines += ["    " * (i + 1) + f"for i{i} in range(n):", "    " * (i + 2) + f"total += i{i}"]
    lines.append("    " * (depth + 1) + "total += sample(k)")
    lines += ["    " * (i + 2) + f"total += 2 * i{i}" for i in reversed(range(depth))]
    return "\n".join([*lines, "    return total"])


def _branches(count: int) -> str:
    lines = ["def f(n, k):", "    total = 0", "    for i in range(n):"]
    for i in range(count):
        lines += [
            f"        if total % {i + 2}:",
            "            total += sample(k)",
            "        else:",
            "            k += 1",
        ]
    return "\n".join([*lines, "    return total"])


def _branches_inside(depth: int) -> str:
    lines = ["def f(n, k):", "    total = 0", "    for i in range(n):"]
    for i in range(depth):
        lines += ["    " * (i + 2) + f"if total % {i + 2}:", "    " * (i + 3) + "total += sample(k)"]
    lines += ["    " * (i + 3) + "total += 1" for i in reversed(range(depth)) for _ in range(4)]
    return "\n".join([*lines, "    return total"])


@pytest.mark.parametrize("write", [_nest, _branches, _branches_inside])
def test_code_is_in_proportion_to_the_source(write: Any) -> None:
    def lines(size: int) -> int:
        return len(define(write(size))[1].source.splitlines())

    assert lines(12) - lines(6) <= 2 * (lines(6) - lines(3)) + 6
    assert lines(12) <= 5 * len(write(12).splitlines())
