"""What to compute next: rows of new trie nodes, grouped so that padding stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .kv_cache import Group, Step
from .prefix import Prefix

if TYPE_CHECKING:
    from .kv_slots import Slot

_SPANS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of attention that see a part of the path, and the setting that says how large a part."""


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


def plan_rows(pending: Iterable[Prefix], cached: Callable[[Prefix], bool], offset: int, longest: int) -> list[Row]:
    """The rows that can be computed right now on the way to ``pending``.

    New nodes form trees that hang on cached nodes. From each tree one row is taken, the deepest path from its top;
    the branches off that path continue cached nodes after it has been computed, so a shared part is computed once.

    Args:
        pending: the nodes whose logits are wanted.
        cached: whether a node's keys and values are in a slot.
        offset: positions before a path's first token; with 0 the root has no position of its own.
        longest: where to cut long rows, which bounds the memory of a forward pass.
    """
    rows: list[Row] = []
    children: dict[Prefix, list[Prefix]] = {}
    tops: list[tuple[Prefix | None, Prefix]] = []
    for wanted in pending:
        if wanted in children:
            continue
        if cached(wanted):
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
            if cached(parent):
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
        longest: the most positions of a path.
        size: the number of real tokens.
    """

    tokens: Tensor
    positions: Tensor
    shifts: Tensor | None
    step: Step
    wanted: Tensor | None
    nodes: list[Prefix]
    size: int
    longest: int


def build_batch(rows: Sequence[Row], wanted: Iterable[Prefix], bos: int | None, device: torch.device) -> Batch:
    """Lay out placed rows, in the order of their slots, as tensors.

    Args:
        rows: rows sorted by slot.
        wanted: the nodes whose logits are asked for (a container with fast lookup).
        bos: the token of the root, if it has one.
        device: where the model takes its input.
    """
    width = max(len(row.nodes) for row in rows)
    tokens: list[list[int]] = []
    positions: list[list[int]] = []
    slots: list[int] = []
    keep: list[int] = []
    nodes: list[Prefix] = []
    size = 0
    for index, row in enumerate(rows):
        assert row.slot is not None
        slots.append(row.slot.index)
        length = len(row.nodes)
        size += length
        padding = width - length
        ids = [node.token if node.parent is not None or bos is None else bos for node in row.nodes]
        tokens.append(ids + [0] * padding)
        positions.append([*range(row.start, row.start + length), *[row.start + length - 1] * padding])
        for column, node in enumerate(row.nodes):
            if node in wanted:
                keep.append(index * width + column)
                nodes.append(node)
    first = slots[0] if slots == list(range(slots[0], slots[0] + len(slots))) else None
    shifts = [row.slot.shift for row in rows if row.slot is not None]
    used = max(row.start + len(row.nodes) - shift for row, shift in zip(rows, shifts, strict=True))
    # All indices in one tensor: a decoding step should cost a GPU one transfer.
    table = torch.tensor(
        [[slot, shift, *ids, *at] for slot, shift, ids, at in zip(slots, shifts, tokens, positions, strict=True)],
        device=device,
    )
    rows_at, shifts_at = table[:, 0], table[:, 1]
    token_ids, positions_at = table[:, 2 : width + 2], table[:, width + 2 :]
    every, flat = rows_at, (positions_at - shifts_at[:, None]).flatten()
    real = None
    if width > 1:
        every = rows_at.repeat_interleave(width)
        if size < width * len(rows):
            lengths = torch.tensor([len(row.nodes) for row in rows], device=device)
            real = (torch.arange(width, device=device) < lengths[:, None]).flatten().nonzero()[:, 0]
            every, flat = every[real], flat[real]
    step = Step(rows_at, first, used, every, flat, real, _groups(rows, device))
    all_wanted = len(keep) == width * len(rows)
    return Batch(
        token_ids,
        positions_at,
        shifts_at if any(shifts) else None,
        step,
        None if all_wanted else torch.tensor(keep or [0], device=device),
        nodes,
        size,
        max(row.start + len(row.nodes) for row in rows),
    )


def _groups(rows: Sequence[Row], device: torch.device) -> list[Group]:
    """The rows that go on from stems, by stem and place in it."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, row in enumerate(rows):
        if row.slot is not None and row.slot.stem is not None:
            found.setdefault((row.slot.stem.index, row.slot.shift), []).append(index)
    return [
        Group(stem, length, None if len(at) == len(rows) else torch.tensor(at, device=device))
        for (stem, length), at in found.items()
    ]


def mask_kinds(config: Any) -> dict[str, int | None] | None:
    """The kinds of attention among a model's layers, each with its span, or ``None`` if some layer is not attention."""
    if "local" in (getattr(config, "attention_layers", None) or ()):
        # GPT-Neo's local layers take their window from the shape of the mask, which says nothing of ragged rows.
        return None
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        spans = {kind: getattr(config, name, None) for kind, name in _SPANS.items()}
        kinds = [next((kind for kind, span in spans.items() if span is not None), "full_attention")]
    if not set(kinds) <= {"full_attention", *_SPANS}:
        return None
    return {kind: getattr(config, _SPANS[kind]) if kind in _SPANS else None for kind in dict.fromkeys(kinds)}


def layer_kinds(config: Any, kinds: Iterable[str]) -> list[str]:
    """The kind of attention of each layer, given what :func:`mask_kinds` found."""
    return getattr(config, "layer_types", None) or [next(iter(kinds))] * int(config.num_hidden_layers)


def stem_masks(kind: str, span: int | None, batch: Batch, dtype: torch.dtype) -> list[Tensor | None]:
    """For each group, which positions of its stem the rows see: ``None`` for all.

    Args:
        kind, span: as for :func:`build_mask`.
        batch: the forward pass.
        dtype: of the masks.

    Returns:
        Additive masks [rows of the group, 1, q, length].
    """
    # Positions in a chunk or window that reaches back to the path's start see the whole stem.
    if span is None or batch.longest <= span:
        return [None] * len(batch.step.groups)
    masks: list[Tensor | None] = []
    for group in batch.step.groups:
        positions = batch.positions if group.rows is None else batch.positions[group.rows]
        masks.append(build_mask(kind, span, positions, group.length, dtype))
    return masks


def build_mask(
    kind: str, span: int | None, positions: Tensor, used: int, dtype: torch.dtype, shifts: Tensor | None = None
) -> Tensor:
    """The additive attention mask of ragged rows.

    Args:
        kind: "full_attention", "sliding_attention" or "chunked_attention".
        span: the window of a sliding kind, the chunk length of a chunked one.
        positions: the position of each query [rows, q].
        used: how many cached positions are read.
        dtype: the dtype the model computes in, which attention kernels want of a mask.
        shifts: the position of the first that is read, for each row [rows]; by default 0.

    Returns:
        A mask [rows, 1, q, used], 0 where a query sees a position and the lowest number elsewhere. Each query sees
        at least itself.
    """
    query = positions[:, None, :, None]
    key = torch.arange(used, device=positions.device)
    if shifts is not None:
        key = key + shifts[:, None, None, None]
    hidden = key > query
    if kind == "sliding_attention" and span is not None:
        hidden |= key <= query - span
    elif kind == "chunked_attention" and span is not None:
        hidden |= key // span != query // span
    mask = torch.zeros(hidden.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)
