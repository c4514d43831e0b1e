"""Syntax tree → IR: taking expressions apart, so that every effect stands on its own.

What is evaluated before an effect must stay before it. So when a later operand holds an effect, each earlier operand
is computed into a temporary first, in Python's order of evaluation. Expressions without effects are left as they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from . import ir
from .requests import EffectSpec, Site
from .scan import Comprehension, Renamer, Scope, bound_names
from .source import MISSING, Resolver

if TYPE_CHECKING:
    from .errors import Span
    from .lower import LoopScope, OpenRegion, State

T = TypeVar("T", bound=ast.AST)


class Expressions:
    """The half of the lowerer that deals with expressions."""

    locals: set[str]
    resolver: Resolver
    program_name: str
    sites: list[Site]
    loops: list[LoopScope]
    hints: dict[str, str | None]
    open: OpenRegion

    if TYPE_CHECKING:

        def refuse(self, node: ast.AST, reason: str, remedy: str) -> NoReturn: ...
        def span(self, node: ast.AST) -> Span: ...
        def py(self, statement: ast.stmt) -> None: ...
        def emit(self, node: ir.Node) -> None: ...
        def define(self, name: str, maybe_unbound: bool = False) -> ir.Value: ...
        def temporary(self, expression: ast.expr, hint: str | None = None) -> ir.Value: ...
        def fresh(self, hint: str | None = None) -> str: ...
        def statement(self, node: ast.stmt) -> None: ...
        @property
        def state(self) -> State: ...

    # --- what holds an effect ---

    def cuts(self, node: ast.AST) -> bool:
        """Whether evaluating ``node`` may cut the run."""
        return self.first_effect(node, True) is not None

    def first_effect(self, node: ast.AST, calls_of_locals: bool = False) -> ast.Call | None:
        """The first call in ``node`` that is an effect.

        Args:
            node: a statement or expression.
            calls_of_locals: count calls of local variables too: what they call is only known at run time, so they
                are cut where that is possible and stay native where not (inside comprehensions, for one).
        """
        if isinstance(node, ast.Call):
            kind = self.call_kind(node)
            if kind in ("effect", "program") or (calls_of_locals and kind == "unknown"):
                return node
        if isinstance(node, Comprehension):
            calls_of_locals = False
        if isinstance(node, Scope):
            return self._first_in_scope(node)
        for child in ast.iter_child_nodes(node):
            found = self.first_effect(child, calls_of_locals)
            if found is not None:
                return found
        return None

    def _first_in_scope(self, node: ast.AST) -> ast.Call | None:
        """Effects inside a nested function belong to that function: fine if it is a program, else refused."""
        if isinstance(node, ast.FunctionDef) and any(
            getattr(self.resolver.resolve(d), "__ppl_decorator__", False) for d in node.decorator_list
        ):
            return None
        for child in ast.iter_child_nodes(node):
            found = self.first_effect(child)
            if found is not None:
                name = getattr(node, "name", "lambda")
                if isinstance(node, ast.Lambda):
                    self.refuse(found, "an effect can't stand in a lambda", "Write a @program function with def.")
                self.refuse(found, f"{name!r} holds an effect but is no program", f"Put @program above {name!r}.")
        return None

    def call_kind(self, node: ast.Call) -> str:
        """``effect``, ``program``, ``python``, or ``unknown`` (a local variable is called)."""
        if self.resolver.effect(node.func) is not None:
            return "effect"
        kind = self.resolver.callee(node.func)
        if kind == "unknown" and not (isinstance(node.func, ast.Name) and node.func.id in self.locals):
            return "program"  # a global that is not defined yet, such as this very function
        return kind

    # --- statements that are one expression or more ---

    def simple(self, node: ast.stmt) -> None:
        """Lower a statement that holds expressions but no statements."""
        if isinstance(node, ast.AnnAssign):
            if node.value is None:
                return
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        if not self.cuts(node):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
                self.py(node)
            return
        if isinstance(node, ast.Assign):
            self._assign(node)
        elif isinstance(node, ast.AugAssign):
            self._augmented(node)
        elif isinstance(node, ast.Expr):
            value = self.expression(node.value)
            if not isinstance(value, (ast.Name, ast.Constant)):
                self.py(ast.copy_location(ast.Expr(value), node))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self.refuse(node, "an effect can't stand in a default, decorator or base class", "Compute it first.")
        elif isinstance(node, ast.Assert) and node.msg is not None and self.cuts(node.msg):
            self.refuse(node.msg, "an effect can't stand in an assertion's message", "Compute it first.")
        else:
            fields = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
            self.py(self._rebuild(node, fields))

    def _assign(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        hint = target.id if isinstance(target, ast.Name) else None
        hint = self.hints.get(hint, hint) if hint else None
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            if isinstance(value, ast.Call) and self.call_kind(value) != "python":
                self.effect(value, hint, target.id)
                return
            self.py(ast.copy_location(ast.Assign([target], self.expression(value, hint)), node))
            return
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            names = [t.id if isinstance(t, ast.Name) else None for t in target.elts]
            parts = self.sequence(value.elts, names)
            computed: ast.expr = ast.copy_location(ast.Tuple(parts, ast.Load()), value)
        else:
            computed = self.expression(value, hint)
        if any(self.cuts(t) for t in node.targets):
            computed = self._held(computed)
        for each in node.targets:
            place = self._place(each)
            if each is not node.targets[-1] and not isinstance(computed, ast.Name):
                computed = self._held(computed)
            self.py(ast.copy_location(ast.Assign([place], copy.deepcopy(computed)), node))

    def _place(self, target: ast.expr) -> ast.expr:
        """An assignment target with the effects in it done."""
        if not self.cuts(target):
            return target
        if isinstance(target, (ast.Subscript, ast.Attribute)):
            return self._rebuild(target, [c for c in ast.iter_child_nodes(target) if isinstance(c, ast.expr)])
        self.refuse(target, "an effect can't stand inside a nested assignment target", "Compute it first.")

    def _augmented(self, node: ast.AugAssign) -> None:
        target = node.target
        if isinstance(target, ast.Name):
            if target.id in bound_names([node.value]):
                self.refuse(node, f"{target.id!r} is assigned twice in one statement", "Write two statements.")
            value = self.expression(node.value, target.id)
            self.py(ast.copy_location(ast.AugAssign(target, node.op, value), node))
            return
        # a[i] += e reads a, i and a[i] before it evaluates e.
        place = copy.copy(target)
        place.value = self._held(self.expression(target.value))
        if isinstance(place, ast.Subscript) and isinstance(target, ast.Subscript):
            place.slice = self._held(self.expression(target.slice))
        load = copy.copy(place)
        load.ctx = ast.Load()
        old = self._held(load)
        value = self.expression(node.value)
        assert isinstance(old, ast.Name)
        store = ast.copy_location(ast.Name(old.id, ast.Store()), target)
        self.py(ast.copy_location(ast.AugAssign(store, node.op, value), node))
        self.py(ast.copy_location(ast.Assign([place], old), node))

    # --- expressions ---

    def value(self, node: ast.expr, hint: str | None = None) -> ir.Value:
        """The value of an expression, its effects done."""
        done = self.expression(node, hint)
        if isinstance(done, ast.Name) and done.id in self.locals:
            found = self.state.env.get(done.id, ir.UNDEFINED)
            if not found.maybe_unbound:
                return found
        return self.temporary(done)

    def _held(self, node: ast.expr) -> ast.expr:
        """``node``, computed now: a temporary's name."""
        return ast.copy_location(ast.Name(self.temporary(node).name, ast.Load()), node)

    def expression(self, node: ast.expr, hint: str | None = None) -> ast.expr:
        """``node`` with its effects done: an expression without any, over the variables as they now are."""
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
            self._assign(ast.copy_location(ast.Assign([node.target], node.value), node))
            return ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
        if isinstance(node, Comprehension):
            return self._comprehension(node, hint)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node)
        if isinstance(node, ast.Dict):
            return self._dictionary(node)
        if isinstance(node, ast.Lambda):
            self.refuse(node, "an effect can't stand in a lambda", "Write a @program function with def.")
        return self._rebuild(node, _operands(node))

    def sequence(self, nodes: Sequence[ast.expr], hints: Sequence[str | None] | None = None) -> list[ast.expr]:
        """Operands in order of evaluation, their effects done, earlier ones computed before later effects."""
        last = max((i for i, n in enumerate(nodes) if self.cuts(n)), default=-1)
        rebound = [bound_names(nodes[i + 1 :]) for i in range(len(nodes))]
        done = []
        for i, node in enumerate(nodes):
            new = self.expression(node, hints[i] if hints else None)
            done.append(new if i >= last or self._stable(new, rebound[i]) else self._spill(new))
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
            return ast.copy_location(ast.Starred(self._held(listed), ast.Load()), node)
        if isinstance(node, ast.Slice):
            call = ast.Call(ast.Name("slice", ast.Load()), [p or ast.Constant(None) for p in _bounds(node)], [])
            return self._held(ast.fix_missing_locations(ast.copy_location(call, node)))
        return self._held(node)

    def _rebuild(self, node: T, operands: list[ast.expr]) -> T:
        """``node`` with its operands' effects done."""
        done = {id(old): new for old, new in zip(operands, self.sequence(operands), strict=True)}
        return _replace(node, done)

    def _boolean(self, node: ast.BoolOp, hint: str | None) -> ast.expr:
        name = self.fresh(hint)
        for i, part in enumerate(node.values):
            assign: ast.stmt = ast.Assign([ast.Name(name, ast.Store())], part)
            if i:
                test: ast.expr = ast.Name(name, ast.Load())
                if isinstance(node.op, ast.Or):
                    test = ast.UnaryOp(ast.Not(), test)
                # a and b and c == a and (b and c): one nested test for each operand that follows
                rest = node.values[i] if i == len(node.values) - 1 else ast.BoolOp(node.op, node.values[i:])
                assign = ast.If(test, [ast.Assign([ast.Name(name, ast.Store())], _at(rest, part))], [])
                self.statement(_at(assign, part))
                break
            self.statement(_at(assign, part))
        return _at(ast.Name(name, ast.Load()), node)

    def _conditional(self, node: ast.IfExp, hint: str | None) -> ast.expr:
        name = self.fresh(hint)
        branches = [[_at(ast.Assign([ast.Name(name, ast.Store())], part), part)] for part in (node.body, node.orelse)]
        test = self.expression(node.test)
        self.statement(_at(ast.If(test, *branches), node))
        return _at(ast.Name(name, ast.Load()), node)

    def _chain(self, node: ast.Compare) -> ast.expr:
        """``a < b < c`` is ``a < b and b < c`` with ``b`` evaluated once."""
        left, middle = (self._held(n) for n in self.sequence([node.left, node.comparators[0]]))
        first = ast.Compare(left, [node.ops[0]], [middle])
        rest = ast.Compare(copy.deepcopy(middle), node.ops[1:], node.comparators[1:])
        return self._boolean(_at(ast.BoolOp(ast.And(), [_at(first, node), _at(rest, node)]), node), None)

    def _joined(self, node: ast.JoinedStr) -> ast.expr:
        """An f-string formats each part before it evaluates the next."""
        last = max(i for i, part in enumerate(node.values) if self.cuts(part))
        done: list[ast.expr] = []
        for i, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue):
                part = self._rebuild(part, _operands(part)) if self.cuts(part) else part
                if i < last:
                    text = self._held(_at(ast.JoinedStr([part]), part))
                    part = _at(ast.FormattedValue(text, -1, None), part)
            done.append(part)
        return _at(ast.JoinedStr(done), node)

    def _dictionary(self, node: ast.Dict) -> ast.expr:
        flat = [e for pair in zip(node.keys, node.values, strict=True) for e in pair if e is not None]
        done = iter(self.sequence(flat))
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for key in node.keys:
            keys.append(None if key is None else next(done))
            values.append(next(done))
        return _at(ast.Dict(keys, values), node)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, hint: str | None
    ) -> ast.expr:
        """A comprehension with effects inside is the loop that it abbreviates."""
        if isinstance(node, ast.GeneratorExp):
            self.refuse(
                node, "a generator can't hold an effect: it can't be copied", "Write a list comprehension: [ … ]."
            )
        if any(g.is_async for g in node.generators):
            self.refuse(node, "a program can't await", "Model calls are batched across particles without await.")
        if not self.cuts(_without_first_iterable(node)):
            return self._rebuild(node, [node.generators[0].iter])
        node = copy.deepcopy(node)
        own = bound_names(g.target for g in node.generators)
        renamer = Renamer({name: f"·{name}{self.temporaries}" for name in own})
        self.locals.update(renamer.names.values())
        self.hints.update({new: old for old, new in renamer.names.items()})
        first = self.expression(node.generators[0].iter)
        node.generators[0].iter = ast.Constant(None)
        # Renaming from the inside: these parts are in the comprehension's own scope.
        for g in node.generators:
            g.target, g.iter = renamer.visit(g.target), renamer.visit(g.iter)
            g.ifs = [renamer.visit(c) for c in g.ifs]
        node.generators[0].iter = first
        result = self.fresh(hint)
        if isinstance(node, ast.DictComp):
            empty: ast.expr = ast.Dict([], [])
            key, item = self.fresh(hint), self.fresh(hint)
            into = ast.Subscript(ast.Name(result, ast.Load()), ast.Name(key, ast.Load()), ast.Store())
            add: list[ast.stmt] = [
                ast.Assign([ast.Name(key, ast.Store())], renamer.visit(node.key)),
                ast.Assign([ast.Name(item, ast.Store())], renamer.visit(node.value)),
                ast.Assign([into], ast.Name(item, ast.Load())),
            ]
        else:
            is_list = isinstance(node, ast.ListComp)
            empty = ast.List([], ast.Load()) if is_list else ast.Call(ast.Name("set", ast.Load()), [], [])
            item = self.fresh(hint)
            method = ast.Attribute(ast.Name(result, ast.Load()), "append" if is_list else "add", ast.Load())
            add = [
                ast.Assign([ast.Name(item, ast.Store())], renamer.visit(node.elt)),
                ast.Expr(ast.Call(method, [ast.Name(item, ast.Load())], [])),
            ]
        for g in reversed(node.generators):
            for condition in reversed(g.ifs):
                add = [ast.If(condition, add, [])]
            add = [ast.For(g.target, g.iter, add, [])]
        self.statement(_at(ast.Assign([ast.Name(result, ast.Store())], empty), node))
        self.statement(_at(add[0], node))
        return _at(ast.Name(result, ast.Load()), node)

    # --- effects ---

    def effect(self, node: ast.Call, hint: str | None, target: str | None) -> ir.Value:
        """Emit the effect that a call stands for; its answer becomes ``target`` or a temporary."""
        spec = self.resolver.effect(node.func)
        if spec is None:
            return self._invoke(node, hint, target)
        given = self._arguments(node, spec)
        name = given.pop("name", None)
        static = hint if spec.has_value and hint else spec.kind
        explicit = False
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            static, explicit = name.value, True
            if not static or set(static) & set("/[]#·"):
                self.refuse(name, f"{static!r} can't be a name", "Use a word without any of / [ ] # · in it.")
            name = None
        if name is not None:
            given["name"] = name
            static = ast.unparse(name)
        values = self.sequence(list(given.values()))
        args = tuple((k, self.value(v)) for k, v in zip(given, values, strict=True))
        site = self._site(node, spec.kind, static, explicit, name is not None)
        return self._emit_effect(node, site, args, target)

    def _arguments(self, node: ast.Call, spec: EffectSpec) -> dict[str, ast.expr]:
        """The arguments of an effect by name, in order of evaluation."""
        given: dict[str, ast.expr] = {}
        allowed = (*spec.required, *spec.optional)
        positional = node.args
        if spec.variadic:
            head = len(spec.required)
            rest = ast.copy_location(ast.Tuple(node.args[head:], ast.Load()), node)
            positional = node.args[:head]
        for word, argument in zip(allowed, positional, strict=False):
            given[word] = argument
        if spec.variadic:
            given["args"] = rest
        usage = f"Write {spec.usage}."
        if len(positional) > len(allowed) or any(isinstance(a, ast.Starred) for a in positional):
            self.refuse(node, f"{spec.kind}() doesn't take these arguments", usage)
        for keyword in node.keywords:
            if keyword.arg not in allowed or keyword.arg in given:
                self.refuse(node, f"{spec.kind}() doesn't take the argument {keyword.arg or '**'!r}", usage)
            given[keyword.arg] = keyword.value
        missing = [word for word in spec.required if word not in given]
        if missing:
            self.refuse(node, f"{spec.kind}() needs the argument {missing[0]!r}", usage)
        return given

    def _invoke(self, node: ast.Call, hint: str | None, target: str | None) -> ir.Value:
        """A call of another program, or of something that turns out at run time to be one or not."""
        callee = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func).split("(")[0]
        operands = self.sequence([node.func, *node.args, *(k.value for k in node.keywords)])
        function, args = operands[0], operands[1 : 1 + len(node.args)]
        keys: list[ast.expr | None] = [None if k.arg is None else ast.Constant(k.arg) for k in node.keywords]
        values = (
            ("program", self.value(function)),
            ("args", self.temporary(_at(ast.Tuple(args, ast.Load()), node))),
            ("kwargs", self.temporary(_at(ast.Dict(keys, operands[1 + len(node.args) :]), node))),
        )
        site = self._site(node, "program", hint or callee.replace(".given", "").replace(".do", ""), False, False)
        return self._emit_effect(node, site, values, target)

    def _emit_effect(
        self, node: ast.Call, site: Site, args: tuple[tuple[str, ir.Value], ...], target: str | None
    ) -> ir.Value:
        index = tuple(scope.counter for scope in self.loops if scope.counter is not None)
        if site.dynamic:
            index = ()
        result = self.define(target or self.fresh())
        self.emit(ir.Effect(span=self.span(node), site=site, args=args, index=index, result=result))
        return result

    def _site(self, node: ast.Call, kind: str, name: str, explicit: bool, dynamic: bool) -> Site:
        """A site with an address of its own.

        A name that a path may already have used gets an ordinal (``x#2``) if it was not chosen by the user. Sites on
        exclusive branches share a name: they are the same choice, made under different circumstances.
        """
        depth = 0 if dynamic else sum(scope.counter is not None for scope in self.loops)
        if not dynamic:
            reached = self.state.reached
            if explicit and (name, depth) in reached:
                self.refuse(
                    node, f"the name {name!r} is taken by an effect before this one", "Give each its own name=."
                )
            base, ordinal = name, 1
            while (name, depth) in reached:
                ordinal += 1
                name = f"{base}#{ordinal}"
            reached.add((name, depth))
        site = Site(kind, name, depth, self.program_name, self.span(node), dynamic)
        self.sites.append(site)
        return site


