"""The graph as a drawing: every node, frame and dependence is there, and nothing lies on top of another."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from ppl import law_programs
from ppl.compiler import ir
from ppl.compiler.dot import Labels, to_dot
from ppl.compiler.graph import graph
from ppl.compiler.svg import to_svg

from .driver import define
from .programs import Programs
from .test_printer import PROGRAMS

Rectangle = tuple[float, float, float, float]


def examples() -> list[ir.Program]:
    written = [define(source)[1].ir for source in PROGRAMS.values()]
    made = [define(Programs(random.Random(seed).randrange).source)[1].ir for seed in range(8)]
    return [*written, *made, *(p.compiled.ir for p, _ in law_programs.CORPUS.values())]


@pytest.fixture(scope="module")
def programs() -> list[ir.Program]:
    return examples()


def test_dot_has_every_node_and_dependence(programs: list[ir.Program]) -> None:
    for program in programs:
        text = to_dot(program)
        nodes = list(ir.walk(program.body))
        assert len(re.findall(r"^ *n\d+ \[label=", text, re.M)) == len(nodes)
        found = graph(program)
        arrows = re.findall(r"^  n(\d+) -> n(\d+) \[(label|style)", text, re.M)
        assert {(nodes[int(a)], nodes[int(b)]): kind == "label" for a, b, kind in arrows} == {
            (a, b): bool(data["values"]) for a, b, data in found.edges(data=True)
        }
        assert text.count("{") == text.count("}") - sum(
            label.count("}") - label.count("{") for label in labels(program)
        )


def labels(program: ir.Program) -> list[str]:
    of = Labels(program)
    values = (", ".join(of.names[v] for v in d["values"]) for *_, d in graph(program).edges(data=True))
    return [*(of(node) for node in ir.walk(program.body)), *values]


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_reads_it(programs: list[ir.Program]) -> None:
    for program in programs:
        subprocess.run(["dot", "-Tsvg"], input=to_dot(program).encode(), check=True, capture_output=True, timeout=60)


def test_quotes_and_backslashes_in_labels() -> None:
    program = define("def f(a):\n    x = sample(a, name='q\"')\n    y = '\\\\n\"<&'\n    return x, y\n")[1].ir
    assert '\\"q\\\\\\"\\"' in to_dot(program)
    ElementTree.fromstring(to_svg(program))


def boxes(program: ir.Program) -> tuple[list[Rectangle], float, float]:
    root = ElementTree.fromstring(to_svg(program))
    name = "{http://www.w3.org/2000/svg}rect"
    sides = ("x", "y", "width", "height")
    found = [tuple(float(r.get(side, "nan")) for side in sides) for r in root.iter(name) if r.get("x")]
    return found, float(root.get("width", "0")), float(root.get("height", "0"))  # type: ignore[return-value]


def test_boxes_are_apart_or_inside_each_other(programs: list[ir.Program]) -> None:
    for program in programs:
        found, width, height = boxes(program)
        frames = sum(1 + len(node.regions) for node in ir.walk(program.body) if node.regions)
        assert len(found) == len(list(ir.walk(program.body))) + frames
        for i, (x, y, w, h) in enumerate(found):
            assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
            for a, b, c, d in found[i + 1 :]:
                apart = a >= x + w or x >= a + c or b >= y + h or y >= b + d
                inside = x <= a and y <= b and a + c <= x + w and b + d <= y + h
                assert apart or inside


def test_text_fits_into_its_box(programs: list[ir.Program]) -> None:
    for program in programs:
        of = Labels(program)
        longest = max(len(line) for node in ir.walk(program.body) for line in of(node).split("\n"))
        assert longest <= 200
        root = ElementTree.fromstring(to_svg(program))
        shown = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert {line for node in ir.walk(program.body) for line in of(node).split("\n")} <= shown


def test_every_dependence_is_an_arrow_or_a_frame(programs: list[ir.Program]) -> None:
    for program in programs:
        found = graph(program)
        framed = sum(b in {n for r in a.regions for n in ir.walk(r)} for a, b in found.edges)
        assert to_svg(program).count("marker-end") == found.number_of_edges() - framed
