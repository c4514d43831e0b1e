"""Methods made of methods, and a run that is watched and stopped.

A machine wears out: every hour it may slip from good to worn, and then it spoils more parts. How fast it wears is
unknown. That rate rules everything that follows, and it is drawn first, so a particle filter alone soon has one rate
left, copied over and over. Three ways to do better are one argument each:

- `SMC(move=MH(kernel=...))`: after every hour each particle's rate is proposed anew, given all that it has seen;
- `PMMH(inner=SMC(...))`: a Markov chain over the rate alone, with the hours summed out by a filter at each step;
- `SMC2(...)`: a filter of rates, each with a filter of hours of its own.

All states can be listed here, so that each can be held against the exact answer. In the end a run of the chain is
stopped by a rule of its own, and what was found by then comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl import MH, PMMH, SMC, SMC2, Method, Posterior, infer, observe, program, sample
from ppl.dist import flip, uniform
from ppl.kernels import SingleSite
from ppl.runtime.population import Population

RATES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6)
SPOILT = {"good": 0.1, "worn": 0.7}
PARTS = (False, False, True, False, False, True, True, False, True, True)


@program
def wear(parts: Sequence[bool]) -> float:
    rate = sample(uniform(RATES))
    state = "good"
    for spoilt in parts:
        if state == "good" and sample(flip(rate), name="slips"):
            state = "worn"
        observe(flip(SPOILT[state]), spoilt)
    return rate


METHODS: dict[str, Method] = {
    "a filter": SMC(n=32, ess_threshold=1.0),
    "that moves": SMC(n=32, ess_threshold=1.0, move=MH(kernel=SingleSite("rate"))),
    "a chain over a filter": PMMH(steps=300, chains=2, parameters="rate", inner=SMC(n=16)),
    "a filter of filters": SMC2(n=16, inner=16, parameters="rate"),
}


def by_hand(parts: Sequence[bool]) -> dict[float, float]:
    """P(rate | parts), by the forward algorithm for each rate."""
    mass = {}
    for rate in RATES:
        good, worn = 1.0 / len(RATES), 0.0
        for spoilt in parts:
            good, worn = good * (1 - rate), worn + good * rate
            good *= SPOILT["good"] if spoilt else 1 - SPOILT["good"]
            worn *= SPOILT["worn"] if spoilt else 1 - SPOILT["worn"]
        mass[rate] = good + worn
    return {rate: m / sum(mass.values()) for rate, m in mass.items()}


def run(name: str, seed: int = 0) -> Posterior:
    return infer(wear, PARTS, method=METHODS[name], seed=seed)


def rates_left(posterior: Posterior) -> int:
    return len({run.value for run in posterior.runs})


def watched(enough: int = 150, seed: int = 0) -> tuple[Posterior, list[int]]:
    """A chain that is asked after every step how far it is, and stopped when it has so many states."""
    seen: list[int] = []

    def watch(problem: int, population: Population) -> None:
        seen.append(len(population.particles))

    def stop(population: Population) -> bool:
        return len(population.particles) >= enough

    method = MH(steps=5_000, chains=2, burn_in=20)
    return infer(wear, PARTS, method=method, seed=seed, progress=watch, stop=stop), seen


def main() -> None:
    exact = by_hand(PARTS)
    print(f"{'P(rate)':24}" + "".join(f"{rate:8}" for rate in RATES) + "   rates left")
    print(f"{'exact':24}" + "".join(f"{p:8.3f}" for p in exact.values()))
    for name in METHODS:
        posterior = run(name)
        shares = posterior.distribution()
        print(f"{name:24}" + "".join(f"{shares[rate]:8.3f}" for rate in RATES) + f"{rates_left(posterior):13}")
    posterior, seen = watched()
    print(f"\nA chain of 5,000 steps, stopped: {posterior.incomplete}")
    print(f"{len(posterior.runs)} states are left of it; the rule was asked {len(seen)} times")


if __name__ == "__main__":
    main()
