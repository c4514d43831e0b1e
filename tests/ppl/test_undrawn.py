"""A forgotten sample(): a distribution in place of a value is told wherever Python would take it for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ppl import ProgramError, condition, dist, factor, infer, program, table_lm
from ppl.lm import LM

TOLD = "is a distribution, not a value that was drawn from it: write x = sample"


@pytest.fixture(scope="module")
def lm() -> LM:
    return table_lm(["a", "b"], seed=1, eos=".")


MISTAKES: list[Callable[[Any], object]] = [
    bool,
    lambda d: "yes" if d else "no",
    lambda d: d and True,
    lambda d: not d,
    lambda d: f"It is {d}",
    "{}".format,
    lambda d: d + 1,
    lambda d: "a" + d,
    lambda d: d * 2,
    lambda d: d < 3,
    lambda d: "a" in d,
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_distribution_is_no_value(mistake: Callable[[Any], object], lm: LM) -> None:
    for distribution in (dist.flip(0.1), lm.context("").token(), lm.context("").choice(["a", "b"])):
        with pytest.raises(TypeError, match=TOLD):
            mistake(distribution)


def test_a_distribution_of_texts_is_no_text(lm: LM) -> None:
    for distribution in (lm.context("").token(), lm.context("").choice(["a", "b"])):
        with pytest.raises(TypeError, match=TOLD):
            _ = distribution == "a"
        with pytest.raises(AttributeError, match=rf"{TOLD}.*: x\.strip"):
            distribution.strip()  # type: ignore[union-attr]
        with pytest.raises(AttributeError, match="object has no attribute 'nothing'"):
            distribution.nothing  # type: ignore[union-attr]  # noqa: B018
        assert distribution != 3 and distribution in [distribution] and repr(distribution)


@pytest.mark.parametrize("undrawn", [dist.flip(0.0), torch.distributions.Bernoulli(0.0)], ids=["ours", "torch"])
def test_evidence_of_a_distribution_is_refused(undrawn: Any) -> None:
    @program
    def holds() -> str:
        condition(undrawn)
        return "kept"

    @program
    def weighs() -> str:
        factor(undrawn)
        return "kept"

    for each in (holds, weighs):
        with pytest.raises(ProgramError, match=rf"(?s){TOLD}.*test_undrawn.py"):
            infer(each, n=2, seed=0)
