"""IR → block functions: loops.

A loop without effects stays a native loop. One that is cut gets a *head* block, which holds it as a native loop as
well: iterations that reach no effect go round in it at native speed, and so do those of a loop right inside it. A
block that was resumed in the middle of an iteration returns to the driver to reach the head again, so the Python stack
never grows. To go on where it was, a loop keeps what it runs over and the number of finished iterations.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import ir
from .blocks import LONG, Blocks, Context, Edge, onward
from .errors import Span
from .syntax import assign, block_or_pass, call, increment, load, position

NESTED = 2
"""A head holds its own loop, and loops with effects right inside that one. Those further in are made once more only."""


@dataclass(frozen=True)
class Head:
    """The block to enter a loop by, at the start of any iteration.

    Attributes:
        name: the block's name.
        params: its parameters: the loop's own variables, what it carries, and what it and all after it need.
        own: the loop's own variables among them: what it runs over, if that is so, and its counter.
    """

    name: str
    params: Sequence[ir.Value]
    own: Sequence[ir.Value]


class Loops(Blocks):
    """Generates loops."""

    def __init__(self, program: ir.Program) -> None:
        super().__init__(program)
        self.flags = 0
        self.own: dict[ir.Loop, list[ir.Value]] = {}
        self.heads: dict[ir.Loop, Head] = {}

    def native(self, node: ir.Py) -> list[ast.stmt]:
        """A native statement, its names exchanged for those of its values."""
        raise NotImplementedError

    # --- native loops ---

    def native_loop(
        self, node: ir.Loop, context: Context, rest: Edge | None, inline: dict[ir.Value, ast.expr]
    ) -> list[ast.stmt]:
        """A loop, entered and left natively.

        Args:
            node: the loop.
            context: the exits of the region that it stands in.
            rest: what follows it, if it is cut.
            inline: what it runs over, if that is not in a variable.
        """
        out: list[ast.stmt] = []
        if rest is not None:
            start = self._start(node, inline)
            out += [assign(self.names[v], start.pop(0)) for v in self._own(node)]
        out += self.copies(_carried(node), node.initial, self.live.head[node])
        return [*(position(s, node.span) for s in out), *self._loop(node, context, rest)]

    def _loop(self, node: ir.Loop, context: Context, rest: Edge | None) -> list[ast.stmt]:
        """The loop itself, its variables being set. Control falls out of it with its results."""
        carried, needed, after = _carried(node), self.live.head[node], self.live.after[node]

        def join(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            return self.copies(node.results, values, after)

        def leave(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            return [*join(values, span), ast.Break()]

        def go_on(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            counter = self.names[self._own(node)[-1]] if rest else ""
            count = [assign(counter, increment(counter))] if rest else []
            return [*self.copies(carried, values, needed), *count, ast.Continue()]

        def again(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            assert rest is not None
            return self._back(node, self._head(node, rest, context), values, span)

        inside = Context(None, onward(leave, rest), Edge(go_on, again), rest is not None, context.room - 1)
        finish = replace(context, on_yield=onward(join, rest))
        if isinstance(node, ir.While):
            return self._while(node, inside, finish)
        assert isinstance(node, ir.For)
        body = self.sequence(node.body, 0, inside)
        entering = self.copies(node.orelse.params, carried, self.live.entry[node.orelse])
        orelse = [*entering, *self.sequence(node.orelse, 0, finish)]
        target = ast.Name(self.names[node.body.params[0]], ast.Store())
        over = call("·following", *map(self.load, self._own(node))) if rest else self.load(node.iterable)
        return [position(ast.For(target, over, _without_last_continue(body), orelse), node.span)]

    def _while(self, node: ir.While, inside: Context, finish: Context) -> list[ast.stmt]:
        test = self._native_test(node)
        if test is not None:
            body = self.sequence(node.body, 0, inside)
            orelse = self.sequence(node.orelse, 0, finish)
            return [position(ast.While(test, _without_last_continue(body), orelse), node.span)]
        self.flags += 1
        flag = f"·done{self.flags}"
        reached: list[bool] = []

        def enter(values: tuple[ir.Value, ...], done: list[ast.stmt]) -> list[ast.stmt]:
            leaving = self.copies(node.orelse.params, values[1:], self.live.entry[node.orelse])
            stop = ast.If(_negated(self.load(values[0])), [*leaving, *done], [])
            return [stop, *self.copies(node.body.params, values[1:], self.live.entry[node.body])]

        def decide(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            reached.append(True)
            return enter(values, [assign(flag, ast.Constant(True)), ast.Break()])

        def decide_elsewhere(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            done = self.sequence(node.orelse, 0, finish.detached)
            return [*enter(values, done), *self.sequence(node.body, 0, inside.detached)]

        deciding = replace(inside, on_yield=Edge(decide, decide_elsewhere, LONG), on_break=None, on_continue=None)
        whole = self.sequence(node.test, 0, deciding)
        if reached:
            whole += self.sequence(node.body, 0, inside)
        loop = ast.While(ast.Constant(True), whole, [])
        last = ast.If(load(flag), block_or_pass(self.sequence(node.orelse, 0, finish)), [])
        return [position(s, node.span) for s in (assign(flag, ast.Constant(False)), loop, last)]

    def _native_test(self, node: ir.While) -> ast.expr | None:
        """The test as one expression, where it is one and no variable changes its name around it."""
        values = node.test.end.values
        live = self.live.head[node] | self.live.entry[node.body] | self.live.entry[node.orelse]
        slots = zip(node.test.params, values[1:], node.body.params, node.orelse.params, strict=True)
        for before, given, *after in slots:
            if live.isdisjoint((before, *after)):
                continue
            if given is ir.UNDEFINED or len({self.names[v] for v in (before, given, *after)}) > 1:
                return None
        if not node.test.nodes:
            return self.load(values[0])
        first = node.test.nodes[0]
        if len(node.test.nodes) > 1 or not isinstance(first, ir.Py):
            return None
        code = self.native(first)
        if len(code) == 1 and isinstance(code[0], ast.Assign) and len(code[0].targets) == 1:
            target = code[0].targets[0]
            if isinstance(target, ast.Name) and dict(first.writes).get(target.id) is values[0]:
                return code[0].value
        return None

    # --- heads ---

    def cut_loop(self, node: ir.Loop, rest: Edge, context: Context, inline: dict[ir.Value, ast.expr]) -> list[ast.stmt]:
        """Go on in the head of a loop with an effect in it.

        Args:
            node: the loop.
            rest: what follows it; takes its results.
            context: the exits of the region that it stands in.
            inline: what it runs over, if that is not in a variable.
        """
        head = self._head(node, rest, context)
        initial = dict(zip(_carried(node), node.initial, strict=True))
        before, args = self.passed([initial.get(p, p) for p in head.params[len(head.own) :]])
        enter = ast.Return(call(head.name, *self._start(node, inline), *args))
        return [position(s, node.span) for s in (*before, enter)]

    def _head(self, node: ir.Loop, rest: Edge, context: Context) -> Head:
        """The loop's head; there is only one."""
        if node not in self.heads:
            own, needed = self._own(node), self.live.head[node]
            carried = _carried(node)
            kept = self.live.sorted(needed.difference(carried, own))
            params = [*own, *(c for c in carried if c in needed), *kept]
            outer = replace(context.detached, joins=True, room=NESTED)
            function = self.block((), params)
            self.heads[node] = Head(function.name, params, own)
            self.later(
                function,
                lambda: [*self._loop(node, outer, rest), *rest.detached(node.results, node.span)],
            )
        return self.heads[node]

    def _back(self, node: ir.Loop, head: Head, values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
        """Back to the head, from another block."""
        slots = [j for j, c in enumerate(_carried(node)) if c in head.params]
        mapped = [_carried(node)[j] for j in slots]
        return self.back_edge(head.name, head.params, mapped, head.own[-1])(tuple(values[j] for j in slots), span)

    def _start(self, node: ir.Loop, inline: dict[ir.Value, ast.expr]) -> list[ast.expr]:
        """What the loop's own variables are at first."""
        zero = ast.Constant(0)
        if isinstance(node, ir.While):
            return [zero]
        assert isinstance(node, ir.For)
        return [call("·items", inline.get(node.iterable) or self.load(node.iterable)), zero]

    def _own(self, node: ir.Loop) -> list[ir.Value]:
        """A loop's own variables: what it runs over, and its counter. They are needed at every cut inside it."""
        if node in self.own:
            return self.own[node]
        number = len(self.own)
        own = [node.counter or ir.Value(f"·count{number}")]
        if isinstance(node, ir.For):
            own.insert(0, ir.Value(f"·items{number}"))
        for value in own:
            self.names.setdefault(value, value.name)
            self.live.order.setdefault(value, len(self.live.order))
        for region in (node.test, node.body) if isinstance(node, ir.While) else (node.body,):
            for inner in ir.walk(region):
                if inner in self.live.after:
                    self.live.after[inner] |= set(own)
                if isinstance(inner, ir.Loop):
                    self.live.head[inner] |= set(own)
        self.own[node] = own
        return own


def _carried(node: ir.Loop) -> tuple[ir.Value, ...]:
    """What a loop carries, as it stands at the start of an iteration."""
    return node.test.params if isinstance(node, ir.While) else node.body.params[1:]


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _without_last_continue(body: list[ast.stmt]) -> list[ast.stmt]:
    return block_or_pass(body[:-1] if body and isinstance(body[-1], ast.Continue) else body)
