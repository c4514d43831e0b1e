"""What a program's identity tells apart, and what it doesn't: it is the same wherever the program is."""

from __future__ import annotations

import enum
import json
import os
import re
import statistics
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from ppl import dist, factor, infer, program, sample, table_lm
from ppl.checkpoint import CheckpointMismatch
from ppl.identity import Identity

from . import identified


def scaled(by: Any, also: Any = None) -> Callable[[float], Any]:
    return lambda x: (by, also)


def reads(*values: Any) -> Callable[[], Any]:
    """A function of the user's that reads some values by names of its own."""
    first, second, third = (*values, None, None, None)[:3]
    return lambda: (first, second, third)


def found(value: Any) -> Any:
    identity = Identity()
    return identity.of(value), identity.parts, identity.held


def lambdas(by: float) -> Any:
    return tuple([lambda x, j=j: j * x for j in (0, by)])


def swapped(by: float) -> Any:
    here, there = scaled(1), scaled(2)
    return reads(here, there, here if by == 1 else there)


def models(by: float) -> Any:
    one, other = (table_lm(["a", "b"], seed=seed, eos=".") for seed in (1, 2))
    return reads(one, other, one) if by == 1 else reads(one, other, other)


def recursive(by: float) -> Any:
    def outer(x: float) -> Any:
        return inner(x), outer

    def inner(x: float) -> Any:
        return outer(x), by

    return outer


def attributes(by: float) -> Any:
    class Sizes:
        weights: ClassVar[dict[str, float]] = {"True": by}

    return reads(Sizes)


def attribute_objects(by: float) -> Any:
    class Helper:
        pass

    Helper.helps = lambda self, x: by * x  # type: ignore[attr-defined]

    class Sizes:
        helper = Helper()

    return reads(Sizes)


def dataclass_methods(by: float) -> Any:
    @dataclass
    class Sizes:
        x: float

        def score(self) -> float:
            return by * self.x

    return Sizes(3)


def inherited_slots(by: float) -> Any:
    class Base:
        __slots__ = ("__by",)

        def __init__(self) -> None:
            self.__by = by

    class Slotted(Base):
        __slots__ = "other"

    return Slotted()


def large(by: float) -> Any:
    array = np.zeros(5000)
    array[2500] = by
    return array


