"""The trie: one node for each sequence while somebody holds it, none afterwards."""

from __future__ import annotations

import gc
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.runtime.engines.prefix import Prefix

PATHS = st.lists(st.integers(0, 2), max_size=4).map(tuple)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), PATHS), max_size=40))
def test_equal_sequences_are_one_node_and_nothing_else_stays(steps: list[tuple[bool, tuple[int, ...]]]) -> None:
    root = Prefix()
    held: dict[tuple[int, ...], Prefix] = {}
    for keep, path in steps:
        if keep:
            _hold(root, held, path)
        else:
            held.pop(path, None)
        assert _living(root) == {path[:i] for path in held for i in range(len(path) + 1)} | {()}


def _hold(root: Prefix, held: dict[tuple[int, ...], Prefix], path: tuple[int, ...]) -> None:
    node = root.extend(path)
    assert node.tokens() == path and node.length == len(path)
    assert held.setdefault(path, node) is node
    assert all(root.extend(shorter) is other for shorter, other in held.items())


def _living(node: Prefix) -> set[tuple[int, ...]]:
    children = node._children
    links = [] if children is None else list(children.values()) if isinstance(children, dict) else [children]
    found = {node.tokens()}
    living = [child for link in links if (child := link()) is not None]
    assert len(links) <= len(living) + 1  # the first of them may be gone and have stayed
    assert node.is_leaf == (not living)
    for child in living:
        assert child.parent is node
        found |= _living(child)
    return found


def test_nodes_are_freed_without_the_garbage_collector() -> None:
    root = Prefix()
    gc.disable()
    try:
        ends = [root.extend((1, 2, i)) for i in range(3)]
        gone = [ref(node) for node in (*ends, ends[0].parent)]
        del ends[0]
        assert gone[0]() is None and gone[3]() is not None
        ends.clear()
        assert [node() for node in gone] == [None] * 4
        assert root.is_leaf
    finally:
        gc.enable()


def test_threads_get_the_same_nodes() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for seed in range(20):
            root = Prefix()
            paths = [tuple(random.Random(100 * seed + i).choices(range(3), k=6)) for i in range(40)]
            start = Barrier(4)

            def walk(_: int, root: Prefix = root, paths: list[tuple[int, ...]] = paths, start: Barrier = start) -> Any:
                start.wait()
                return [root.extend(path) for path in paths]

            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(walk, range(4)))
            assert all(one is another for nodes in found for one, another in zip(nodes, found[0], strict=True))
    finally:
        sys.setswitchinterval(before)
