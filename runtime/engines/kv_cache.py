"""The tensors behind the slots: keys and values of many ragged paths, written in place, and of the stems they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import ref

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from .kv_ranges import Ranges


@dataclass
class Group:
    """The rows of a forward pass that go on from one stem.

    Attributes:
        stem: which one.
        length: how many of its positions they share.
        rows: their indices [rows of the group], or ``None`` if they are all rows.
    """

    stem: int
    length: int
    rows: Tensor | None


@dataclass
class Shared:
    """The rows of groups as kernels take them, which go through queries of one stem after the other.

    Queries are there several times, for as many segments of their stem. Which stems these are, and how long, is data: a
    captured step serves all.

    Attributes:
        order: the row of each query [segments * rows].
        where: the place of each row's query for each segment in that order [segments, rows].
        queries: where the queries of each segment of each stem begin in that order, and their number last, int32
            [segments * stems + 1].
        starts: where each of these segments begins among the positions of all stems, and one number more, int32
            [segments * stems + 1].
        used: how many positions each has, int32 [segments * stems].
    """

    order: Tensor
    where: Tensor
    queries: Tensor
    starts: Tensor
    used: Tensor


@dataclass
class Step:
    """Where the rows of one forward pass read and write; q is the number of tokens of the longest row.

    Attributes:
        slots: the slot of each row [rows].
        first: the lowest slot when the rows are exactly the slots first..first+rows-1 in order, else ``None``.
        used: how many positions are read from every slot; at least the longest row.
        write_slots: the slot of every real (not padding) token [tokens].
        write_positions: the position of every real token in its slot [tokens].
        real: indices of the real tokens among rows * q, or ``None`` when no token is padding.
        groups: the rows that go on from stems.
        place: the one position in their slots to which all rows write one token each, if that is so.
        ragged: whether each row, which is one token, is to read no more positions than it has, by kernels that can.
        shared: the groups of ragged rows.
    """

    slots: Tensor
    first: int | None
    used: int
    write_slots: Tensor
    write_positions: Tensor
    real: Tensor | None
    groups: Sequence[Group] = ()
    place: int | None = None
    ragged: bool = False
    shared: Shared | None = None

    def to(self, device: torch.device) -> Step:
        """The same step with its indices on ``device`` (layers may live on several)."""
        real = None if self.real is None else self.real.to(device)
        return Step(
            self.slots.to(device),
            self.first,
            self.used,
            self.write_slots.to(device),
            self.write_positions.to(device),
            real,
            [Group(g.stem, g.length, None if g.rows is None else g.rows.to(device)) for g in self.groups],
            self.place,
            self.ragged,
        )


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, [slots, heads, capacity, head_dim].

    Heads come before positions, so that what one head reads of neighbouring slots is a batch of matrices as it lies.
    Layers with a sliding window keep the whole path too, because a path may fork anywhere: the mask hides what is
    outside of the window.
    """

    is_sliding = False

    def __init__(self, index: int, cache: SlotCache) -> None:
        super().__init__()
        self.index = index
        self.cache = ref(cache)
        self.step: Step | None = None
        self.shape = (0, 0)
        self.stem_keys: Tensor | None = None
        self.stem_values: Tensor | None = None
        """Keys and values of all stems, one after the other [heads, positions, head_dim]."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros: never-written memory could hold NaN, which a mask does not stop (0 * NaN is NaN)."""
        slots, capacity = self.shape
        self.keys = key_states.new_zeros(slots, key_states.shape[1], capacity, key_states.shape[3])
        self.values = value_states.new_zeros(slots, value_states.shape[1], capacity, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write this pass's tokens and give the rows' whole paths.

        Args:
            key_states: [rows, heads, q, head_dim].
            value_states: [rows, heads, q, head_dim].

        Returns:
            Keys and values [rows, heads, used, head_dim], views of the store where the rows lie side by side.
        """
        step = self.step
        if step is None:
            raise RuntimeError("the slot cache was used outside of a planned forward pass")
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if step.slots.device != key_states.device:
            step = self.step = step.to(key_states.device)
        if (cache := self.cache()) is not None:
            cache.current = self
        assert self.keys is not None and self.values is not None
        return self._exchange(self.keys, key_states, step), self._exchange(self.values, value_states, step)

    @staticmethod
    def _exchange(store: Tensor, new: Tensor, step: Step) -> Tensor:
        if step.first is not None and step.place is not None:
            rows = store[step.first : step.first + step.slots.shape[0]]
            rows[:, :, step.place] = new[:, :, 0]
            return rows[:, :, : step.used]
        tokens = new.transpose(1, 2).flatten(0, 1)
        if step.real is not None:
            tokens = tokens.index_select(0, step.real)
        store.transpose(1, 2).index_put_((step.write_slots, step.write_positions), tokens)
        if step.first is None:
            return store[:, :, : step.used].index_select(0, step.slots)
        return store[step.first : step.first + step.slots.shape[0], :, : step.used]

    def stem(self, group: Group) -> tuple[Tensor, Tensor]:
        """What the rows of a group share: keys and values [heads, length, head_dim]."""
        cache = self.cache()
        assert cache is not None and self.stem_keys is not None and self.stem_values is not None
        start = cache.stems.at[group.stem].start
        return self.stem_keys[:, start : start + group.length], self.stem_values[:, start : start + group.length]

    def add_stem(self, to: slice, slot: int, below: slice) -> None:
        """Copy a path to where stems are.

        Args:
            to: where it goes.
            slot: where its end is.
            below: where its beginning is, among the stems.
        """
        for stems, store in ((self.stem_keys, self.keys), (self.stem_values, self.values)):
            assert stems is not None and store is not None
            before, length = below.stop - below.start, to.stop - to.start
            stems[:, to.start : to.start + before] = stems[:, below]
            stems[:, to.start + before : to.stop] = store[slot, :, : length - before]

    def repack(self, moves: Sequence[tuple[slice, slice]], positions: int) -> None:
        """Move the stems to a place for so many positions: pairs of where each was and where it goes."""
        self.stem_keys = self._repacked(self.stem_keys, self.keys, moves, positions)
        self.stem_values = self._repacked(self.stem_values, self.values, moves, positions)

    @staticmethod
    def _repacked(
        old: Tensor | None, like: Tensor | None, moves: Sequence[tuple[slice, slice]], positions: int
    ) -> Tensor:
        assert like is not None
        new = like.new_zeros(like.shape[1], positions, like.shape[3])
        for there, here in moves:
            assert old is not None
            new[:, here] = old[:, there]
        return new

    def drop(self) -> None:
        """Free the slots."""
        self.keys = self.values = None
        self.is_initialized = False
        self.step = None
        self.shape = (0, 0)

    def resize(self, shape: tuple[int, int], keep: Sequence[int] | None = None) -> None:
        """Move to another number of slots and positions.

        Args:
            shape: the new (slots, capacity).
            keep: the old slots that become slots 0, 1, ...; by default the first ones, in order.
        """
        self.shape = shape
        if self.is_initialized and self.keys is not None and self.values is not None:
            self.keys = self._resized(self.keys, keep)
            self.values = self._resized(self.values, keep)

    def _resized(self, old: Tensor, keep: Sequence[int] | None) -> Tensor:
        slots, capacity = self.shape
        new = old.new_zeros(slots, old.shape[1], capacity, old.shape[3])
        rows, positions = min(slots, old.shape[0]), min(capacity, old.shape[2])
        if keep is None:
            new[:rows, :, :positions] = old[:rows, :, :positions]
        elif keep:
            new[: len(keep), :, :positions] = old[list(keep), :, :positions]
        return new

    def copy(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy the first ``length`` positions of the slots ``source`` [n] into the slots ``target`` [n]."""
        for store in (self.keys, self.values):
            assert store is not None
            part = store[:, :, :length]
            part.index_copy_(0, target.to(store.device), part.index_select(0, source.to(store.device)))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """What is read, and from which position on; only for models that look although they are given a mask."""
        return (query_length if self.step is None else self.step.used), 0

    def get_seq_length(self) -> int:
        """The positions read before this pass's; rows are ragged, so models must use the given positions instead."""
        return 0 if self.step is None else self.step.used - 1

    def get_max_length(self) -> int:
        """No limit: capacity grows."""
        return -1


class SlotCache(Cache):
    """Slots for the keys and values of many paths, all with one capacity, as a ``transformers`` cache.

    Attributes:
        slots: the number of slots.
        capacity: the number of positions each slot can hold.
        position_bytes: bytes that one position of one slot takes over all layers; 0 before :meth:`measure`.
        stems: where each stem is, among the positions of all.
    """

    def __init__(self, layers: int) -> None:
        self.slot_layers = [SlotLayer(index, self) for index in range(layers)]
        super().__init__(layers=list(self.slot_layers))
        self.current: SlotLayer | None = None
        """The layer that a forward pass is in."""
        self.slots = 0
        self.capacity = 0
        self.position_bytes = 0
        self.stems = Ranges()

    def begin(self, step: Step) -> None:
        """Say where the next forward pass reads and writes."""
        for layer in self.slot_layers:
            layer.step = step

    def measure(self) -> None:
        """Set ``position_bytes`` from the tensors of a forward pass."""
        stores = [store for layer in self.slot_layers for store in (layer.keys, layer.values) if store is not None]
        self.position_bytes = sum(store.shape[1] * store.shape[3] * store.element_size() for store in stores)

    def resize(self, slots: int, capacity: int, keep: Sequence[int] | None = None) -> None:
        """Change the number of slots and their capacity, layer by layer so that only one layer exists twice.

        Args:
            slots: the new number of slots.
            capacity: the new number of positions of each.
            keep: the old slots that become slots 0, 1, ...; by default the first ones, in order.
        """
        for layer in self.slot_layers:
            layer.resize((slots, capacity), keep)
        self.slots, self.capacity = slots, capacity

    def copy(self, copies: Sequence[tuple[int, int, int]]) -> None:
        """Copy paths from slot to slot.

        Args:
            copies: (source slot, target slot, positions); all are read before any is written, so slots may swap.
                The longest of the lengths is copied for all: what lies beyond a path's end is never read.
        """
        length = max(positions for _, _, positions in copies)
        if not length:
            return
        source = torch.tensor([source for source, _, _ in copies])
        target = torch.tensor([target for _, target, _ in copies])
        for layer in self.slot_layers:
            layer.copy(source, target, length)

    def add_stem(self, stem: int, slot: int, length: int, below: tuple[int, int] | None) -> None:
        """Copy a path to a place of its own, as a stem that rows can share.

        Args:
            stem: what it is called from now on.
            slot: where the path ends.
            length: how many positions the path has.
            below: the stem that the slot goes on from, and how many positions of it come before the slot's.
        """
        moves = self.stems.add(stem, length)
        at = self.stems.at[stem]
        under = 0 if below is None else self.stems.at[below[0]].start
        before = slice(under, under + (0 if below is None else below[1]))
        for layer in self.slot_layers:
            if moves is not None:
                layer.repack(moves, self.stems.positions)
            layer.add_stem(at, slot, before)

    def drop_stems(self) -> None:
        """Free all stems."""
        self.stems = Ranges()
        for layer in self.slot_layers:
            layer.stem_keys = layer.stem_values = None

    def drop(self) -> None:
        """Free all slots; stems stay."""
        for layer in self.slot_layers:
            layer.drop()
        self.slots = self.capacity = 0
