"""Where the values of a program come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import ir


def sources_of(region: ir.Region) -> Iterator[tuple[ir.Value, ir.Node | ir.Value]]:
    """Every value below ``region`` with each thing that it may come from: a node, or another value."""
    for node in ir.walk(region):
        if isinstance(node, ir.Py | ir.Effect | ir.Gather):
            members: Sequence[ir.Node] = node.effects if isinstance(node, ir.Gather) else (node,)
            yield from ((value, member) for member in members for value in member.defines)
        elif isinstance(node, ir.If):
            yield from _from_ends(node.results, node.regions, ir.Yield)
        elif isinstance(node, ir.Loop):
            yield from _loop_sources(node)


def _loop_sources(node: ir.Loop) -> Iterator[tuple[ir.Value, ir.Node | ir.Value]]:
    head = node.test.params if isinstance(node, ir.While) else node.body.params[1:]
    yield from zip(head, node.initial, strict=True)
    yield from _from_ends(head, [node.body], ir.Continue)
    if isinstance(node, ir.While):
        for params in (node.body.params, node.orelse.params):
            yield from zip(params, node.test.end.values[1:], strict=True)
    else:
        yield from zip(node.orelse.params, head, strict=True)
        yield node.body.params[0], node
    yield from _from_ends(node.results, [node.body], ir.Break)
    yield from _from_ends(node.results, [node.orelse], ir.Yield)


def _from_ends(
    targets: Sequence[ir.Value], regions: Sequence[ir.Region], kind: type[ir.Terminator]
) -> Iterator[tuple[ir.Value, ir.Value]]:
    for region in regions:
        for end in ir.ends(region, kind):
            yield from zip(targets, end.values, strict=True)
