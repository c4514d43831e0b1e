"""Calls that turn out to be effects: by way of a plain helper, under another name, or by Python's own functions.

The run can stop only where the compiler sees an effect. What these would do is known when the program is compiled, so
they are refused there, and not when they run.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections import Counter

from .builder import Builder
from .helpers import effect_behind, member, stopping
from .scan import Comprehension, Function, bound_names
from .source import MISSING, is_program

_CALLING = {
    **{getattr(builtins, word): 0 for word in ("map", "filter")},
    **{getattr(builtins, word): "key" for word in ("sorted", "min", "max")},
    functools.reduce: 0,
}
"""Functions that call what they are given, and as which argument they are given it."""

_BINDING = (*Function, ast.ClassDef, ast.ExceptHandler, ast.Import, ast.ImportFrom, ast.pattern)
"""What binds names that are no ``ast.Name``."""


class Indirect:
    """Looks at the calls of one program.

    Attributes:
        own: the names that are the program's own.
        aliases: those of them that are assigned only once, and what.
    """

    def __init__(self, program: Builder) -> None:
        """``program``: its tree must be as it was read."""
        self.program = program
        nodes = program.own_nodes
        inner = (n for n in nodes if isinstance(n, Comprehension))
        self.own = program.bound | bound_names(g.target for n in inner for g in n.generators)
        stored = Counter(n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load))
        others = set(program.params) | bound_names(n for n in nodes if isinstance(n, _BINDING))
        self.aliases: dict[str, ast.expr] = {}
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if stored[name] == 1 and name not in others:
                    self.aliases[name] = node.value

    def refuse(self, node: ast.Call) -> None:
        """Refuse a call that would reach an effect where the run can't stop.

        Raises:
            CompileError: it would.
        """
        if self.program.resolver.effect(node.func) is not None:
            return
        called = self.found(node.func)
        if called is MISSING or called is self.program.resolver.fn:
            return
        name = ast.unparse(node.func)
        effect = effect_behind(called)
        if effect is not None:
            self._refuse_effect(node, name, effect)
        self._refuse_given(node, name, called)
        stops = stopping(called)
        if stops is not None:
            through = "".join(f"{called.called}, which calls " for called in stops.path[1:])
            self.program.refuse(
                node,
                f"{name}() is no program, but it calls {through}{stops.effect} in "
                f"{self._near(stops.span.file, stops.span.line)}, where only a program can stop",
                stops.remedy(self.program.file),
            )

    def _refuse_effect(self, node: ast.Call, name: str, effect: str) -> None:
        if self.program.imported(node.func) is not MISSING:
            inside = name.split(".")[0]
            self.program.refuse(
                node,
                f"{name}() is an effect, but {inside!r} is imported inside the program: what a variable holds is not "
                "known before it runs, and the compiler has to see each effect",
                "Import it at the top of the module.",
            )
        self.program.refuse(
            node,
            f"{name}() is {effect}() under another name, and the compiler has to see each effect",
            f"Call {effect}() by its own name.",
        )

    def found(self, node: ast.expr, depth: int = 0) -> object:
        """What an expression stands for before the program runs, or ``MISSING``."""
        if isinstance(node, ast.Name):
            if node.id in self.aliases and depth < 10:
                return self.found(self.aliases[node.id], depth + 1)
            if node.id in self.own:
                return self.program.imported(node)
            return self.program.resolver.lookup(node.id)
        if isinstance(node, ast.Attribute):
            return member(self.found(node.value, depth), node.attr)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            held = self.found(node.value, depth)
            if type(held) in (dict, list, tuple):
                try:
                    return held[node.slice.value]  # type: ignore[index]
                except (LookupError, TypeError):
                    return MISSING
        return MISSING

    def _refuse_given(self, node: ast.Call, name: str, called: object) -> None:
        """Refuse what is given to a function of Python's that would call it."""
        try:
            place = _CALLING.get(called)
        except TypeError:
            return  # it has no hash
        if place == 0:
            given = node.args[:1]
        else:
            given = [word.value for word in node.keywords if place is not None and word.arg == place]
        for argument in given:
            found = self.found(argument)
            stops = None if effect_behind(found) or is_program(found) else stopping(found)
            if effect_behind(found) or is_program(found) or stops is not None:
                shown, before = ast.unparse(argument), "" if place == 0 else "before, "
                more = "" if stops is None else f" {stops.remedy(self.program.file)}"
                self.program.refuse(
                    argument,
                    f"{name}() would call {shown}() where the run can't stop: only a program itself can stop at an "
                    "effect",
                    f"Call it {before}in a comprehension: [{shown}(x) for x in ...].{more}",
                )

    def _near(self, file: str, line: int) -> str:
        """A place, as short as can be."""
        return f"line {line}" if file == self.program.file else f"line {line} of {file}"
