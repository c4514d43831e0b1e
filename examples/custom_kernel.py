"""A Markov kernel of one's own: two mirror images that no single step can go between.

Two numbers are known by their noisy product alone, so the posterior has two modes, (x, y) and (-x, -y). Metropolis-
Hastings on one number at a time all but never crosses: on the way the product has the wrong sign. A kernel that changes
both signs does. It asks for the run with these values, is given that run with the weight γ(new) / γ(old), and accepts
by it; a third one proposes by a program, for which the ratio is worked out.

`transitions` writes down the exact transition matrix of any kernel on a finite program: that it leaves the posterior
alone is checked, not believed, and its second eigenvalue tells how fast it forgets where it began.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ppl import MH, Posterior, factor, infer, program, sample, validate
from ppl.dist import categorical
from ppl.kernels import Cycle, Kernel, Moves, Propose, Random, SingleSite, Trace, Transitions, kernel, transitions

NUMBERS = (-3, -2, -1, 0, 1, 2, 3)
PRODUCT, NOISE = 5.0, 1.0


@program
def product() -> tuple[int, int]:
    x = sample(categorical(dict.fromkeys(NUMBERS, 1 / 7)))
    y = sample(categorical(dict.fromkeys(NUMBERS, 1 / 7)))
    factor(-0.5 * ((x * y - PRODUCT) / NOISE) ** 2)
    return x, y


@kernel(reversible=True)
def mirror(trace: Trace, rng: Random) -> Moves:
    """Now and then change both signs; twice leads back, so that the weight of the update is the whole ratio."""
    if rng.flip(0.5):
        return trace
    move = yield trace.update({"x": -trace["x"], "y": -trace["y"]})
    return move.trace if rng.accept(move.log_weight) else trace


@program
def jump(trace: Mapping[str, int]) -> None:
    """A proposal that is a program: somewhere else on either axis, preferably on the other side."""
    x = sample(categorical({k: 0.04 + 0.8 * (k == -trace["x"]) for k in NUMBERS}))
    y = sample(categorical({k: 0.04 + 0.8 * (k == -trace["y"]) for k in NUMBERS}))


KERNELS: dict[str, Kernel] = {
    "single sites": SingleSite(),
    "and the mirror": Cycle((SingleSite(), mirror)),
    "a program": Propose(jump),
}


def second_eigenvalue(found: Transitions) -> float:
    """How much of a deviation from the posterior is left after a step, in the long run."""
    return float(np.sort(np.abs(np.linalg.eigvals(found.matrix)))[-2])


def run(way: str, steps: int = 400, seed: int = 0) -> Posterior:
    return infer(product, method=MH(steps=steps, chains=4, kernel=KERNELS[way]), seed=seed)


def positive(value: tuple[int, int]) -> bool:
    return value[0] > 0


def crossings(posterior: Posterior) -> int:
    """How often the chains go over from one mode to the other."""
    signs = np.sign([x for x, _ in (r.value for r in posterior.runs)]).reshape(4, -1)
    return int((signs[:, 1:] * signs[:, :-1] < 0).sum())


def main() -> None:
    exact = infer(product, method="enumerate")
    print(f"exact: P(x > 0) = {exact.probability(positive):.3f}, mode {exact.mode()}\n")
    print(f"{'kernel':15} {'error of pi K':>13} {'eigenvalue':>11} {'half-life':>10} {'P(x > 0)':>9} {'crossings':>10}")
    for way, mine in KERNELS.items():
        found, posterior = transitions(product, kernel=mine), run(way)
        left = second_eigenvalue(found)
        half_life = math.log(0.5) / math.log(left)
        print(f"{way:15} {found.stationarity:13.1e} {left:11.5f} {half_life:10.3g}", end=" ")
        print(f"{posterior.probability(positive):9.3f} {crossings(posterior):10d}")
    certificate = validate(product, method=MH(kernel=KERNELS["and the mirror"]))
    print(f"\nWith the mirror {'holds' if certificate else 'does not hold'}: {certificate.law}")


if __name__ == "__main__":
    main()
