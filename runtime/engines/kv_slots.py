"""Which path lies in which slot: placing, sharing, forking, reusing and evicting."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from weakref import ref

from .kv_cache import SlotCache
from .kv_plan import Row
from .kv_stems import Stem, Stems, leave, worth_sharing
from .prefix import Prefix

KEPT = 64
"""How many paths to hold on to that were computed last, whoever lets go of them: what was tried once may be again, and
the next problem may begin like this one."""


class Slot:
    """The bookkeeping of one slot: a path of cached positions, of which the first ``base`` belong to others.

    Attributes:
        cache: the tensors.
        index: the row in them.
        stem: where the path's first ``shift`` positions are, if not in the slot itself.
        shift: the position of the path that the slot begins with.
        base: how many positions are in the stem or were copied from another slot: their nodes have their home there.
        chain: weak references to the nodes of the positions from ``base`` on, each the parent of the next.
        source: the slot that the first ``base`` positions were copied from, while it still has them.
        used_at: when a forward pass last read this slot.
    """

    __slots__ = ("base", "cache", "chain", "index", "shift", "source", "stem", "used_at")

    def __init__(self, cache: SlotCache, index: int) -> None:
        self.cache = cache
        self.index = index
        self.stem: Stem | None = None
        self.shift = 0
        self.base = 0
        self.chain: list[ref[Prefix]] = []
        self.source: Slot | None = None
        self.used_at = 0

    def trim(self) -> bool:
        """Forget nodes that nobody refers to any more; whether any is left.

        A node keeps its parent alive, so nodes of a chain die from the end and only the end needs a look.
        """
        chain = self.chain
        while chain and chain[-1]() is None:
            chain.pop()
        return bool(chain)

    @property
    def length(self) -> int:
        """How many positions are cached here and belong to a living node."""
        self.trim()
        return self.base + len(self.chain)


class Slots:
    """All slots, within a budget of memory.

    A node's ``home`` is the slot or stem that has its position. Slots refer to nodes weakly. One is reused once the
    last node with its home there is gone, so memory follows what the program still holds, and nothing has to be
    released by hand; the budget only bounds what a program holds on to. The ends of the last paths are held here too,
    as long as there is a place for others.

    Attributes:
        cache: the tensors.
        sharing: from how many positions saved a stem is worth it; ``None`` if the model can't attend to stems.
        offset: positions before the first token of a path (1 with an implicit BOS token).
        budget: how many bytes all slots together may take.
    """

    def __init__(self, cache: SlotCache, offset: int, budget: int) -> None:
        self.cache = cache
        self.offset = offset
        self.budget = budget
        self.sharing: int | None = None
        self.slots: list[Slot] = []
        self.stems = Stems(cache)
        self.clock = 0
        self._held: dict[Prefix, None] = {}  # the oldest first

    def limit(self, capacity: int) -> int:
        """How many slots of ``capacity`` positions the budget allows."""
        size = self.cache.position_bytes * capacity
        left = self.budget - self.cache.stems.positions * self.cache.position_bytes
        return max(left, 0) // size if size else 1 << 30

    def need(self, row: Row) -> int:
        """How many positions a row will take in its slot."""
        home = home_of(row)
        shift = 0 if home is None else row.start if isinstance(home, Stem) else home.shift
        return row.start + len(row.nodes) - shift

    def share(self, rows: Sequence[Row]) -> None:
        """Make stems of the paths that enough rows go on from.

        Args:
            rows: all that could be computed now.
        """
        if self.sharing is None or len(rows) < 2:
            return
        pinned = {home for row in rows if (home := home_of(row)) is not None}
        for node, count in Counter(row.attach for row in rows if row.attach is not None and not row.again).items():
            home = node.home
            length = node.length + self.offset
            if isinstance(home, Slot) and worth_sharing(count, length - home.shift, length, self.sharing):
                self._held.clear()  # many go on from here, and need the room
                self._make_stem(home, length, pinned)
        if not any(slot.trim() for slot in self.slots):
            # What is to come needs few positions a slot.
            self.slots.clear()
            self.cache.drop()

    def has_room(self, need: int) -> bool:
        """Whether all slots can hold so many positions without giving anything up."""
        return need <= self.cache.capacity or len(self.slots) <= self.limit(need)

    def reserve(self, need: int, pinned: Collection[Slot | Stem]) -> bool:
        """Make every slot hold at least ``need`` positions, evicting if longer slots must be fewer.

        Args:
            need: the most positions that a row to come will take in its slot.
            pinned: slots to evict last.

        Returns:
            Whether slots were evicted, so that plans made before are stale.

        Raises:
            MemoryError: one slot of that length alone is over the budget.
        """
        if need <= self.cache.capacity:
            return False
        if self.limit(need) < 1 and self.cache.stems.positions:
            self.clear()
            return True
        if self.limit(need) < 1:
            size = self.cache.position_bytes
            raise MemoryError(
                f"a context of {need} tokens needs {need * size:,} bytes of key-value cache ({size:,} per token), "
                f"but cache_bytes is {self.budget:,}"
            )
        roomy = -(-max(need, self.cache.capacity * 3 // 2) // 64) * 64
        # A roomy capacity saves growing again, but when memory is short more slots are worth more than room.
        capacity = roomy if self.limit(roomy) >= 2 * max(len(self.slots), 2) else need
        allowed = self.limit(capacity)
        if len(self.slots) <= allowed:
            self.cache.resize(len(self.slots), capacity)
            return False
        order = sorted(self.slots, key=lambda s: (s.trim(), s in pinned, s.used_at), reverse=True)
        kept = sorted(order[:allowed], key=lambda s: s.index)
        self._keep(kept, capacity)
        return True

    def place(self, rows: Sequence[Row], pinned: set[Slot | Stem]) -> tuple[int, int]:
        """Give rows a slot each, copying what they share with a path that goes on without them.

        Args:
            rows: what the next forward pass computes; ``reserve`` has been called for the longest.
            pinned: slots that rows of this call start from, to be evicted only if the first row needs the place;
                kept up to date when paths move.

        Returns:
            How many of ``rows`` got a slot (the first ones; at least one), and how many positions were copied.
        """
        busy: set[Slot] = set()
        written: set[Slot] = set()
        copies: list[tuple[int, int, int]] = []
        free: list[Slot] | None = None
        placed = 0
        for row in rows:
            home = home_of(row)
            if isinstance(home, Slot) and (row.again or (home.length == row.start and home not in written)):
                row.slot = home
            else:
                if free is None:
                    free = self._free(len(rows) - placed, busy, pinned)
                    home = home_of(row)
                slot = free.pop() if free else self._make_room(busy, pinned, home)
                forced = slot is None
                if forced:
                    if placed:
                        break
                    slot = self._force_room(home)
                assert slot is not None
                if slot is home:
                    self._truncate(slot, row.start)
                else:
                    slot.base = row.start
                    if home is None or not row.start:
                        slot.stem, slot.shift, slot.source = None, 0, None
                    elif isinstance(home, Stem):
                        slot.stem, slot.shift, slot.source = home, row.start, None
                    else:
                        slot.stem, slot.shift, slot.source = home.stem, home.shift, home
                        copies.append((home.index, slot.index, row.start - home.shift))
                    if home is not None:
                        home.used_at = self.clock + 1
                row.slot = slot
                if forced:
                    placed = 1
                    break
            busy.add(row.slot)
            if not row.again:
                written.add(row.slot)
            placed += 1
        if copies:
            self.cache.copy(copies)
        return placed, sum(length for _, _, length in copies)

    def align(self, rows: Sequence[Row]) -> None:
        """Swap slots so that placed ``rows`` lie side by side and are read in place.

        Rows that die leave gaps. Reading through them copies every row's whole path in every pass; a swap copies
        the few rows that are out of place once. Rows that share a slot are left alone.
        """
        taken = sorted({row.slot.index for row in rows if row.slot is not None})
        n = len(taken)
        if n < len(rows) or taken[-1] - taken[0] + 1 == n:
            return
        last = len(self.slots) - n
        starts = {min(index, last) for index in taken}
        start = max(starts, key=lambda at: bisect_left(taken, at + n) - bisect_left(taken, at))
        holes = sorted(set(range(start, start + n)).difference(taken))
        outside = [index for index in taken if not start <= index < start + n]
        moves = []
        for hole, index in zip(holes, outside, strict=True):
            here, there = self.slots[hole], self.slots[index]
            # A slot just placed has its copied positions but no nodes yet: its length is its base.
            moves.append((index, hole, there.length - there.shift))
            if here.trim():
                moves.append((hole, index, here.length - here.shift))
            self.slots[hole], self.slots[index] = there, here
            here.index, there.index = index, hole
        self.cache.copy(moves)

    def commit(self, rows: Sequence[Row]) -> None:
        """Record that a forward pass wrote ``rows``."""
        self.clock += 1
        for row in rows:
            slot = row.slot
            assert slot is not None
            slot.used_at = self.clock
            if not row.again:
                slot.chain += [node.link for node in row.nodes]
                for node in row.nodes:
                    node.home = slot
            # A path that goes on is held by its new end.
            self._held.pop(row.attach, None)  # type: ignore[arg-type]
            self._held[row.nodes[-1]] = None
        while len(self._held) > KEPT:
            del self._held[next(iter(self._held))]

    def evict(self, slot: Slot) -> None:
        """Forget a slot's path; its nodes are computed again if asked for again."""
        self._truncate(slot, slot.base)
        slot.base, slot.source = 0, None
        slot.stem, slot.shift = None, 0

    def clear(self) -> None:
        """Forget everything and free the memory."""
        self._held.clear()
        for slot in self.slots:
            leave(slot.chain)
        self.slots.clear()
        self.cache.drop()
        self.stems.clear()

    def _make_stem(self, slot: Slot, length: int, pinned: set[Slot | Stem]) -> None:
        """Copy a slot's path to a stem, which becomes the home of the nodes that had theirs in the slot."""
        size = self.cache.position_bytes
        kept = {
            stem for stem in (*(slot.stem for slot in self.slots if slot.trim()), *pinned) if isinstance(stem, Stem)
        }
        self.stems.make_room(length, self.budget // 2 // size, kept)
        cache = self.cache
        if (cache.stems.positions_with(length) + cache.capacity * len(self.slots)) * size > self.budget:
            self._keep([other for other in self.slots if other is slot or other.trim()])
        if (cache.stems.positions_with(length) + cache.capacity * len(self.slots)) * size > self.budget:
            return
        own = slot.chain[: length - slot.base]
        below = None if slot.stem is None else (slot.stem, slot.shift)
        pinned.add(self.stems.add(slot.index, length, slot.base, own, below, self.clock + 1))
        # The slot still holds the path, as a copy; others that were copied from it lose their source.
        del slot.chain[: len(own)]
        for other in self.slots:
            if other.source is slot and other.base <= length:
                other.source = None
        slot.base, slot.source = length, None

    def _keep(self, kept: list[Slot], capacity: int | None = None) -> None:
        """Free all slots but some, in their order, which are made to hold so many positions."""
        for slot in set(self.slots).difference(kept):
            self.evict(slot)
        self.cache.resize(len(kept), capacity or self.cache.capacity, [slot.index for slot in kept])
        self.slots = kept
        for index, slot in enumerate(kept):
            slot.index = index

    def _truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's positions from ``length`` on, and that others were copied from them."""
        leave(slot.chain[length - slot.base :])
        del slot.chain[length - slot.base :]
        for other in self.slots:
            if other.source is slot and other.base > length:
                other.source = None

    def _free(self, wanted: int, busy: Collection[Slot], pinned: set[Slot | Stem]) -> list[Slot]:
        """Slots without living nodes, lowest last, after trying to provide ``wanted`` of them.

        Args:
            wanted: how many slots the batch being placed may still need.
            busy: slots that rows of the batch have been given already, which must stay where they are.
            pinned: see :meth:`place`.
        """
        free = [slot for slot in self.slots if not slot.trim()]
        if len(free) < wanted:
            self._merge(busy, pinned)
            free = [slot for slot in self.slots if not slot.chain]
        if len(free) < wanted and len(self.slots) < KEPT:
            free += self._grow(len(self.slots) + wanted - len(free))
        while len(free) < wanted and self._held:
            for _ in range(min(wanted - len(free), len(self._held))):
                del self._held[next(iter(self._held))]
            self._merge(busy, pinned)
            free = [slot for slot in self.slots if not slot.trim()]
        if len(free) < wanted:
            free += self._grow(len(self.slots) + wanted - len(free))
        free.reverse()
        return free

    def _merge(self, busy: Collection[Slot], pinned: set[Slot | Stem]) -> None:
        """Free slots whose living nodes all have a copy elsewhere, by moving those nodes' home to the copy.

        After a fork, one branch goes on in place and others in copies. Once the branch in place is dead, the
        shared part is kept by its slot only nominally: the longest copy has it too. Without this, every fork
        would leave a slot behind that no row uses any more.
        """
        longest: dict[Slot, Slot] = {}
        for slot in self.slots:
            source = slot.source
            if source is not None and slot.trim() and (source not in longest or slot.base > longest[source].base):
                longest[source] = slot
        for source, heir in longest.items():
            if source in busy or not heir.chain or heir.source is not source:
                continue
            if source.trim() and heir.base == source.length:
                for gone in source.chain:
                    node = gone()
                    if node is not None:
                        node.home = heir
                if source in pinned:
                    pinned.add(heir)
                heir.chain = source.chain + heir.chain
                heir.base, heir.source = source.base, source.source
                source.chain = []
                source.base, source.source = 0, None
                for other in self.slots:
                    if other.source is source:
                        other.source = heir

    def _grow(self, slots: int) -> list[Slot]:
        """Add slots, to at least ``slots`` if the budget allows; the new ones."""
        have = len(self.slots)
        target = min(max(slots, min(2 * have, have + 64)), self.limit(self.cache.capacity))
        if target <= have:
            return []
        self.cache.resize(target, self.cache.capacity)
        new = [Slot(self.cache, index) for index in range(have, target)]
        self.slots += new
        return new

    def _make_room(
        self, busy: Collection[Slot], pinned: Collection[Slot | Stem], home: Slot | Stem | None
    ) -> Slot | None:
        """Evict the slot that was not used for longest, when none is free and no more fit.

        Args:
            busy: slots that the batch being placed reads or writes.
            pinned: slots that the current call still needs.
            home: the slot the row's path starts in, not to be lost before it is copied.
        """
        choices = [slot for slot in self.slots if slot not in busy and slot not in pinned and slot is not home]
        if not choices:
            return None
        slot = min(choices, key=lambda s: s.used_at)
        self.evict(slot)
        return slot

    def _force_room(self, home: Slot | Stem | None) -> Slot:
        """A slot although other rows of this call need all of them: their paths are computed again later.

        The row's own ``home`` is the last choice, to be cut back to where the row goes on.
        """
        choices = [slot for slot in self.slots if slot is not home]
        if not choices:
            assert isinstance(home, Slot)
            return home
        slot = min(choices, key=lambda s: s.used_at)
        self.evict(slot)
        return slot


def home_of(row: Row) -> Slot | Stem | None:
    """Where the path is that a row goes on from; ``None`` for one that starts a path."""
    if row.attach is None:
        return None
    home: Slot | Stem | None = row.attach.home
    if home is None:
        raise RuntimeError("a row goes on from a path that was given up after it had been planned")
    return home
