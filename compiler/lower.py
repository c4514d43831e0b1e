"""Syntax tree → IR. The work is done, from the bottom up, in these modules:

``classify`` (what holds an effect), ``builder`` (regions, values, native statements), ``sites`` (effects),
``expressions``, ``assignments`` (simple statements), ``control`` (compound ones).
"""

from __future__ import annotations

import ast
from collections.abc import Set

from . import ir, syntax
from .builder import State, at
from .control import Control
from .errors import CompileError
from .helpers import stopping
from .names import dotted
from .scan import Comprehension, Function, bound_names


class Lowerer(Control):
    """Lowers one function."""

    def lower(self) -> ir.Program:
        """The function's IR.

        Raises:
            CompileError: it uses Python that can't be compiled.
        """
        self._refuse_method()
        self._refuse_whole()
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
        inner = (n for n in self.own_nodes if isinstance(n, Comprehension))
        own = self.bound | bound_names(g.target for n in inner for g in n.generators)
        for node in self.own_nodes:
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                self.refuse(
                    node,
                    "a program can't be a generator: Python can't copy a generator, so the run could not be copied",
                    "Collect the values in a list and return it.",
                )
            if isinstance(node, ast.Call):
                self._refuse_frames(node)
                self._refuse_helper(node, own)
            if isinstance(node, (*Function, ast.ClassDef, ast.Lambda)):
                self._refuse_nested_assignments(node)
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                self._refuse_outside(node)

    def _refuse_frames(self, node: ast.Call) -> None:
        """Refuse what looks at all variables at once: a block has only those that it needs."""
        for word in ("locals", "vars", "dir"):
            if self.resolver.is_builtin(node.func, word) and not node.args:
                self.refuse(
                    node,
                    f"{word}() can't see a program's variables: they are kept where they are needed, not together",
                    "Name the variables: {'x': x, 'y': y}.",
                )

    def _refuse_helper(self, node: ast.Call, own: Set[str]) -> None:
        """Refuse the call of a plain function that does what only a program can; ``own``: names of this function."""
        path = dotted(node.func)
        if path is None or path[0] in own:
            return
        called = self.resolver.follow(path)
        found = stopping(called) if called is not self.resolver.fn else None
        if found is None:
            return
        through = "".join(f"{function.__name__}(), which calls " for function in found.path[1:])
        codes = [function.__code__ for function in found.path]
        places = [f"def {code.co_name} ({self._near(code.co_filename, code.co_firstlineno)})" for code in codes]
        self.refuse(
            node,
            f"{'.'.join(path)}() is no program, but it calls {through}{found.effect} in "
            f"{self._near(found.span.file, found.span.line)}, where only a program can stop",
            f"Put @program above {' and above '.join(places)}.",
        )

    def _near(self, file: str, line: int) -> str:
        """A place, as short as can be."""
        return f"line {line}" if file == self.file else f"line {line} of {file}"

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
