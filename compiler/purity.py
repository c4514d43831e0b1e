"""What a piece of Python may do to objects that others hold: nothing, read, iterate, or write. In doubt, the worse.

``graph.py`` answers by syntax alone, so that every call writes. Here calls are resolved: constructors of
distributions, a list of builtins, and plain helper functions, whose own source is read. Three assumptions are made, and
nothing else is:

- what a helper of the program calls by a global name still means what it means now (``Names.hold_for`` tells);
- a method called like one of a context's, or like those of a string's that are called like no other (``choice``,
  ``strip``), is one, and changes nothing;
- building, comparing and formatting a value does not change it.
"""

from __future__ import annotations

import ast
import builtins
import math
import re
import sys
import types
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .errors import CompileError
from .helper_atoms import lasting_atoms
from .intrinsics import OWN, PURE, TOLD
from .names import Names
from .scan import Comprehension, Scope, bound_names, children, evaluated_outside, own_nodes, parameters
from .source import MISSING, parse_function


class Touch(IntEnum):
    """What code may do to objects that others hold too."""

    NONE = 0
    READ = 1
    ITERATE = 2
    """It may use an iterator up: harmless to everything but other code that iterates."""
    WRITE = 3


def conflict(a: Touch, b: Touch) -> bool:
    """Whether the order of two pieces of code may matter because of shared objects."""
    low, high = min(a, b), max(a, b)
    return (high is Touch.WRITE and low is not Touch.NONE) or low is Touch.ITERATE


@dataclass(frozen=True)
class Callee:
    """What is known of a called function.

    Attributes:
        touch: what it does to its arguments.
        family: the distribution that it makes: ``flip``, ``torch.Normal``, ``model.choice``; ``None`` if it makes none.
        atom: it gives a number, string or truth value, which nobody can change.
    """

    touch: Touch
    family: str | None = None
    atom: bool = False


