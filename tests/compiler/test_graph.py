"""The dependence graph: data, order of effects, order on the heap."""

from __future__ import annotations

import ast
import random

import networkx as nx
import pytest

from ppl.compiler import ir
from ppl.compiler.graph import Heap, graph, touches_heap

from .driver import define
from .programs import Programs


def _nodes(source: str) -> tuple[nx.DiGraph, dict[str, ir.Node]]:
    """The graph of a program, and its nodes by their code or their site's name."""
    _, compiled = define(source)
    found = graph(compiled.ir)
    names: dict[str, ir.Node] = {}
    for node in found.nodes:
        if isinstance(node, ir.Py):
            names[ast.unparse(node.code)] = node
        elif isinstance(node, ir.Effect):
            names[node.site.name] = node
    return found, names


def test_data_and_order() -> None:
    source = """\
def f(a, b):
    x = sample(a)
    xs = [x]
    y = sample(b)
    xs.append(y)
    z = 3
    w = xs[0]
    return w, z
"""
    found, by = _nodes(source)

    def kind(first: str, second: str) -> str | None:
        edge = found.get_edge_data(by[first], by[second])
        return None if edge is None else str(edge["kind"])

    assert kind("x", "xs = [x]") == "data"
    assert kind("x", "y") == "order"
    assert kind("y", "xs.append(y)") == "data"
    assert kind("xs.append(y)", "w = xs[0]") == "order"
    assert kind("xs = [x]", "y") is None
    assert not nx.has_path(found, by["y"], by["z = 3"])


def test_values_reach_into_regions() -> None:
    body = "    c = a + b\n    for i in range(c):\n        if i: observe(c, i)\n    return c\n"
    found, by = _nodes("def f(a, b):\n" + body)
    loop = next(n for n in found.nodes if isinstance(n, ir.For))
    assert found.edges[by["c = a + b"], by["observe"]]["kind"] == "data"
    assert found.nodes[by["observe"]]["effect"] and found.nodes[loop]["effect"]
    assert isinstance(found.nodes[by["observe"]]["parent"], ir.If)
    assert found.edges[loop, by["observe"]]["kind"] == "data"  # the item and the counter


def test_it_is_acyclic_and_follows_the_order_of_the_program() -> None:
    for seed in range(20):
        _, compiled = define(Programs(random.Random(seed).randrange).source)
        found = graph(compiled.ir)
        assert nx.is_directed_acyclic_graph(found)
        place = {node: i for i, node in enumerate(ir.walk(compiled.ir.body))}
        assert set(place) == set(found.nodes)
        assert all(place[a] < place[b] for a, b in found.edges)


@pytest.mark.parametrize(
    ("code", "heap"),
    [
        ("x = y", Heap.NONE),
        ("x = (y, 'a', [1, z], {1: y})", Heap.NONE),
        ("x = y if z else (w := 3)", Heap.NONE),
        ("f = lambda v: v.x()", Heap.NONE),
        ("def f(v): return v()", Heap.NONE),
        ("x = y + 1", Heap.READ),
        ("x = y < z", Heap.READ),
        ("x = y.z", Heap.READ),
        ("x = y[0]", Heap.READ),
        ("x = f'{y}'", Heap.READ),
        ("f(x)", Heap.WRITE),
        ("x.y = 1", Heap.WRITE),
        ("x[0] = 1", Heap.WRITE),
        ("del x[0]", Heap.WRITE),
        ("x += y", Heap.WRITE),
        ("x, y = z", Heap.WRITE),
        ("x = [*y]", Heap.WRITE),
        ("x = [y for y in z]", Heap.WRITE),
        ("x = y in z", Heap.WRITE),
        ("def f(v=g()): pass", Heap.WRITE),
        ("@g\ndef f(v): pass", Heap.WRITE),
        ("class C: pass", Heap.WRITE),
        ("try: x = 1\nexcept E: pass", Heap.WRITE),
        ("import x", Heap.WRITE),
    ],
)
def test_heap(code: str, heap: Heap) -> None:
    assert touches_heap(ast.parse(code).body[0]) is heap
