"""Methods whose law is of the measure over traces leave out the passes that keep less than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch.distributions import Beta, Normal

from ppl import (
    MH,
    BestFirst,
    Enumerate,
    Forward,
    Program,
    SelfConsistency,
    condition,
    dist,
    infer,
    observe,
    running,
    sample,
)
from ppl import program as program_
from ppl.running import suited
from ppl.runtime.methods import METHODS, Method

PASSES: tuple[list[str] | str, ...] = ([], "all")


@program_
def coin(tosses: int) -> Any:
    p = sample(Beta(1.0, 1.0))
    for _ in range(tosses):
        observe(dist.flip(p), True)
    return float(p) > 0.7


@program_
def unused() -> Any:
    x = sample(dist.flip(0.5))
    y = sample(dist.uniform(range(8 if x else 1)))
    return x


@program_
def summed() -> Any:
    x = sample(dist.flip(0.5))
    y = sample(dist.flip(0.5 if x else 0.99))
    observe(dist.flip(0.9 if y else 0.8), True)
    return x


@program_
def level() -> Any:
    mu = sample(Normal(0.0, 1.0))
    observe(Normal(mu, 1.0), 3.0)
    return float(mu) > 1.0


@program_
def pushed() -> Any:
    x = sample(dist.uniform([0, 1, 2, 3]))
    condition(x in (2, 3))
    return x


@pytest.mark.parametrize(
    ("program", "args", "make"),
    [
        (coin, (20,), lambda: Forward(n=200)),
        (coin, (20,), lambda: SelfConsistency(n=200)),
        (pushed, (), lambda: Forward(n=50)),
        (pushed, (), lambda: Enumerate(ignore_evidence=True)),
        (pushed, (), lambda: BestFirst(ignore_evidence=True)),
        (unused, (), lambda: MH(power=2.0, steps=200)),
        (summed, (), lambda: MH(power=2.0, steps=200)),
        (level, (), lambda: MH(power=4.0, steps=200)),
    ],
)
def test_passes_do_not_change_what_is_asked_for(program: Program, args: Any, make: Callable[[], Method]) -> None:
    plain, under = (infer(program, *args, method=make(), seed=0, passes=passes) for passes in PASSES)
    assert dict(plain) == dict(under)
    method = make()
    kept = suited(program.with_passes("all"), method).pipeline
    assert method.by_traces and kept is not None and kept.passes


def test_a_law_of_answers_keeps_all_passes() -> None:
    whole = summed.with_passes("all")
    for name, kind in METHODS.items():
        if name not in ("forward", "self-consistency", "pmmh", "revision"):
            assert suited(whole, kind()) is whole, name


@pytest.mark.parametrize(
    ("program", "args", "method"),
    [
        (coin, (20,), Forward(n=200)),
        (unused, (), MH(power=2.0, steps=200)),
        (summed, (), MH(power=2.0, steps=200)),
        (level, (), MH(power=4.0, steps=200)),
    ],
)
def test_otherwise_they_would(program: Program, args: Any, method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "suited", lambda program, method: program)
    plain, under = (infer(program, *args, method=method, seed=0, passes=passes) for passes in PASSES)
    assert dict(plain) != dict(under)
