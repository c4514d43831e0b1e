"""The dependence graph as a drawing for graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from . import ir
from .graph import graph
from .portable import unparse
from .printer import quoted, value_names

COLOURS = {
    "sample": "#cfe3ff",
    "observe": "#d9f2d0",
    "factor": "#d9f2d0",
    "condition": "#d9f2d0",
    "twist": "#fdebc8",
    "barrier": "#fdebc8",
    "call": "#ecdcf7",
    "program": "#ecdcf7",
}
"""Of effects, by kind: what is random, evidence, hints, and what runs elsewhere."""

LONGEST = 64
"""Characters of a label's line."""


def to_dot(program: ir.Program) -> str:
    """The nodes of ``program`` and what must come before what, in graphviz's language.

    Boxes are Python, coloured boxes effects; frames are regions. Solid edges carry values, dashed ones only say what
    has to come first.

    Args:
        program: the IR.
    """
    return "\n".join(_Dot(program).lines()) + "\n"


class Labels:
    """What the nodes of one program are called in drawings."""

    def __init__(self, program: ir.Program) -> None:
        self.names = value_names(program)

    def __call__(self, node: ir.Node) -> str:
        """One line, or a line for each effect that is gathered."""
        if isinstance(node, ir.Py):
            first, *more = unparse(node.code).split("\n")
            return short(first) + (" …" if more else "")
        if isinstance(node, ir.Gather):
            return "\n".join(map(self, node.effects))
        if isinstance(node, ir.Effect):
            return short(self._effect(node))
        if isinstance(node, ir.If):
            return f"if {self.names[node.test]}"
        if isinstance(node, ir.For):
            return f"for {self.names[node.body.params[0]]} in {self.names[node.iterable]}"
        if isinstance(node, ir.While):
            return "while"
        assert isinstance(node, ir.Terminator)
        return short(f"{node.word} {', '.join(self.names[value] for value in node.values)}")

    def _effect(self, node: ir.Effect) -> str:
        operands = ", ".join(self.names[value] for _, value in node.args)
        each = "each " if isinstance(node, ir.Each) else ""
        counters = "[·]" * node.site.depth
        return f"{self.names[node.result]} = {each}{node.site.kind} {quoted(node.site.name)}{counters} ({operands})"


def short(text: str) -> str:
    """``text``, cut where it gets too long."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def frames(node: ir.Node) -> list[tuple[str, ir.Region]]:
    """The regions of a node and what they are called."""
    words = {ir.If: ("then", "else"), ir.While: ("test", "body", "else"), ir.For: ("body", "else")}
    return list(zip(words.get(type(node), ()), node.regions, strict=True))


def colour(node: ir.Node) -> str:
    """What a node's box is filled with."""
    if isinstance(node, ir.Gather):
        return COLOURS[node.effects[0].site.kind]
    if isinstance(node, ir.Effect):
        return COLOURS[node.site.kind]
    return "#eeeeee" if isinstance(node, ir.Terminator) else "#ffffff"


class _Dot:
    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.labels = Labels(program)
        self.ids = {node: f"n{i}" for i, node in enumerate(ir.walk(program.body))}

    def lines(self) -> Iterator[str]:
        yield f"digraph {_string(self.program.name)} {{"
        yield '  graph [fontname="monospace", fontsize=11, style=rounded, color="#999999", labeljust=l]'
        yield '  node [shape=box, style="filled,rounded", fontname="monospace", fontsize=11, height=0.3]'
        yield '  edge [fontname="monospace", fontsize=9, color="#555555", fontcolor="#555555", arrowsize=0.7]'
        yield from self.region(self.program.body, "  ")
        for first, second, data in graph(self.program).edges(data=True):
            values = ", ".join(self.labels.names[value] for value in dict.fromkeys(data["values"]))
            style = f"label={_string(short(values))}" if values else 'style=dashed, color="#bbbbbb"'
            yield f"  {self.ids[first]} -> {self.ids[second]} [{style}]"
        yield "}"

    def region(self, region: ir.Region, indent: str) -> Iterator[str]:
        for node in (*region.nodes, region.end):
            name = self.ids[node]
            shown = f"{indent}{name} [label={_string(self.labels(node))}, fillcolor={_string(colour(node))}]"
            if not node.regions:
                yield shown
                continue
            yield f'{indent}subgraph "cluster {name}" {{'
            yield f"  {shown}"
            for word, inner in frames(node):
                yield f'{indent}  subgraph "cluster {name} {word}" {{'
                yield f"{indent}    label={_string(word)}"
                yield from self.region(inner, indent + "    ")
                yield f"{indent}  }}"
            yield f"{indent}}}"


def _string(text: str) -> str:
    """A string of graphviz's language; its lines are set flush left."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\l") + ('\\l"' if "\n" in text else '"')