UNKNOWN = Callee(Touch.WRITE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODEL_METHODS = frozenset({"token", "line", "text", "choice"})
"""Methods of a context that make a distribution over text."""
TELLING_METHODS = _words(
    "casefold endswith isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace "
    "istitle isupper lower lstrip removeprefix removesuffix rstrip startswith strip upper"
)
"""Methods that are a string's wherever they are met: they give an atom."""
MAKING_METHODS = _words("context split splitlines")
"""Methods that are a string's, or a model's, wherever they are met: they give a new object."""
TEXT_METHODS = _words(
    "capitalize count encode expandtabs find format index ljust replace rfind rindex rjust swapcase title zfill"
)
"""Further methods of a string that give an atom. Others have methods of these names as well."""
TEXT_SPLITS = _words("partition rpartition rsplit")
"""Further methods of a string that give a new object."""
PATTERN_METHODS = _words("findall fullmatch match search split")
"""Methods of a compiled pattern that only look, and the functions of ``re`` of the same names."""
_ATOMS = _words("abs bool chr float format hash int isinstance issubclass len ord repr round str callable")
_ITERATING = _words("all any dict enumerate frozenset list max min set sorted sum tuple zip")
_MAKING = frozenset({"range", "slice", "type"})


class Purity:
    """Judges expressions and statements of one function.

    Args:
        names: the function's outside names.
        local: whether a name is a variable of the function.
        atom: whether a variable surely holds an atom.
    """

    def __init__(
        self,
        names: Names,
        local: Callable[[str], bool],
        atom: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.names = names
        self.local = local
        self.atom_name = atom

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
            return self._comprehension(node)
        if isinstance(node, ast.Constant | ast.Name | ast.Pass):
            return Touch.NONE
        inner = self._most(children(node))
        return max(inner, self._own(node))

    def _most(self, nodes: Any) -> Touch:
        return max((self.touch(node) for node in nodes), default=Touch.NONE)

    def _own(self, node: ast.AST) -> Touch:
        """What a piece of syntax does itself, apart from its parts."""
        if isinstance(node, ast.Attribute | ast.Subscript):
            return Touch.READ if isinstance(node.ctx, ast.Load) else Touch.WRITE
        if isinstance(node, ast.Tuple | ast.List):
            return Touch.ITERATE if isinstance(node.ctx, ast.Store) else Touch.NONE
        if isinstance(node, ast.Compare):
            if all(self.atom(part) for part in (node.left, *node.comparators)):
                return Touch.NONE
            membership = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            return Touch.ITERATE if membership else Touch.READ
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            return Touch.NONE if self.atom(node) else Touch.READ
        if isinstance(node, ast.JoinedStr | ast.FormattedValue):
            return Touch.READ
        if isinstance(node, ast.Starred):
            return Touch.ITERATE
        if isinstance(node, ast.AugAssign):
            plain = isinstance(node.target, ast.Name) and self.atom_name(node.target.id)
            return (Touch.NONE if self.atom(node.value) else Touch.READ) if plain else Touch.WRITE
        if isinstance(node, ast.For):
            return Touch.ITERATE
        return Touch.NONE if isinstance(node, _HARMLESS) else Touch.WRITE

    def _comprehension(self, node: ast.AST) -> Touch:
        parts = [part for part in ast.walk(node) if part is not node and isinstance(part, ast.expr)]
        targets = bound_names(g.target for g in node.generators)  # type: ignore[attr-defined]
        inside = Purity(
            self.names,
            lambda name: name in targets or self.local(name),
            lambda name: name not in targets and self.atom_name(name),
        )
        return max(Touch.ITERATE, *(inside.touch(part) for part in parts if not isinstance(part, Comprehension)))

    def _call(self, node: ast.Call) -> Touch:
        parts = [*node.args, *(k.value for k in node.keywords)]
        if isinstance(node.func, ast.Attribute) and self.names.resolve(node.func, self.local) is MISSING:
            parts.append(node.func.value)
        found = self.callee(node)
        if any(isinstance(part, ast.Lambda) for part in parts) or any(
            k.arg in ("key", "default") for k in node.keywords
        ):
            return Touch.WRITE
        own = found.touch
        if own is Touch.READ and all(self.atom(part) for part in parts):
            own = Touch.NONE
        return max(own, self._most(parts))

    # --- what calls mean ---

    def callee(self, node: ast.Call) -> Callee:
        """What is known of the function that is called."""
        func = node.func
        found = self.names.resolve(func, self.local)
        if found is not MISSING:
            return self._object(found)
        if isinstance(func, ast.Name) and func.id in ("·enumerate", "·zip"):
            return Callee(Touch.ITERATE)
        if isinstance(func, ast.Name) and func.id in PURE:
            return Callee(Touch.READ)
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == OWN:
            return Callee(Touch.WRITE if func.attr in TOLD else Touch.READ, OWN)
        if isinstance(func, ast.Attribute):
            owner = self.names.resolve(func.value, self.local)
            if isinstance(owner, re.Pattern):
                return Callee(Touch.READ) if func.attr in PATTERN_METHODS else UNKNOWN
            if owner is not MISSING and not isinstance(owner, str):
                pure: Collection[str] = getattr(type(owner), "__ppl_pure__", ())
                family = f"model.{func.attr}" if func.attr in MODEL_METHODS else None
                return Callee(Touch.READ, family) if func.attr in pure else UNKNOWN
            if func.attr in MODEL_METHODS:
                return Callee(Touch.READ, f"model.{func.attr}")
            text = self.atom(func.value)
            if text and func.attr in (*TEXT_METHODS, *TELLING_METHODS, "join"):
                return Callee(Touch.ITERATE if func.attr == "join" else Touch.READ, atom=True)
            if func.attr in TELLING_METHODS or func.attr in MAKING_METHODS or (text and func.attr in TEXT_SPLITS):
                return Callee(Touch.READ, atom=func.attr in TELLING_METHODS)
        return UNKNOWN

    def _object(self, found: Any) -> Callee:
        family = getattr(found, "__ppl_family__", None)
        if isinstance(family, str):
            return Callee(Touch.READ, family)
        family = torch_family(found)
        if family is not None:
            return Callee(Touch.READ, family)
        name = getattr(found, "__name__", "")
        if getattr(builtins, name, MISSING) is found:
            if name in _ATOMS:
                return Callee(Touch.READ, atom=True)
            if name in _ITERATING:
                return Callee(Touch.ITERATE)
            return Callee(Touch.READ) if name in _MAKING else UNKNOWN
        if getattr(math, name, MISSING) is found:
            return Callee(Touch.ITERATE if name in ("fsum", "prod", "dist", "sumprod") else Touch.READ, atom=True)
        if found is re.compile or (name in PATTERN_METHODS and getattr(re, name) is found):
            return Callee(Touch.READ)
        if name == "tensor" and getattr(sys.modules.get("torch"), name, MISSING) is found:
            return Callee(Touch.READ)
        if isinstance(found, types.FunctionType):
            if found not in self.names.judged:
                self.names.judged[found] = UNKNOWN  # what it is for calls of itself
                self.names.judged[found] = self._helper(found)
            return self.names.judged[found]
        return UNKNOWN

    def _helper(self, fn: types.FunctionType) -> Callee:
        """A plain function, judged by its own source."""
        try:
            tree, _ = parse_function(fn)
        except (CompileError, TypeError, SyntaxError, OSError):
            return UNKNOWN
        if any(not isinstance(statement, _IN_HELPERS) for statement in _statements(tree.body)):
            return UNKNOWN
        variables = {*parameters(tree.args), *bound_names(tree.body)}
        plain = Purity(self.names.of(fn), variables.__contains__)
        atoms = lasting_atoms(tree, lambda code, known: Purity(plain.names, plain.local, known.__contains__).atom(code))
        inside = Purity(plain.names, plain.local, atoms.__contains__)
        touch = max(Touch.READ, *(inside.touch(statement) for statement in tree.body))
        returned = [s.value for s in _statements(tree.body) if isinstance(s, ast.Return)]
        made = {inside.callee(v).family if isinstance(v, ast.Call) else None for v in returned}
        family = made.pop() if len(made) == 1 else None
        return Callee(touch, None if family is None else f"helper.{family}")

    # --- atoms ---

    def atom(self, node: ast.AST) -> bool:
        """Whether an expression surely gives a number, a string, a truth value or ``None``."""
        if isinstance(node, ast.Constant | ast.JoinedStr):
            return True
        if isinstance(node, ast.Name):
            return self.local(node.id) and self.atom_name(node.id)
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.Not) or self.atom(node.operand)
        if isinstance(node, ast.BinOp):
            return self.atom(node.left) and self.atom(node.right)
        if isinstance(node, ast.BoolOp):
            return all(map(self.atom, node.values))
        if isinstance(node, ast.IfExp):
            return self.atom(node.body) and self.atom(node.orelse)
        if isinstance(node, ast.Compare):
            simple = all(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops)
            return simple or all(self.atom(part) for part in (node.left, *node.comparators))
        if isinstance(node, ast.Call):
            return self.callee(node).atom
        return False


_HARMLESS = (
    *(ast.Dict, ast.Set, ast.Slice, ast.BoolOp, ast.IfExp, ast.NamedExpr, ast.Expr, ast.Assign, ast.AnnAssign, ast.If),
    *(ast.Assert, ast.Return, ast.Raise, ast.keyword, ast.While, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler),
)
_IN_HELPERS = (
    *(ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Pass, ast.Expr, ast.Assert, ast.Raise),
    *(ast.For, ast.While, ast.Break, ast.Continue, ast.Try),
)


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """All statements of a function's body, those inside others as well."""
    return [inner for statement in body for inner in own_nodes([statement]) if isinstance(inner, ast.stmt)]


def torch_family(found: Any) -> str | None:
    """``torch.Normal`` for a distribution class of torch or pyro, by the first torch class that it descends from."""
    if isinstance(found, type) and found.__module__.startswith(("torch.distributions.", "pyro.distributions.")):
        for base in found.__mro__:
            if base.__module__.startswith("torch.distributions.") and base.__name__ not in _ABSTRACT:
                return f"torch.{base.__name__}"
    return None


_ABSTRACT = ("Distribution", "ExponentialFamily", "TransformedDistribution")
