"""Which path lies in which slot: placing, sharing, forking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from .kv_cache import SlotCache
from .kv_plan import Row
from .kv_pool import KEPT, Pool, Slot
from .kv_stems import Stem, Stems, worth_sharing


class Slots:
    """Where the paths of a trie lie, within a budget of memory.

    A node's ``home`` is the slot or stem that has its position.

    Attributes:
        cache: the tensors.
        pool: all slots.
        stems: beginnings that several slots go on from.
        sharing: from how many positions saved a stem is worth it; ``None`` if the model can't attend to stems.
        offset: positions before the first token of a path (1 with an implicit BOS token).
        clock: how many forward passes there were.
    """

    def __init__(self, cache: SlotCache, offset: int, budget: int) -> None:
        self.cache = cache
        self.offset = offset
        self.pool = Pool(cache, budget)
        self.stems = Stems(cache)
        self.sharing: int | None = None
        self.clock = 0

    @property
    def used(self) -> bool:
        """Whether a path lies here that somebody still refers to."""
        return self.pool.used or self.cache.stems.positions > 0

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
        ends = [row.attach for row in rows if row.attach is not None and not row.again]
        if len(set(ends)) < len(ends):
            pinned = homes_of(rows)
            for node, count in Counter(ends).items():
                home = node.home
                length = node.length + self.offset
                if isinstance(home, Slot) and worth_sharing(count, length - home.shift, length, self.sharing):
                    self.pool.let_go()  # many go on from here, and need the room
                    self._make_stem(home, length, pinned)
        if not self.pool.used:
            self.pool.drop()  # what is to come needs few positions a slot

    def has_room(self, need: int) -> bool:
        """Whether all slots can hold so many positions without giving anything up."""
        return need <= self.cache.capacity or len(self.pool.slots) <= self.pool.limit(need)

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
        if self.pool.limit(need) < 1 and self.cache.stems.positions:
            self.clear()
            return True
        return self.pool.lengthen(need, pinned)

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
            if isinstance(home, Slot) and (row.again or (home.ends_at(row.start) and home not in written)):
                row.slot = home
            else:
                if free is None:
                    free = self.pool.free(len(rows) - placed, busy, pinned)
                    home = home_of(row)
                slot = free.pop() if free else self.pool.make_room(busy, pinned, home)
                forced = slot is None
                if forced:
                    if placed:
                        break
                    slot = self.pool.force_room(home)
                assert slot is not None
                if slot is home:
                    self.pool.truncate(slot, row.start)
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
        if len(taken) == len(rows):
            self.pool.gather(taken)

    def commit(self, rows: Sequence[Row]) -> None:
        """Record that a forward pass wrote ``rows``."""
        self.clock += 1
        for row in rows:
            slot = row.slot
            assert slot is not None
            slot.used_at = self.clock
            if not row.again:
                for node in row.nodes:
                    slot.chain.append(node.link)
                    node.home = slot
        for row in rows[-KEPT:]:  # no more are held than the last
            self.pool.hold(row.nodes[-1], row.attach)

    def clear(self) -> None:
        """Forget everything and free the memory."""
        self.pool.let_go()
        self.pool.drop()
        self.stems.clear()

    def _make_stem(self, slot: Slot, length: int, pinned: set[Slot | Stem]) -> None:
        """Copy a slot's path to a stem, which becomes the home of the nodes that had theirs in the slot."""
        pool = self.pool
        kept = {
            stem for stem in (*(slot.stem for slot in pool.slots if slot.trim()), *pinned) if isinstance(stem, Stem)
        }
        self.stems.make_room(length, pool.budget // 2 // self.cache.position_bytes, kept)
        if not pool.fits_beside(length):
            pool.keep([other for other in pool.slots if other is slot or other.trim()])
        if not pool.fits_beside(length):
            return
        own = slot.chain[: length - slot.base]
        below = None if slot.stem is None else (slot.stem, slot.shift)
        pinned.add(self.stems.add(slot.index, length, slot.base, own, below, self.clock + 1))
        # The slot still holds the path, as a copy; others that were copied from it lose their source.
        del slot.chain[: len(own)]
        for other in pool.slots:
            if other.source is slot and other.base <= length:
                other.source = None
        slot.base, slot.source = length, None


def homes_of(rows: Sequence[Row]) -> set[Slot | Stem]:
    """Where the paths are that rows go on from."""
    return {home for row in rows if (home := home_of(row)) is not None}


def home_of(row: Row) -> Slot | Stem | None:
    """Where the path is that a row goes on from; ``None`` for one that starts a path."""
    if row.attach is None:
        return None
    home: Slot | Stem | None = row.attach.home
    if home is None:
        raise RuntimeError("a row goes on from a path that was given up after it had been planned")
    return home
