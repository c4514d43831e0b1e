"""Texts that go on for several tokens before anybody looks at them.

Where the host would have to wait for a device after each token, a model may draw several in a row by itself
(``LogitModel.write``). This says which texts may be left to it, and after which tokens it has to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..source import RandomSource, uniforms
from .batch import Batch
from .jobs import Writing
from .model import LogitModel
from .prefix import Prefix
from .requests import Generate, Law, TextSpec

_WORTH = 0.5
"""The least part of a batch's nodes whose texts go on by themselves, while the others take one token."""


class Stretch(NamedTuple):
    """Texts to go on with, several tokens each. Nobody else asks for anything at their nodes or after them.

    Attributes:
        nodes: where they go on; the model ``extends`` each of them.
        law: of their tokens.
        points: a uniform number in [0, 1) for each token, float64 [steps, nodes].
        limits: the most tokens for each, 1 to steps.
        halts: for each the tokens after which it stops early, bool [vocabulary].
    """

    nodes: Sequence[Prefix]
    law: Law
    points: np.ndarray
    limits: Sequence[int]
    halts: Sequence[np.ndarray]


class Written(NamedTuple):
    """What a text went on with.

    Attributes:
        tokens: at least one.
        log_probs: of each.
        last: the node where the last of them was drawn.
    """

    tokens: Sequence[int]
    log_probs: Sequence[float]
    last: Prefix


class Halts:
    """The tokens after which a text may have ended, or a piece of it: no other does end one."""

    def __init__(self, model: LogitModel) -> None:
        self._model = model
        self._known: dict[tuple[bytes, bool], np.ndarray] = {}

    def of(self, spec: TextSpec) -> np.ndarray:
        """Those of a text, bool [vocabulary]; the same array for all texts of one kind.

        A stop string is complete with a token that holds its last byte, whatever came before.
        """
        ends = bytes(sorted({stop.encode()[-1] for stop in spec.stop} | ({10} if spec.pause == "line" else set())))
        # One that is complete before the text ends it with its first token, whichever that is.
        kind = (ends, spec.pause == "token" or any(stop.encode() in spec.before for stop in spec.stop))
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._find(*kind)
        return found

    def _find(self, ends: bytes, every: bool) -> np.ndarray:
        model = self._model
        found = np.full(model.vocab_size, every)
        found[list(model.eos_tokens)] = True
        if ends and not every:
            for token in range(model.vocab_size):
                piece = model.decode_bytes(token)
                if any(end in piece for end in ends):
                    found[token] = True
        return found


def texts_that_go_on(batch: Batch, model: LogitModel) -> tuple[Law, list[Writing]] | None:
    """The texts of a batch that the model may go on with by itself, all of one law; ``None`` if they are too few.

    Two texts that share a node may go on with the same token, which is to be computed once: each must be alone at its
    node, and nobody may have been below it.
    """
    asked = [0] * len(batch.rows)
    for wanted in batch.wanted.values():
        for draws in wanted.draws.values():
            for row in draws.rows:
                asked[row] += 1
        for row in (*(look.row for look in wanted.looks), *(spread.row for spread in wanted.spreads)):
            asked[row] += 2
    best: tuple[Law, list[Writing]] | None = None
    for law, wanted in batch.wanted.items():
        found = [
            job
            for draws in wanted.draws.values()
            if type(draws.source) is RandomSource
            for row, job in zip(draws.rows, draws.jobs, strict=True)
            if asked[row] == 1 and _may_go_on(job) and model.extends(job.node)
        ]
        if len(found) >= _WORTH * len(batch.rows) and (best is None or len(found) > len(best[1])):
            best = law, found
    return best


def _may_go_on(job: Writing) -> bool:
    assert isinstance(job.request, Generate)
    spec = job.request.spec
    return spec.constraint is None and spec.pause != "token" and job.left > 1 and job.node.is_leaf


def stretch_of(law: Law, jobs: Sequence[Writing], steps: int, halts: Halts) -> Stretch:
    """What to ask of a model for texts.

    Args:
        law: of their tokens.
        jobs: the texts.
        steps: the most tokens of each.
        halts: where they may end.
    """
    limits = [int(min(steps, job.left)) for job in jobs]
    longest = max(limits)
    keys = [job.key for job in jobs] * longest
    counters = [len(job.tokens) + step for step in range(longest) for job in jobs]
    points = uniforms(keys, counters).reshape(longest, len(jobs))
    specs = [job.request.spec for job in jobs]  # type: ignore[attr-defined]
    of_spec = {name: halts.of(spec) for name, spec in {id(spec): spec for spec in specs}.items()}
    return Stretch([job.node for job in jobs], law, points, limits, [of_spec[id(spec)] for spec in specs])
