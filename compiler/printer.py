"""IR → text that people read, and that ``parser.py`` reads back. The grammar is ``ir.lark``.

A value is ``%x``, or ``%x.1`` if it is another value of the variable ``x``; where it is defined, ``%x?`` says that the
variable may be unbound there. Python stands after ``|``. Every line ends with its place in the user's source, columns
counted as in ``ast``, and the passes that made or moved it: ``# coins.py:4:8-23 by hoist``. Of a file only its own
name is printed, so that the text is the same on every machine.

The law: ``to_text(parse(to_text(program))) == to_text(program)``, and the parsed program runs as ``program`` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import PurePath

from . import ir
from .errors import Span
from .portable import unparse

PLAIN_FILE = re.compile(r'[^\s"#:,<>]+|<[^"#:,<>\n]+>')
"""Names of files that stand in a place as they are; others are quoted."""


def to_text(program: ir.Program) -> str:
    """The readable form of ``program``, ending in a newline.

    Args:
        program: the IR, valid or not: what can't be named properly is shown as it is.
    """
    printer = _Printer(program)
    return "\n".join(printer.lines) + "\n"


def value_names(program: ir.Program) -> dict[ir.Value, str]:
    """What each value is called in the text, ``%x`` or ``%x.1``: its variable, and which of its values it is."""
    return _Printer(program).names


class _Printer:
    """Writes ``lines``; ``depth`` is how deep the next one stands."""

    def __init__(self, program: ir.Program) -> None:
        self.names: dict[ir.Value, str] = {ir.UNDEFINED: "undefined"}
        self.versions: dict[str, int] = {}
        self.lines: list[str] = []
        self.program = program.name
        self.line(0, f"program {program.name}({unparse(program.signature)}){_comment(program.span)}")
        self.line(1, f"free [{', '.join(program.free)}]")
        self.sites(program)
        self.region(1, "entry", program.body)

    def line(self, depth: int, text: str) -> None:
        self.lines.append("  " * depth + text)

    # --- values ---

    def use(self, value: ir.Value) -> str:
        """The unique name of a value; values are numbered in the order in which they turn up."""
        if value not in self.names:
            version = self.versions.get(value.name, 0)
            self.versions[value.name] = version + 1
            self.names[value] = f"%{value.name}.{version}" if version else f"%{value.name}"
        return self.names[value]

    def definition(self, value: ir.Value) -> str:
        return self.use(value) + ("?" if value.maybe_unbound and value is not ir.UNDEFINED else "")

    def uses(self, values: Iterable[ir.Value]) -> str:
        return "[" + ", ".join(map(self.use, values)) + "]"

    def definitions(self, values: Iterable[ir.Value]) -> str:
        return "[" + ", ".join(map(self.definition, values)) + "]"

    # --- lines ---

    def sites(self, program: ir.Program) -> None:
        """The order of the sites, where passes have moved effects."""
        standing = [effect.site for effect in ir.effects(program.body)]
        order = [standing.index(site) for site in program.sites if site in standing]
        if order != list(range(len(standing))):
            self.line(1, f"sites [{', '.join(map(str, order))}]")

    def region(self, depth: int, word: str, region: ir.Region) -> None:
        self.line(depth, f"{word} ({', '.join(map(self.definition, region.params))})")
        for node in region.nodes:
            self.node(depth + 1, node)
        self.line(depth + 1, f"{region.end.word} {self.uses(region.end.values)}{_where(region.end)}")

    def node(self, depth: int, node: ir.Node) -> None:
        if isinstance(node, ir.Py):
            self.py(depth, node)
        elif isinstance(node, ir.Effect):
            self.effect(depth, node)
        elif isinstance(node, ir.Gather):
            self.line(depth, f"gather{_where(node)}")
            for effect in node.effects:
                self.effect(depth + 1, effect)
        elif isinstance(node, ir.If):
            test = self.use(node.test)
            at = self.reserve()
            self.region(depth + 1, "then", node.then)
            self.region(depth + 1, "else", node.orelse)
            self.fill(at, depth, f"{self.definitions(node.results)} = if {test}{_where(node)}")
        elif isinstance(node, ir.Loop):
            self.loop(depth, node)

    def reserve(self) -> int:
        """Room for a line that is known when those below it are: a node's results come into being after its regions."""
        self.lines.append("")
        return len(self.lines) - 1

    def fill(self, at: int, depth: int, text: str) -> None:
        self.lines[at] = "  " * depth + text

    def py(self, depth: int, node: ir.Py) -> None:
        reads = ", ".join(f"{name}={self.use(v)}" for name, v in node.reads)
        writes = ", ".join(f"{name}={self.definition(v)}" for name, v in node.writes)
        tied = f" tied [{', '.join(sorted(node.tied))}]" if node.tied else ""
        head = f"py [{reads}] -> [{writes}]{tied}"
        code = unparse(node.code).split("\n")
        if len(code) == 1:
            self.line(depth, f"{head} | {code[0]}{_where(node)}")
        else:
            self.line(depth, head + _where(node))
            for line in code:
                self.line(depth + 1, f"| {line}" if line else "|")

    def effect(self, depth: int, node: ir.Effect) -> None:
        site = node.site
        fields = ", ".join(f"{name}={self.use(v)}" for name, v in node.args)
        index = self.uses(node.index)
        each = "each " if isinstance(node, ir.Each) else ""
        dynamic = " dynamic" if site.dynamic else ""
        owner = f" of {site.program}" if site.program != self.program else ""
        head = f"[{self.definition(node.result)}] = {each}{site.kind} {quoted(site.name)}{dynamic}{owner}"
        self.line(depth, f"{head} ({fields}) at {index}{_where(node, site.span)}")

    def loop(self, depth: int, node: ir.Loop) -> None:
        initial = self.uses(node.initial)
        head = f"for {self.use(node.iterable)} {initial}" if isinstance(node, ir.For) else f"while {initial}"
        if node.counter is not None:
            head += f" counting {self.definition(node.counter)}"
        at = self.reserve()
        if isinstance(node, ir.While):
            self.region(depth + 1, "test", node.test)
        self.region(depth + 1, "body", node.body)
        self.region(depth + 1, "else", node.orelse)
        self.fill(at, depth, f"{self.definitions(node.results)} = {head}{_where(node)}")


def quoted(text: str) -> str:
    """``text`` as a string in the text."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _where(node: ir.Node, site: Span | None = None) -> str:
    """The comment at the end of a node's line; ``site`` is where the user wrote the effect, if it is one."""
    return _comment(node.span, site if site != node.span else None, node.provenance)


def _comment(span: Span, site: Span | None = None, passes: tuple[str, ...] = ()) -> str:
    text = f"  # {_place(span)}"
    if site is not None:
        text += f" site {_place(site)}"
    return text + (f" by {', '.join(passes)}" if passes else "")


def _place(span: Span) -> str:
    """``coins.py:4`` for a whole line, ``coins.py:4:8-23`` for a part of it, ``coins.py:4:8-6:12`` for some lines."""
    name = PurePath(span.file).name
    file = name if PLAIN_FILE.fullmatch(name) else quoted(name).replace("#", "\\u0023")
    if (span.column, span.end_column) == (0, 0) and span.end_line in (0, span.line):
        return f"{file}:{span.line}"
    end = f"{span.end_column}" if span.end_line == span.line else f"{span.end_line}:{span.end_column}"
    return f"{file}:{span.line}:{span.column}-{end}"
