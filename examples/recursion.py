"""A recursive program: random arithmetic expressions, given what they evaluate to.

`expression` calls itself, so runs make different random choices. Each call has a scope of its own in the addresses:
`found/left/right/number` is the number drawn in the right part of the left part of what `puzzle` calls `found`.

The grammar is unbounded, so enumeration can't end; bounded to a depth it can, and both agree with a recursion on
paper: P_d(v) = P(leaf) / 3 + P(branch) Σ P_{d-1}(a) P_{d-1}(b) over all ways to reach v.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from ppl import Posterior, condition, infer, program, sample
from ppl.dist import flip, uniform

BRANCH = 0.4
NUMBERS = (1, 2, 3)


@program
def expression(depth: float) -> str:
    """A random expression with at most `depth` levels of operators."""
    if depth == 0 or not sample(flip(BRANCH), name="branch"):
        number = sample(uniform(NUMBERS))
        return str(number)
    left = expression(depth - 1)
    operator = sample(uniform("+*"))
    right = expression(depth - 1)
    return f"({left}{operator}{right})"


@program
def puzzle(target: int, depth: float) -> str:
    """Which expression has this value?"""
    found = expression(depth)
    condition(eval(found, {}) == target)
    return found


def values_by_hand(depth: int, largest: int = 200) -> dict[int, float]:
    """P(value) up to `largest`, by recursion over depths. Values only grow, so what is cut off never comes back."""
    probs = {n: 1.0 / len(NUMBERS) for n in NUMBERS}
    for _ in range(depth):
        new = defaultdict(float, {n: (1.0 - BRANCH) / len(NUMBERS) for n in NUMBERS})
        for a, p in probs.items():
            for b, q in probs.items():
                for value in (a + b, a * b):
                    if value <= largest:
                        new[value] += BRANCH * p * q / 2
        probs = dict(new)
    return probs


def run(target: int, depth: float, method: str, seed: int = 0, **options: Any) -> Posterior:
    return infer(puzzle, target, depth, method=method, seed=seed, **options)


def main() -> None:
    target = 7
    print(f"P(a random expression is worth {target}):")
    bounded = run(target, 2, "enumerate")
    exact = math.exp(bounded.log_evidence)
    print(f"  depth up to 2:  on paper {values_by_hand(2)[target]:.6f}, enumerated {exact:.6f}")
    free = run(target, math.inf, "importance", n=5000)
    estimate = math.exp(free.log_evidence)
    print(f"  any depth:      on paper {values_by_hand(30)[target]:.6f}, importance {estimate:.6f}\n")
    print(f"Expressions of any depth that are worth {target}:\n{free.summary()}\n")
    run_ = max(bounded.runs, key=lambda each: len(each.trace))
    print(f"The random choices behind {run_.value}, by address:")
    for choice in run_.trace:
        print(f"  {choice.address:30} {choice.value}")


if __name__ == "__main__":
    main()
