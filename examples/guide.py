"""A guide: a program that proposes for another.

Where proposals of different sites belong together, a function for each is awkward: a guide says them all as one
program, with variables and steps of its own. It samples sites of the same names; each of its draws is weighed by the
model's density over its own, so the posterior stays what it is. A backward pass over the data makes a good one here:
it draws the chain of states from the posterior itself, and the weights come out all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl import Posterior, dist, infer, observe, program, sample

STAY, RIGHT = 0.95, 0.8
DATA = (True, True, False, True, True, False, False, False, True, False, False, False)


@program
def chain(seen: Sequence[bool]) -> int:
    """A hidden switch that seldom moves, seen with noise; how often it moved."""
    moves, before = 0, True
    for i in range(len(seen)):
        state = sample(dist.flip(STAY if before else 1 - STAY))
        observe(dist.flip(RIGHT if state else 1 - RIGHT), seen[i])
        moves += state != before
        before = state
    return moves


@program
def backward(seen: Sequence[bool]) -> None:
    """Draws each state given the ones before it and all data after it."""
    ahead = messages(seen)
    before = True
    for i in range(len(seen)):
        on = (STAY if before else 1 - STAY) * ahead[i][0]
        off = (1 - STAY if before else STAY) * ahead[i][1]
        state = sample(dist.flip(on / (on + off)))
        before = state


def messages(seen: Sequence[bool]) -> list[tuple[float, float]]:
    """For each time, the probability of the data from then on, in either state."""
    on = off = 1.0
    found = []
    for out in reversed(seen):
        on, off = on * (RIGHT if out else 1 - RIGHT), off * (1 - RIGHT if out else RIGHT)
        found.append((on, off))
        on, off = STAY * on + (1 - STAY) * off, (1 - STAY) * on + STAY * off
    return found[::-1]


def run(guided: bool, n: int = 50, seed: int = 0) -> Posterior:
    return infer(chain, DATA, method="importance", n=n, seed=seed, proposals=backward if guided else None)


def main() -> None:
    exact = infer(chain, DATA, method="enumerate")
    print(f"A switch seen {len(DATA)} times with noise: how often did it move?\n")
    print(f"{'':12} {'log evidence':>12} {'moves':>7} {'ESS':>6}")
    print(f"{'exact':12} {exact.log_evidence:12.4f} {exact.expectation():7.3f}")
    for guided in (False, True):
        posterior = run(guided)
        title = "guided" if guided else "from prior"
        print(f"{title:12} {posterior.log_evidence:12.4f} {posterior.expectation():7.3f} {posterior.ess:6.1f} of 50")


if __name__ == "__main__":
    main()
