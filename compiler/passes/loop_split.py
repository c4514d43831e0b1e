"""A ``for`` loop in three parts: what comes before an effect, the effect for all rounds, and what comes after."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from .. import ir, rewrite
from ..errors import Span
from ..facts import Facts
from ..syntax import load, position


class Split:
    """A place at which a loop might be split.

    Attributes:
        loop: the loop.
        effect: the effect, a node of the loop's body.
        before, after: the other nodes of the body.
        region: the region that the loop stands in.
        facts: about the program.
    """

    def __init__(self, loop: ir.For, place: int, region: ir.Region, facts: Facts) -> None:
        effect = loop.body.nodes[place]
        assert isinstance(effect, ir.Effect)
        self.loop = loop
        self.effect = effect
        self.before = loop.body.nodes[:place]
        self.after = loop.body.nodes[place + 1 :]
        self.region = region
        self.facts = facts

    @cached_property
    def slots(self) -> list[int]:
        """The carried values that anybody needs, by number."""
        live, loop = self.facts.liveness, self.loop
        needed = live.head[loop] | live.after[loop] | live.entry[loop.orelse]
        columns = zip(loop.body.params[1:], loop.orelse.params, loop.results, strict=True)
        return [k for k, column in enumerate(columns) if not needed.isdisjoint(column)]

    @cached_property
    def late(self) -> list[int]:
        """Those of the slots that change after the effect, or take the place of one that does."""
        computed = {v for node in (self.effect, *self.after) for v in node.defines}
        params, values = self.loop.body.params[1:], self.loop.body.end.values
        if len(values) != len(params):
            return self.slots
        late: list[int] = []
        while True:
            behind = computed | {params[k] for k in late}
            more = [k for k in self.slots if k not in late and values[k] in behind and values[k] is not params[k]]
            if not more:
                return sorted(late)
            late += more

    @property
    def early(self) -> list[int]:
        """The other slots."""
        return [k for k in self.slots if k not in self.late]

    @property
    def unneeded(self) -> list[ir.Value]:
        """What is left of the slots that nobody needs; it may still be handed on to where it is not read."""
        loop = self.loop
        gone = [k for k in range(len(loop.initial)) if k not in self.slots]
        return [value for k in gone for value in (loop.body.params[1 + k], loop.orelse.params[k], loop.results[k])]

    @property
    def late_params(self) -> list[ir.Value]:
        """What the late slots are called at the beginning of a round."""
        return [self.loop.body.params[1 + k] for k in self.late]

    @property
    def operands(self) -> list[ir.Value]:
        """What the effect is given, in order."""
        return [value for _, value in self.effect.args]

    @cached_property
    def saved(self) -> list[ir.Value]:
        """What a round has before the effect and needs after it."""
        early = {self.loop.body.params[1 + k] for k in self.early}
        local = {self.loop.body.params[0], *early, *(v for node in self.before for v in node.defines)}
        last = [self.loop.body.end.values[k] for k in self.late] if self.late else []
        region = ir.Region((), self.after, replace(self.loop.body.end, values=tuple(last)))
        used = rewrite.used_values(region)
        return [v for v in self.facts.liveness.sorted(local) if v in used]


# --- the rewrite ------------------------------------------------------------------------------------------------------


def split_loop(split: Split, name: str) -> list[ir.Node]:
    """The nodes that take the place of the loop.

    Args:
        split: a valid place.
        name: of the pass, for the provenance.
    """
    loop, effect, span = split.loop, split.effect, split.loop.span
    numbers = range(len(effect.args) + len(split.saved))
    columns = [ir.Value(f"·rows{n}") for n in numbers]
    collected = [*split.operands, *split.saved]
    made: list[ir.Node] = [_assign(column, ast.List([], ast.Load()), (), span, name) for column in columns]
    first = _first_loop(split, columns, collected, name)
    answers = ir.Value("·replies")
    args = tuple((word, column) for (word, _), column in zip(effect.args, columns, strict=False))
    each = ir.Each(
        span=effect.span,
        provenance=(*effect.provenance, name),
        site=effect.site,
        args=args,
        index=tuple(value for value in effect.index if value is not loop.counter),
        result=answers,
    )
    rest = columns[len(effect.args) :]
    rows = ir.Value("·rows")
    zipped = ast.Call(load("·zip"), [load(v.name) for v in (answers, *rest)], [])
    combined = _assign(rows, zipped, (answers, *rest), span, name)
    return [*made, first, each, combined, _second_loop(split, rows, name)]


def _first_loop(split: Split, columns: Sequence[ir.Value], collected: Sequence[ir.Value], name: str) -> ir.Node:
    """What comes before the effect; gives the early results."""
    loop = split.loop
    counter = None
    nodes: list[ir.Node] = list(split.before)
    if any(ir.has_effects(node) for node in nodes) and loop.counter is not None:
        counter = ir.Value(loop.counter.name)
        nodes = [rewrite.substitute(node, {loop.counter: counter}) for node in nodes]
    nodes += [_append(column, value, split.effect.span, name) for column, value in zip(columns, collected, strict=True)]
    ends = tuple(loop.body.end.values[k] for k in split.early)
    return _loop(split, split.early, loop.iterable, counter, loop.body.params[0], (tuple(nodes), ends), name)


def _second_loop(split: Split, rows: ir.Value, name: str) -> ir.Node:
    """What comes after the effect, with the answers; gives the late results."""
    loop = split.loop
    row = ir.Value("·row")
    fresh = {value: ir.Value(value.name) for value in split.saved}
    taken = [split.effect.result, *fresh.values()]
    names = [f"·{i}" for i in range(len(taken))]
    targets: list[ast.expr] = [ast.Name(n, ast.Store()) for n in names]
    unpack = position(ast.Assign([ast.Tuple(targets, ast.Store())], load(row.name)), loop.span)
    writes = tuple(zip(names, taken, strict=True))
    first = ir.Py(span=loop.span, provenance=(name,), code=unpack, reads=((row.name, row),), writes=writes)
    nodes = (first, *(rewrite.substitute(node, fresh) for node in split.after))
    ends = tuple(fresh.get(v, v) for v in (loop.body.end.values[k] for k in split.late))
    counter = loop.counter if any(ir.has_effects(node) for node in nodes) else None
    return _loop(split, split.late, rows, counter, row, (nodes, ends), name)


def _loop(
    split: Split,
    slots: Sequence[int],
    iterable: ir.Value,
    counter: ir.Value | None,
    item: ir.Value,
    body: tuple[tuple[ir.Node, ...], tuple[ir.Value, ...]],
    name: str,
) -> ir.Node:
    """A loop that carries some of the slots."""
    loop = split.loop
    params = [loop.body.params[1 + k] for k in slots]
    out = tuple(loop.orelse.params[k] for k in slots)
    nodes, ends = body
    return ir.For(
        span=loop.span,
        provenance=(*loop.provenance, name),
        iterable=iterable,
        initial=tuple(loop.initial[k] for k in slots),
        counter=counter,
        body=ir.Region((item, *params), nodes, replace(loop.body.end, values=ends)),
        orelse=ir.Region(out, (), replace(loop.orelse.end, values=out)),
        results=tuple(loop.results[k] for k in slots),
    )


def _assign(value: ir.Value, code: ast.expr, reads: Sequence[ir.Value], span: Span, name: str) -> ir.Py:
    statement = position(ast.Assign([ast.Name(value.name, ast.Store())], code), span)
    named = tuple((v.name, v) for v in reads)
    return ir.Py(span=span, provenance=(name,), code=statement, reads=named, writes=((value.name, value),))


def _append(column: ir.Value, value: ir.Value, span: Span, name: str) -> ir.Py:
    method = ast.Attribute(load(column.name), "append", ast.Load())
    code = position(ast.Expr(ast.Call(method, [load("·cell")], [])), span)
    return ir.Py(span=span, provenance=(name,), code=code, reads=((column.name, column), ("·cell", value)))
