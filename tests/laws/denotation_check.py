"""What the package makes of a program, against what CPython does (``denotation.py``): run by run, with addresses."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from ppl import Enumerate, Importance, Method, Program
from ppl.expectation import Call, outcome
from ppl.runtime.engines.table import TableModel
from ppl.runtime.exact import explore
from ppl.runtime.methods import Forward
from ppl.runtime.result import Run

from . import denotation
from .denotation_text import Row

_ORDINAL = re.compile(r"#\d+")


def key(run: Run) -> denotation.Run:
    """What tells a run of the package from others, as the oracle says it.

    Names that are used again have ordinals, about which the oracle knows nothing; they must make addresses unique.
    """
    addresses = [choice.address for choice in run.trace]
    assert len(set(addresses)) == len(addresses), f"an address is used twice: {addresses}"
    trace = tuple((_ORDINAL.sub("", choice.address), denotation.plain(choice.value)) for choice in run.trace)
    return denotation.plain(run.value), trace


def measure(program: Program, call: Call, method: Method, limit: int = 10_000) -> dict[denotation.Run, float]:
    """The expected measure of a method over all that it draws."""
    found: dict[denotation.Run, float] = defaultdict(float)
    for log_p, result in explore(lambda source: outcome(program, call, method, source), limit):
        for run in result.runs:
            found[key(run)] += math.exp(log_p + run.log_weight)
    return found


def difference(
    program: Program, call: Call, right: denotation.Denoted, prior: denotation.Denoted | None = None
) -> float:
    """How far the package's measure is from the oracle's: by enumeration, and by running every path from its start.

    Args:
        program: the compiled program.
        call: its arguments.
        right: what it denotes.
        prior: what it denotes without its evidence, if that is to be looked at too.
    """
    found = [right.distance(measure(program, call, method)) for method in (Enumerate(), Importance(n=1))]
    if prior is not None:
        found += [prior.distance(measure(program, call, m)) for m in (Enumerate(ignore_evidence=True), Forward(n=1))]
    return max(found)


def random_rows(vocabulary: Sequence[str], eos: str | None = None, seed: int = 0, order: int | None = None) -> Row:
    """The rows of a table model that is made by a seed. They are data: the oracle has no others."""
    model = TableModel.random(seed, vocabulary, eos, order)

    def row(tokens: tuple[int, ...]) -> list[Fraction]:
        return [model.probability(tokens, token) for token in range(model.vocab_size)]

    return row
