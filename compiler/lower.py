"""Syntax tree → IR: statements. Expressions that hold effects are taken apart in ``expressions.py``."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from . import exits, ir
from .errors import CompileError, Span
from .expressions import Expressions
from .requests import Site
from .scan import bound_names, captured_names, own_nodes, parameters, read_names
from .source import Resolver, parse_function

NATIVE = (ast.Try, ast.With, ast.Match, *([ast.TryStar] if hasattr(ast, "TryStar") else []))
"""Compound statements that stay Python and so must hold no effect."""


@dataclass
class State:
    """What is known at a point of the program: each variable's value, and which sites may have been passed."""

    env: dict[str, ir.Value]
    reached: set[tuple[str, int]]

    def copy(self) -> State:
        return State(dict(self.env), set(self.reached))


@dataclass
class OpenRegion:
    """A region being built. ``state`` is ``None`` once control has left it."""

    params: tuple[ir.Value, ...]
    state: State | None
    nodes: list[ir.Node] = field(default_factory=list)
    end: ir.Terminator | None = None

    def close(self, span: Span, names: Sequence[str], first: tuple[ir.Value, ...] = ()) -> ir.Region:
        """The finished region; where control falls out of it, it yields ``first`` and the values of ``names``."""
        end = self.end
        if end is None:
            assert self.state is not None
            end = ir.Yield(span=span, values=(*first, *(self.state.env.get(n, ir.UNDEFINED) for n in names)))
        return ir.Region(self.params, tuple(self.nodes), end)


@dataclass
class LoopScope:
    """The loop around a statement: what it carries, and its counter if addresses inside it have one."""

    carried: list[str]
    counter: ir.Value | None


