"""Several tasks as one, so that what they wait for shares batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from .machine import Wait
from .scheduler import Answered, Task

T = TypeVar("T")


def gather(tasks: Iterable[Task[T]]) -> Task[list[T]]:
    """Run tasks side by side, each as far as it goes, in one task.

    A task that yields nothing while it waits for nothing lets the others go on, and is then resumed.

    Returns:
        Their results, in their order.
    """
    running = list(tasks)
    results: dict[int, T] = {}
    owner: dict[int, int] = {}
    outstanding = [0] * len(running)
    waits: list[Wait] = []
    ready: list[tuple[int, Answered | None]] = [(i, None) for i in range(len(running))]
    while True:
        paused: list[tuple[int, Answered | None]] = []
        for i, answered in ready:
            outstanding[i] -= len(answered or ())
            try:
                asked = next(running[i]) if answered is None else running[i].send(answered)
            except StopIteration as stop:
                results[i] = stop.value
                continue
            owner.update((id(wait), i) for wait in asked)
            outstanding[i] += len(asked)
            waits += asked
            if not outstanding[i]:
                paused.append((i, []))
        if paused:
            ready = paused
            continue
        if len(results) == len(running):
            return [results[i] for i in range(len(running))]
        submitted, waits = waits, []
        answers: dict[int, Answered] = {}
        for wait, completion in (yield submitted):
            answers.setdefault(owner.pop(id(wait)), []).append((wait, completion))
        ready = list(answers.items())
