"""Programs of a few choices, whose posteriors are worked out by hand."""

from __future__ import annotations

from typing import Any

from ppl import Posterior, dist, infer, observe, program, sample

flip = dist.flip


@program
def net() -> tuple[bool, bool]:
    rain = sample(flip(0.2))
    wet = sample(flip(0.9 if rain else 0.1))
    return rain, wet


@program
def hinted(q: float) -> bool:
    x = sample(flip(q))
    observe(flip(0.5), x, name="seen")
    return x


@program
def chain(n: int) -> list[bool]:
    xs = []
    for _ in range(n):
        x = sample(flip(0.5))
        xs.append(x)
    return xs


@program
def outer() -> bool:
    first = net()
    second = net()
    return first[0] and second[0]


def exact(prog: Any, *args: Any, **options: Any) -> Posterior:
    return infer(prog, *args, method="enumerate", **options)
