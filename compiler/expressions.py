"""Syntax tree → IR: taking expressions apart, so that every effect stands on its own.

What is evaluated before an effect must stay before it. So when a later operand holds an effect, each earlier operand
is computed into a temporary first, in Python's order of evaluation. Expressions without effects are left as they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from . import ir
from .builder import at
from .classify import inside
from .rename import Renamer
from .scan import Comprehension, bound_names, children
from .sites import Effects
from .source import MISSING

T = TypeVar("T", bound=ast.AST)


class Expressions(Effects):
    """Lowers expressions."""

    def expression(self, node: ast.expr, hint: str | None = None) -> ast.expr:
        """``node`` with its effects done: an expression without any, over the variables as they now are.

        Args:
            node: the expression.
            hint: what an effect in it is called if it has no name of its own.
        """
        if not self.cuts(node):
            return node
        if isinstance(node, ast.Call) and self.call_kind(node) != "python":
            return ast.copy_location(ast.Name(self.effect(node, hint, None).name, ast.Load()), node)
        if isinstance(node, ast.BoolOp):
            return self._boolean(node, hint)
        if isinstance(node, ast.IfExp):
            return self._conditional(node, hint)
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            return self._chain(node)
        if isinstance(node, ast.NamedExpr):
            self.statement(ast.copy_location(ast.Assign([node.target], node.value), node))
            return ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
        if isinstance(node, Comprehension):
            return self._comprehension(node, hint)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node)
        if isinstance(node, ast.Dict):
            return self._dictionary(node)
        if isinstance(node, ast.Lambda):
            self.refuse_in_definition(node)
        return self.rebuild(node)

    def refuse_in_definition(self, node: ast.AST) -> NoReturn:
        """Refuse the effect in what a nested definition evaluates at once."""
        self.refuse(
            self.first_effect(node) or node,
            "an effect can't stand in a default value, a decorator or a base class: a definition runs in one go",
            "Compute it first, in a statement of its own, and use its variable here.",
        )

    def sequence(
        self, nodes: Sequence[ast.expr], hints: Sequence[str | None] | None = None, spread: frozenset[int] = frozenset()
    ) -> list[ast.expr]:
        """Operands in order of evaluation, their effects done, earlier ones computed before later effects.

        Args:
            nodes: the operands.
            hints: what effects in them are called.
            spread: the places of the operands that stand after ``**``: Python copies them out when it gets there.
        """
        last = max((i for i, n in enumerate(nodes) if self.cuts(n)), default=-1)
        done = []
        for i, node in enumerate(nodes):
            new = self.expression(node, hints[i] if hints else None)
            if i < last and i in spread:
                new = self.held(at(ast.Dict([None], [new]), node))
            elif i < last and not self._stable(new, bound_names(nodes[i + 1 :])):
                new = self._spill(new)
            done.append(new)
        return done

    def _stable(self, node: ast.expr, rebound: set[str]) -> bool:
        """Whether it makes no difference if ``node`` is evaluated after the effects that follow it."""
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.Name) and node.id in self.locals:
            return node.id not in rebound and not self.state.env.get(node.id, ir.UNDEFINED).maybe_unbound
        # Names from outside the program don't change while it runs: it has no side effects, nor has what it calls.
        return isinstance(node, ast.Name) and self.resolver.lookup(node.id) is not MISSING

    def _spill(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Starred):
            listed = ast.copy_location(ast.List([node], ast.Load()), node)
            return ast.copy_location(ast.Starred(self.held(listed), ast.Load()), node)
        return self.held(index_value(node))

    def rebuild(self, node: T) -> T:
        """``node`` with its operands' effects done."""
        operands, spread = _operands(node)
        done = {id(old): new for old, new in zip(operands, self.sequence(operands, spread=spread), strict=True)}
        return _replace(node, done)

    # --- what evaluates only some of its operands ---

    def _boolean(self, node: ast.BoolOp, hint: str | None) -> ast.expr:
        """``a and b and c`` is ``x = a``, ``if x: x = (b and c)``."""
        name = self.fresh(hint)
        first, rest = node.values[0], node.values[1:]
        self.statement(at(ast.Assign([ast.Name(name, ast.Store())], first), first))
        test: ast.expr = ast.Name(name, ast.Load())
        if isinstance(node.op, ast.Or):
            test = ast.UnaryOp(ast.Not(), test)
        remaining = rest[0] if len(rest) == 1 else at(ast.BoolOp(node.op, rest), rest[0])
        self.statement(at(ast.If(test, [ast.Assign([ast.Name(name, ast.Store())], remaining)], []), remaining))
        return at(ast.Name(name, ast.Load()), node)

    def _conditional(self, node: ast.IfExp, hint: str | None) -> ast.expr:
        name = self.fresh(hint)
        then, orelse = (at(ast.Assign([ast.Name(name, ast.Store())], p), p) for p in (node.body, node.orelse))
        self.statement(at(ast.If(node.test, [then], [orelse]), node))
        return at(ast.Name(name, ast.Load()), node)

    def _chain(self, node: ast.Compare) -> ast.expr:
        """``a < b < c`` is ``a < b and b < c`` with ``b`` evaluated once."""
        left, middle = (self.held(n) for n in self.sequence([node.left, node.comparators[0]]))
        first = ast.Compare(left, [node.ops[0]], [middle])
        rest = ast.Compare(copy.deepcopy(middle), node.ops[1:], node.comparators[1:])
        return self._boolean(at(ast.BoolOp(ast.And(), [at(first, node), at(rest, node)]), node), None)

    # --- displays ---

    def _joined(self, node: ast.JoinedStr) -> ast.expr:
        """An f-string formats each part before it evaluates the next."""
        last = max(i for i, part in enumerate(node.values) if self.cuts(part))
        done: list[ast.expr] = []
        for i, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue):
                part = self.rebuild(part) if self.cuts(part) else part
                if i < last:
                    text = self.held(at(ast.JoinedStr([part]), part))
                    part = at(ast.FormattedValue(text, -1, None), part)
            done.append(part)
        return at(ast.JoinedStr(done), node)

    def _dictionary(self, node: ast.Dict) -> ast.expr:
        flat: list[ast.expr] = []
        spread = set()
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                spread.add(len(flat))
            else:
                flat.append(key)
            flat.append(value)
        done = iter(self.sequence(flat, spread=frozenset(spread)))
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for key in node.keys:
            keys.append(None if key is None else next(done))
            values.append(next(done))
        return at(ast.Dict(keys, values), node)

    # --- comprehensions ---

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, hint: str | None
    ) -> ast.expr:
        """A comprehension with effects inside is the loop that it abbreviates."""
        if not self._cuts_inside(node):
            # Only its first iterable holds an effect, and that belongs to the scope around it.
            new = copy.copy(node)
            first = copy.copy(node.generators[0])
            first.iter = self.expression(first.iter)
            new.generators = [first, *node.generators[1:]]
            return new
        if isinstance(node, ast.GeneratorExp):
            self.refuse(
                node,
                "a generator can't hold an effect: Python can't copy a generator, so the run could not be copied",
                "Write a list comprehension: [ … ] instead of ( … ).",
            )
        node = copy.deepcopy(node)
        result = self.fresh(hint)
        generators, element = self._own_variables(node)
        generators[0].iter = self.expression(generators[0].iter)
        empty, body = self._collect(node, element, result, hint)
        for g in reversed(generators):
            for condition in reversed(g.ifs):
                body = [ast.If(condition, body, [])]
            body = [ast.For(g.target, g.iter, body, [])]
        self.statement(at(ast.Assign([ast.Name(result, ast.Store())], empty), node))
        self.statement(at(body[0], node))
        return at(ast.Name(result, ast.Load()), node)

    def _cuts_inside(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> bool:
        with self.shadowed(bound_names(g.target for g in node.generators)):
            if isinstance(node, ast.GeneratorExp):
                return any(self.first_effect(part) is not None for part in inside(node))
            return any(self.cuts(part) for part in inside(node))

    def _own_variables(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp
    ) -> tuple[list[ast.comprehension], list[ast.expr]]:
        """The parts of a comprehension with its variables renamed: they are not those of the function."""
        own = bound_names(g.target for g in node.generators)
        names = {name: f"·{name}{self.temporaries}" for name in own}
        renamer = Renamer(names, names)
        self.locals.update(names.values())
        self.hints.update({new: old for old, new in names.items()})
        for i, g in enumerate(node.generators):
            g.target = renamer.visit(g.target)
            g.ifs = [renamer.visit(c) for c in g.ifs]
            if i:  # the first iterable is evaluated outside
                g.iter = renamer.visit(g.iter)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        return node.generators, [renamer.visit(part) for part in parts]

    def _collect(
        self, node: ast.expr, element: list[ast.expr], result: str, hint: str | None
    ) -> tuple[ast.expr, list[ast.stmt]]:
        """The empty container of a comprehension, and the statements that add one element."""
        names = [self.fresh(hint) for _ in element]
        body: list[ast.stmt] = [
            ast.Assign([ast.Name(name, ast.Store())], part) for name, part in zip(names, element, strict=True)
        ]
        container = ast.Name(result, ast.Load())
        if isinstance(node, ast.DictComp):
            into = ast.Subscript(container, ast.Name(names[0], ast.Load()), ast.Store())
            return ast.Dict([], []), [*body, ast.Assign([into], ast.Name(names[1], ast.Load()))]
        method = ast.Attribute(container, "append" if isinstance(node, ast.ListComp) else "add", ast.Load())
        body.append(ast.Expr(ast.Call(method, [ast.Name(names[0], ast.Load())], [])))
        if isinstance(node, ast.ListComp):
            return ast.List([], ast.Load()), body
        return ast.Set([ast.Starred(ast.Tuple([], ast.Load()), ast.Load())]), body


def index_value(node: ast.expr) -> ast.expr:
    """An index as an expression: slices, which can only stand between brackets, become ``slice`` objects."""
    if isinstance(node, ast.Slice):
        bounds: list[ast.expr] = [p or ast.Constant(None) for p in (node.lower, node.upper, node.step)]
        return at(ast.Call(ast.Name("·slice", ast.Load()), bounds, []), node)
    if isinstance(node, ast.Tuple) and any(isinstance(e, ast.Slice) for e in node.elts):
        return ast.copy_location(ast.Tuple([index_value(e) for e in node.elts], ast.Load()), node)
    return node


def _operands(node: ast.AST) -> tuple[list[ast.expr], frozenset[int]]:
    """The subexpressions of ``node`` in Python's order of evaluation, and which of them stand after ``**``."""
    found: list[ast.expr] = []
    spread = set()
    for child in children(node):
        if isinstance(child, ast.keyword):
            if child.arg is None:
                spread.add(len(found))
            found.append(child.value)
        elif isinstance(child, ast.expr):
            found.append(child)
    return found, frozenset(spread)


def _replace(node: T, done: dict[int, ast.expr]) -> T:
    """A copy of ``node`` with children exchanged."""
    new = copy.copy(node)
    for name, child in ast.iter_fields(node):
        if isinstance(child, list):
            setattr(new, name, [_replace(c, done) if isinstance(c, ast.keyword) else done.get(id(c), c) for c in child])
        elif isinstance(child, ast.AST):
            setattr(new, name, done.get(id(child), child))
    return new
