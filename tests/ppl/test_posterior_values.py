"""Outcomes are grouped by equality, also those that do not hash."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch

from ppl.posterior_distribution import Distribution
from ppl.posterior_values import freeze
from ppl.text import Text

from .posteriors import make


@dataclasses.dataclass
class Plan:
    steps: list[int]
    note: str = dataclasses.field(default="", compare=False)


@pytest.mark.parametrize(
    "one, same, other",
    [
        ([1, [2]], [1, [2]], (1, [2])),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1]}, {"a": [1]}),
        ({1, 2}, frozenset({2, 1}), {1}),
        (torch.tensor([1, 2]), torch.tensor([1, 2]), torch.tensor([[1, 2]])),
        (torch.tensor(3), 3, 4),
        (torch.tensor(0.5, dtype=torch.float64), 0.5, "0.5"),
        (torch.tensor(True), True, False),
        ((1, torch.tensor([2])), (1, torch.tensor([2])), (1, torch.tensor([3]))),
        (Text("ab", (1, 2)), "ab", "abc"),
        (Plan([1], "x"), Plan([1], "y"), Plan([2])),
        (math.nan, float("nan"), 0.0),
        (None, None, "None"),
    ],
)
def test_outcomes_are_grouped_by_equality(one: Any, same: Any, other: Any) -> None:
    found = make([one, other, same], [1.0, 1.0, 1.0]).distribution()
    assert len(found) == 2 and found[same] == pytest.approx(2 / 3)
    assert next(iter(found)) is one  # an original value, not the key


def test_values_that_contain_themselves_or_refuse_to_show() -> None:
    class Rude:
        __hash__ = None  # type: ignore[assignment]

        def __repr__(self) -> str:
            raise RuntimeError("no")

    loop: list[Any] = []
    loop.append(loop)
    assert make([loop, Rude(), Rude()]).distribution().mode().__class__ is Rude
    json.loads(make([loop, Rude()]).to_json())
    assert freeze(loop) == freeze(loop)


def test_distributions_compare_by_value() -> None:
    assert make([[1], [2]]).distribution() == make([[1], [2]]).distribution()
    assert make(["a", "b"]).distribution() == {"a": 0.5, "b": 0.5} != make(["a"]).distribution()
    assert Distribution(["a"], [2.0]).get("b", 9.0) == 0.0
