"""Who descends from whom: the family tree of a particle population, laid out without crossings."""

from __future__ import annotations

import math
from collections.abc import Hashable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .posterior_values import freeze

if TYPE_CHECKING:
    from .posterior import Posterior


class Genealogy:
    """Particles by generation. The last generation is that of the finished particles.

    Attributes:
        generations: for each generation, the normalised weight of each particle before it was resampled.
        parents: for each generation but the first, the index of each particle's parent in the one before.
        survives: for each generation, whether each particle has a descendant with weight at the end.
        answer: for each generation, the canonical key of what all surviving descendants of a particle returned, or
            ``None`` where they differ, there are none, or it is not known.
        rows: for each generation, the row that each particle is drawn in. Children stand in the order of their parents,
            so that lines do not cross.
        height: how many rows there are.
    """

    def __init__(self, posterior: Posterior) -> None:
        """Lay out the history of a posterior, which must have one."""
        history = posterior.history
        self.generations = [_normalised(generation.log_weights) for generation in history]
        self.parents = [
            tuple(range(len(after.log_weights))) if before.ancestors is None else before.ancestors
            for before, after in pairwise(history)
        ]
        tail = history[-1].ancestors
        if tail:  # resampled after the last step: one more generation, with equal weights
            self.parents.append(tail)
            self.generations.append([1.0 / len(tail)] * len(tail))
        self.height = max(map(len, self.generations))
        self.values = self._final_values(posterior)
        self.survives, self.answer = self._look_back()
        self.rows = self._lay_out(
            {freeze(v): i for i, v in enumerate([] if posterior.empty else posterior.distribution())}
        )

    def answer_groups(self) -> list[tuple[float, float, Any]]:
        """Runs of neighbours at the end that returned the same: first row, last row, value."""
        last = self.rows[-1]
        groups: list[tuple[float, float, Any]] = []
        for i in sorted(self.values, key=lambda i: last[i]):
            value = self.values[i]
            if groups and freeze(groups[-1][2]) == freeze(value):
                groups[-1] = (groups[-1][0], last[i], groups[-1][2])
            else:
                groups.append((last[i], last[i], value))
        return groups

    def dead_before(self, t: int, particle: int) -> bool:
        """The particle had weight zero already one generation earlier."""
        return t > 0 and self.generations[t - 1][self.parents[t - 1][particle]] == 0.0

    def _final_values(self, posterior: Posterior) -> dict[int, Any]:
        """What each particle at the end returned: runs stand in particle order, those without weight left out."""
        alive = [i for i, w in enumerate(self.generations[-1]) if w > 0.0]
        if len(alive) != len(posterior.runs):
            return {}
        return {i: run.value for i, run in zip(alive, posterior.runs, strict=True)}

    def _look_back(self) -> tuple[list[list[bool]], list[list[Hashable | None]]]:
        survives = [[w > 0.0 for w in self.generations[-1]]]
        found = [[{freeze(self.values[i])} if i in self.values else set() for i in range(len(survives[0]))]]
        for t in reversed(range(len(self.parents))):
            alive = [False] * len(self.generations[t])
            answers: list[set[Hashable]] = [set() for _ in alive]
            for child, parent in enumerate(self.parents[t]):
                alive[parent] |= survives[0][child]
                answers[parent] |= found[0][child]
            survives.insert(0, alive)
            found.insert(0, answers)
        return survives, [[next(iter(s)) if len(s) == 1 else None for s in answers] for answers in found]

    def _lay_out(self, rank: dict[Hashable, int]) -> list[list[float]]:
        def wish(t: int, i: int) -> float:
            """Where among its siblings a particle stands: by answer, those that die out last."""
            if not self.survives[t][i]:
                return math.inf
            answer = self.answer[t][i]
            return len(rank) if answer is None else rank.get(answer, len(rank))

        rows: list[list[float]] = []
        for t, generation in enumerate(self.generations):
            above = rows[-1] if rows else [0.0] * len(generation)
            parents = self.parents[t - 1] if t else tuple(range(len(generation)))
            keys = [(above[parents[i]], wish(t, i) if t else 0.0, i) for i in range(len(generation))]
            order = [i for _, _, i in sorted(keys)]
            margin = (self.height - len(generation)) / 2
            row = [0.0] * len(generation)
            for position, i in enumerate(order):
                row[i] = position + margin
            rows.append(row)
        return rows


def _normalised(log_weights: tuple[float, ...]) -> list[float]:
    top = max(log_weights, default=-math.inf)
    if top == -math.inf:
        return [0.0] * len(log_weights)
    weights = [math.exp(w - top) for w in log_weights]
    total = math.fsum(weights)
    return [w / total for w in weights]
