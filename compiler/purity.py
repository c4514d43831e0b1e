"""What a piece of Python may do to objects that others hold: nothing, read, iterate, or write. In doubt, the worse.

``graph.py`` answers by syntax alone, so that every call writes. Here it is asked what the operands surely are
(``kinds.py``): to look at a number, a text, a context of a model or a list changes nothing; to look at anything else
runs code of its class (a property, ``__getitem__``, ``__format__``), which may. And calls are resolved
(``callees.py``): constructors of distributions, a list of builtins, and plain helper functions, whose own source is
read. Three assumptions are made, and nothing else is:

- what a name from outside stands for, it stands for as long as an inference runs (``Names.hold_for`` tells before);
- effects leave what they are given as it is: drawing from a distribution, its density, a batched function, and telling
  whether a condition is true or what number a factor is;
- the members of builtin containers, and what sorts, hashes and compares them for the container, change nothing by that.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from .callees import UNKNOWN, Callee, called
from .kinds import ATOMIC, FIXED, KNOWN, Kind, Touch, conflict, inside, iterated, join, looked, member
from .names import Names
from .scan import Comprehension, Scope, bound_names, children, evaluated_outside, every
from .source import MISSING

__all__ = ["UNKNOWN", "Callee", "Kind", "Purity", "Touch", "conflict"]


def _other(name: str) -> Kind:
    return Kind.OTHER


class Purity:
    """Judges expressions and statements of one function.

    Args:
        names: the function's outside names.
        local: whether a name is a variable of the function.
        variable: what a variable surely is.
        members: what is in builtin containers.
    """

    def __init__(
        self,
        names: Names,
        local: Callable[[str], bool],
        variable: Callable[[str], Kind] = _other,
        members: Kind = Kind.OTHER,
    ) -> None:
        self.names = names
        self.local = local
        self.variable = variable
        self.members = members

    # --- what code touches ---

    def touch(self, node: ast.AST) -> Touch:
        """What evaluating ``node`` may do to shared objects."""
        if isinstance(node, Scope):
            if isinstance(node, ast.ClassDef) or getattr(node, "decorator_list", None):
                return Touch.WRITE
            return self._most(evaluated_outside(node))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, Comprehension):
            return self._comprehension(node)[0]
        if isinstance(node, ast.Constant | ast.Name | ast.Pass):
            return Touch.NONE
        inner = self._most(children(node))
        return inner if inner is Touch.WRITE else max(inner, self._own(node))

    def _most(self, nodes: Iterable[ast.AST]) -> Touch:
        return max((self.touch(node) for node in nodes), default=Touch.NONE)

    def _own(self, node: ast.AST) -> Touch:
        """What a piece of syntax does itself, apart from its parts."""
        if isinstance(node, ast.Attribute | ast.Subscript):
            return self._part(node) if isinstance(node.ctx, ast.Load) else Touch.WRITE
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
                return self.inside(node.operand)
            return max(map(self.looked, parts))
        if isinstance(node, ast.FormattedValue):
            return self.looked(node.value)
        if isinstance(node, ast.Dict):
            given = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
            return max((*map(self.looked, filter(None, node.keys)), *map(self.iterated, given)), default=Touch.NONE)
        if isinstance(node, ast.Set):
            return max(map(self.looked, node.elts))
        if isinstance(node, ast.Starred):
            return self.iterated(node.value) if isinstance(node.ctx, ast.Load) else Touch.NONE
        if isinstance(node, ast.BoolOp):
            return max(map(self.inside, node.values[:-1]))
        if isinstance(node, ast.IfExp | ast.If | ast.Assert | ast.While):
            return self.inside(node.test)
        if isinstance(node, ast.AugAssign):
            changed = self.kind(node.target) if isinstance(node.target, ast.Name) else Kind.OTHER
            return self.looked(node.value) if changed in FIXED else Touch.WRITE
        if isinstance(node, ast.Assign):
            return max(self._taken(target, self.kind(node.value)) for target in node.targets)
        if isinstance(node, ast.For):
            return max(self.iterated(node.iter), self._taken(node.target, self.member(node.iter)))
        return Touch.NONE if isinstance(node, _HARMLESS) else Touch.WRITE

    def _part(self, node: ast.Attribute | ast.Subscript) -> Touch:
        """An attribute, or an item: of a module, it is nothing but a name."""
        if self.names.kind(node, self.local) is not None:
            return Touch.NONE
        own = self.inside(node.value)
        return max(own, self.looked(node.slice)) if isinstance(node, ast.Subscript) else own

    def _compare(self, node: ast.Compare) -> Touch:
        found = Touch.NONE
        for left, op, right in zip((node.left, *node.comparators), node.ops, node.comparators, strict=False):
            if isinstance(op, ast.In | ast.NotIn):
                found = max(found, self.looked(left), self.iterated(right), self.looked(right))
            elif not isinstance(op, ast.Is | ast.IsNot):
                found = max(found, self.looked(left), self.looked(right))
        return found

    def _taken(self, target: ast.expr, given: Kind) -> Touch:
        """To assign what is ``given``: unpacking goes through it."""
        if isinstance(target, ast.Starred):
            return Touch.NONE
        if not isinstance(target, ast.Tuple | ast.List):
            return Touch.NONE  # an attribute or item that is set is a part that was met already
        each = member(given, self.members)
        return max(iterated(given), *(self._taken(part, each) for part in target.elts))

    def _comprehension(self, node: ast.AST) -> tuple[Touch, Purity]:
        """What a comprehension touches, and what judges its innermost part."""
        assert isinstance(node, Comprehension)
        scope, found = self, Touch.NONE
        for generator in node.generators:
            found = max(found, scope.touch(generator.iter), scope.iterated(generator.iter))
            if generator.is_async:
                found = Touch.WRITE
            given = scope.member(generator.iter)
            found = max(found, scope._taken(generator.target, given))
            scope = scope.binding(generator.target, given)
            found = max([found, *map(scope.touch, generator.ifs), *map(scope.inside, generator.ifs)])
        made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        hashed = made[:1] if isinstance(node, ast.DictComp | ast.SetComp) else []
        return max([found, *map(scope.touch, made), *map(scope.looked, hashed)]), scope

    def taken(self, target: ast.expr, code: ast.expr) -> dict[str, Kind]:
        """What the variables of ``target`` are when ``code`` was assigned to it."""
        if isinstance(target, ast.Tuple) and isinstance(code, ast.Tuple) and len(target.elts) == len(code.elts):
            starred = any(isinstance(part, ast.Starred) for part in (*target.elts, *code.elts))
            pairs = [] if starred else list(zip(target.elts, code.elts, strict=True))
            if pairs:
                return {name: kind for part, each in pairs for name, kind in self.taken(part, each).items()}
        if isinstance(target, ast.Name):
            return {target.id: self.kind(code)}
        within = self.binding(target, self.kind(code))
        return {name: within.variable(name) for name in bound_names([target])}

    def binding(self, target: ast.expr, given: Kind) -> Purity:
        """What judges code in which ``target`` was bound to what is ``given``."""
        bound: dict[str, Kind] = {}
        todo = [(target, given)]
        for part, kind in todo:
            if isinstance(part, ast.Name):
                bound[part.id] = kind
            elif isinstance(part, ast.Tuple | ast.List):
                todo += [(each, member(kind, self.members)) for each in part.elts]
            elif isinstance(part, ast.Starred):
                todo.append((part.value, Kind.BUILTIN))
        return Purity(
            self.names,
            lambda name: name in bound or self.local(name),
            lambda name: bound[name] if name in bound else self.variable(name),
            self.members,
        )

    def _call(self, node: ast.Call) -> Touch:
        parts = [*node.args, *(k.value for k in node.keywords)]
        if isinstance(node.func, ast.Attribute) and self.names.resolve(node.func, self.local) is MISSING:
            parts.append(node.func.value)
        elif not isinstance(node.func, ast.Name | ast.Attribute):
            return Touch.WRITE
        return max(self.callee(node).touch, self._most(parts))

    def callee(self, node: ast.Call) -> Callee:
        """What is known of the function that is called."""
        return called(self, node)

    # --- what it touches to look at what an expression gives ---

    def inside(self, node: ast.expr) -> Touch:
        """To ask how the value is built, see ``kinds.inside``."""
        return inside(self.kind(node))

    def looked(self, node: ast.expr) -> Touch:
        """To compute with the value, see ``kinds.looked``."""
        if isinstance(node, ast.Starred):
            return self.members_looked(node.value)
        if isinstance(node, ast.Slice):
            return max((self.looked(part) for part in (node.lower, node.upper, node.step) if part), default=Touch.NONE)
        if isinstance(node, ast.Dict) and None not in node.keys:
            return max(map(self.looked, (*filter(None, node.keys), *node.values)), default=Touch.NONE)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return max(map(self.looked, node.elts), default=Touch.NONE)
        if isinstance(node, Comprehension) and not isinstance(node, ast.DictComp | ast.GeneratorExp):
            return max(Touch.READ, self.members_looked(node))
        return looked(self.kind(node), self.members)

    def iterated(self, node: ast.expr) -> Touch:
        """To go through the value."""
        return Touch.NONE if isinstance(node, ast.GeneratorExp) else iterated(self.kind(node))

    def members_looked(self, node: ast.expr) -> Touch:
        """To go through it and to compute with its members."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return max(map(self.looked, node.elts), default=Touch.NONE)
        return max(self.iterated(node), looked(self.member(node), self.members))

    # --- what an expression gives ---

    def atom(self, node: ast.expr) -> bool:
        """Whether an expression surely gives a number, a string, a truth value or ``None``."""
        return self.kind(node) in ATOMIC

    def kind(self, node: ast.expr) -> Kind:
        """What an expression surely gives."""
        if isinstance(node, ast.Constant):
            kind = type(node.value)
            return Kind.TEXT if kind is str else Kind.NUMBER if kind in (bool, int, float) else Kind.ATOM
        if isinstance(node, ast.Name):
            return self.variable(node.id) if self.local(node.id) else self.names.kind(node, self.local) or Kind.OTHER
        if isinstance(node, ast.JoinedStr):
            return Kind.TEXT
        if isinstance(node, ast.Tuple):
            return Kind.ATOMS if all(map(self.atom, node.elts)) else Kind.BUILTIN
        if isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return Kind.BUILTIN
        if isinstance(node, ast.Call):
            return self.callee(node).gives
        if isinstance(node, ast.NamedExpr):
            return self.kind(node.value)
        if isinstance(node, ast.BoolOp):
            return join(map(self.kind, node.values))
        if isinstance(node, ast.IfExp):
            return join((self.kind(node.body), self.kind(node.orelse)))
        if isinstance(node, ast.UnaryOp):
            return Kind.NUMBER if isinstance(node.op, ast.Not) else _computed(self.kind(node.operand))
        if isinstance(node, ast.BinOp):
            return self._combined(node)
        if isinstance(node, ast.Compare):
            if all(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops):
                return Kind.NUMBER
            kinds = {self.kind(part) for part in (node.left, *node.comparators)}
            equal = all(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            known = kinds <= ({*FIXED, Kind.BUILTIN} if equal else FIXED)
            return Kind.NUMBER if known else _computed(join(kinds))
        if isinstance(node, ast.Subscript):
            return self._item(node)
        if isinstance(node, ast.Attribute):
            return self.names.kind(node, self.local) or Kind.OTHER
        return Kind.OTHER

    def member(self, node: ast.expr) -> Kind:
        """What going through the value surely gives."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return join(self.member(e.value) if isinstance(e, ast.Starred) else self.kind(e) for e in node.elts)
        if isinstance(node, ast.Dict) and None not in node.keys:
            return join(map(self.kind, filter(None, node.keys)))
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            return self._comprehension(node)[1].kind(node.elt)
        return member(self.kind(node), self.members)

    def _combined(self, node: ast.BinOp) -> Kind:
        left, right = self.kind(node.left), self.kind(node.right)
        if left in ATOMIC and right in ATOMIC:
            if Kind.NEVER in (left, right):
                return Kind.NEVER
            same = left is right and left is not Kind.ATOM
            texts = Kind.TEXT in (left, right) and isinstance(node.op, ast.Add | ast.Mult | ast.Mod)
            return left if same else Kind.TEXT if texts else Kind.ATOM
        if left is Kind.CONTEXT and right in (*ATOMIC, Kind.KNOWN) and isinstance(node.op, ast.Add):
            return Kind.CONTEXT
        if left is Kind.TEXT and isinstance(node.op, ast.Mod):
            return Kind.TEXT
        if Kind.TENSOR in (left, right) and {left, right} <= {Kind.TENSOR, *ATOMIC}:
            return Kind.TENSOR
        containers = {Kind.BUILTIN, Kind.ATOMS, *ATOMIC}
        if {left, right} <= containers:
            return Kind.BUILTIN
        return Kind.KNOWN if {left, right} <= KNOWN else Kind.OTHER

    def _item(self, node: ast.Subscript) -> Kind:
        of = self.kind(node.value)
        if isinstance(node.slice, ast.Slice):
            return of if of in (*ATOMIC, Kind.ATOMS, Kind.BUILTIN, Kind.TENSOR, Kind.KNOWN) else Kind.OTHER
        if isinstance(node.value, ast.Dict) and None not in node.value.keys:
            return join(map(self.kind, node.value.values))
        return Kind.OTHER if isinstance(node.value, ast.Dict) or of is Kind.PAIRS else self.member(node.value)

    def bound(self, pairs: list[tuple[str, ast.expr | None]], start: dict[str, Kind]) -> dict[str, Kind]:
        """What variables surely are, whichever of the assignments ran last.

        Args:
            pairs: names and the expressions that are assigned to them; ``None`` for what is not known.
            start: what the names may be before.
        """
        found = {**{name: Kind.NEVER for name, _ in pairs}, **start}
        inner = Purity(
            self.names,
            lambda name: name in found or self.local(name),
            lambda name: found[name] if name in found else self.variable(name),
            self.members,
        )
        changed = True
        while changed:
            changed = False
            for name, code in pairs:
                new = join((found[name], Kind.OTHER if code is None else inner.kind(code)))
                changed = changed or new is not found[name]
                found[name] = new
        return found


def walruses(node: ast.AST) -> list[tuple[str, ast.expr | None]]:
    """The assignments inside an expression."""
    return [(inner.target.id, inner.value) for inner in every(node) if isinstance(inner, ast.NamedExpr)]


def _computed(kind: Kind) -> Kind:
    if kind in KNOWN:
        return kind if kind in (Kind.NEVER, Kind.NUMBER, Kind.ATOM, Kind.TENSOR) else Kind.KNOWN
    return Kind.OTHER


_HARMLESS = (
    *(ast.List, ast.Tuple, ast.Slice, ast.NamedExpr, ast.Expr, ast.AnnAssign, ast.JoinedStr),
    *(ast.Return, ast.Raise, ast.keyword, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler),
)
