"""What holds an effect, what a call means, and which variables a nested function captures."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .errors import CompileError, Span
from .helpers import member
from .imports import imported
from .names import dotted
from .scan import (
    Comprehension,
    Function,
    Scope,
    bound_names,
    captured_names,
    children,
    evaluated_outside,
    own_nodes,
    parameters,
)
from .source import MISSING, Resolver, is_decorator, parse_function


class Classifier:
    """One function's tree and the meaning of its names."""

    def __init__(self, fn: types.FunctionType) -> None:
        self.tree, self.file = parse_function(fn)
        self.params = parameters(self.tree.args)
        self.bound = frozenset(self.params) | bound_names(self.tree.body)
        self.locals = set(self.bound)
        self.own_nodes = tuple(own_nodes(self.tree.body))
        self.resolver = Resolver(fn, self.locals)
        self.program_name = fn.__name__
        self.imports = imported(self.own_nodes, self.params, fn.__globals__)
        # A program keeps what it captured among its own values, so that a copy of the run gets a copy of it.
        self.captures_outside = self.resolver.captured()
        self.locals.update(self.captures_outside)  # one set, shared with the resolver
        self.resolver.local_programs |= {n for n, kind in self.captures_outside.items() if kind == "program"}
        self.resolver.local_programs |= self._local_programs()

    def span(self, node: ast.AST) -> Span:
        """Where ``node`` stands."""
        return Span.of(node, self.file)

    def _local_programs(self) -> set[str]:
        """Local names that can only mean a nested program."""
        kinds = (ast.Name, ast.Import, ast.ImportFrom, *Function)
        binding = [n for n in self.own_nodes if isinstance(n, kinds)]
        defined = {n.name for n in binding if isinstance(n, ast.FunctionDef) and self.is_program_def(n)}
        if not defined:
            return set()
        rest = [n for n in binding if not isinstance(n, ast.FunctionDef) or n.name not in defined]
        return defined - bound_names(rest) - set(self.params)

    def is_program_def(self, node: ast.FunctionDef) -> bool:
        """Whether a nested definition has ``@program`` above it."""
        decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
        return any(is_decorator(self.resolver.resolve(d)) or is_decorator(self.imported(d)) for d in decorators)

    def imported(self, node: ast.expr) -> object:
        """What an expression ``name`` or ``module.name`` stands for, imported by the program itself; or ``MISSING``."""
        first, *rest = dotted(node) or ("",)
        return functools.reduce(member, rest, self.imports.get(first, MISSING))

    @contextmanager
    def shadowed(self, names: Iterable[str]) -> Iterator[None]:
        """Look at an inner scope, where ``names`` mean something of its own."""
        hidden = set(names) - self.locals
        programs = self.resolver.local_programs & set(names)
        self.locals |= hidden
        self.resolver.local_programs -= programs
        try:
            yield
        finally:
            self.locals -= hidden
            self.resolver.local_programs |= programs

    def cuts(self, node: ast.AST) -> bool:
        """Whether evaluating ``node`` may cut the run."""
        return self.first_effect(node, True) is not None

    def first_effect(self, node: ast.AST, calls_of_locals: bool = False) -> ast.Call | None:
        """The first call in ``node`` that is an effect.

        Args:
            node: a statement or expression.
            calls_of_locals: count calls of local variables too: what they call is only known at run time, so they
                are cut where that is possible and stay native where it is not, as in generator expressions.
        """
        if isinstance(node, (ast.Name, ast.Constant)):
            return None
        if isinstance(node, ast.Call):
            kind = self.call_kind(node)
            if kind in ("effect", "program") or (calls_of_locals and kind == "unknown"):
                return node
        if isinstance(node, Comprehension):
            return self._first_in_comprehension(node, calls_of_locals)
        if isinstance(node, Scope):
            return self._first_in_scope(node)
        return self._first_of(children(node), calls_of_locals)

    def _first_of(self, nodes: Iterable[ast.AST], calls_of_locals: bool) -> ast.Call | None:
        for node in nodes:
            found = self.first_effect(node, calls_of_locals)
            if found is not None:
                return found
        return None

    def _first_in_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, calls_of_locals: bool
    ) -> ast.Call | None:
        found = self.first_effect(node.generators[0].iter, calls_of_locals)
        if found is not None:
            return found
        with self.shadowed(bound_names(g.target for g in node.generators)):
            inner = calls_of_locals and not isinstance(node, ast.GeneratorExp)
            return self._first_of(inside(node), inner)

    def _first_in_scope(self, node: ast.AST) -> ast.Call | None:
        """Effects inside a nested function belong to that function: fine if it is a program, else refused."""
        found = self._first_of(evaluated_outside(node), False)
        if found is not None or (isinstance(node, ast.FunctionDef) and self.is_program_def(node)):
            return found
        if isinstance(node, ast.ClassDef):
            self._refuse_in_class(node)
            return None
        body = [node.body] if isinstance(node, ast.Lambda) else node.body  # type: ignore[attr-defined]
        with self.shadowed(bound_names(body) | set(parameters(node.args))):  # type: ignore[attr-defined]
            found = self._first_of(body, False)
        if found is None:
            return None
        effect = ast.unparse(found.func)
        if isinstance(node, ast.Lambda):
            reason, remedy = (
                f"{effect}() can't stand in a lambda: only a program can stop at an effect",
                "Write a function with def and put @program above.",
            )
        elif isinstance(node, ast.FunctionDef):
            reason = f"{effect}() stands in the function {node.name!r}, which is no program: it can't stop there"
            remedy = f"Put @program above {node.name!r}."
        else:
            reason = f"{effect}() can't stand in a coroutine: only a program can stop at an effect"
            remedy = "Write a function with plain def and put @program above: model calls are batched without await."
        raise CompileError(reason, remedy, self.span(found))

    def _refuse_in_class(self, node: ast.ClassDef) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and self.call_kind(inner) in ("effect", "program"):
                raise CompileError(
                    f"{ast.unparse(inner.func)}() can't stand in a class: the body runs in one go, and methods "
                    "can't be programs",
                    "Put it before the class, or into a function outside of it with @program above.",
                    self.span(inner),
                )

    def call_kind(self, node: ast.Call) -> str:
        """What a call means: ``effect``, ``program``, ``python``, or ``unknown`` until it runs."""
        return "effect" if self.resolver.effect(node.func) is not None else self.resolver.callee(node.func)

    def captured(self, statement: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
        """The nested functions in ``statement`` that may live on after it, with the variables that they capture."""
        nodes = list(own_nodes([statement]))
        safe = {id(k.value) for n in nodes if isinstance(n, ast.Call) and _consumes(n) for k in n.keywords}
        for node in nodes:
            if isinstance(node, Scope) and id(node) not in safe:
                for name in sorted(captured_names(node) & self.locals):
                    yield node, name


def inside(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Iterator[ast.AST]:
    """The parts of a comprehension that belong to its own scope: all but the first iterable."""
    yield from (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    for i, generator in enumerate(node.generators):
        yield generator.target
        yield from generator.ifs
        if i:
            yield generator.iter


def _consumes(call: ast.Call) -> bool:
    """Whether ``call`` is known to be done with its keyword arguments when it returns."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr == "sort"
    return isinstance(call.func, ast.Name) and call.func.id in ("sorted", "min", "max")
