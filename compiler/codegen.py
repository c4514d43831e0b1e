"""IR → block functions, as a Python syntax tree with the user's positions.

Code between effects is emitted as the Python it was, native ``if``, ``for`` and ``while`` included. At an effect the
block ends: it returns the request, the block to go on with and the values that block needs. Structured control flow
that an effect interrupts becomes more blocks: one for what follows a branch, one for the head of a loop.

Inside the head block of a loop, iterations that reach no effect go round natively; a block that was resumed in the
middle of an iteration returns to the driver to reach the head again, so the Python stack never grows.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from . import ir
from .errors import Span
from .liveness import Liveness, analyse, check_names
from .requests import Site

T = TypeVar("T", bound=ast.AST)

Edge = Callable[[tuple[ir.Value, ...], Span], list[ast.stmt]]

REQUESTS = {
    "sample": "·Sample",
    "observe": "·Observe",
    "factor": "·Factor",
    "condition": "·Condition",
    "twist": "·Twist",
    "barrier": "·Barrier",
    "call": "·Call",
    "program": "·Invoke",
}


@dataclass(frozen=True)
class Context:
    """Where control goes at each kind of terminator: code for an edge that carries the given values."""

    on_yield: Edge | None = None
    on_break: Edge | None = None
    on_continue: Edge | None = None


@dataclass
class Generated:
    """The code of a program.

    Attributes:
        module: a module with one function, the factory, that holds a definition for each block.
        blocks: the names of the blocks; the first is the entry, with the user's own signature.
        sites: variable name → site that the code refers to by it.
    """

    module: ast.Module
    blocks: list[str] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)


def generate(program: ir.Program, helpers: Sequence[str]) -> Generated:
    """The block functions of ``program``.

    Args:
        program: verified IR.
        helpers: the names that the linker provides to every block.
    """
    return _Generator(program).run(helpers)


class _Generator:
    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.live: Liveness = analyse(program)
        self.names = check_names(program, self.live)
        self.functions: list[ast.FunctionDef] = []
        self.count = 0
        self.sites: dict[str, Site] = {}
        self.with_effects = {n for n in ir.walk(program.body) if ir.has_effects(n)}

    def run(self, helpers: Sequence[str]) -> Generated:
        program = self.program
        signature = _bare(program.signature)
        entry = f"{program.name}·0"
        self.functions.append(ast.FunctionDef(entry, signature, [], [], None, **_extra()))
        body = self.sequence(program.body, 0, Context())
        self.functions[0].body = body
        names = [*program.free, *helpers, *self.sites, *(f.name for f in self.functions)]
        params = ast.arguments([], [ast.arg(n) for n in names], None, [], [], None, [])
        factory = ast.FunctionDef("·factory", params, list(self.functions), [], None, **_extra())
        module = ast.Module([factory], [])
        for node in ast.walk(module):
            if "lineno" in node._attributes and not hasattr(node, "lineno"):
                _position(node, program.span)
        return Generated(module, [f.name for f in self.functions], self.sites)

    # --- small pieces ---

    def load(self, value: ir.Value) -> ast.expr:
        return ast.Name(self.names[value], ast.Load())

    def passed(self, values: Sequence[ir.Value]) -> tuple[list[ast.stmt], list[ast.expr]]:
        """Expressions that hand values over to another block, and the statements that they need first."""
        before: list[ast.stmt] = []
        out: list[ast.expr] = []
        for value in values:
            if value is ir.UNDEFINED:
                out.append(ast.Name("·UNBOUND", ast.Load()))
            elif value.maybe_unbound:
                holder = f"·held{len(before)}"
                out.append(ast.Name(holder, ast.Load()))
                store = ast.Name(holder, ast.Store())
                unbound = ast.Assign([store], ast.Name("·UNBOUND", ast.Load()))
                handler = ast.ExceptHandler(ast.Name("·NameError", ast.Load()), None, [unbound])
                before.append(ast.Try([ast.Assign([store], self.load(value))], [handler], [], []))
            else:
                out.append(self.load(value))
        return before, out

    def block(self, first: Sequence[str], params: Sequence[ir.Value]) -> ast.FunctionDef:
        """A new block function; the caller fills in its body."""
        self.count += 1
        arguments = [ast.arg(n) for n in (*first, *(self.names[p] for p in params))]
        signature = ast.arguments([], arguments, None, [], [], None, [])
        body: list[ast.stmt] = []
        for param in params:
            if param.maybe_unbound:
                name = self.names[param]
                test = ast.Compare(ast.Name(name, ast.Load()), [ast.Is()], [ast.Name("·UNBOUND", ast.Load())])
                body.append(ast.If(test, [ast.Delete([ast.Name(name, ast.Del())])], []))
        function = ast.FunctionDef(f"{self.program.name}·{self.count}", signature, body, [], None, **_extra())
        self.functions.append(function)
        return function

    def copies(self, targets: Sequence[ir.Value], values: Sequence[ir.Value]) -> list[ast.stmt]:
        """Native code for an edge: the targets take the values, all at once."""
        pairs = [
            (t, v)
            for t, v in zip(targets, values, strict=True)
            if v is not ir.UNDEFINED and self.names[t] != self.names[v]
        ]
        if not pairs:
            return []
        before, loads = self.passed([v for _, v in pairs])
        stores: list[ast.expr] = [ast.Name(self.names[t], ast.Store()) for t, _ in pairs]
        after: list[ast.stmt] = []
        for target, value in pairs:
            if value.maybe_unbound:
                name = self.names[target]
                test = ast.Compare(ast.Name(name, ast.Load()), [ast.Is()], [ast.Name("·UNBOUND", ast.Load())])
                after.append(ast.If(test, [ast.Delete([ast.Name(name, ast.Del())])], []))
        if len(pairs) == 1:
            return [*before, ast.Assign([stores[0]], loads[0]), *after]
        return [*before, ast.Assign([ast.Tuple(stores, ast.Store())], ast.Tuple(loads, ast.Load())), *after]

    # --- edges between blocks ---

    def call_edge(self, name: str, params: Sequence[ir.Value], mapped: Sequence[ir.Value]) -> Edge:
        """Go forward into block ``name``; of its ``params``, those in ``mapped`` take the edge's values."""

        def edge(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            given = dict(zip(mapped, values, strict=True))
            before, args = self.passed([given.get(p, p) for p in params])
            call = ast.Call(ast.Name(name, ast.Load()), args, [])
            return [_position(s, span) for s in (*before, ast.Return(call))]

        return edge

    def back_edge(self, name: str, params: Sequence[ir.Value], mapped: Sequence[ir.Value], counter: str | None) -> Edge:
        """Go back to a loop's head by way of the driver, counting the iteration."""

        def edge(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            given = dict(zip(mapped, values, strict=True))
            before, args = self.passed([given.get(p, p) for p in params])
            if counter is not None:
                args = [_increment(counter) if isinstance(a, ast.Name) and a.id == counter else a for a in args]
            jump = _tuple(ast.Constant(None), ast.Name(name, ast.Load()), _tuple(*args))
            return [_position(s, span) for s in (*before, ast.Return(jump))]

        return edge

    # --- regions ---

    def sequence(self, region: ir.Region, start: int, context: Context) -> list[ast.stmt]:
        """Code for the nodes of ``region`` from ``start`` on, and its terminator."""
        out: list[ast.stmt] = []
        for i in range(start, len(region.nodes)):
            node = region.nodes[i]
            if isinstance(node, ir.Py):
                out += self.native(node)
            elif isinstance(node, ir.Effect):
                return out + self.effect(region, i, context)
            elif node in self.with_effects:
                rest = self.rest(region, i, context)
                if isinstance(node, ir.If):
                    return out + self.cut_if(node, rest, context)
                assert isinstance(node, ir.Loop)
                return out + self.cut_loop(node, rest, self.detached(context))
            elif isinstance(node, ir.If):
                out += self.native_if(node, context)
            elif isinstance(node, ir.For):
                out += self.native_for(node, context)
            elif isinstance(node, ir.While):
                out += self.native_while(node, context)
        return out + self.end(region.end, context)

    def end(self, end: ir.Terminator, context: Context) -> list[ast.stmt]:
        """Code for a terminator."""
        edge = {ir.Yield: context.on_yield, ir.Break: context.on_break, ir.Continue: context.on_continue}.get(type(end))
        if edge is not None:
            return edge(end.values, end.span)
        if isinstance(end, ir.Return):
            none = ast.Constant(None)
            return [_position(ast.Return(_tuple(self.load(end.values[0]), none, _tuple())), end.span)]
        assert isinstance(end, ir.Unreachable)
        return []

    def rest(self, region: ir.Region, i: int, context: Context) -> Edge:
        """The edge into a new block that holds what follows node ``i``; its values are the node's results."""
        node = region.nodes[i]
        params = self.live.sorted(self.live.after[node])
        function = self.block((), params)
        function.body += self.sequence(region, i + 1, self.detached(context))
        mapped = tuple(d for d in node.defines if d in params)
        keep = [j for j, d in enumerate(node.defines) if d in params]
        inner = self.call_edge(function.name, params, mapped)
        return lambda values, span: inner(tuple(values[j] for j in keep), span)

    def detached(self, context: Context) -> Context:
        """The same exits for a block of its own, where native ``break`` and ``continue`` mean nothing."""
        return Context(
            getattr(context.on_yield, "detached", context.on_yield),
            getattr(context.on_break, "detached", context.on_break),
            getattr(context.on_continue, "detached", context.on_continue),
        )

    # --- nodes ---

    def native(self, node: ir.Py) -> list[ast.stmt]:
        """A native statement, its names exchanged for those of its values."""
        reads = {n: self.names[v] for n, v in node.reads if v is not ir.UNDEFINED}
        writes = {n: self.names[v] for n, v in node.writes}
        out: list[ast.stmt] = []
        for name in node.tied:
            if reads[name] != writes[name]:
                out.append(ast.Assign([ast.Name(writes[name], ast.Store())], ast.Name(reads[name], ast.Load())))
            reads[name] = writes[name]
        for name, value in node.reads:
            if value is ir.UNDEFINED and name not in writes:
                # Reading an unbound local is Python's own error: make it a local of this block, unbound.
                unset = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))
                out += [unset, ast.Delete([ast.Name(name, ast.Del())])]
        changed = any(a != b for a, b in (*reads.items(), *writes.items()))
        code = _Names(reads, writes).visit(copy.deepcopy(node.code)) if changed else node.code
        return [*(_position(s, node.span) for s in out), code]

    def effect(self, region: ir.Region, i: int, context: Context) -> list[ast.stmt]:
        """Ask, and go on in a new block with the answer."""
        node = region.nodes[i]
        assert isinstance(node, ir.Effect)
        params = [p for p in self.live.sorted(self.live.after[node]) if p is not node.result]
        function = self.block((self.names[node.result],), params)
        function.body += self.sequence(region, i + 1, self.detached(context))
        before, args = self.passed(params)
        site = f"·site{len(self.sites)}"
        self.sites[site] = node.site
        given = dict(node.args)
        fields = [ast.keyword(k, self.load(v)) for k, v in given.items()]
        positional = [ast.Name(site, ast.Load()), _tuple(*(self.load(v) for v in node.index))]
        request = ast.Call(ast.Name(REQUESTS[node.site.kind], ast.Load()), positional, fields)
        out: list[ast.stmt] = [*before]
        then = ast.Name(function.name, ast.Load())
        ask = ast.Return(_tuple(request, then, _tuple(*args)))
        if node.site.kind == "program":
            test = ast.Call(ast.Name("·is_program", ast.Load()), [self.load(given["program"])], [])
            out.append(ast.If(test, [ask], []))
            spread: list[ast.expr] = [ast.Starred(self.load(given["args"]), ast.Load())]
            native = ast.Call(
                self.load(given["program"]), spread, [ast.keyword(None, self.load(given["kwargs"]))]
            )
            out.append(ast.Return(ast.Call(then, [native, *args], [])))
        else:
            out.append(ask)
        return [_position(s, node.span) for s in out]

    def cut_if(self, node: ir.If, rest: Edge, context: Context) -> list[ast.stmt]:
        inner = replace(context, on_yield=rest)
        then = self.sequence(node.then, 0, inner)
        orelse = self.sequence(node.orelse, 0, inner)
        return [_position(ast.If(self.load(node.test), then, orelse), node.span)]

    def native_if(self, node: ir.If, context: Context) -> list[ast.stmt]:
        inner = replace(context, on_yield=lambda values, span: self.copies(node.results, values))
        then = self.sequence(node.then, 0, inner)
        orelse = self.sequence(node.orelse, 0, inner)
        return [_position(ast.If(self.load(node.test), then or [ast.Pass()], orelse), node.span)]

    def native_context(self, node: ir.Loop, head: Sequence[ir.Value]) -> Context:
        """The exits of the body of a native loop."""
        return Context(
            None,
            lambda values, span: [*self.copies(node.results, values), _position(ast.Break(), span)],
            lambda values, span: [*self.copies(head, values), _position(ast.Continue(), span)],
        )

    def native_for(self, node: ir.For, context: Context) -> list[ast.stmt]:
        head = node.body.params[1:]
        out = self.copies(head, node.initial)
        body = self.sequence(node.body, 0, self.native_context(node, head))
        orelse = [*self.copies(node.orelse.params, head), *self.native_orelse(node, context)]
        target = ast.Name(self.names[node.body.params[0]], ast.Store())
        loop = ast.For(target, self.load(node.iterable), _drop_last_continue(body), orelse)
        return [*out, _position(loop, node.span)]

    def native_orelse(self, node: ir.Loop, context: Context) -> list[ast.stmt]:
        """What runs when a loop is exhausted; its own exits are those of the statement that the loop is."""
        return self.sequence(
            node.orelse, 0, replace(context, on_yield=lambda values, span: self.copies(node.results, values))
        )

    def native_while(self, node: ir.While, context: Context) -> list[ast.stmt]:
        head = node.test.params
        out = self.copies(head, node.initial)
        body = self.sequence(node.body, 0, self.native_context(node, head))
        orelse = self.native_orelse(node, context)
        test = self.native_test(node)
        if test is not None:
            return [*out, _position(ast.While(test, _drop_last_continue(body), orelse), node.span)]
        self.count += 1
        flag = f"·done{self.count}"

        def decide(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            raised = ast.Assign([ast.Name(flag, ast.Store())], ast.Constant(True))
            stop: list[ast.stmt] = [*self.copies(node.orelse.params, values[1:]), raised, ast.Break()]
            negated = ast.UnaryOp(ast.Not(), self.load(values[0]))
            return [_position(ast.If(negated, stop, []), span), *self.copies(node.body.params, values[1:])]

        whole = [*self.sequence(node.test, 0, Context(decide)), *body]
        lowered = ast.Assign([ast.Name(flag, ast.Store())], ast.Constant(False))
        loop = ast.While(ast.Constant(True), whole, [])
        finish = ast.If(ast.Name(flag, ast.Load()), orelse or [ast.Pass()], [])
        return [*out, *(_position(s, node.span) for s in (lowered, loop, finish))]

    def native_test(self, node: ir.While) -> ast.expr | None:
        """The test as one expression, where it is one and no variable changes its name around it."""
        values = node.test.end.values
        slots = zip(node.test.params, values[1:], node.body.params, node.orelse.params, strict=True)
        for before, given, *after in slots:
            if given is not ir.UNDEFINED and len({self.names[v] for v in (before, given, *after)}) > 1:
                return None
        if not node.test.nodes:
            return self.load(values[0])
        if len(node.test.nodes) > 1 or not isinstance(node.test.nodes[0], ir.Py):
            return None
        code = self.native(node.test.nodes[0])[-1]
        if isinstance(code, ast.Assign) and dict(node.test.nodes[0].writes).get(_target(code)) is values[0]:
            return code.value
        return None

    # --- loops that are cut ---

    def cut_loop(self, node: ir.Loop, rest: Edge, outer: Context) -> list[ast.stmt]:
        """A loop with an effect in it: a head block, entered once for the loop and again after each cut iteration."""
        head = node.test.params if isinstance(node, ir.While) else node.body.params[1:]
        sequence = ir.Value(f"·seq{self.count}")
        counter = node.counter or ir.Value(f"·k{self.count}")
        for value in (sequence, counter):
            self.names.setdefault(value, value.name)
            self.live.order.setdefault(value, len(self.live.order))
        carried = [h for h in head if h in self.live.head[node]]
        kept = self.live.sorted(self.live.head[node] - set(head) - {counter})
        hidden = [sequence, counter] if isinstance(node, ir.For) else [counter]
        params = [*hidden, *carried, *kept]
        function = self.block((), params)
        kept_slots = [j for j, h in enumerate(head) if h in carried]

        def carry(edge: Edge) -> Edge:
            return lambda values, span: edge(tuple(values[j] for j in kept_slots), span)

        again = carry(self.back_edge(function.name, params, carried, self.names[counter]))

        def go_on(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            count = ast.AugAssign(ast.Name(self.names[counter], ast.Store()), ast.Add(), ast.Constant(1))
            return [*self.copies(head, values), _position(count, span), _position(ast.Continue(), span)]

        go_on.detached = again  # type: ignore[attr-defined]
        inside = Context(None, rest, go_on)
        exhausted = replace(outer, on_yield=rest)
        self.keep(node, hidden)
        if isinstance(node, ir.For):
            body = self.for_body(node, head, sequence, counter, inside, exhausted)
        else:
            assert isinstance(node, ir.While)
            body = self.while_body(node, inside, exhausted)
        function.body.append(_position(ast.While(ast.Constant(True), body, []), node.span))
        start = {h: v for h, v in zip(head, node.initial, strict=True)}
        before, args = self.passed([start.get(p, p) for p in params[len(hidden) :]])
        first: list[ast.expr] = [ast.Constant(0)]
        if isinstance(node, ir.For):
            first.insert(0, ast.Call(ast.Name("·items", ast.Load()), [self.load(node.iterable)], []))
        enter = ast.Return(ast.Call(ast.Name(function.name, ast.Load()), [*first, *args], []))
        return [_position(s, node.span) for s in (*before, enter)]

    def keep(self, loop: ir.Loop, hidden: Sequence[ir.Value]) -> None:
        """Note that a loop's hidden variables are needed at every cut inside it."""
        for region in loop.regions:
            if region is loop.orelse:
                continue  # the loop is over
            for node in ir.walk(region):
                if node in self.live.after:
                    self.live.after[node] |= set(hidden)
                if isinstance(node, ir.Loop):
                    self.live.head[node] |= set(hidden)

    def for_body(
        self,
        node: ir.For,
        head: Sequence[ir.Value],
        sequence: ir.Value,
        counter: ir.Value,
        inside: Context,
        exhausted: Context,
    ) -> list[ast.stmt]:
        item = node.body.params[0]
        fetched = "·next"
        fetch = ast.Call(ast.Name("·item", ast.Load()), [self.load(sequence), self.load(counter)], [])
        test = ast.Compare(ast.Name(fetched, ast.Load()), [ast.Is()], [ast.Name("·END", ast.Load())])
        slots = [
            (o, h)
            for o, h in zip(node.orelse.params, head, strict=True)
            if o in self.live.entry[node.orelse] and h in self.live.head[node]
        ]
        entering = self.copies([o for o, _ in slots], [h for _, h in slots])
        done = [*entering, *self.sequence(node.orelse, 0, exhausted)]
        out: list[ast.stmt] = [ast.Assign([ast.Name(fetched, ast.Store())], fetch), ast.If(test, done, [])]
        out.append(ast.Assign([ast.Name(self.names[item], ast.Store())], ast.Name(fetched, ast.Load())))
        return [*(_position(s, node.span) for s in out), *self.sequence(node.body, 0, inside)]

    def while_body(self, node: ir.While, inside: Context, exhausted: Context) -> list[ast.stmt]:
        def decide(inside: Context) -> Edge:
            def edge(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
                done = [*self.entering(node.orelse, values[1:]), *self.sequence(node.orelse, 0, exhausted)]
                stop = ast.If(ast.UnaryOp(ast.Not(), self.load(values[0])), done, [])
                go = [*self.entering(node.body, values[1:]), *self.sequence(node.body, 0, inside)]
                return [_position(stop, span), *go]

            return edge

        edge = decide(inside)
        edge.detached = decide(self.detached(inside))  # type: ignore[attr-defined]
        return self.sequence(node.test, 0, Context(edge))

    def entering(self, region: ir.Region, values: Sequence[ir.Value]) -> list[ast.stmt]:
        """Copies into those parameters of ``region`` that it needs."""
        pairs = [(p, v) for p, v in zip(region.params, values, strict=True) if p in self.live.entry[region]]
        return self.copies([p for p, _ in pairs], [v for _, v in pairs])


class _Names(ast.NodeTransformer):
    """Exchanges variable names, separately for those read and those written."""

    def __init__(self, reads: dict[str, str], writes: dict[str, str]) -> None:
        self.reads = reads
        self.writes = writes

    def visit_Name(self, node: ast.Name) -> ast.AST:
        table = self.reads if isinstance(node.ctx, ast.Load) else self.writes
        if isinstance(node.ctx, ast.Del):
            table = self.reads
        return ast.copy_location(ast.Name(table.get(node.id, node.id), node.ctx), node)


def _extra() -> dict[str, list[ast.expr]]:
    """Fields that newer Pythons give a function definition."""
    return {"type_params": []} if "type_params" in ast.FunctionDef._fields else {}


def _bare(signature: ast.arguments) -> ast.arguments:
    """A signature without annotations, its defaults stood in for (the linker sets the real ones)."""
    new = copy.deepcopy(signature)
    for argument in ast.walk(new):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    new.defaults = [ast.Constant(None) for _ in new.defaults]
    new.kw_defaults = [None if d is None else ast.Constant(None) for d in new.kw_defaults]
    return new


def _tuple(*values: ast.expr) -> ast.expr:
    return ast.Tuple(list(values), ast.Load())


def _increment(name: str) -> ast.expr:
    return ast.BinOp(ast.Name(name, ast.Load()), ast.Add(), ast.Constant(1))


def _drop_last_continue(body: list[ast.stmt]) -> list[ast.stmt]:
    if body and isinstance(body[-1], ast.Continue):
        body = body[:-1]
    return body or [ast.Pass()]


def _target(code: ast.Assign) -> str:
    target = code.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _position(node: T, span: Span) -> T:
    """Put ``node`` and what is new below it at ``span``."""
    for inner in ast.walk(node):
        if "lineno" in inner._attributes and not hasattr(inner, "lineno"):
            inner.lineno, inner.col_offset = span.line, span.column  # type: ignore[attr-defined]
            inner.end_lineno, inner.end_col_offset = span.end_line, span.end_column  # type: ignore[attr-defined]
    return node
