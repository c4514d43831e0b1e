"""The programs of ``execution.py``: loops beside the same loops as generators, and one effect over and over."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from ppl import barrier, condition, dist, factor, observe, program, sample

COIN = dist.flip(0.5)


def for_loop(n: int, k: int) -> Any:
    total = 0
    hits = 0
    for i in range(n):
        total = total + i * 3
        if total % 7 == 0:
            hits = hits + 1
        if i % k == 0:
            total = total + sample(COIN)
    return total, hits


def while_loop(n: int, k: int) -> Any:
    i = 0
    total = 0
    while i < n:
        i += 1
        total += i * 3
        if total % 7 == 0:
            total += 1
            continue
        if i % k == 0:
            total += sample(COIN)
    return total


def nested_loops(n: int, k: int) -> Any:
    total = 0
    for i in range(n // 10):
        for j in range(10):
            total = total + i * j
            if i % k == k - 1 and j == 0:
                total = total + sample(COIN)
    return total


def enumerated(n: int, k: int) -> Any:
    items = list(range(n))
    total = 0
    for i, item in enumerate(items):
        total = total + item * 3
        if i % k == 0:
            total = total + sample(COIN)
    return total


def for_generator(n: int, k: int) -> Generator[Any, Any, Any]:
    total = 0
    hits = 0
    for i in range(n):
        total = total + i * 3
        if total % 7 == 0:
            hits = hits + 1
        if i % k == 0:
            total = total + (yield COIN)
    return total, hits


def while_generator(n: int, k: int) -> Generator[Any, Any, Any]:
    i = 0
    total = 0
    while i < n:
        i += 1
        total += i * 3
        if total % 7 == 0:
            total += 1
            continue
        if i % k == 0:
            total += yield COIN
    return total


def nested_generator(n: int, k: int) -> Generator[Any, Any, Any]:
    total = 0
    for i in range(n // 10):
        for j in range(10):
            total = total + i * j
            if i % k == k - 1 and j == 0:
                total = total + (yield COIN)
    return total


def enumerated_generator(n: int, k: int) -> Generator[Any, Any, Any]:
    items = list(range(n))
    total = 0
    for i, item in enumerate(items):
        total = total + item * 3
        if i % k == 0:
            total = total + (yield COIN)
    return total


LOOPS: tuple[tuple[str, Callable[..., Any], Callable[..., Any], int], ...] = (
    ("`for` over a range", for_loop, for_generator, 4),
    ("`while`", while_loop, while_generator, 5),
    ("`for` in a `for`, ten items each", nested_loops, nested_generator, 2),
    ("`for` over `enumerate` of a list", enumerated, enumerated_generator, 2),
)
"""Title, program, the same as a generator, and the statements of an iteration without effect."""


# --- one effect over and over ---------------------------------------------------------------------------------------


@program
def barriers(n: int) -> int:
    for _ in range(n):
        barrier()
    return n


@program
def factors(n: int) -> int:
    for _ in range(n):
        factor(-0.5)
    return n


@program
def conditions(n: int) -> int:
    for i in range(n):
        condition(i >= 0)
    return n


@program
def observations(n: int) -> int:
    for _ in range(n):
        observe(COIN, True)
    return n


@program
def samples(n: int) -> int:
    x = False
    for _ in range(n):
        x = sample(COIN)  # noqa: F841
    return n


@program
def normals(n: int) -> int:
    import torch

    normal = torch.distributions.Normal(0.0, 1.0)
    for _ in range(n):
        x = sample(normal)  # noqa: F841
    return n


def yields(n: int) -> Generator[Any, Any, Any]:
    for _ in range(n):
        yield COIN
    return n