def _at(node: T, where: ast.AST) -> T:
    """``node``, standing where ``where`` does, as far as it does not stand anywhere yet."""
    for inner in ast.walk(node):
        if "lineno" in inner._attributes and not hasattr(inner, "lineno"):
            ast.copy_location(inner, where)
    return node


def _bounds(node: ast.Slice) -> list[ast.expr | None]:
    return [node.lower, node.upper, node.step]


def _operands(node: ast.AST) -> list[ast.expr]:
    """The subexpressions of ``node`` in Python's order of evaluation."""
    found: list[ast.expr] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword):
            found.append(child.value)
        elif isinstance(child, ast.expr):
            found.append(child)
    return found


def _replace(node: T, done: dict[int, ast.expr]) -> T:
    """A copy of ``node`` with children exchanged."""
    new = copy.copy(node)
    for name, child in ast.iter_fields(node):
        if isinstance(child, list):
            setattr(new, name, [_replace(c, done) if isinstance(c, ast.keyword) else done.get(id(c), c) for c in child])
        elif isinstance(child, ast.AST):
            setattr(new, name, done.get(id(child), child))
    return new


def _without_first_iterable(node: ast.ListComp | ast.SetComp | ast.DictComp) -> ast.AST:
    shallow = copy.copy(node)
    first = copy.copy(node.generators[0])
    first.iter = ast.copy_location(ast.Constant(None), first.iter)
    shallow.generators = [first, *node.generators[1:]]
    return shallow
