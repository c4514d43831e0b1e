"""Rebuilding IR. Nodes and regions never change: a rewrite makes new ones and shares the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from . import ir

N = TypeVar("N", bound=ir.Node)
Values = Mapping[ir.Value, ir.Value]


def marked(node: N, name: str) -> N:
    """``node`` with one more pass in its provenance."""
    return node if name in node.provenance else replace(node, provenance=(*node.provenance, name))


def with_nodes(region: ir.Region, nodes: Iterable[ir.Node]) -> ir.Region:
    """``region`` with other nodes; itself if they are the same."""
    new = tuple(nodes)
    return region if new == region.nodes else ir.Region(region.params, new, region.end)


def with_body(program: ir.Program, body: ir.Region) -> ir.Program:
    """``program`` with another body, its list of sites brought up to date; itself if the body is the same."""
    if body is program.body:
        return program
    used = [effect.site for effect in ir.effects(body)]
    kept = [site for site in program.sites if site in used]
    return replace(program, body=body, sites=(*kept, *(site for site in used if site not in kept)))


def map_regions(region: ir.Region, change: Callable[[ir.Region], ir.Region]) -> ir.Region:
    """Apply ``change`` to every region at and below ``region``, inner ones first."""
    nodes = [with_regions(node, [map_regions(inner, change) for inner in node.regions]) for node in region.nodes]
    return change(with_nodes(region, nodes))


def map_nodes(region: ir.Region, change: Callable[[ir.Node], Sequence[ir.Node]]) -> ir.Region:
    """Put what ``change`` returns in the place of every node at and below ``region``, inner ones first."""
    return map_regions(region, lambda inner: with_nodes(inner, [new for node in inner.nodes for new in change(node)]))


def with_regions(node: N, regions: Sequence[ir.Region]) -> N:
    """``node`` with other regions, in the order of ``node.regions``; itself if they are the same."""
    if tuple(regions) == node.regions:
        return node
    if isinstance(node, ir.If):
        return replace(node, then=regions[0], orelse=regions[1])
    if isinstance(node, ir.While):
        return replace(node, test=regions[0], body=regions[1], orelse=regions[2])
    assert isinstance(node, ir.For)
    return replace(node, body=regions[0], orelse=regions[1])


def substitute(node: N, values: Values) -> N:
    """``node``, and what is in its regions, with some of the values that it *uses* exchanged."""
    if not values:
        return node

    def one(value: ir.Value) -> ir.Value:
        return values.get(value, value)

    def each(listed: Iterable[ir.Value]) -> tuple[ir.Value, ...]:
        return tuple(map(one, listed))

    new: ir.Node = with_regions(node, [substitute_region(region, values) for region in node.regions])
    if not any(value in values for value in node.uses):
        return new  # type: ignore[return-value]
    if isinstance(new, ir.Py):
        new = replace(new, reads=tuple((name, one(value)) for name, value in new.reads))
    elif isinstance(new, ir.Effect):
        new = replace(new, args=tuple((word, one(value)) for word, value in new.args), index=each(new.index))
    elif isinstance(new, ir.Gather):
        new = replace(new, effects=tuple(substitute(effect, values) for effect in new.effects))
    elif isinstance(new, ir.If):
        new = replace(new, test=one(new.test))
    elif isinstance(new, ir.For):
        new = replace(new, iterable=one(new.iterable), initial=each(new.initial))
    elif isinstance(new, ir.While):
        new = replace(new, initial=each(new.initial))
    elif isinstance(new, ir.Terminator):
        new = replace(new, values=each(new.values))
    return new  # type: ignore[return-value]


def substitute_region(region: ir.Region, values: Values) -> ir.Region:
    """``region`` with some of the values that it uses exchanged."""
    nodes = tuple(substitute(node, values) for node in region.nodes)
    end = substitute(region.end, values)
    if nodes == region.nodes and end is region.end:
        return region
    return ir.Region(region.params, nodes, end)


def used_values(region: ir.Region) -> set[ir.Value]:
    """Every value that is read at or below ``region``."""
    return {value for node in ir.walk(region) for value in node.uses}


def without_dead_code(region: ir.Region, idle: Callable[[ir.Node], bool]) -> ir.Region:
    """``region`` without temporaries of the compiler's own that nobody reads any more.

    Args:
        region: a whole body.
        idle: whether a statement only computes what it defines, so that it may be left out.
    """
    while True:
        used = used_values(region)

        def keep(node: ir.Node, used: set[ir.Value] = used) -> Sequence[ir.Node]:
            temporary = isinstance(node, ir.Py) and all(name.startswith("·") for name, _ in node.writes)
            return [] if temporary and used.isdisjoint(node.defines) and idle(node) else [node]

        smaller = map_nodes(region, keep)
        if smaller is region:
            return region
        region = smaller
