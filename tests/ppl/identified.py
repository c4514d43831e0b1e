"""A program that reads a bit of everything, for a look at whether its identity is the same in another process."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from ppl import Program, dist, factor, program, sample, table_lm
from ppl.identity import Identity

LETTERS = table_lm(["a", "b"], seed=1, eos=".")


def scaled(by: float) -> Callable[[float], float]:
    return lambda x: by * x


@dataclass
class Settings:
    scores: tuple[Callable[[float], float], ...] = (scaled(1), scaled(2))
    names: set[str] = field(default_factory=lambda: {"one", "two", "three"})

    def score(self, x: float) -> float:
        return sum(each(x) for each in self.scores)


class Place:
    """One of a ring of places, each of which knows all others."""

    everywhere: ClassVar[list[Place]] = []
    limits: ClassVar[dict[str, Any]] = {"most": 3}
    found = frozenset({"x", "y", "z"})

    def __init__(self, number: int) -> None:
        self.number = number
        self.others: set[Place] = set()
        self.everywhere.append(self)

    @functools.cached_property
    def next(self) -> Place:
        return min(self.others, key=lambda other: other.number)


class Nameless:
    """A place that nothing tells from others but whom it knows."""

    def __init__(self) -> None:
        self.others: set[Nameless] = set()


def everything() -> Program:
    settings = Settings()
    chosen: set[Any] = {scaled(3), scaled(4), scaled(5), len}
    places = [Place(number) for number in range(6)]
    for place in places:
        place.others.update(places)
    nameless = [Nameless() for _ in range(5)]
    for one in nameless:
        one.others.update(nameless[:4])
    pattern = re.compile("a" * 300 + "|[b-d]")
    weights = torch.arange(5000.0, requires_grad=True)
    table = np.ma.masked_array(np.arange(5000.0))
    known: Callable[[float], Any] = {1.5: {"x", "y", "z"}}.get

    @program
    def told(x: float) -> float:
        y = sample(dist.categorical([0.5, 0.5]))
        factor(settings.score(x) + sum(f(y) for f in chosen if f is not len))
        factor(
            places[0].next.number + len(nameless[4].others) + len(pattern.pattern) + weights[y].item() + float(table[y])
        )
        factor(len(known(1.5)) + LETTERS.context("a").choice(["a", "b"]).log_prob("a"))
        return y

    return told


def identity() -> Any:
    Place.everywhere.clear()
    found = Identity()
    return [found.of(everything()), found.of((scaled(6), scaled(7), scaled)), found.parts, found.held]
