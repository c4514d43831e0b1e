"""The kernels of ``ppl.kernels``, and with which options each is certified.

A kernel gets into the table of laws by a row here: its class, and some of them, which between them take every option
and, each by itself, reach every run of a program (else it is mixed with one that does). The tests
(``tests/laws/test_table.py``) find every class of ``ppl.kernels`` that has no row, every option that no row
takes, and every kernel whose exact transition matrix does not keep its law.
"""

from __future__ import annotations

import math
from typing import Any

from .dist import flip
from .effects import sample
from .program import program
from .runtime.distributions import as_distribution
from .runtime.kernels import (
    Block,
    Custom,
    Cycle,
    Kernel,
    Mixture,
    Moves,
    ParticleGibbs,
    Propose,
    Random,
    Regenerate,
    Repeat,
    RunView,
    SingleSite,
    Trace,
    kernel,
)
from .runtime.kernels.leaning import leaning

_SOME = ("start", "x*", "a", "*side", "text", "state*", "line*")
"""Sites of the corpus, not all of any program."""


@program
def first_anew(run: RunView) -> Any:
    """Propose the first choice of the run: a truth value by a coin that leans to what it is, another as it is drawn."""
    address = next(iter(run))
    if isinstance(run[address], bool):
        value = sample(flip(0.7 if run[address] else 0.4), name=address)
    else:
        value = sample(run.distribution(address), name=address)
    return value


@kernel(reversible=True)
def all_anew(trace: Trace, rng: Random) -> Moves:
    """Draw the whole run anew, as the program does."""
    move = yield trace.regenerate("*")
    return move.trace if rng.accept(move.log_weight) else trace


@kernel(reversible=True)
def one_set(trace: Trace, rng: Random) -> Moves:
    """Draw one choice from its own law and put it there; what the new run then lacks may have to come back."""
    addresses = list(trace)
    address = addresses[rng.choose([1.0] * len(addresses))]
    law = trace.distribution(address)
    if as_distribution(law) is None:
        return trace  # texts are drawn by trace.regenerate
    value = rng.draw(law)
    move = yield trace.update({address: value})
    if not math.isfinite(move.log_weight):
        return trace
    back = law.log_prob(trace[address]) - math.log(len(move.trace))
    there = law.log_prob(value) - math.log(len(trace))
    return move.trace if rng.accept(move.log_weight + move.log_dropped + back - there) else trace


KERNELS: dict[type[Kernel], tuple[Kernel, ...]] = {
    SingleSite: (
        SingleSite(),
        SingleSite(proposals={"*": leaning}),
        Mixture((SingleSite(sites=_SOME), Regenerate())),
    ),
    Block: (
        Block(),
        Block(proposals={"*": leaning}),
        Mixture((Block(sites=_SOME), Regenerate())),
    ),
    Regenerate: (
        Regenerate(),
        Regenerate("line"),
        Regenerate("token"),
        Mixture((Regenerate("token", sites=_SOME), Regenerate())),
    ),
    Propose: (Mixture((Propose(first_anew), Regenerate())),),
    ParticleGibbs: (
        ParticleGibbs(2, 1.0),
        ParticleGibbs(2, 1.0, ancestor_sampling=True),
        ParticleGibbs(3, 0.7),
    ),
    Cycle: (Cycle((SingleSite(), Block("*"))), Cycle((Regenerate(),))),
    Mixture: (Mixture((SingleSite(), ParticleGibbs(2)), (2.0, 1.0)), Mixture((Block(), Regenerate()))),
    Repeat: (Repeat(SingleSite(), 2), Repeat(Block(), 1)),
    Custom: (all_anew, Mixture((one_set, all_anew))),
}
"""The row of each class of kernel."""
