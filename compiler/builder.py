"""What all parts of the lowering share: the region being built, the variables' values, native statements."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from . import exits, ir
from .classify import Classifier
from .errors import CompileError, Span
from .requests import Site
from .scan import every, names

T = TypeVar("T", bound=ast.AST)

NATIVE = (ast.Try, ast.With, ast.Match, *([ast.TryStar] if hasattr(ast, "TryStar") else []))
"""Compound statements that stay Python."""


@dataclass
class State:
    """What is known at a point of the program: each variable's value, and which sites may have been passed."""

    env: dict[str, ir.Value]
    reached: set[tuple[str, int]]

    def copy(self) -> State:
        """An independent copy, for a branch."""
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
    """The loop around a statement.

    Attributes:
        carried: the variables that it may change.
        loose: those of them that may be unbound in some iteration.
        counter: the number of finished iterations, if addresses inside have it.
    """

    carried: list[str]
    loose: set[str]
    counter: ir.Value | None


class Builder(Classifier):
    """Builds one function's IR. Its subclasses lower effects, expressions and statements."""

    def __init__(self, fn: types.FunctionType) -> None:
        super().__init__(fn)
        self.sites: list[Site] = []
        self.loops: list[LoopScope] = []
        self.temporaries = 0
        self.hints: dict[str, str | None] = {}
        self.captures: list[tuple[str, int, Span, bool]] = []
        self.definitions: dict[str, int] = {}
        self.nested: set[str] = set()
        self.clock = 0
        self.open = OpenRegion((), None)

    # --- what the subclasses provide to each other ---

    def statement(self, node: ast.stmt) -> None:
        """Lower one statement."""
        raise NotImplementedError

    def expression(self, node: ast.expr, hint: str | None = None) -> ast.expr:
        """``node`` with its effects done: an expression without any, over the variables as they now are.

        Args:
            node: the expression.
            hint: what an effect in it is called if it has no name of its own.
        """
        raise NotImplementedError

    # --- services ---

    def refuse(self, node: ast.AST, reason: str, remedy: str) -> NoReturn:
        """Say that ``node`` can't be compiled."""
        raise CompileError(reason, remedy, self.span(node))

    @property
    def state(self) -> State:
        """The state at the current point, which can be reached."""
        assert self.open.state is not None
        return self.open.state

    def current(self, names: Sequence[str]) -> tuple[ir.Value, ...]:
        """The present values of variables."""
        return tuple(self.state.env.get(n, ir.UNDEFINED) for n in names)

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

    def py(self, statement: ast.stmt) -> None:
        """Append a native statement, binding its names to values."""
        found = names(statement)
        if found.has_gaps:
            ast.fix_missing_locations(statement)
        env, written, deleted = self.state.env, found.binds, found.deletes
        if isinstance(statement, (*NATIVE, ast.If, ast.For, ast.While)):
            optional = {n for n in written if not exits.is_internal(n)}
        else:
            optional = found.skips
        in_place = {statement.target.id} if _augments_name(statement) else set()  # type: ignore[attr-defined]
        tied = frozenset(n for n in optional | in_place if env.get(n, ir.UNDEFINED) is not ir.UNDEFINED)
        read = {n for n in found.reads & self.locals if n not in written or not exits.is_internal(n)}
        reads = tuple((n, env.get(n, ir.UNDEFINED)) for n in sorted(read | tied))
        if found.has_scope:
            self.note_captures(statement)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            self.nested.add(statement.name)
        gone = deleted if isinstance(statement, ast.Delete) else set()
        writes = []
        for name in sorted(written - gone):
            old = env.get(name, ir.UNDEFINED)
            unbound = name in deleted or (name in optional and old.maybe_unbound)
            writes.append((name, self.define(name, unbound)))
        self.emit(ir.Py(span=self.span(statement), code=statement, reads=reads, writes=tuple(writes), tied=tied))
        env.update((name, ir.UNDEFINED) for name in gone)

    def temporary(self, expression: ast.expr, hint: str | None = None) -> ir.Value:
        """The value of an expression without effects, as a new temporary."""
        name = self.fresh(hint)
        target = ast.copy_location(ast.Name(name, ast.Store()), expression)
        self.py(ast.copy_location(ast.Assign([target], expression), expression))
        return self.state.env[name]

    def held(self, node: ast.expr) -> ast.Name:
        """``node``, computed now: a temporary's name."""
        return ast.copy_location(ast.Name(self.temporary(node).name, ast.Load()), node)

    def fresh(self, hint: str | None = None) -> str:
        """A new variable's name, one that no user can write."""
        self.temporaries += 1
        name = f"·{self.temporaries}"
        self.locals.add(name)
        self.hints[name] = hint
        return name

    def value(self, node: ast.expr, hint: str | None = None) -> ir.Value:
        """The value of an expression, its effects done."""
        done = self.expression(node, hint)
        if isinstance(done, ast.Name) and done.id in self.locals:
            found = self.state.env.get(done.id, ir.UNDEFINED)
            if not found.maybe_unbound:
                return found
        return self.temporary(done)

    # --- closures ---

    def note_captures(self, statement: ast.stmt) -> None:
        """Remember which variables the nested functions in ``statement`` capture, and when."""
        for node, name in self.captured(statement):
            looped = any(name in scope.carried for scope in self.loops)
            itself = getattr(node, "name", None) == name
            self.captures.append((name, -1 if looped else self.clock + 1, self.span(node), itself))

    def check_captures(self) -> None:
        """Refuse captured variables that are rebound: what follows an effect runs with variables of its own.

        Raises:
            CompileError: a nested function would see the wrong value.
        """
        for name, when, span, itself in self.captures:
            if self.definitions.get(name, 0) > when:
                known = name
                if name.startswith("·"):  # a comprehension's own
                    name = self.hints[name] or name
                remedy = (
                    f"Keep the value that it has here in a default argument, {name}={name}, or pass it in each call."
                )
                if known in self.nested:
                    remedy = f"Move {name!r} above this function, or move both out of the program."
                if itself:
                    remedy = f"Move {name!r} out of the loop, or out of the program."
                reason = (
                    f"this function captures the variable {name!r}, which is assigned after it: a run that was copied "
                    "has new variables, and the function would go on looking at the old one"
                )
                raise CompileError(reason, remedy, span)


def _augments_name(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name)


def at(node: T, where: ast.AST) -> T:
    """``node``, standing where ``where`` does, as far as it does not stand anywhere yet."""
    for inner in every(node):
        if "lineno" in inner._attributes and not hasattr(inner, "lineno"):
            ast.copy_location(inner, where)
    return node
