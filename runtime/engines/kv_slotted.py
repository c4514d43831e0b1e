"""A model whose keys and values are in slots: what is asked of it, put into passes, within its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add

import torch
from torch import Tensor

from .ahead import Stretch, Written
from .kv_plan import Batch, Row, build_batch, choose_batch, plan_rows
from .kv_slots import Slots, homes_of
from .kv_steps import Steps
from .memory import memory_problem
from .model import LogitModel, NoRoom
from .prefix import Prefix

_MAX_TOKENS = 8192
"""The most tokens, padding included, of a forward pass over several rows."""
_LONGEST_ROW = 2048
"""The most tokens of one row in a forward pass; the rest of a longer prompt goes into further passes."""


class SlottedModel(LogitModel):
    """Computes nodes of the trie, and writes texts on, by a forward pass that someone else provides.

    Attributes:
        bos: the id that implicitly precedes every path, or ``None``.
        max_length: the most tokens a path may have, BOS included, or ``None`` if unlimited.
        max_batch: the most rows of a forward pass; halved when memory runs out.
    """

    bos: int | None
    max_length: int | None
    max_batch: int
    _offset: int
    _device: torch.device
    _slots: Slots
    _pass: Callable[[Batch], Tensor] | None
    _steps: Steps | None

    def extends(self, node: Prefix) -> bool:
        """Whether all of a node's path but its last token is cached, so that :meth:`write` can go on there."""
        return (
            node.parent is not None
            and node.parent.home is not None
            and node.home is None
            and (self.max_length is None or node.length + self._offset <= self.max_length)
        )

    def write(self, stretch: Stretch) -> list[Written | None]:
        """Draw up to ``ahead`` tokens for each of some texts.

        Raises:
            NoRoom: there is no memory for one of them.
        """
        rest = [Row(node.parent, [node], node.length + self._offset - 1) for node in stretch.nodes]
        found: dict[Prefix, Written] = {}
        while rest:
            batch, problem = rest[: self.max_batch], ""
            try:
                with torch.inference_mode():
                    found.update(self._write(rest, batch, stretch))
            except RuntimeError as error:
                problem = memory_problem(error)
            if problem:
                self._make_room(batch, stretch.nodes, problem)
                break
            # A batch may have taken the place of what comes after.
            rest = [row for row in rest[len(batch) :] if row.attach is not None and row.attach.home is not None]
        return [found.get(node) for node in stretch.nodes]

    def _forget_slots(self) -> None:
        self._slots.clear()
        if self._steps is not None:
            self._steps.clear()

    def _compute(self, pending: Mapping[Prefix, None]) -> tuple[list[Prefix], Tensor]:
        """One forward pass towards ``pending``: those of its nodes that were computed, and their logits."""
        rows = plan_rows(pending, self._offset, _LONGEST_ROW)
        batch = choose_batch(rows, self.max_batch, _MAX_TOKENS)
        try:
            return self._run(rows, batch, pending)
        except RuntimeError as error:
            # The error keeps the frames, and thus the tensors, of the failed pass alive.
            problem = memory_problem(error)
        self._make_room(batch, pending, problem)
        return [], torch.empty(0, self.vocab_size)

    def _make_room(self, batch: Sequence[Row], pending: Iterable[Prefix], problem: str) -> None:
        """Free all memory and make batches smaller, after one had no room.

        Raises:
            NoRoom: neither helps.
        """
        slots = self._slots
        held = slots.used
        self._forget_slots()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) > 1:
            self.max_batch = len(batch) // 2
        elif not held:
            longest = batch[0].start + len(batch[0].nodes)
            raise NoRoom(
                f"no memory for a single context of {longest} tokens "
                f"({longest * slots.cache.position_bytes:,} bytes of key-value cache, "
                f"{len(batch[0].nodes)} tokens in one pass) on {self._device}: {problem}. Shorten the context, or load "
                "the model in a smaller type (dtype='bfloat16') or on a device with more memory",
                _asked_for(batch[0], pending),
            )

    def _run(
        self, rows: Sequence[Row], batch: list[Row], pending: Mapping[Prefix, None]
    ) -> tuple[list[Prefix], Tensor]:
        batch = self._place(rows, batch, pending)
        if not batch:
            return [], torch.empty(0, self.vocab_size)
        steps = self._steps
        if (
            steps is not None
            and steps.capture
            and all(len(row.nodes) == 1 and row.nodes[0] in pending for row in batch)
        ):
            nodes, size = [row.nodes[0] for row in batch], len(batch)
            block = steps.logits(batch).to(torch.float32, copy=True)
        else:
            tensors = build_batch(batch, pending, self.bos, self._device)
            nodes, size = tensors.nodes, tensors.size
            block = self._forward(tensors)
        self._count(batch, size)
        return nodes, block

    def _write(self, rows: Sequence[Row], batch: list[Row], stretch: Stretch) -> dict[Prefix, Written]:
        """Draw tokens for a batch: what some of its nodes went on with."""
        steps, column = self._steps, {node: i for i, node in enumerate(stretch.nodes)}
        assert steps is not None
        more = [stretch.limits[column[row.nodes[0]]] - 1 for row in batch]
        batch = self._place(rows, batch, column, more)
        if not batch:
            return {}
        at = [column[row.nodes[0]] for row in batch]
        limits = [stretch.limits[i] for i in at]
        if self.max_length is not None:
            limits = [min(limit, self.max_length - row.start) for limit, row in zip(limits, batch, strict=True)]
        drawn = steps.write(batch, stretch.law, stretch.points[:, at], limits, [stretch.halts[i] for i in at])
        found = {}
        for row, (tokens, log_probs) in zip(batch, drawn, strict=True):
            if tokens:
                first = row.nodes[0]
                row.nodes += first.grow(tokens[:-1])
                found[first] = Written(tokens, log_probs, row.nodes[-1])
        size = sum(len(row.nodes) for row in batch)
        self._count(batch, size, min(max(limits), self.ahead))
        return found

    def _count(self, batch: Sequence[Row], size: int, forwards: int = 1) -> None:
        """Record that passes computed a batch of so many tokens."""
        slots = self._slots
        slots.commit(batch)
        if not slots.cache.position_bytes:
            slots.cache.measure()
        self.usage.forwards += forwards
        self.usage.positions += size

    def _place(
        self, rows: Sequence[Row], batch: list[Row], pending: Iterable[Prefix], more: Sequence[int] = ()
    ) -> list[Row]:
        """Give rows their slots.

        Args:
            rows: all that could be computed now.
            batch: those that are to be.
            pending: the nodes asked for.
            more: how many positions more each may take, if there is room for them as things are.

        Returns:
            As many of them as have a slot, in the order of these; none if places changed, so that rows must be planned
            again, or if there is no room for more positions.

        Raises:
            NoRoom: there is none even for one.
        """
        try:
            return self._placed(rows, batch, pending, more)
        except NoRoom:
            raise
        except BaseException:  # such as Ctrl-C: what is noted of places and what lies there may not agree
            self._forget_slots()
            raise

    def _placed(
        self, rows: Sequence[Row], batch: list[Row], pending: Iterable[Prefix], more: Sequence[int]
    ) -> list[Row]:
        """See :meth:`_place`."""
        slots = self._slots
        slots.share(rows)
        pinned = homes_of(rows)
        needs = [slots.need(row) for row in batch]
        need = max(needs)
        longest = batch[needs.index(need)]
        if more:
            need = max(map(add, needs, more))
            if not slots.has_room(need):
                return []
        try:
            if slots.reserve(need, pinned):
                return []
        except MemoryError as error:
            raise NoRoom(
                f"{error}: load the model with more (cache_bytes=...), or shorten the context",
                _asked_for(longest, pending),
            ) from None
        placed, copied = slots.place(batch, pinned)
        batch = batch[:placed]
        if len(batch[-1].nodes) == 1 and not (self._steps and self._steps.ragged and self._steps.capture):
            slots.align(batch)
        batch.sort(key=lambda row: 0 if row.slot is None else row.slot.index)
        self.usage.copied_positions += copied
        return batch

    def _forward(self, batch: Batch) -> Tensor:
        """Put a batch through the model: logits of the wanted tokens [len(batch.nodes), vocab_size]."""
        assert self._pass is not None
        return self._pass(batch)[: len(batch.nodes)].float()


def _asked_for(row: Row, pending: Iterable[Prefix]) -> Prefix:
    """One of the nodes on the way to which a row is computed."""
    return next(node for node in pending if any(at is row.nodes[-1] for at in node.ancestors()))
