"""IR → text that people read, and that can be parsed again.

The syntax is one construct per line, nested by indentation of two spaces; every node ends with ``  # file:line``::

    program   "program" NAME "(" signature ")"  free  region
    free      "free" "[" NAME, … "]"
    region    WORD "(" definition, … ")"  node …  end         WORD is entry, then, else, test or body
    node      "py" "[" NAME=use, … "]" "->" "[" NAME=definition, … "]" ("tied" "[" NAME, … "]")? code
              effect
              "gather"  effect …                              the effects indented
              "[" definition, … "]" "=" "if" use  then  else
              "[" definition, … "]" "=" "while" "[" use, … "]" counter?  test  body  else
              "[" definition, … "]" "=" "for" use "[" use, … "]" counter?  body  else
    effect    "[" definition "]" "=" "each"? KIND STRING "dynamic"? "(" FIELD=use, … ")" "at" "[" use, … "]"
    counter   "counting" definition
    end       ("yield" | "break" | "continue" | "return" | "unreachable") "[" use, … "]"
    code      "| " STATEMENT, on the same line; or, if it takes several lines, each on its own line below

A use is ``%x`` (``%x.1`` is another value of the variable ``x``) or ``undefined``; a definition is ``%x``, or ``%x?``
if the variable may be unbound there.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from . import ir
from .errors import Span


def to_text(program: ir.Program) -> str:
    """The readable form of ``program``, ending in a newline.

    Args:
        program: the IR, valid or not: what can't be named properly is shown as it is.
    """
    printer = _Printer()
    lines = [f"program {program.name}({ast.unparse(program.signature)}){_where(program.span)}"]
    lines.append(f"  free [{', '.join(program.free)}]")
    lines += ["  " + line for line in printer.region("entry", program.body)]
    return "\n".join(lines) + "\n"


def value_names(program: ir.Program) -> dict[ir.Value, str]:
    """What each value is called in the text, ``%x`` or ``%x.1``: its variable, and which of its values it is."""
    printer = _Printer()
    list(printer.region("entry", program.body))
    return printer.names


class _Printer:
    def __init__(self) -> None:
        self.names: dict[ir.Value, str] = {ir.UNDEFINED: "undefined"}
        self.versions: dict[str, int] = {}

    def use(self, value: ir.Value) -> str:
        """The unique name of a value; values are numbered in the order in which they turn up."""
        if value not in self.names:
            version = self.versions.get(value.name, 0)
            self.versions[value.name] = version + 1
            self.names[value] = f"%{value.name}.{version}" if version else f"%{value.name}"
        return self.names[value]

    def definition(self, value: ir.Value) -> str:
        return self.use(value) + ("?" if value.maybe_unbound else "")

    def uses(self, values: Iterable[ir.Value]) -> str:
        return "[" + ", ".join(map(self.use, values)) + "]"

    def definitions(self, values: Iterable[ir.Value]) -> str:
        return "[" + ", ".join(map(self.definition, values)) + "]"

    def region(self, word: str, region: ir.Region) -> Iterator[str]:
        yield f"{word} ({', '.join(map(self.definition, region.params))})"
        for node in region.nodes:
            for line in self.node(node):
                yield "  " + line
        yield f"  {region.end.word} {self.uses(region.end.values)}{_where(region.end.span)}"

    def node(self, node: ir.Node) -> Iterator[str]:
        where = _where(node.span)
        if isinstance(node, ir.Py):
            yield from self.py(node, where)
        elif isinstance(node, ir.Effect):
            yield self.effect(node) + where
        elif isinstance(node, ir.Gather):
            yield f"gather{where}"
            for effect in node.effects:
                yield f"  {self.effect(effect)}{_where(effect.span)}"
        elif isinstance(node, ir.If):
            test = self.use(node.test)
            inner = [*self.nested("then", node.then), *self.nested("else", node.orelse)]
            yield f"{self.definitions(node.results)} = if {test}{where}"
            yield from inner
        elif isinstance(node, ir.Loop):
            yield from self.loop(node, where)

    def py(self, node: ir.Py, where: str) -> Iterator[str]:
        reads = ", ".join(f"{name}={self.use(v)}" for name, v in node.reads)
        writes = ", ".join(f"{name}={self.definition(v)}" for name, v in node.writes)
        tied = f" tied [{', '.join(sorted(node.tied))}]" if node.tied else ""
        head = f"py [{reads}] -> [{writes}]{tied}"
        code = ast.unparse(node.code).split("\n")
        if len(code) == 1:
            yield f"{head} | {code[0]}{where}"
        else:
            yield head + where
            for line in code:
                yield f"  | {line}".rstrip()

    def effect(self, node: ir.Effect) -> str:
        fields = ", ".join(f"{name}={self.use(v)}" for name, v in node.args)
        index = self.uses(node.index)
        dynamic = " dynamic" if node.site.dynamic else ""
        name = json.dumps(node.site.name, ensure_ascii=False)
        each = "each " if isinstance(node, ir.Each) else ""
        return f"[{self.definition(node.result)}] = {each}{node.site.kind} {name}{dynamic} ({fields}) at {index}"

    def loop(self, node: ir.Loop, where: str) -> Iterator[str]:
        initial = self.uses(node.initial)
        head = f"for {self.use(node.iterable)} {initial}" if isinstance(node, ir.For) else f"while {initial}"
        if node.counter is not None:
            head += f" counting {self.definition(node.counter)}"
        inner = list(self.nested("test", node.test)) if isinstance(node, ir.While) else []
        inner += [*self.nested("body", node.body), *self.nested("else", node.orelse)]
        yield f"{self.definitions(node.results)} = {head}{where}"
        yield from inner

    def nested(self, word: str, region: ir.Region) -> Iterator[str]:
        for line in self.region(word, region):
            yield "  " + line


def _where(span: Span) -> str:
    """The comment at the end of a line. Only the file's own name, so that the text is the same on every machine."""
    return f"  # {PurePath(span.file).name}:{span.line}"
