"""The dependence graph of a program, derived from its IR: what must come before what."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum, auto

import networkx as nx

from . import ir
from .scan import Comprehension, Scope, evaluated_outside

WRITING_EFFECTS = ("program", "call")
"""Effects that run Python on the program's own objects and so may change them; the others only read them."""


class Heap(Enum):
    """What a piece of code may do to objects that others hold too."""

    NONE = auto()
    READ = auto()
    WRITE = auto()


def graph(program: ir.Program) -> nx.DiGraph:
    """The nodes of ``program``, terminators included, and why one must come before another.

    A region's parameters count as defined by the node that the region belongs to. Every node has the attributes
    ``parent`` (the node whose region it is in, or ``None``), ``effect`` (whether it holds one) and ``heap`` (what it
    may do to shared objects). Every edge has ``kind``:

    - ``data``: the second uses a value that the first defines (``values`` lists them);
    - ``order``: both are in one region, and both hold effects, or touch the heap and one of them writes it.

    Args:
        program: the IR.

    Returns:
        A directed acyclic graph; a chain of ``order`` edges stands for all pairs along it.
    """
    found: nx.DiGraph = nx.DiGraph()
    definer: dict[ir.Value, ir.Node] = {}
    _add(program.body, None, found, definer)
    return found


def _add(region: ir.Region, parent: ir.Node | None, found: nx.DiGraph, definer: dict[ir.Value, ir.Node]) -> None:
    if parent is not None:
        definer.update((value, parent) for value in region.params)
    order = _Order(found)
    for node in (*region.nodes, region.end):
        found.add_node(node, parent=parent, effect=ir.has_effects(node), heap=heap(node))
        for value in node.uses:
            if value in definer:
                _edge(found, definer[value], node, "data", value)
        definer.update((value, node) for value in node.defines)
        if isinstance(node, ir.Loop) and node.counter is not None:
            definer[node.counter] = node
        order.add(node)
        for inner in node.regions:
            _add(inner, node, found, definer)


def _edge(found: nx.DiGraph, first: ir.Node, second: ir.Node, kind: str, value: ir.Value | None = None) -> None:
    """An edge; one that carries data is a data edge, whatever else it is."""
    values = (value,) if value is not None else ()
    if found.has_edge(first, second):
        values = (*found.edges[first, second]["values"], *values)
        kind = "data" if values else kind
    found.add_edge(first, second, kind=kind, values=values)


@dataclass
class _Order:
    """Order edges along one region, without those that follow from others."""

    found: nx.DiGraph
    effect: ir.Node | None = None
    write: ir.Node | None = None

    def __post_init__(self) -> None:
        self.reads: list[ir.Node] = []

    def add(self, node: ir.Node) -> None:
        """The next node of the region."""
        before: list[ir.Node | None] = []
        attributes = self.found.nodes[node]
        if attributes["effect"]:
            before.append(self.effect)
            self.effect = node
        if attributes["heap"] is Heap.READ:
            before.append(self.write)
            self.reads.append(node)
        elif attributes["heap"] is Heap.WRITE:
            before += self.reads or [self.write]
            self.write, self.reads = node, []
        for earlier in before:
            if earlier is not None:
                _edge(self.found, earlier, node, "order")


# --- the heap -------------------------------------------------------------------------------------------------------


def heap(node: ir.Node) -> Heap:
    """What a node may do to objects that others hold too. In doubt, the worse."""
    if isinstance(node, ir.Py):
        return touches_heap(node.code)
    if isinstance(node, ir.Effect):
        return Heap.WRITE if node.site.kind in WRITING_EFFECTS else Heap.READ
    if isinstance(node, ir.Gather):
        return max((heap(effect) for effect in node.effects), key=_badness)
    if isinstance(node, ir.For):
        return Heap.WRITE  # iterating uses an iterator up
    inner = [heap(n) for region in node.regions for n in (*region.nodes, region.end)]
    return max(inner, key=_badness, default=Heap.NONE)


_READING = (ast.Attribute, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Compare, ast.JoinedStr, ast.FormattedValue)
_PURE = (
    *(ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Slice, ast.Lambda, ast.BoolOp, ast.IfExp),
    *(ast.NamedExpr, ast.Expr, ast.Assign, ast.AnnAssign, ast.Pass, ast.If, ast.Assert),
    *(ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)


def touches_heap(code: ast.AST) -> Heap:
    """What a piece of Python may do to objects that others hold too, by its syntax alone.

    Arithmetic and comparisons count as reading, for lists can be added and compared; a truth test of a bare name is
    let pass. Whatever iterates counts as writing, for it uses an iterator up, and so does ``in``.
    """
    if isinstance(code, Scope):
        parts = list(evaluated_outside(code))
        if isinstance(code, ast.ClassDef) or getattr(code, "decorator_list", None):
            return Heap.WRITE
        return max((touches_heap(p) for p in parts), key=_badness, default=Heap.NONE)
    if isinstance(code, (ast.Attribute, ast.Subscript)) and not isinstance(code.ctx, ast.Load):
        return Heap.WRITE
    if isinstance(code, (ast.Tuple, ast.List)) and isinstance(code.ctx, ast.Store):
        return Heap.WRITE  # unpacking iterates
    if isinstance(code, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn)) for op in code.ops):
        return Heap.WRITE
    if isinstance(code, Comprehension) or not isinstance(code, (*_READING, *_PURE)):
        return Heap.WRITE
    own = Heap.READ if isinstance(code, _READING) else Heap.NONE
    inner = (touches_heap(child) for child in ast.iter_child_nodes(code))
    return max((own, *inner), key=_badness)


def _badness(touch: Heap) -> int:
    return touch.value
