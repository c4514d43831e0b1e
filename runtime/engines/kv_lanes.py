"""What a decode step works on: tensors that stay where they are, and what does not change from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from .kv_cache import Shared
from .requests import Law

_SEGMENT = 64
"""The size of a stem's segments is a multiple of so many positions."""


@dataclass(frozen=True)
class Shape:
    """What does not change from step to step.

    Attributes:
        rows: how many, padding included.
        law: of the tokens that are drawn; ``None`` if only logits are wanted.
        first: the lowest slot where the rows are neighbouring slots in order; else ``None``.
        used: how many positions are read of each slot at the most.
        stems: each with how many of its positions are shared, and the rows that share it (``None``: all); not where
            kernels take them as data.
        segments, groups: in how many segments these read the stems, and of how many stems; 0 if there are none.
        shifted: whether slots begin after a stem.
        longest: the most positions that a path may come to have, rounded up; 0 where it does not matter.
        ragged: whether each row reads as many positions as it has.
    """

    rows: int
    law: Law | None
    first: int | None
    used: int
    stems: tuple[tuple[int, int, tuple[int, ...] | None], ...]
    segments: int
    groups: int
    shifted: bool
    longest: int
    ragged: bool


class Lanes:
    """The tensors of so many rows.

    Attributes:
        ints: side by side, each [rows]: slots, where these begin in their paths, tokens, positions, how many tokens
            are left, how the text stops.
        going: whether a row's text goes on [rows].
        count: how many steps were taken [1].
        shared: the stems of ragged rows, by the number of segments and of stems.
        points: uniform numbers [steps, rows].
        drawn: tokens [steps, rows].
        found: their log-probabilities [steps, rows].
        out: the logits of the last step in which no tokens were drawn [rows, vocabulary].
    """

    def __init__(self, rows: int, steps: int, device: torch.device) -> None:
        self.ints = torch.zeros(6, rows, dtype=torch.int64, device=device)
        self.slots, self.shifts, self.tokens, self.positions, self.left, self.kinds = self.ints
        self.going = torch.zeros(rows, dtype=torch.bool, device=device)
        self.count = torch.zeros(1, dtype=torch.int64, device=device)
        self.points = torch.zeros(steps, rows, dtype=torch.float64, device=device)
        self.drawn = torch.zeros(steps, rows, dtype=torch.int64, device=device)
        self.found = torch.zeros(steps, rows, dtype=torch.float64, device=device)
        self.places = torch.arange(rows, device=device)
        self.shared: dict[tuple[int, int], Shared] = {}
        self.out: Tensor | None = None

    def load(self, ints: Sequence[Sequence[int]], real: int) -> None:
        """Begin with rows, of which the first ``real`` are no padding."""
        self.ints.copy_(torch.tensor(ints))
        self.going.copy_(self.places < real)
        self.count.zero_()

    def share(self, groups: Mapping[tuple[int, int], Sequence[int]], segments: int, padded: int, real: int) -> None:
        """Tell kernels of stems.

        Args:
            groups: where a stem begins, and how many of its positions are shared → the rows that share them.
            real: how many rows are no padding, which goes with the last of them.
            segments: in how many segments each is read.
            padded: for how many stems there is to be room.
        """
        rows = len(self.slots)
        having = [
            [*members, *range(real, rows)] if members[-1] == real - 1 else [*members] for members in groups.values()
        ]
        alone = set(range(rows)).difference(*having)
        order = [row for members in having for row in members] + sorted(alone)
        ends = list(accumulate(len(members) for members in having))
        ends += [rows] * (padded + 1 - len(ends))  # the rows that have none are a group as well, which sees nothing
        queries, starts, used = [], [], []
        for segment in range(segments):
            queries += [segment * rows + end for end in (0, *ends[:-1])]
            for start, length in (*groups, *[(0, 0)] * (padded + 1 - len(groups))):
                size = -(-length // segments // _SEGMENT) * _SEGMENT if length else 0
                starts.append(start + min(segment * size, length))
                used.append(max(0, min(size, length - segment * size)))
        places = [0] * rows
        for place, row in enumerate(order):
            places[row] = place
        lists = [
            [*order] * segments,
            [segment * rows + place for segment in range(segments) for place in places],
            [*queries, segments * rows],
            [*starts, 0],
            used,
        ]
        whole = torch.tensor([number for numbers in lists for number in numbers])
        parts = whole.to(self.slots.device).split([len(numbers) for numbers in lists])
        kept = self.shared.get((segments, padded))
        if kept is None:
            order_at, where, *others = parts
            fresh = (order_at.clone(), where.clone().view(segments, rows), *(some.int() for some in others))
            self.shared[segments, padded] = Shared(*fresh)
        else:
            tensors = (kept.order, kept.where.view(-1), kept.queries, kept.starts, kept.used)
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part)
