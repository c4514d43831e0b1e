"""Carrying one more value through control flow: what a rewrite keeps up to date from statement to statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .. import ir

Change = Callable[[ir.Node, ir.Value], "tuple[list[ir.Node], ir.Value] | None"]
"""From a node and the state before it, to what takes its place and the state after; ``None``: both stay."""


@dataclass(frozen=True)
class Thread:
    """How a state is carried.

    Attributes:
        change: what happens at single nodes.
        enters: whether to look inside a node: where something changes, or control goes on in a loop around.
    """

    change: Change
    enters: Callable[[ir.Node], bool]

    def through(self, nodes: Sequence[ir.Node], state: ir.Value) -> tuple[list[ir.Node], ir.Value]:
        """``nodes`` with the state carried through them, and the state in the end."""
        new: list[ir.Node] = []
        for node in nodes:
            changed = self.change(node, state)
            if changed is not None:
                new += changed[0]
                state = changed[1]
            elif node.regions and self.enters(node):
                inside, state = self._inside(node, state)
                new.append(inside)
            else:
                new.append(node)
        return new, state

    def _inside(self, node: ir.Node, state: ir.Value) -> tuple[ir.Node, ir.Value]:
        """A node with regions; its results have the state as their last."""
        after = ir.Value(state.name)
        if isinstance(node, ir.If):
            then, orelse = self._region(node.then, state), self._region(node.orelse, state)
            return replace(node, then=then, orelse=orelse, results=(*node.results, after)), after
        assert isinstance(node, ir.While | ir.For)
        new = replace(
            node,
            initial=(*node.initial, state),
            body=self._entered(node.body),
            orelse=self._entered(node.orelse),
            results=(*node.results, after),
        )
        if isinstance(new, ir.While):
            new = replace(new, test=self._entered(new.test))
        return new, after

    def _entered(self, region: ir.Region) -> ir.Region:
        """A region that is handed the state as its last parameter."""
        state = ir.Value("·known")
        return self._region(ir.Region((*region.params, state), region.nodes, region.end), state)

    def _region(self, region: ir.Region, state: ir.Value) -> ir.Region:
        """A region that hands the state on as the last value of its terminator."""
        nodes, state = self.through(region.nodes, state)
        end = region.end
        if isinstance(end, ir.Yield | ir.Break | ir.Continue):
            end = replace(end, values=(*end.values, state))
        return ir.Region(region.params, tuple(nodes), end)