class Unpickled:
    """An object of an installed package (its module says so) that hides most of what it holds."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __repr__(self) -> str:
        return "Unpickled(0, 0, ..., 0)"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not this one")


Unpickled.__module__ = "json"


def members(by: float) -> Any:
    Colour = enum.Enum("Colour", {"RED": by, "BLUE": 7})
    Colour.__module__ = __name__
    return reads(Colour)


DIFFERENT: dict[str, Callable[[float], Any]] = {
    "closures": lambda by: (scaled(0), scaled(by)),
    "closures of a list": lambda by: [scaled(0), scaled(by)],
    "closures that variables hold": lambda by: reads(scaled(0), scaled(by)),
    "closures in a set": lambda by: {scaled(0), scaled(by)},
    "defaults": lambdas,
    "functions that change places": swapped,
    "functions that change names": lambda by: reads(*((len, scaled, reads) if by == 1 else (len, reads, scaled))),
    "functions of Python": lambda by: reads(statistics.mean if by == 1 else statistics.median),
    "models that change names": models,
    "functions that know each other": recursive,
    "attributes of a class": attributes,
    "objects of a class": attribute_objects,
    "members of an enumeration": members,
    "methods of a dataclass": dataclass_methods,
    "inherited slots": inherited_slots,
    "a long pattern": lambda by: re.compile("a" * 200 + str(by)),
    "a pattern's flags": lambda by: re.compile("a" * 300, re.ASCII if by == 1 else re.IGNORECASE),
    "a trained tensor": lambda by: torch.tensor(large(by), requires_grad=True),
    "a parameter's last digits": lambda by: torch.nn.Parameter(torch.tensor([1 + by * 1e-6])),
    "a sparse tensor": lambda by: torch.tensor(large(by)).to_sparse(),
    "a masked array": lambda by: np.ma.masked_array(large(by)),
    "a matrix's last digits": lambda by: np.array([[1 + by * 1e-12]]).view(np.recarray),
    "an array of objects": lambda by: np.array([{"by": by}] * 2000, dtype=object),
    "a namespace": lambda by: types.SimpleNamespace(table=large(by)),
    "a dict's method": lambda by: {1.5: by}.get,
    "a list's method": lambda by: [by].__len__,
    "a pattern's method": lambda by: re.compile("a" * 200 + str(by)).fullmatch,
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_change_is_seen(name: str) -> None:
    make = DIFFERENT[name]
    assert found(make(1)) == found(make(1))
    assert found(make(1)) != found(make(-5))


@pytest.mark.parametrize(
    "make",
    [
        lambda by: scaled(by),
        lambda by: lambda x, j=by: j * x,
        swapped,
        lambda by: torch.nn.Parameter(torch.ones(1) * by),
    ],
)
def test_a_run_on_other_functions_is_refused(tmp_path: Path, make: Callable[[int], Any]) -> None:
    @program
    def told(f: Any, g: Any) -> int:
        y = sample(dist.categorical([0.5, 0.5]))
        return y

    infer(told, make(1), make(1), method="enumerate", checkpoint=tmp_path)
    infer(told, make(1), make(1), method="enumerate", checkpoint=tmp_path)
    with pytest.raises(CheckpointMismatch):
        infer(told, make(1), make(-5), method="enumerate", checkpoint=tmp_path)


def test_what_can_change_on_the_way_is_warned_of(tmp_path: Path) -> None:
    def made(by: float) -> Any:
        class Sizes:
            weights: ClassVar[dict[str, float]] = {"0": 0.0, "1": by}

        cache = {"a": by}
        known = cache.get

        @program
        def told() -> int:
            y = sample(dist.categorical([0.5, 0.5]))
            factor(Sizes.weights[str(y)] + 0 * (known("a") or 0))
            return y

        return told

    infer(made(1), method="enumerate", checkpoint=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer(made(1), method="enumerate", checkpoint=tmp_path)
    with pytest.warns(UserWarning) as told:
        infer(made(-5), method="enumerate", checkpoint=tmp_path)
    text = "\n".join(str(each.message) for each in told)
    assert "weights in class " in text and "{'0': 0.0, '1': 1} then, {'0': 0.0, '1': -5} now" in text
    assert re.search(r"known in .*told\(\): \w+ then, \w+ now", text)


def test_what_cannot_be_looked_into_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"a json\.Unpickled that can't be looked into .* goes unnoticed") as told:
        found([Unpickled(1), Unpickled(2)])
    assert len(told) == 1


def test_it_is_the_same_in_another_process() -> None:
    here = identified.identity()
    assert len(here[2]) > 20 and identified.identity() == here
    script = "import json; from tests.ppl.identified import identity; print(json.dumps(identity()))"
    command = [sys.executable, "-c", script]
    options: dict[str, Any] = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True, "timeout": 100}
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, **options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here


def test_graphs_and_rings_end() -> None:
    class Node:
        def __init__(self) -> None:
            self.others: list[Node] = []
            self.by = 0.0

    def graph(last: float) -> Node:
        nodes = [Node() for _ in range(30)]
        for node in nodes:
            node.others = list(nodes)
        nodes[-1].by = last
        return nodes[0]

    assert found(graph(1)) == found(graph(1)) != found(graph(2))


def test_objects_met_twice_are_the_same_as_two_equal_ones() -> None:
    once = scaled([1, {2}])
    assert found(scaled(({3}, {3}))) == found(scaled(tuple([{3}] * 2)))
    assert found([once, once]) != found([once, scaled(2)])


def test_each_of_many_closures_is_a_part() -> None:
    identity = Identity()
    identity.of([scaled(number) for number in range(500)])
    lambdas = [name for name in identity.parts if re.match(r"scaled\S*<lambda>\(\)", name)]
    assert len(lambdas) == 500


def test_where_an_object_lies_is_no_part_of_it() -> None:
    generators = [np.random.default_rng(seed) for seed in (1, 2)]
    assert "0x" in repr(generators[0])
    assert found(generators[0]) == found(generators[1])
