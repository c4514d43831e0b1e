"""A forgotten sample(): a distribution in place of a value is told wherever Python would take it for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ppl import ProgramError, condition, dist, factor, infer, program, table_lm
from ppl.lm import LM
from ppl.runtime.distributions import Distribution
from ppl.runtime.source import Key, Source

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


def test_other_classes_keep_what_they_have() -> None:
    """A trainable proposal, say: its parameters are found by torch's own look-up."""

    class Learned(Distribution, torch.nn.Module):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.logit = torch.nn.Parameter(torch.zeros(()))

        def draw(self, source: Source, key: Key) -> tuple[Any, float]:
            return dist.flip(float(self.logit.sigmoid())).draw(source, key)

        def log_prob(self, value: Any) -> float:
            return dist.flip(float(self.logit.sigmoid())).log_prob(value)

        @property
        def table(self) -> Any:
            return self.wieghts

    learned = Learned()
    assert learned.log_prob(True) == pytest.approx(-0.693147, abs=1e-6)
    with pytest.raises(AttributeError):
        learned.nothing  # noqa: B018


def test_an_error_inside_a_property_is_its_own() -> None:
    class Weighed(dist.Finite):
        @property
        def table(self) -> Any:
            return self.wieghts  # type: ignore[attr-defined]

        @property
        def count(self) -> Any:
            return self.wieghts  # type: ignore[attr-defined]

    weighed = Weighed([1, 2], [-0.7, -0.7])
    for name in ("table", "count"):
        with pytest.raises(AttributeError, match="wieghts"):
            getattr(weighed, name)
    with pytest.raises(AttributeError, match="A Weighed is a distribution"):
        Weighed.__new__(Weighed).strip  # type: ignore[attr-defined]  # noqa: B018


def test_texts_and_distributions_may_be_outcomes_side_by_side(lm: LM) -> None:
    mixed = dist.uniform([lm.context("").token(), "a"])
    assert mixed.log_prob("a") == pytest.approx(-0.693147, abs=1e-6)
