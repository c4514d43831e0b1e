"""What to compute next: rows of new trie nodes, grouped so that padding stays small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .kv_cache import Group, Step
from .prefix import Prefix

if TYPE_CHECKING:
    from .kv_pool import Slot


@dataclass
class Row:
    """One row of a forward pass: consecutive nodes of one path.

    Attributes:
        attach: the cached node that the row continues, ``None`` at the start of a path. For a repeated row the
            node itself.
        nodes: what is computed, each the parent of the next.
        start: positions of the path before ``nodes``.
        again: whether ``nodes`` is one cached node, computed again because its logits are gone.
        slot: where the row lies, once placed.
    """

    attach: Prefix | None
    nodes: list[Prefix]
    start: int
    again: bool = False
    slot: Slot | None = None


def plan_rows(pending: Iterable[Prefix], offset: int, longest: int) -> list[Row]:
    """The rows that can be computed right now on the way to ``pending``.

    What has a ``home`` is cached. New nodes form trees that hang on cached nodes. From each tree one row is taken, the
    deepest path from its top; the branches off that path continue cached nodes after it has been computed, so a shared
    part is computed once.

    Args:
        pending: the nodes whose logits are wanted.
        offset: positions before a path's first token; with 0 the root has no position of its own.
        longest: where to cut long rows, which bounds the memory of a forward pass.
    """
    rows: list[Row] = []
    children: dict[Prefix, list[Prefix]] = {}
    tops: list[tuple[Prefix | None, Prefix]] = []
    for wanted in pending:
        if wanted in children:
            continue
        if wanted.home is not None:
            rows.append(Row(wanted, [wanted], wanted.length + offset - 1, again=True))
            continue
        node = wanted
        children[node] = []
        while True:
            parent = node.parent
            if parent is None or (parent.parent is None and not offset):
                tops.append((None, node))
                break
            if parent in children:
                children[parent].append(node)
                break
            if parent.home is not None:
                tops.append((parent, node))
                break
            children[parent] = [node]
            node = parent
    height: dict[Prefix, int] = {}
    if len(tops) < len(children):
        for node in sorted(children, key=lambda n: n.length, reverse=True):
            height[node] = 1 + max((height[child] for child in children[node]), default=0)
    for attach, node in tops:
        chain = [node]
        while len(chain) < longest and (below := children[chain[-1]]):
            chain.append(max(below, key=height.__getitem__))
        rows.append(Row(attach, chain, node.length + offset - 1))
    return rows


def choose_batch(rows: list[Row], max_rows: int, max_tokens: int) -> list[Row]:
    """Rows of similar length, shortest first, so that little of the batch is padding.

    Args:
        rows: all rows that could be computed now.
        max_rows: the most rows in a batch.
        max_tokens: the most tokens, padding included, unless one row alone has more.
    """
    if len(rows) > 1:
        rows = sorted(rows, key=lambda row: len(row.nodes))
    batch: list[Row] = []
    real = 0
    for row in rows[:max_rows]:
        size = len(row.nodes)
        padded = size * (len(batch) + 1)
        real += size
        if batch and (padded > max_tokens or padded > 1.25 * real + 32):
            break
        batch.append(row)
    return batch


@dataclass
class Batch:
    """The tensors of one forward pass over rows padded on the right to q tokens.

    Attributes:
        tokens: token ids [rows, q].
        positions: each token's position; padding repeats the row's last, so it is a valid position whose mask is
            never empty [rows, q].
        shifts: how many positions of each row's path are in a stem [rows], or ``None`` if none are.
        step: where keys and values are read and written.
        wanted: indices among rows * q of the tokens whose logits are wanted, or ``None`` for all of them.
        nodes: the nodes those logits belong to, in order.
        size: the number of real tokens.
        longest: the most positions of a path.
        level: whether each row is one token that sees all that is read of its slot.
    """

    tokens: Tensor
    positions: Tensor
    shifts: Tensor | None
    step: Step
    wanted: Tensor | None
    nodes: list[Prefix]
    size: int
    longest: int
    level: bool


def build_batch(rows: Sequence[Row], wanted: Iterable[Prefix], bos: int | None, device: torch.device) -> Batch:
    """Lay out placed rows, in the order of their slots, as tensors.

    Args:
        rows: rows sorted by slot.
        wanted: the nodes whose logits are asked for (a container with fast lookup).
        bos: the token of the root, if it has one.
        device: where the model takes its input.
    """
    lengths = [len(row.nodes) for row in rows]
    n, width = len(rows), max(lengths)
    slots, shifts, groups = places_of(rows)
    flat = [node for row in rows for node in row.nodes]
    ids = [node.token if node.parent is not None or bos is None else bos for node in flat]
    stops = [row.start + length for row, length in zip(rows, lengths, strict=True)]
    positions = [at for row, stop in zip(rows, stops, strict=True) for at in range(row.start, stop)]
    real = range(n * width) if len(flat) == n * width else _real(lengths, width)
    padded = len(real) < n * width
    if padded:
        ids, positions = _padded(ids, lengths, width), _padded(positions, lengths, width)
    asked = [node in wanted for node in flat]
    keep, nodes = list(compress(real, asked)), list(compress(flat, asked))
    ends = [stop - shift for stop, shift in zip(stops, shifts, strict=True)]
    level = width == 1 and min(ends) == max(ends)
    some = [] if len(keep) == n * width else keep or [0]
    # All indices in one tensor: a forward pass costs a GPU one transfer.
    lists = [slots, shifts, ids, positions, real if padded else [], some, *groups.values()]
    table = torch.tensor([number for numbers in lists for number in numbers], device=device)
    slots_at, shifts_at, ids_at, at, real_at, wanted_at, *groups_at = table.split([len(numbers) for numbers in lists])
    at = at.view(n, width)
    every = slots_at[:, None].expand(n, width).flatten()
    inside = (at - shifts_at[:, None]).flatten()
    if padded:
        every, inside = every[real_at], inside[real_at]
    # A group of all rows needs no index.
    members = [rows_at if len(rows_at) < n else None for rows_at in groups_at]
    step = Step(
        slots_at,
        slots[0] if slots == list(range(slots[0], slots[0] + n)) else None,
        max(ends),
        every,
        inside,
        real_at if padded else None,
        [Group(stem, length, some_rows) for (stem, length), some_rows in zip(groups, members, strict=True)],
        ends[0] - 1 if level else None,
    )
    return Batch(
        ids_at.view(n, width),
        at,
        shifts_at if any(shifts) else None,
        step,
        wanted_at if some else None,
        nodes,
        len(flat),
        max(stops),
        level,
    )


def _real(lengths: Sequence[int], width: int) -> list[int]:
    """Where the tokens of rows of some lengths are among all that are as wide."""
    return [index * width + column for index, length in enumerate(lengths) for column in range(length)]


def _padded(values: Sequence[int], lengths: Sequence[int], width: int) -> list[int]:
    """Rows of some lengths, one after the other, made as wide by their last values."""
    found: list[int] = []
    at = 0
    for length in lengths:
        found += values[at : at + length]
        at += length
        found += [found[-1]] * (width - length)
    return found


def places_of(rows: Sequence[Row]) -> tuple[list[int], list[int], dict[tuple[int, int], list[int]]]:
    """The slot of each row, where its slot begins in its path, and the rows of each stem and place in it."""
    slots: list[int] = []
    shifts: list[int] = []
    groups: dict[tuple[int, int], list[int]] = {}
    for index, row in enumerate(rows):
        slot = row.slot
        assert slot is not None
        slots.append(slot.index)
        shifts.append(slot.shift)
        if slot.stem is not None:
            groups.setdefault((slot.stem.index, slot.shift), []).append(index)
    return slots, shifts, groups
