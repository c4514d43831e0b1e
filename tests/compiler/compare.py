"""Whether two programs' IR is the same, but for the identity of its objects."""

from __future__ import annotations

import ast
from dataclasses import fields
from typing import Any

from ppl.compiler import Site, Span, ir
from ppl.compiler.portable import unparse


def difference(first: Any, second: Any) -> str | None:
    """Where two pieces of IR differ first, or ``None``. Values have to correspond one to one."""
    return _Compare().difference(first, second, "")


class _Compare:
    def __init__(self) -> None:
        self.pairs: dict[Any, Any] = {}

    def difference(self, a: Any, b: Any, where: str) -> str | None:
        if type(a) is not type(b):
            return f"{where}: {a!r} and {b!r}"
        if isinstance(a, (ir.Value, Site)):
            if self.pairs.setdefault(a, b) is not b or self.pairs.setdefault(b, a) is not a:
                return f"{where}: {a!r} and {b!r} are not the same throughout"
            if isinstance(a, ir.Value):
                return self.plain((a.name, a.maybe_unbound), (b.name, b.maybe_unbound), where)
            slots = ("kind", "name", "depth", "program", "span", "dynamic")
            return self.each([(getattr(a, s), getattr(b, s), f"{where}.{s}") for s in slots])
        if isinstance(a, Span):
            return self.plain(_place(a), _place(b), where)
        if isinstance(a, ast.AST):
            return self.plain(unparse(a), unparse(b), where)
        if isinstance(a, tuple):
            if len(a) != len(b):
                return f"{where}: {len(a)} and {len(b)} of them"
            return self.each([(x, y, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True))])
        if isinstance(a, (ir.Program, ir.Region, ir.Node)):
            return self.each([(getattr(a, f.name), getattr(b, f.name), f"{where}.{f.name}") for f in fields(a)])
        return self.plain(a, b, where)

    def each(self, parts: list[tuple[Any, Any, str]]) -> str | None:
        return next(filter(None, (self.difference(*part) for part in parts)), None)

    def plain(self, a: Any, b: Any, where: str) -> str | None:
        return None if a == b else f"{where}: {a!r} and {b!r}"


def _place(span: Span) -> tuple[object, ...]:
    """Of the file only its own name is printed."""
    return span.file.rpartition("/")[2], span.line, span.column, span.end_line, span.end_column
