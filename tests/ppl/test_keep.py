"""Addresses that passes must leave: those that a program can't have are refused, with what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from ppl import infer, program, sample, validate
from ppl.dist import flip


@program
def inner() -> int:
    spare = sample(flip(0.5))
    return int(sample(flip(0.3)))


@program
def outer() -> int:
    unused = sample(flip(0.5))
    total = 0
    for _ in range(2):
        side = sample(flip(0.4))
        total += side
    part = inner()
    return total + part


@program
def flat() -> int:
    unused = sample(flip(0.5))
    total = 0
    for _ in range(2):
        x = sample(flip(0.4))
        total += x
    return total


KNOWN = ["unused", "side[*]", "side", "side[1]", "part/spare", "part/*", "spare", "*", "s*", ("unused", "part/spare")]


@pytest.mark.parametrize("keep", KNOWN)
def test_what_may_be_kept(keep: Any) -> None:
    assert validate(outer, pipeline=["dead"], keep=keep)
    assert infer(outer, method="enumerate", passes=["dead"], keep=keep).log_evidence == pytest.approx(0.0)


WRONG_KEEPS = [
    (flat, "unusd", r"keep='unusd' meets no address of flat: did you mean 'unused'\? it has unused, x"),
    (flat, ("unused", "y[0]"), r"keep='y\[0\]' meets no address of flat: it has"),
    (outer, "prt/spare", r"did you mean 'part/spare'\?"),
]


@pytest.mark.parametrize(("prog", "keep", "told"), WRONG_KEEPS)
def test_what_can_not_be_kept_is_refused(prog: Any, keep: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        validate(prog, pipeline=["dead"], keep=keep)
    with pytest.raises(ValueError, match=told):
        infer(prog, passes=["dead"], keep=keep)
