"""Moving effects up within a region.

Only nodes that a condition may object to are looked at one by one: the others are told apart by a bit mask, so that a
program of nothing but effects is not compared pair by pair.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import ir
from ..facts import Facts
from ..kinds import Touch
from .base import Condition
from .moving import ANYTHING, DEFINES, HEEDS, Crossing, operands_defined, shown_code, traits


class Row:
    """The nodes of one region, in an order that changes.

    Attributes:
        nodes: the nodes, in the order in which they now stand.
        facts: about the program that the region is of.
    """

    def __init__(self, nodes: Iterable[ir.Node], facts: Facts) -> None:
        self.nodes = list(nodes)
        self.facts = facts
        self._definer = {value: node for node in self.nodes for value in node.defines}
        self._traits: dict[ir.Node, int] = {}

    def definers(self, node: ir.Node) -> set[ir.Node]:
        """The nodes here that define what a node uses itself."""
        definer = self._definer
        return {definer[value] for value in node.uses if value in definer}

    def traits(self, node: ir.Node) -> int:
        """The bits of a node, see ``moving.traits``."""
        found = self._traits.get(node)
        if found is None:
            found = self._traits[node] = traits(self.facts, node)
        return found

    def put(self, moving: Sequence[ir.Node], place: int) -> None:
        """Put those of ``moving`` that stand further down right above what stands at ``place``, in their order."""
        above = set(self.nodes[:place])
        below = [node for node in moving if node not in above]
        for node in below:
            self.nodes.remove(node)
        self.nodes[place:place] = below


@dataclass(frozen=True)
class Climb:
    """How far an effect can move up.

    Attributes:
        moving: what moves with it, itself last.
        crossed: what it can go past, nearest first.
        blocker: what it can't go past; ``None`` at the top of the region.
        reason: why not; ``None`` if only because its operands are defined there.
    """

    moving: tuple[ir.Node, ...]
    crossed: Sequence[ir.Node]
    blocker: ir.Node | None = None
    reason: str | None = None


def climb(row: Row, effect: ir.Effect, conditions: Sequence[Condition]) -> Climb:
    """How far an effect of the row can move up.

    Statements that compute its operands move with it, if they do nothing else.
    """
    facts = row.facts
    moving: tuple[ir.Node, ...] = (effect,)
    wanted = row.definers(effect)
    heeded = _heeded(conditions, facts, effect)
    any_heeded = _union(heeded)
    crossed: list[ir.Node] = []
    for node in reversed(row.nodes[: row.nodes.index(effect)]):
        bits = row.traits(node)
        if node in wanted:
            if facts.movable(node):
                moving = (node, *moving)
                wanted |= row.definers(node)
                heeded = [a | b for a, b in zip(heeded, _heeded(conditions, facts, node), strict=True)]
                any_heeded = _union(heeded)
                continue
            if isinstance(node, ir.Py) and facts.touch(node) is Touch.WRITE and operands_defined in conditions:
                code = shown_code(facts, node)
                unknown = f"it needs {code}, of which the compiler does not know that it changes nothing"
                return Climb(moving, crossed, node, unknown)
            bits |= DEFINES
        if bits & any_heeded:
            step = Crossing(node, moving, facts)
            for condition, heeds in zip(conditions, heeded, strict=True):
                reason = condition(step) if bits & heeds else None
                if reason is not None:
                    return Climb(moving, crossed, node, None if condition is operands_defined else reason)
        crossed.append(node)
    return Climb(moving, crossed)


def _heeded(conditions: Sequence[Condition], facts: Facts, mover: ir.Node) -> list[int]:
    """For each condition the bits that it looks for because of ``mover``."""
    found = []
    for condition in conditions:
        bits = HEEDS.get(condition, ANYTHING)
        found.append(bits if isinstance(bits, int) else bits(facts, mover))
    return found


def _union(masks: Iterable[int]) -> int:
    return functools.reduce(operator.or_, masks, 0)