class Lowerer(Expressions):
    """Lowers one function. ``state`` is ``None`` while the current point can't be reached."""

    def __init__(self, fn: types.FunctionType) -> None:
        self.tree, self.file = parse_function(fn)
        body = self.tree.body
        self.params = parameters(self.tree.args)
        self.locals = {*self.params, *bound_names(body)}
        self.resolver = Resolver(fn, self.locals)
        self.program_name = fn.__name__
        self.sites: list[Site] = []
        self.loops: list[LoopScope] = []
        self.temporaries = 0
        self.hints: dict[str, str | None] = {}
        self.captures: list[tuple[str, int, Span]] = []
        self.definitions: dict[str, int] = {}
        self.clock = 0
        self.open = OpenRegion((), None)

    # --- the whole function ---

    def lower(self) -> ir.Program:
        """The function's IR."""
        self._refuse_whole()
        values = tuple(ir.Value(p) for p in self.params)
        self.open = region = OpenRegion(values, State(dict(zip(self.params, values, strict=True)), set()))
        self.statements(self.tree.body)
        span = self.span(self.tree)
        if region.state is not None:
            last = self.span(self.tree.body[-1])
            none = self.temporary(ast.copy_location(ast.Constant(None), self.tree.body[-1]))
            region.end = ir.Return(span=last, values=(none,))
        self._check_captures()
        free = tuple(n for n in sorted(self.resolver._cells))
        return ir.Program(self.tree.name, self.tree.args, region.close(span, ()), free, span, tuple(self.sites))

    def _refuse_whole(self) -> None:
        for node in own_nodes(self.tree.body):
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                self.refuse(node, "a program can't be a generator", "Return a value; collect several in a list.")
            if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
                self.refuse(node, "a program can't await", "Model calls are batched across particles without await.")
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                word = "global" if isinstance(node, ast.Global) else "nonlocal"
                self.refuse(
                    node,
                    f"a program can't assign {word} variables: it is run many times, in any order",
                    "Return the value instead.",
                )

    # --- services ---

    def span(self, node: ast.AST) -> Span:
        """Where ``node`` stands."""
        return Span.of(node, self.file)

    def refuse(self, node: ast.AST, reason: str, remedy: str) -> NoReturn:
        """Say that ``node`` can't be compiled."""
        raise CompileError(reason, remedy, self.span(node))

    @property
    def state(self) -> State:
        """The state at the current point, which can be reached."""
        assert self.open.state is not None
        return self.open.state

    def define(self, name: str, maybe_unbound: bool = False) -> ir.Value:
        """A new value of a variable, current from here on."""
        value = ir.Value(name, maybe_unbound)
        self.state.env[name] = value
        self.clock += 1
        self.definitions[name] = self.clock
        return value

    def emit(self, node: ir.Node) -> None:
        """Append a node to the current region."""
        self.open.nodes.append(node)

    def py(self, statement: ast.stmt) -> None:
        """Append a native statement, binding its names to values."""
        statement = ast.fix_missing_locations(statement)
        env = self.state.env
        read = read_names([statement]) & self.locals
        written = bound_names([statement])
        compound = isinstance(statement, (*NATIVE, ast.If, ast.AugAssign, ast.For, ast.While))
        tied = frozenset(n for n in written if compound and env.get(n, ir.UNDEFINED) is not ir.UNDEFINED)
        reads = tuple((n, env.get(n, ir.UNDEFINED)) for n in sorted(read | tied))
        deleted = {
            t.id for t in own_nodes([statement]) if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Del)
        } | {h.name for h in own_nodes([statement]) if isinstance(h, ast.ExceptHandler) and h.name}
        may_skip = isinstance(statement, (*NATIVE, ast.If, ast.For, ast.While))
        writes = []
        for name in sorted(written):
            old = env.get(name, ir.UNDEFINED)
            if isinstance(statement, ast.Delete):
                continue
            unbound = name in deleted or (may_skip and old.maybe_unbound)
            writes.append((name, self.define(name, unbound)))
        self._note_captures(statement)
        self.emit(ir.Py(span=self.span(statement), code=statement, reads=reads, writes=tuple(writes), tied=tied))
        if isinstance(statement, ast.Delete):
            for name in written:
                env[name] = ir.UNDEFINED

    def temporary(self, expression: ast.expr, hint: str | None = None) -> ir.Value:
        """The value of an expression without effects, as a new temporary."""
        name = self.fresh(hint)
        self.py(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], expression), expression))
        return self.state.env[name]

    def fresh(self, hint: str | None = None) -> str:
        """A new variable's name, one that no user can write."""
        self.temporaries += 1
        name = f"·{self.temporaries}"
        self.locals.add(name)
        self.hints[name] = hint
        return name

    # --- closures ---

    def _note_captures(self, statement: ast.stmt) -> None:
        inner: Iterator[ast.AST] = (n for n in own_nodes([statement]) if isinstance(n, (ast.Lambda, ast.FunctionDef)))
        safe = {id(a) for n in own_nodes([statement]) if isinstance(n, ast.Call) for a in self._consumed(n)}
        for node in inner:
            if id(node) not in safe:
                for name in captured_names(node) & self.locals:
                    looped = any(name in scope.carried for scope in self.loops)
                    self.captures.append((name, -1 if looped else self.clock, self.span(node)))

    def _consumed(self, call: ast.Call) -> list[ast.expr]:
        """Arguments that ``call`` is known to be done with when it returns."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        known = name == "sort" if isinstance(call.func, ast.Attribute) else name in ("sorted", "min", "max")
        return [k.value for k in call.keywords] if known else []

    def _check_captures(self) -> None:
        for name, when, span in self.captures:
            if self.definitions.get(name, 0) > when and name in self.definitions:
                raise CompileError(
                    f"this function captures the variable {name!r}, which is assigned again later",
                    f"Bind its present value with a default argument: {name}={name}.",
                    span,
                )

    # --- statements ---

    def statements(self, body: Sequence[ast.stmt]) -> None:
        """Lower a list of statements; what follows an exit is never reached and is left out."""
        for statement in body:
            if self.open.state is None:
                return
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """Lower one statement."""
        if isinstance(node, ast.If):
            self.if_(node)
        elif isinstance(node, (ast.For, ast.While)):
            self.loop(node)
        elif isinstance(node, ast.Return):
            value = self.value(node.value or ast.copy_location(ast.Constant(None), node))
            self.leave(ir.Return(span=self.span(node), values=(value,)))
        elif isinstance(node, (ast.Break, ast.Continue)):
            kind = ir.Break if isinstance(node, ast.Break) else ir.Continue
            values = tuple(self.state.env.get(n, ir.UNDEFINED) for n in self.loops[-1].carried)
            self.leave(kind(span=self.span(node), values=values))
        elif isinstance(node, NATIVE):
            self.native(node)
        elif isinstance(node, ast.Pass):
            pass
        else:
            self.simple(node)

    def leave(self, end: ir.Terminator) -> None:
        """End the current region."""
        self.open.end = end
        self.open.state = None

    @contextmanager
    def region(self, params: tuple[ir.Value, ...], state: State) -> Iterator[OpenRegion]:
        """Build a region inside the current one."""
        outer, self.open = self.open, OpenRegion(params, state)
        try:
            yield self.open
        finally:
            self.open = outer

    def if_(self, node: ast.If) -> None:
        """``if``: variables that differ between the branches become results."""
        test = self.value(node.test)
        before = self.state
        with self.region((), before.copy()) as then:
            self.statements(node.body)
        with self.region((), before.copy()) as orelse:
            self.statements(node.orelse)
        falling = [r.state for r in (then, orelse) if r.state is not None]
        names = sorted(
            n
            for n in {name for s in falling for name in s.env}
            if any(s.env.get(n, ir.UNDEFINED) is not before.env.get(n, ir.UNDEFINED) for s in falling)
            and not self._dead_temporary(n, before)
        )
        span = self.span(node)
        regions = (then.close(span, names), orelse.close(span, names))
        results = []
        for name in names:
            unbound = any(s.env.get(name, ir.UNDEFINED).maybe_unbound for s in falling)
            results.append(self.define(name, unbound))
        self.emit(ir.If(span=span, test=test, then=regions[0], orelse=regions[1], results=tuple(results)))
        if not falling:
            # Both branches left; what comes after is not reached, and this region ends where they did.
            self.leave(ir.Unreachable(span=span))
        else:
            before.reached = set().union(*(s.reached for s in falling))

    def _dead_temporary(self, name: str, before: State) -> bool:
        """Temporaries born inside a branch are used only there."""
        return name.startswith("·") and name not in before.env

    def loop(self, node: ast.For | ast.While) -> None:
        """``for`` and ``while``: variables assigned anywhere inside are carried."""
        parts: list[ast.AST] = [*node.body, *node.orelse, node.target if isinstance(node, ast.For) else node.test]
        carried = sorted(bound_names(parts))
        counted = any(self.cuts(part) for part in parts)
        iterable = self.value(node.iter) if isinstance(node, ast.For) else None
        before = self.state
        initial = tuple(before.env.get(n, ir.UNDEFINED) for n in carried)
        deleted = {n.id for n in own_nodes(parts) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Del)}
        deleted |= {h.name for h in own_nodes(parts) if isinstance(h, ast.ExceptHandler) and h.name}
        loose = [n for n, v in zip(carried, initial, strict=True) if v.maybe_unbound or n in deleted]
        counter = ir.Value(f"·k{len(self.loops)}") if counted else None
        first_site = len(self.sites)

        def entry() -> tuple[tuple[ir.Value, ...], State]:
            state = before.copy()
            params = []
            for name in carried:
                value = state.env[name] = ir.Value(name, name in loose)
                params.append(value)
            return tuple(params), state

        span = self.span(node)
        self.clock += 1
        for name in carried:
            self.definitions[name] = self.clock
        self.loops.append(LoopScope(carried, counter))
        test = None
        if isinstance(node, ast.While):
            params, state = entry()
            with self.region(params, state) as test_region:
                condition = self.value(node.test)
            test = test_region.close(self.span(node.test), carried, (condition,))
            before.reached = state.reached
        params, state = entry()
        if isinstance(node, ast.For):
            named = isinstance(node.target, ast.Name)
            item_name = node.target.id if isinstance(node.target, ast.Name) else self.fresh()
            item = state.env[item_name] = ir.Value(item_name)
            params = (item, *params)
        with self.region(params, state) as body:
            if isinstance(node, ast.For) and not named:
                source = ast.Name(item_name, ast.Load())
                self.py(ast.copy_location(ast.Assign([node.target], source), node.target))
            self.statements(node.body)
            if body.state is not None:
                values = tuple(body.state.env.get(n, ir.UNDEFINED) for n in carried)
                self.leave(ir.Continue(span=span, values=values))
        self.loops.pop()
        params, state = entry()
        state.reached |= {(s.name, s.depth) for s in self.sites[first_site:]}
        with self.region(params, state) as orelse:
            self.statements(node.orelse)
        regions = {"body": body.close(span, ()), "orelse": orelse.close(span, carried)}
        before.reached |= {(s.name, s.depth) for s in self.sites[first_site:]}
        results = tuple(self.define(n, n in loose) for n in carried)
        if isinstance(node, ast.For):
            assert iterable is not None
            self.emit(
                ir.For(span=span, iterable=iterable, initial=initial, counter=counter, results=results, **regions)
            )
        else:
            assert test is not None
            self.emit(ir.While(span=span, test=test, initial=initial, counter=counter, results=results, **regions))

    def native(self, node: ast.stmt) -> None:
        """``try``, ``with``, ``match``: kept as they are, with their exits made explicit."""
        self.refuse_effects(node)
        statement, found = exits.record_exits(node)
        if not found:
            return self.py(statement)
        self.locals |= {exits.CODE, exits.VALUE}
        self.py(statement)
        words = {exits.RETURN: ast.Return(ast.Name(exits.VALUE, ast.Load())), exits.BREAK: ast.Break()}
        words[exits.CONTINUE] = ast.Continue()
        for code in sorted(found):
            test = ast.Compare(ast.Name(exits.CODE, ast.Load()), [ast.Eq()], [ast.Constant(code)])
            check = ast.If(test, [words[code]], [])
            self.statement(ast.fix_missing_locations(ast.copy_location(check, node)))

    def refuse_effects(self, node: ast.stmt) -> None:
        """Refuse effects inside a statement that stays native."""
        found = self.first_effect(node)
        if found is None:
            return
        word = {ast.With: "with", ast.Match: "match"}.get(type(node), "try")
        if word == "match":
            remedy = "Write if/elif with isinstance and comparisons, or match first and sample after."
        else:
            remedy = f"Keep only the plain Python that needs it under {word}, and put the effect before or after."
        self.refuse(found, f"{ast.unparse(found.func)}() can't stand inside {word}: a run can't be cut there", remedy)
