"""IR → block functions: loops.

A loop without effects stays a native loop. One that is cut gets a *head* block, ``while True`` around the test and the
body: iterations that reach no effect go round natively in it. A block that was resumed in the middle of an iteration
returns to the driver to reach the head again, so the Python stack never grows.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from . import ir
from .blocks import Blocks, Code, Context, Edge
from .errors import Span
from .syntax import assign, block_or_pass, call, increment, is_mark, load, position


class Loops(Blocks):
    """Generates loops."""

    def native(self, node: ir.Py) -> list[ast.stmt]:
        """A native statement, its names exchanged for those of its values."""
        raise NotImplementedError

    # --- loops that stay native ---

    def native_loop(self, node: ir.Loop, context: Context) -> list[ast.stmt]:
        """A loop without effects."""
        test = node.test.params if isinstance(node, ir.While) else node.body.params[1:]
        needed, after = self.live.head[node], self.live.after[node]
        inside = Context(
            None,
            Edge(lambda values, span: [*self.copies(node.results, values, after), ast.Break()]),
            Edge(lambda values, span: [*self.copies(test, values, needed), ast.Continue()]),
        )
        finish = replace(context, on_yield=Edge(lambda values, span: self.copies(node.results, values, after)))
        orelse = self.sequence(node.orelse, 0, finish)
        body = self.sequence(node.body, 0, inside)
        out = self.copies(test, node.initial, needed)
        if isinstance(node, ir.For):
            entering = self.copies(node.orelse.params, test, self.live.entry[node.orelse])
            target = ast.Name(self.names[node.body.params[0]], ast.Store())
            loop = ast.For(target, self.load(node.iterable), _without_last_continue(body), [*entering, *orelse])
            return [*(position(s, node.span) for s in out), position(loop, node.span)]
        assert isinstance(node, ir.While)
        return [*(position(s, node.span) for s in out), *self._native_while(node, body, orelse)]

    def _native_while(self, node: ir.While, body: list[ast.stmt], orelse: list[ast.stmt]) -> list[ast.stmt]:
        test = self._native_test(node)
        if test is not None:
            return [position(ast.While(test, _without_last_continue(body), orelse), node.span)]
        self.flags += 1
        flag = f"·done{self.flags}"

        def decide(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            leaving = self.copies(node.orelse.params, values[1:], self.live.entry[node.orelse])
            stop = ast.If(_negated(self.load(values[0])), [*leaving, assign(flag, ast.Constant(True)), ast.Break()], [])
            return [stop, *self.copies(node.body.params, values[1:], self.live.entry[node.body])]

        whole = [*self.sequence(node.test, 0, Context(Edge(decide))), *body]
        loop = ast.While(ast.Constant(True), whole, [])
        finish = ast.If(load(flag), block_or_pass(orelse), [])
        return [position(s, node.span) for s in (assign(flag, ast.Constant(False)), loop, finish)]

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

    # --- loops that are cut ---

    def cut_loop(self, node: ir.Loop, rest: Edge, outer: Context) -> list[ast.stmt]:
        """A loop with an effect in it.

        Args:
            node: the loop.
            rest: what follows it; takes its results.
            outer: the exits of the region that it stands in.
        """
        head = node.test.params if isinstance(node, ir.While) else node.body.params[1:]
        hidden = self._hidden(node)
        counter = hidden[-1]
        carried = [h for h in head if h in self.live.head[node]]
        kept = self.live.sorted(self.live.head[node] - set(head) - {counter})
        params = [*hidden, *carried, *kept]
        function = self.block((), params)
        slots = [j for j, h in enumerate(head) if h in carried]
        jump = self.back_edge(function.name, params, carried, counter)

        def again(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            return jump(tuple(values[j] for j in slots), span)

        def go_on(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            count = assign(self.names[counter], increment(self.names[counter]))
            return [*self.copies(head, values, self.live.head[node]), count, ast.Continue()]

        inside = Context(None, rest.detached, Edge(go_on, again))
        exhausted = replace(outer.detached, on_yield=rest.detached)
        if isinstance(node, ir.For):
            body = self._for_body(node, hidden, inside, exhausted)
        else:
            assert isinstance(node, ir.While)
            body = self._while_body(node, inside, exhausted)
        function.body.append(position(ast.While(ast.Constant(True), body, []), node.span))
        start = dict(zip(head, node.initial, strict=True))
        before, args = self.passed([start.get(p, p) for p in params[len(hidden) :]])
        first: list[ast.expr] = [ast.Constant(0)]
        if isinstance(node, ir.For):
            first.insert(0, call("·items", self.load(node.iterable)))
        enter = ast.Return(call(function.name, *first, *args))
        return [position(s, node.span) for s in (*before, enter)]

    def _hidden(self, node: ir.Loop) -> list[ir.Value]:
        """A loop's own variables: what it runs over, and its counter. They are needed at every cut inside it."""
        number = len(self.functions)
        hidden = [node.counter or ir.Value(f"·count{number}")]
        if isinstance(node, ir.For):
            hidden.insert(0, ir.Value(f"·items{number}"))
        for value in hidden:
            self.names.setdefault(value, value.name)
            self.live.order.setdefault(value, len(self.live.order))
        inside = (node.test, node.body) if isinstance(node, ir.While) else (node.body,)
        for region in inside:
            for inner in ir.walk(region):
                if inner in self.live.after:
                    self.live.after[inner] |= set(hidden)
                if isinstance(inner, ir.Loop):
                    self.live.head[inner] |= set(hidden)
        return hidden

    def _for_body(
        self, node: ir.For, hidden: Sequence[ir.Value], inside: Context, exhausted: Context
    ) -> list[ast.stmt]:
        item, *head = node.body.params
        fetch = assign("·next", call("·item", *map(self.load, hidden)))
        entering = self.copies(node.orelse.params, head, self.live.entry[node.orelse])
        done = [*entering, *self.sequence(node.orelse, 0, exhausted)]
        take = assign(self.names[item], load("·next"))
        out = [fetch, ast.If(is_mark("·next", "·END"), done, []), take]
        return [*(position(s, node.span) for s in out), *self.sequence(node.body, 0, inside)]

    def _while_body(self, node: ir.While, inside: Context, exhausted: Context) -> list[ast.stmt]:
        def decide(inside: Context) -> Code:
            def code(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
                leaving = self.copies(node.orelse.params, values[1:], self.live.entry[node.orelse])
                done = [*leaving, *self.sequence(node.orelse, 0, exhausted)]
                stop = ast.If(_negated(self.load(values[0])), done, [])
                entering = self.copies(node.body.params, values[1:], self.live.entry[node.body])
                return [stop, *entering, *self.sequence(node.body, 0, inside)]

            return code

        return self.sequence(node.test, 0, Context(Edge(decide(inside), decide(inside.detached), True)))


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _without_last_continue(body: list[ast.stmt]) -> list[ast.stmt]:
    return block_or_pass(body[:-1] if body and isinstance(body[-1], ast.Continue) else body)
