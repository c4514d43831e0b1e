"""Seeing is not doing: a small Bayesian network with `given` and `do`.

A sprinkler with a rain sensor: it seldom runs when it rains. *Seeing* it run is therefore evidence against rain.
*Switching it on* says nothing about the rain. `given` conditions, `do` intervenes; each returns a new program. Sites
are called by the variable that they are assigned to (`rain`) or by `name=` (`wet`).

Every number is computed twice: by enumeration of the program, and by hand from the tables, as a fraction.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ppl import Posterior, Program, infer, program, sample
from ppl.dist import flip

RAIN = Fraction(1, 5)
SPRINKLER = {True: Fraction(1, 100), False: Fraction(2, 5)}  # given rain
WET = {  # given sprinkler, rain
    (True, True): Fraction(99, 100),
    (True, False): Fraction(9, 10),
    (False, True): Fraction(4, 5),
    (False, False): Fraction(0),
}


@program
def garden() -> bool:
    rain = sample(flip(float(RAIN)))
    sprinkler = sample(flip(float(SPRINKLER[rain])))
    sample(flip(float(WET[sprinkler, rain])), name="wet")
    return rain


def rain_by_hand(sprinkler: bool | None = None, wet: bool | None = None, do: bool = False) -> tuple[Fraction, Fraction]:
    """P(rain | what was seen) and P(what was seen). With `do`, the sprinkler was set and its table plays no part."""
    mass = {True: Fraction(0), False: Fraction(0)}
    for rain in (True, False):
        for s in (True, False) if sprinkler is None else (sprinkler,):
            p = RAIN if rain else 1 - RAIN
            if not do:
                p *= SPRINKLER[rain] if s else 1 - SPRINKLER[rain]
            if wet is not None:
                p *= WET[s, rain] if wet else 1 - WET[s, rain]
            mass[rain] += p
    return mass[True] / (mass[True] + mass[False]), mass[True] + mass[False]


QUESTIONS: dict[str, tuple[Program, tuple[Fraction, Fraction]]] = {
    "before anything is seen": (garden, rain_by_hand()),
    "the grass is seen wet": (garden.given(wet=True), rain_by_hand(wet=True)),
    "the sprinkler is seen on": (garden.given(sprinkler=True), rain_by_hand(sprinkler=True)),
    "the sprinkler is switched on": (garden.do(sprinkler=True), rain_by_hand(sprinkler=True, do=True)),
    "seen on, and seen wet": (garden.given(sprinkler=True, wet=True), rain_by_hand(sprinkler=True, wet=True)),
    "switched on, and seen wet": (
        garden.do(sprinkler=True).given(wet=True),
        rain_by_hand(sprinkler=True, wet=True, do=True),
    ),
}


def run(prog: Program, method: str = "enumerate", seed: int = 0, **options: Any) -> Posterior:
    return infer(prog, method=method, seed=seed, **options)


def main() -> None:
    print(f"{'':30} P(rain | ...)              evidence\n{'':30} enumerated   by hand       log P(seen)")
    for question, (prog, (rain, _)) in QUESTIONS.items():
        posterior = run(prog)
        print(f"{question:30} {posterior.probability(True):10.6f}   {rain!s:12} {posterior.log_evidence:12.4f}")
    print("\nSeen on and switched on differ: the first blames the weather, the second is your own doing.")


if __name__ == "__main__":
    main()
