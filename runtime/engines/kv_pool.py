"""The slots there are: how many fit, which of them are free, and which give way to others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from weakref import ref

from .kv_cache import SlotCache
from .kv_stems import Stem, leave
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

    def ends_at(self, length: int) -> bool:
        """Whether :attr:`length` is so much, of a slot whose first ``length`` positions belong to a living node."""
        return self.base + len(self.chain) == length or self.length == length


class Pool:
    """Slots within a budget of memory.

    They refer to nodes weakly. One is free once the last node with its home there is gone, so memory follows what the
    program still holds, and nothing has to be released by hand; the budget only bounds what a program holds on to. The
    ends of the last paths are held here too, as long as there is a place for others.

    Attributes:
        cache: the tensors.
        budget: how many bytes slots and stems together may take.
        slots: all slots, in the order of their rows.
    """

    def __init__(self, cache: SlotCache, budget: int) -> None:
        self.cache = cache
        self.budget = budget
        self.slots: list[Slot] = []
        self._held: dict[Prefix, None] = {}  # the oldest first

    def limit(self, capacity: int) -> int:
        """How many slots of ``capacity`` positions the budget allows."""
        size = self.cache.position_bytes * capacity
        left = self.budget - self.cache.stems.positions * self.cache.position_bytes
        return max(left, 0) // size if size else 1 << 30

    def fits_beside(self, length: int) -> bool:
        """Whether a stem of so many positions has room beside the slots as they are."""
        positions = self.cache.stems.positions_with(length) + self.cache.capacity * len(self.slots)
        return positions * self.cache.position_bytes <= self.budget

    @property
    def used(self) -> bool:
        """Whether any slot has living nodes."""
        return any(slot.trim() for slot in self.slots)

    @property
    def in_use(self) -> int:
        """How many slots have living nodes."""
        return sum(slot.trim() for slot in self.slots)

    def hold(self, end: Prefix, before: Prefix | None) -> None:
        """Hold on to the end of a path, which holds what it goes on from: that is let go of."""
        if before is not None:
            self._held.pop(before, None)
        self._held[end] = None
        while len(self._held) > KEPT:
            del self._held[next(iter(self._held))]

    def let_go(self) -> None:
        """Hold on to no path any more."""
        self._held.clear()

    def keep(self, kept: list[Slot], capacity: int | None = None) -> None:
        """Free all slots but some, in their order, which are made to hold so many positions."""
        for slot in set(self.slots).difference(kept):
            self.evict(slot)
        self.cache.resize(len(kept), capacity or self.cache.capacity, [slot.index for slot in kept])
        self.slots = kept
        for index, slot in enumerate(kept):
            slot.index = index

    def lengthen(self, need: int, pinned: Collection[Slot | Stem]) -> bool:
        """Make every slot hold at least ``need`` positions, more than now, evicting if longer slots must be fewer.

        Args:
            need: how many.
            pinned: slots to evict last.

        Returns:
            Whether slots were evicted.

        Raises:
            MemoryError: one slot of that length alone is over the budget.
        """
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
        self.keep(kept, capacity)
        return True

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget a slot's positions from ``length`` on, and that others were copied from them."""
        leave(slot.chain[length - slot.base :])
        del slot.chain[length - slot.base :]
        for other in self.slots:
            if other.source is slot and other.base > length:
                other.source = None

    def evict(self, slot: Slot) -> None:
        """Forget a slot's path; its nodes are computed again if asked for again."""
        self.truncate(slot, slot.base)
        slot.base, slot.source = 0, None
        slot.stem, slot.shift = None, 0

    def drop(self) -> None:
        """Have no slots any more, and free their memory."""
        for slot in self.slots:
            leave(slot.chain)
        self.slots.clear()
        self.cache.drop()

    def gather(self, taken: Sequence[int]) -> None:
        """Swap slots so that those of some rows lie side by side.

        Args:
            taken: the rows, in order.
        """
        n = len(taken)
        if taken[-1] - taken[0] + 1 == n:
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

    def free(self, wanted: int, busy: Collection[Slot], pinned: set[Slot | Stem]) -> list[Slot]:
        """Slots without living nodes, lowest last, after trying to provide ``wanted`` of them.

        Args:
            wanted: how many slots the batch being placed may still need.
            busy: slots that rows of the batch have been given already, which must stay where they are.
            pinned: slots that rows to come start from; kept up to date when paths move.
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

    def make_room(
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

    def force_room(self, home: Slot | Stem | None) -> Slot:
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
