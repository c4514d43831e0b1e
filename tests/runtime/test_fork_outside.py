"""Objects outside of a program stay what they are in every copy of a run."""

from __future__ import annotations

import collections
import copy
import datetime
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ppl import Program, condition, dist, infer, program, sample
from ppl.runtime import outside as outside_module
from ppl.runtime.outside import Outside

flip, uniform = dist.flip, dist.uniform


class Door:
    """Two doors are one only if they are the same."""

    def __init__(self, name: str) -> None:
        self.name = name


MISSING = object()
DOORS = [Door("a"), Door("b")]
WEIGHTS = {DOORS[0]: 0.2, DOORS[1]: 0.9}
MODULE: Any = types.ModuleType("doors")
MODULE.left, MODULE.inner = Door("left"), types.ModuleType("inner")
MODULE.inner.right = Door("right")


def measure(program: Program, *args: Any) -> dict[Any, float]:
    """What a program returns, and with which weight, the same by two methods."""
    exact = infer(program, *args, method="enumerate", passes=[])
    drawn = infer(program, *args, method="smc", n=64, ess_threshold=1.0, seed=0)
    assert set(drawn.distribution()) <= set(exact.distribution())
    return {value: round(p, 6) for value, p in exact.distribution().items()}


def test_a_sentinel_stays_the_one_it_is() -> None:
    @program
    def first() -> Any:
        best: Any = MISSING
        for i in range(2):
            x = sample(flip(0.5))
            if x and best is MISSING:
                best = i
        return "none" if best is MISSING else best

    assert measure(first) == {"none": 0.25, 0: 0.5, 1: 0.25}


def test_what_was_drawn_twice_is_the_same() -> None:
    @program
    def prize() -> bool:
        prize = sample(uniform(DOORS))
        pick = sample(uniform(DOORS))
        return prize is pick

    assert measure(prize) == {True: 0.5, False: 0.5}


def test_what_was_drawn_is_a_key_of_a_table_outside() -> None:
    @program
    def weighs() -> str:
        door = sample(uniform(DOORS))
        luck = sample(flip(0.5))
        condition(WEIGHTS[door] > 0.5 or luck)
        return door.name

    assert measure(weighs) == {"a": pytest.approx(1 / 3), "b": pytest.approx(2 / 3)}


def test_what_a_helper_reads_is_the_default_of_a_program() -> None:
    def is_first(door: Door) -> bool:
        return door is DOORS[0]

    @program
    def same(door: Door = DOORS[0]) -> tuple[bool, bool]:
        before = is_first(door)
        x = sample(flip(0.5))
        return before, is_first(door)

    assert measure(same) == {(True, True): 1.0}


def test_an_argument_is_still_each_run_s_own() -> None:
    @program
    def renames(door: Door) -> str:
        door.name += "x"
        x = sample(flip(0.5))
        door.name += "y" if x else "z"
        return door.name

    door = Door("d")
    assert measure(renames, door) == {"dxy": 0.5, "dxz": 0.5} and door.name == "d"


def test_what_a_run_puts_outside_is_still_its_own() -> None:
    made: list[Door] = []

    def new() -> Door:
        made.append(Door("d"))
        return made[-1]

    @program
    def renames() -> str:
        door = new()
        x = sample(flip(0.5))
        door.name += "y" if x else "z"
        return door.name

    assert measure(renames) == {"dy": 0.5, "dz": 0.5}


def test_a_list_that_was_drawn_holds_the_doors_themselves() -> None:
    @program
    def first() -> str:
        order = sample(uniform([DOORS, DOORS[::-1]]))
        order.append(order[0])
        return "a" if order[2] is DOORS[0] else "b" if order[2] is DOORS[1] else "neither"

    assert measure(first) == {"a": 0.5, "b": 0.5} and len(DOORS) == 2


class _Kinds:
    one = Door("one")

    __slots__ = ("_two", "three")

    def __init__(self) -> None:
        self._two, self.three = Door("two"), [Door("three")]


def _code() -> tuple[Callable[..., Any], list[Any], list[Any]]:
    """A function, what it reaches that counts by which it is, and what it reaches besides."""
    kinds, queue, tensor, law = _Kinds(), collections.deque([Door("q")]), torch.zeros(1), uniform([Door("law")])

    default = Door("default")

    def reaches(given: Door = default) -> Any:
        later = lambda: (kinds, queue, tensor)  # noqa: E731
        return later, law, MODULE.left, MODULE.inner.right, is_last

    def is_last(door: Door, last: Door = DOORS[1]) -> bool:
        return door is last

    inside = [kinds, kinds.one, kinds._two, kinds.three[0], queue[0], law.outcomes[0], MODULE.left, DOORS[1], is_last]
    return reaches, [*inside, MODULE.inner.right], [queue, tensor, kinds.three, DOORS[0], *(reaches.__defaults__ or ())]


def test_what_a_program_reaches() -> None:
    function, those, others = _code()
    found = Outside(function)
    assert all(id(value) in found for value in those)
    assert not [value for value in others if id(value) in found]


LARGE = [{"question": str(number), "door": Door(str(number))} for number in range(500)]


def test_a_large_table_is_looked_through_when_a_run_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def table() -> Any:
        return LARGE

    monkeypatch.setattr(outside_module, "_AT_ONCE", 100)
    found = Outside(table)
    assert len(found._seen) == 100
    assert all(id(row["door"]) in found and id(row) in found.content for row in LARGE)
    assert id(Door("of a run")) not in found


class Copies:
    """Says itself how it is copied, by ``copy``."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def __deepcopy__(self, memo: dict[int, Any]) -> Copies:
        return Copies(copy.deepcopy(self.door, memo))


def test_what_says_itself_how_it_is_copied_holds_the_doors_themselves() -> None:
    @program
    def keeps() -> bool:
        held = [Copies(DOORS[1]), datetime.datetime(2020, 1, 1)]
        sample(flip(0.5))
        return held[0].door is DOORS[1] and held[1].year == 2020  # type: ignore[attr-defined]

    assert measure(keeps) == {True: 1.0}
