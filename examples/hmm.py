"""A hidden Markov model: SMC and enumeration beside the forward-backward algorithm.

What you see every day (walk, shop, clean) depends on weather that you don't see. Three answers to the same questions,
how probable is the record (the evidence) and what was the weather on day t (the smoothing marginals):
the classical algorithm in numpy, `method="enumerate"` (exact: every path) and `method="smc"` (an estimate).

The hidden state of day t has the address `state[t]`: the variable's name and the number of the loop's round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl import Posterior, infer, observe, program, sample
from ppl.dist import categorical

NEXT = {
    "start": {"sun": 0.6, "rain": 0.3, "fog": 0.1},
    "sun": {"sun": 0.7, "rain": 0.2, "fog": 0.1},
    "rain": {"sun": 0.3, "rain": 0.6, "fog": 0.1},
    "fog": {"sun": 0.2, "rain": 0.3, "fog": 0.5},
}
SEEN = {
    "sun": {"walk": 0.6, "shop": 0.3, "clean": 0.1},
    "rain": {"walk": 0.1, "shop": 0.4, "clean": 0.5},
    "fog": {"walk": 0.2, "shop": 0.2, "clean": 0.6},
}
STATES = ("sun", "rain", "fog")
RECORD = ("walk", "shop", "clean", "clean", "walk", "walk")


@program
def weather(record: Sequence[str]) -> str:
    state = "start"
    for activity in record:
        state = sample(categorical(NEXT[state]))
        observe(categorical(SEEN[state]), activity)
    return state


def forward_backward(record: Sequence[str]) -> tuple[float, np.ndarray]:
    """The log evidence, and P(state on day t | record) in row t."""
    step = np.array([[NEXT[a][b] for b in STATES] for a in STATES])
    seen = np.array([[SEEN[state][activity] for state in STATES] for activity in record])
    alpha = [np.array([NEXT["start"][b] for b in STATES]) * seen[0]]
    for row in seen[1:]:
        alpha.append(alpha[-1] @ step * row)
    beta = [np.ones(len(STATES))]
    for row in seen[:0:-1]:
        beta.insert(0, step @ (row * beta[0]))
    both = np.array(alpha) * np.array(beta)
    return math.log(alpha[-1].sum()), both / both.sum(axis=1, keepdims=True)


def run(method: str, record: Sequence[str] = RECORD, seed: int = 0, **options: Any) -> Posterior:
    return infer(weather, record, method=method, seed=seed, **options)


def main() -> None:
    log_evidence, smoothed = forward_backward(RECORD)
    found = {"enumerate": run("enumerate"), "smc": run("smc", n=1000)}
    print(f"log evidence: forward algorithm {log_evidence:.4f}", end="")
    print("".join(f", {method} {posterior.log_evidence:.4f}" for method, posterior in found.items()))
    print("\nP(sun on day t | the whole record):\n  t  seen   forward-backward  enumerate     smc")
    for t, activity in enumerate(RECORD):
        exact, estimate = (posterior.marginal(f"state[{t}]")["sun"] for posterior in found.values())
        print(f"  {t}  {activity:6} {smoothed[t, 0]:15.4f} {exact:10.4f} {estimate:9.4f}")
    print("\nThe weather on the last day, by SMC:")
    print(found["smc"].summary())


if __name__ == "__main__":
    main()
