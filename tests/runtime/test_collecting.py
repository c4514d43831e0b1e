"""The garbage collector during runs: not through what was there before, and nothing is kept for ever."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from ppl import dist, infer, infer_stream, program, sample
from ppl.runtime import collecting
from ppl.runtime.collecting import young_collections


class Node:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    assert gc.get_freeze_count() <= collecting._FROZEN and not collecting._State.within


@program
def coin() -> bool:
    return sample(dist.flip(0.5))


@program
def coin_of(number: int) -> bool:
    return sample(dist.flip(0.5))


def test_only_what_is_new_is_looked_through() -> None:
    old = Node()
    gone = ref(old)
    with young_collections():
        del old
        new = Node()
        alive = ref(new)
        del new
        gc.collect()
        assert alive() is None and gone() is not None
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("young", [700, 20_000, 0])
def test_the_first_generation_is_larger_meanwhile(young: int) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(young, 7, 8)
        with young_collections():
            assert gc.get_threshold() == ({700: collecting._YOUNG}.get(young, young), 7, 8)
        assert gc.get_threshold() == (young, 7, 8)
    finally:
        gc.set_threshold(*before)


def test_within_another_it_does_nothing() -> None:
    with young_collections():
        infer(coin, n=4, seed=0)
        assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("who", ["frozen", "disabled"])
def test_others_decisions_stand(who: str) -> None:
    gc.freeze() if who == "frozen" else gc.disable()
    try:
        count = gc.get_freeze_count()
        with young_collections():
            assert gc.get_freeze_count() == count
        assert gc.get_freeze_count() == count and gc.isenabled() == (who == "frozen")
    finally:
        gc.unfreeze()
        gc.enable()


def test_runs_one_after_the_other_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which each run and each whole collection takes a second: every 20 runs at the least."""
    monkeypatch.setattr(collecting, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    monkeypatch.setattr(collecting._State, "left", 0.0)
    nodes: list[ref[Any]] = []
    for _ in range(50):
        nodes.append(ref(Node()))
        infer(coin, n=2, seed=0)
    assert sum(at() is not None for at in nodes) <= 20


def test_a_failed_run_ends_it() -> None:
    @program
    def fails() -> None:
        sample(dist.flip(0.5))
        raise KeyError("x")

    with pytest.raises(Exception, match="x"):
        infer(fails, n=2, seed=0)


def test_who_takes_results_one_by_one_is_not_in_a_run_meanwhile() -> None:
    class Reader:
        def __init__(self) -> None:
            self.results = self.read()

        def read(self) -> Iterator[int]:
            for number, _ in infer_stream(coin_of, [1, 2, 3], n=2, seed=0):
                yield number

    reader = Reader()
    next(reader.results)
    assert gc.get_freeze_count() <= collecting._FROZEN
    gone = ref(reader)
    del reader
    gc.collect()
    assert gone() is None


def test_what_an_interrupt_left_frozen_is_let_go_of() -> None:
    with pytest.raises(KeyboardInterrupt), young_collections():
        raise KeyboardInterrupt
    before = collecting._State.before = gc.get_threshold()
    gc.freeze()  # as where another comes before everything is put back
    gc.set_threshold(123_456)
    with young_collections():
        assert collecting._State.within and collecting._State.before == before
    assert gc.get_threshold() == before
    assert not collecting._State.within and gc.get_freeze_count() <= collecting._FROZEN
