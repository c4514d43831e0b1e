"""Syntax tree → IR: statements that hold statements."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence

from . import exits, ir
from .assignments import Assignments
from .builder import NATIVE, LoopScope, State, at
from .scan import bound_names, deleted_names

CASE = "·case"
"""The number of the case of a ``match`` that was chosen."""


class Control(Assignments):
    """Lowers all statements."""

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
            self.leave(kind(span=self.span(node), values=self.current(self.loops[-1].carried)))
        elif isinstance(node, ast.Match):
            self.match(node)
        elif isinstance(node, NATIVE):
            self.native(node)
        elif not isinstance(node, ast.Pass):
            self.simple(node)

    def if_(self, node: ast.If) -> None:
        """``if``: variables that differ between the branches become results."""
        test = self.value(node.test)
        before = self.state
        with self.region((), before.copy()) as then:
            self.statements(node.body)
        with self.region((), before.copy()) as orelse:
            self.statements(node.orelse)
        falling = [r.state for r in (then, orelse) if r.state is not None]
        envs = [s.env for s in falling]
        names = sorted(
            name
            for name in {n for env in envs for n in env}
            # A temporary of one branch only is of no use after it.
            if (not name.startswith("·") or all(name in env for env in envs))
            and any(env.get(name, ir.UNDEFINED) is not before.env.get(name, ir.UNDEFINED) for env in envs)
        )
        span = self.span(node)
        regions = (then.close(span, names), orelse.close(span, names))
        results = []
        for name in names:
            unbound = any(env.get(name, ir.UNDEFINED).maybe_unbound for env in envs)
            results.append(self.define(name, unbound))
        self.emit(ir.If(span=span, test=test, then=regions[0], orelse=regions[1], results=tuple(results)))
        if not falling:
            # Both branches left; what comes after is not reached, and this region ends where they did.
            self.leave(ir.Unreachable(span=span))
        else:
            before.reached = set().union(*(s.reached for s in falling))

    # --- loops ---

    def loop(self, node: ast.For | ast.While) -> None:
        """``for`` and ``while``: variables assigned anywhere inside are carried."""
        parts: list[ast.AST] = [*node.body, *node.orelse, node.target if isinstance(node, ast.For) else node.test]
        carried = sorted(bound_names(parts))
        counted = any(self.cuts(part) for part in parts)
        iterable = self.value(self._iterable(node, counted)) if isinstance(node, ast.For) else None
        before = self.state
        initial = self.current(carried)
        loose = {n for n, v in zip(carried, initial, strict=True) if v.maybe_unbound} | deleted_names(parts)
        counter = ir.Value(f"·k{len(self.loops)}") if counted else None
        first_site = len(self.sites)
        self.clock += 1
        self.definitions.update((name, self.clock) for name in carried)
        scope = LoopScope(carried, loose, counter)
        self.loops.append(scope)
        test = self._test(node, scope, before) if isinstance(node, ast.While) else None
        body = self._loop_body(node, scope, before)
        self.loops.pop()
        before.reached |= {(s.name, s.depth) for s in self.sites[first_site:] if not s.dynamic}
        params, state = _entry(scope, before)
        with self.region(params, state) as orelse:
            self.statements(node.orelse)
        span = self.span(node)
        end = orelse.close(span, carried)
        if orelse.state is not None:
            before.reached |= orelse.state.reached
        results = tuple(self.define(n, n in loose) for n in carried)
        if test is None:
            assert iterable is not None
            new: ir.Loop = ir.For(
                span=span, iterable=iterable, initial=initial, counter=counter, body=body, orelse=end, results=results
            )
        else:
            new = ir.While(
                span=span, test=test, initial=initial, counter=counter, body=body, orelse=end, results=results
            )
        self.emit(new)

    def _iterable(self, node: ast.For, cut: bool) -> ast.expr:
        """What a loop runs over. One that is cut has to be able to stop in the middle and be copied there."""
        found = node.iter
        if not cut:
            return found
        if isinstance(found, ast.GeneratorExp):
            self.refuse(
                found,
                "a loop that holds an effect can't run over a generator: Python can't copy a generator in the middle",
                "Make it a list: write [ … ] instead of ( … ).",
            )
        if isinstance(found, ast.Call) and not any(isinstance(a, ast.Starred) for a in found.args):
            for word in ("enumerate", "zip"):
                if self.resolver.is_builtin(found.func, word):
                    found = copy.copy(found)
                    found.func = at(ast.Name(f"·{word}", ast.Load()), node.iter)
        return found

    def _test(self, node: ast.While, scope: LoopScope, before: State) -> ir.Region:
        params, state = _entry(scope, before)
        with self.region(params, state) as test:
            condition = self.value(node.test)
        before.reached = state.reached
        return test.close(self.span(node.test), scope.carried, (condition,))

    def _loop_body(self, node: ast.For | ast.While, scope: LoopScope, before: State) -> ir.Region:
        params, state = _entry(scope, before)
        assign: ast.stmt | None = None
        if isinstance(node, ast.For):
            if isinstance(node.target, ast.Name):
                name = node.target.id
            else:
                name = self.fresh()
                assign = at(ast.Assign([node.target], ast.Name(name, ast.Load())), node.target)
            item = state.env[name] = ir.Value(name)
            params = (item, *params)
        with self.region(params, state) as body:
            if assign is not None:
                self.statement(assign)
            self.statements(node.body)
            if body.state is not None:
                self.leave(ir.Continue(span=self.span(node), values=self.current(scope.carried)))
        return body.close(self.span(node), ())

    # --- statements that stay native ---

    def match(self, node: ast.Match) -> None:
        """``match``. If a case holds an effect, Python chooses the case and binds its names, and ``if`` runs it."""
        subject = self.expression(node.subject)
        node = ast.copy_location(ast.Match(subject, node.cases), node)
        for case in node.cases:
            if case.guard is not None and self.first_effect(case.guard) is not None:
                self.refuse(
                    self.first_effect(case.guard) or node,
                    "an effect can't stand in the guard of a case: Python chooses the case in one go",
                    "Do it before the match, or in the body of the case.",
                )
        if not any(self.cuts(s) for case in node.cases for s in case.body):
            self.native(node)
            return
        chosen = [
            ast.match_case(case.pattern, case.guard, [_number(CASE, i, case.body[0])])
            for i, case in enumerate(node.cases)
        ]
        self.locals.add(CASE)
        self.statement(_number(CASE, -1, node))
        self.py(ast.copy_location(ast.Match(subject, chosen), node))
        branches: list[ast.stmt] = []
        for i, case in reversed(list(enumerate(node.cases))):
            test = ast.Compare(ast.Name(CASE, ast.Load()), [ast.Eq()], [ast.Constant(i)])
            branches = [at(ast.If(test, case.body, branches), case.body[0])]
        self.statements(branches)

    def native(self, node: ast.stmt) -> None:
        """``try``, ``with``, ``match`` without effects: kept as they are, with their exits made explicit."""
        self._refuse_effects(node)
        statement, found = exits.record_exits(node)
        self.locals |= {exits.CODE, exits.VALUE} if found else set()
        self.py(statement)
        for check in exits.leave(exits.CODE, exits.VALUE, found):
            self.statement(at(check, node))
        if self.open.state is not None:
            # What was recorded is of no use any more, and VALUE may never have been assigned.
            for name in (exits.CODE, exits.VALUE):
                self.state.env.pop(name, None)

    def _refuse_effects(self, node: ast.stmt) -> None:
        """Refuse effects inside a statement that stays native."""
        found = self.first_effect(node)
        if found is None:
            return
        word = "with" if isinstance(node, ast.With) else "try"
        self.refuse(
            found,
            f"{ast.unparse(found.func)}() can't stand inside {word}: Python can't leave a {word} block and come back",
            f"Leave only the plain Python that needs the {word} inside of it, and put the effect before or after.",
        )


def _entry(scope: LoopScope, before: State) -> tuple[tuple[ir.Value, ...], State]:
    """Parameters for what a loop carries, and the state in which they are its variables' values."""
    state = before.copy()
    params = []
    for name in scope.carried:
        value = state.env[name] = ir.Value(name, name in scope.loose)
        params.append(value)
    return tuple(params), state


def _number(name: str, value: int, where: ast.AST) -> ast.stmt:
    return at(ast.Assign([ast.Name(name, ast.Store())], ast.Constant(value)), where)
