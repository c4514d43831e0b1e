"""The dependence graph as a picture, with no help from other programs.

IR is a list of nodes with lists inside, so it is drawn as one: from top to bottom, branches side by side, the parts of
a loop below each other. Arrows are what the order has to respect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from . import ir
from .dot import Labels, colour, frames
from .graph import graph

CHARACTER, LINE = 7.25, 17.0
GAP, PAD, TITLE = 16.0, 12.0, 24.0
MARGIN = 24.0


@dataclass
class Box:
    """A rectangle with text, and others inside.

    Attributes:
        text: its lines.
        fill: its colour; frames have none.
        node: the node that it stands for, if it is not only a frame.
        line: the line in the user's source.
        inside: boxes with their places in this one.
    """

    width: float
    height: float
    text: tuple[str, ...] = ()
    fill: str = "none"
    node: ir.Node | None = None
    inside: list[tuple[float, float, Box]] = field(default_factory=list)


Place = tuple[float, float, Box]
Places = dict[ir.Node, Place]


def to_svg(program: ir.Program) -> str:
    """A picture of ``program``: boxes are Python, coloured ones effects, frames are regions.

    Solid arrows carry values (the title of each says which), dashed ones only say what has to come first.

    Args:
        program: the IR.
    """
    labels = Labels(program)
    whole = _column([_box(node, labels) for node in (*program.body.nodes, program.body.end)])
    places: Places = {}
    shapes: list[str] = []
    title = f"program {program.name}({', '.join(labels.names[value] for value in program.body.params)})"
    _draw(whole, MARGIN, MARGIN + TITLE, shapes, places)
    arrows = _arrows(program, labels, places)
    width = max([whole.width + 2 * MARGIN, *(reach + MARGIN for reach, _ in arrows)])
    width = max(width, len(title) * CHARACTER + 2 * MARGIN)
    height = whole.height + TITLE + 2 * MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        'font-size="12">'
    )
    style = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#556"/></marker></defs>'
        '<rect width="100%" height="100%" fill="#fff"/>'
    )
    name = f'<text x="{MARGIN}" y="{MARGIN + 6}" font-weight="bold">{escape(title)}</text>'
    return "\n".join([head, style, name, *shapes, *(arrow for _, arrow in arrows), "</svg>"]) + "\n"


# --- sizes ---


def _box(node: ir.Node, labels: Labels) -> Box:
    """The box of a node and all that is in it."""
    text = tuple(labels(node).split("\n"))
    line = f"{node.span.line}"
    width = max(len(t) for t in text) * CHARACTER + len(line) * CHARACTER + 3 * PAD
    head = Box(width, len(text) * LINE + 10, text, colour(node), node)
    if not node.regions:
        return head
    parts = []
    for word, region in frames(node):
        params = ", ".join(labels.names[value] for value in region.params)
        inner = _column([_box(inside, labels) for inside in (*region.nodes, region.end)])
        shown = f"{word} ({params})" if params else word
        frame = Box(max(inner.width + 2 * PAD, len(shown) * CHARACTER + 2 * PAD), inner.height + TITLE + PAD, (shown,))
        frame.inside.append((PAD, TITLE, inner))
        parts.append(frame)
    below = _row(parts) if isinstance(node, ir.If) else _column(parts)
    outer = Box(max(head.width, below.width) + 2 * PAD, head.height + below.height + 2 * PAD + GAP / 2)
    outer.inside = [(PAD, PAD, head), (PAD, PAD + head.height + GAP / 2, below)]
    return outer


def _column(boxes: list[Box]) -> Box:
    """Boxes below each other."""
    whole, y = Box(max(b.width for b in boxes), 0.0, fill="hidden"), 0.0
    for box in boxes:
        whole.inside.append((0.0, y, box))
        y += box.height + GAP
    whole.height = y - GAP
    return whole


def _row(boxes: list[Box]) -> Box:
    """Boxes beside each other."""
    whole, x = Box(0.0, max(b.height for b in boxes), fill="hidden"), 0.0
    for box in boxes:
        whole.inside.append((x, 0.0, box))
        x += box.width + GAP
    whole.width = x - GAP
    return whole


# --- drawing ---


def _draw(box: Box, x: float, y: float, shapes: list[str], places: Places) -> None:
    if box.fill != "hidden":
        stroke = "#778" if box.node is not None else "#bbb"
        shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5" '
            f'fill="{box.fill}" stroke="{stroke}"/>'
        )
    for i, text in enumerate(box.text):
        grey = "" if box.node is not None else ' fill="#667" font-style="italic"'
        shapes.append(f'<text x="{x + PAD:.1f}" y="{y + 16 + i * LINE:.1f}"{grey}>{escape(text)}</text>')
    if box.node is not None:
        places[box.node] = (x, y, box)
        shapes.append(
            f'<text x="{x + box.width - 6:.1f}" y="{y + 16:.1f}" text-anchor="end" fill="#99a" font-size="10">'
            f"{box.node.span.line}</text>"
        )
    for dx, dy, inner in box.inside:
        _draw(inner, x + dx, y + dy, shapes, places)


def _arrows(program: ir.Program, labels: Labels, places: Places) -> list[tuple[float, str]]:
    """The arrows, each with how far it reaches to the right."""
    following = dict(_neighbours(program.body))
    out = []
    for first, second, data in graph(program).edges(data=True):
        if second in _inside(first):
            continue  # a frame says so already
        values = ", ".join(labels.names[value] for value in dict.fromkeys(data["values"]))
        straight = following.get(first) is second and not first.regions
        reach, path = _straight(places[first], places[second]) if straight else _bow(places, first, second)
        dashed = "" if values else ' stroke-dasharray="4 3"'
        opacity = "0.75" if values else "0.4"
        shape = f'<path d="{path}" fill="none" stroke="#556" opacity="{opacity}"{dashed} marker-end="url(#tip)">'
        out.append((reach, f"{shape}<title>{escape(values or 'order')}</title></path>"))
    return out


def _straight(first: Place, second: Place) -> tuple[float, str]:
    """From a box to the one right below it."""
    (x, y, above), (_, end, below) = first, second
    middle = x + min(above.width, below.width) / 2
    return middle, f"M{middle:.1f} {y + above.height:.1f} L{middle:.1f} {end:.1f}"


def _bow(places: Places, first: ir.Node, second: ir.Node) -> tuple[float, str]:
    """Around the boxes in between, on their right."""
    (x1, y1, a), (x2, y2, b) = places[first], places[second]
    right, end = (x1 + a.width, x2 + b.width), (y1 + a.height / 2, y2 + b.height / 2)
    top, bottom = min(end), max(end)
    between = [x + box.width for x, y, box in places.values() if top <= y + box.height and y <= bottom]
    # A cubic curve gets three quarters of the way to its control points.
    reach = max(between) + 8 + 0.03 * (bottom - top)
    control = (reach - sum(right) / 8) / 0.75
    points = [(right[0], end[0]), (control, end[0]), (control, end[1]), (right[1], end[1])]
    start, *curve = [f"{x:.1f} {y:.1f}" for x, y in points]
    return reach, f"M{start} C{' '.join(curve)}"


def _neighbours(region: ir.Region) -> list[tuple[ir.Node, ir.Node]]:
    """Each node, and the one right below it."""
    nodes: list[ir.Node] = [*region.nodes, region.end]
    return [*pairwise(nodes), *(p for n in nodes for r in n.regions for p in _neighbours(r))]


def _inside(node: ir.Node) -> set[ir.Node]:
    return {inner for region in node.regions for inner in ir.walk(region)}
