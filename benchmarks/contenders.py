"""What the comparison of all methods compares: one program, its checker, and how each method spends a token budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b

from ppl import SMC, Forward, Importance, Method, factor, load_lm, program, sample
from ppl.bundled.problems import check_step
from ppl.kernels import Regenerate
from ppl.lm import LM
from ppl.runtime.methods import (
    MH,
    AStar,
    Beam,
    BestOfN,
    DiverseTrees,
    Entropic,
    LookAhead,
    ParallelTempering,
    PGibbs,
    Published,
    Revision,
    SelfConsistency,
    Steering,
    Tempered,
)

NOISE = {"exact": 0.0, "noisy": 0.15}
"""Of each checker: the share of prefixes about which it is wrong."""

LINE = 12.5
"""Tokens of a line, in problems with long numbers: most get by with 10."""

Maker = Callable[[int, int], Method]
"""From how many whole runs a budget feeds, and the lines of a run, to the method."""

METHODS: dict[str, Maker] = {
    "sample": lambda runs, lines: Forward(n=1),
    "majority": lambda runs, lines: SelfConsistency(n=runs),
    "best-of-n": lambda runs, lines: BestOfN(n=runs),
    "importance, weighted majority": lambda runs, lines: Importance(n=runs),
    "smc": lambda runs, lines: SMC(n=runs),
    "smc, at every step": lambda runs, lines: SMC(n=runs, ess_threshold=1.0),
    "smc, moves": lambda runs, lines: SMC(n=max(1, int(2 * runs / (lines + 3))), move=Regenerate("site")),
    "steering": lambda runs, lines: Steering(n=max(1, runs // 4), factor=min(4, runs)),
    "look-ahead": lambda runs, lines: LookAhead(n=max(1, runs // 2)),
    "look-ahead, greedy": lambda runs, lines: LookAhead(n=max(1, runs // 2), pilots="greedy"),
    "entropic": lambda runs, lines: Entropic(n=runs, steps=lines),
    "tempered, moves": lambda runs, lines: Tempered(
        n=max(1, runs // 2), betas=(0.1, 0.3, 1.0), move=Regenerate("site")
    ),
    "beam": lambda runs, lines: Beam(n=runs, m=4),
    "beam, rollouts": lambda runs, lines: Beam(n=max(1, runs // 2), m=4, rollouts=1),
    "beam, greedy rollouts": lambda runs, lines: Beam(n=max(1, runs // 2), m=4, rollouts="greedy"),
    "dvts": lambda runs, lines: DiverseTrees(n=runs, m=4),
    "a-star": lambda runs, lines: AStar(n=max(2, min(4, runs // 3)), answers=max(1, runs // 4)),
    "published, softmax": lambda runs, lines: Published(n=runs),
    "published, logit": lambda runs, lines: Published(n=runs, weighting="logit"),
    "published, products": lambda runs, lines: Published(n=runs, weighting="products"),
    "published, entropic": lambda runs, lines: Published(n=runs, weighting="entropic", steps=lines),
    "mh, suffix": lambda runs, lines: _chains(runs),
    "pgibbs": lambda runs, lines: _particle_gibbs(runs),
    "parallel-tempering": lambda runs, lines: ParallelTempering(
        betas=(0.3, 1.0), kernel=Regenerate("site"), chains=1, steps=max(1, runs - 2)
    ),
    "revision": lambda runs, lines: Revision(n=runs, argument=None),
}
"""A step of a chain regenerates half a run on average; a pilot or a roll-out takes as much as a particle; moves at each
step of SMC go on for all particles while one is under way, which may be longer than a right run."""

LEFT_OUT = {
    "weighted-majority": "its vote is that of importance sampling",
    "smc2": "the program has no parameters to be told apart from the rest",
    "pmmh": "the program has no parameters to be told apart from the rest",
    "enumerate": "a line has more outcomes than can be listed",
    "best-first": "a line has more outcomes than can be listed",
}
"""Methods that the table can't have, and why."""


def method_for(name: str, budget: int, lines: int) -> Method:
    """A row of :data:`METHODS`, with as many particles as a budget surely feeds.

    Args:
        name: which row.
        budget: tokens.
        lines: of a whole run.
    """
    return METHODS[name](particles(budget, lines), lines)


def particles(budget: int, lines: int) -> int:
    """How many whole runs a budget surely feeds, at least one: how many particles most methods get."""
    return max(1, int(budget / (lines * LINE)))


def _chains(runs: int) -> Method:
    chains = max(1, runs // 8)
    return MH(kernel=Regenerate("site"), chains=chains, steps=max(2, round(1.6 * (runs / chains - 1))), burn_in=1)


def _particle_gibbs(runs: int) -> Method:
    n = 4 if runs > 6 else 2
    return PGibbs(n=n, chains=1, steps=max(1, (runs - 1) // (n - 1)))


@program
def attempt(question: str, noise: float, relative: bool = False, lm: LM | None = None) -> str:
    """A line at a time; each multiplies the weight by a checker's reward."""
    model = load_lm() if lm is None else lm
    thought = model.context(f"Q: {question}\n")
    lines: tuple[str, ...] = ()
    for _ in range(13):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        lines = (*lines, str(line))
        # A* compares runs of different lengths: a right line must cost nothing, or short runs would always lead.
        factor(math.log(reward(question, lines, noise) / (trust(noise) if relative else 1.0)))
        if line.startswith("A:"):
            break
    return line.removeprefix("A:").strip()


def reward(question: str, lines: Sequence[str], noise: float) -> float:
    """The checker's probability that the lines so far are right."""
    right = check_step(question, lines[:-1], lines[-1])
    digest = blake2b("".join((question, "\n", *lines)).encode(), digest_size=8).digest()
    flipped = int.from_bytes(digest, "little") < noise * 2**64
    return trust(noise) if right != flipped else 1.0 - trust(noise)


def trust(noise: float) -> float:
    """The reward of what is found right."""
    return 1.0 - (noise or 0.01)
