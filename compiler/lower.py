"""Syntax tree → IR. The work is done, from the bottom up, in these modules:

``classify`` (what holds an effect), ``builder`` (regions, values, native statements), ``sites`` (effects),
``expressions``, ``assignments`` (simple statements), ``control`` (compound ones). What can't be compiled is refused
where it is met; ``indirect`` and ``class_state`` look at the whole before.
"""

from __future__ import annotations

import ast

from . import ir, syntax
from .builder import State, at
from .class_state import refuse_class_state
from .control import Control
from .errors import CompileError
from .indirect import Indirect
from .scan import Function

_FRAMES = {
    **dict.fromkeys(("locals", "vars", "dir"), (0, "Name the variables: {{'x': x, 'y': y}}.")),
    **dict.fromkeys(
        ("eval", "exec"), (1, "Give it the names that it may use: {word}(text, {{'x': x}}), or {{}} for none.")
    ),
}
"""Builtins that see all variables of their caller if they are given so many arguments, and what to write instead."""


class Lowerer(Control):
    """Lowers one function."""

    def lower(self) -> ir.Program:
        """The function's IR.

        Raises:
            CompileError: it uses Python that can't be compiled.
        """
        self._refuse_method()
        self._refuse_whole()
        refuse_class_state(self)
        values = tuple(ir.Value(p) for p in self.params)
        body = self.tree.body
        start = State(dict(zip(self.params, values, strict=True)), set())
        with self.region(values, start) as region:
            self._take_captured()
            self.statements(body)
            if region.state is not None:
                none = self.temporary(ast.copy_location(ast.Constant(None), body[-1]))
                self.leave(ir.Return(span=self.span(body[-1]), values=(none,)))
        self.check_captures()
        span = self.span(self.tree)
        free = self.resolver.free_names
        return ir.Program(self.tree.name, self.tree.args, region.close(span, ()), free, span, tuple(self.sites))

    def _take_captured(self) -> None:
        """Read the variables of enclosing functions once, on entry; those that are not bound yet stay unbound."""
        for name in self.captures_outside:
            take = syntax.assign(name, syntax.load(syntax.outer(name)))
            handler = ast.ExceptHandler(syntax.load("·NameError"), None, [ast.Pass()])
            known = self.captures_outside[name] == "data"
            self.py(at(take if known else ast.Try([take], [handler], [], []), self.tree))

    def _refuse_method(self) -> None:
        """Methods: ``self.step()`` says nothing about whether it calls a program, so it could not be compiled."""
        path = self.resolver.fn.__qualname__.split(".")
        if len(path) > 1 and path[-2] != "<locals>":
            raise CompileError(
                f"{self.program_name!r} is a method of {path[-2]}, and a method can't be a program: what "
                f"x.{path[-1]}() calls is not known before it runs",
                "Write a function outside the class; it can take the object as an argument.",
                self.span(self.tree),
            )

    def _refuse_whole(self) -> None:
        """What is refused wherever it stands."""
        indirect = Indirect(self)
        for node in self.own_nodes:
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                self.refuse(
                    node,
                    "a program can't be a generator: Python can't copy a generator, so the run could not be copied",
                    "Collect the values in a list and return it.",
                )
            if isinstance(node, ast.Call):
                self._refuse_frames(node)
                indirect.refuse(node)
            if isinstance(node, (*Function, ast.ClassDef, ast.Lambda)):
                self._refuse_nested_assignments(node)
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                self._refuse_outside(node)

    def _refuse_frames(self, node: ast.Call) -> None:
        """Refuse what looks at all variables at once: a block has only those that it needs."""
        for word, (count, remedy) in _FRAMES.items():
            if self.resolver.is_builtin(node.func, word) and len(node.args) + len(node.keywords) == count:
                self.refuse(
                    node,
                    f"{word}() can't see a program's variables: they are kept where they are needed, not together",
                    remedy.format(word=word),
                )

    def _refuse_nested_assignments(self, scope: ast.AST) -> None:
        for node in ast.walk(scope):
            if isinstance(node, ast.Nonlocal) and set(node.names) & self.locals:
                name = min(set(node.names) & self.locals)
                self.refuse(
                    node,
                    f"a nested function can't assign the program's variable {name!r}: a copy of the run has its own",
                    "Return the new value and assign it where the function is called.",
                )
            elif isinstance(node, ast.Global):
                self._refuse_outside(node)

    def _refuse_outside(self, node: ast.Global | ast.Nonlocal) -> None:
        word = "global" if isinstance(node, ast.Global) else "nonlocal"
        self.refuse(
            node,
            f"a program can't assign {word} variables: it is run many times over, in any order",
            "Return the value instead.",
        )
