"""Captured steps, on a CPU: a graph is played by a record of the operations on tensors."""

from __future__ import annotations

import random
from contextlib import nullcontext
from threading import Thread
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ppl.runtime.engines import kv_pool, kv_steps, numpy_masses
from ppl.runtime.engines.kv_lanes import Lanes, Shape
from ppl.runtime.engines.kv_steps import Steps
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Generate, TextSpec
from ppl.runtime.engines.transformers import TransformersModel
from ppl.runtime.source import derive

from .test_ahead import SPECS, Lettered, answers, drawn
from .test_transformers import Checked, path
from .tiny_models import MODELS, VOCAB, make

torch.set_num_threads(1)


class Recorder(TorchDispatchMode):
    """Records the operations on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **kwargs or {})
        self.calls.append((function, args, kwargs or {}, out))
        return out


class Graph:
    """A captured step: a replay repeats its operations on the very tensors that they were captured with.

    It does not keep the slots alive, no more than a graph does: an alias of each stands for its memory.
    """

    def __init__(self, steps: Steps, shape: Shape, lanes: Lanes) -> None:
        self.shape = shape
        self.replays = 0
        state = [lanes.ints, lanes.going, lanes.count, lanes.drawn, lanes.found]
        before = [tensor.clone() for tensor in state]
        with Recorder() as recorder:
            steps._take(shape, lanes)
        for tensor, kept in zip(state, before, strict=True):
            tensor.copy_(kept)  # to capture a step is not to take it
        layers = steps._cache.slot_layers
        stores = [store for x in layers for store in (x.keys, x.values, x.stem_keys, x.stem_values)]
        aliases = {id(store): store[:] for store in stores if store is not None}
        self.calls = tree_map(lambda value: aliases.get(id(value), value), recorder.calls)

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, out in self.calls:
            found = function(*args, **kwargs)
            for new, old in zip(tree_leaves(found), tree_leaves(out), strict=True):
                if isinstance(old, torch.Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Those that were made, in models that capture steps from now on."""
    made: list[Graph] = []
    monkeypatch.setattr(numpy_masses, "DEVICES", frozenset())  # whose operations are none on tensors

    def captured(self: Steps, shape: Shape, lanes: Lanes) -> Graph:
        graph = self._graphs[shape] = Graph(self, shape, lanes)
        made.append(graph)
        return graph

    monkeypatch.setattr(Steps, "_captured", captured)
    build = TransformersModel._make_steps

    def capturing(self: TransformersModel) -> Steps:
        steps = build(self)
        steps.capture = True
        return steps

    monkeypatch.setattr(TransformersModel, "_make_steps", capturing)
    return made


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_logits_in_walks_that_come_back(name: str, stems: bool, graphs: list[Graph]) -> None:
    check, rng = Checked(name, stems=stems, logits_bytes=0), random.Random(2)
    groups = [[check.root.extend(path(seed, length)) for seed in range(3)] for length in (4, 15)]
    for group in groups:
        check(group)
    for _ in range(8):
        index = rng.randrange(2)
        groups[index] = [node.child(rng.randrange(3, VOCAB)) for node in groups[index]]
        check(groups[index])
        check(groups[1 - index][:1])  # again, by itself
    assert sum(graph.replays for graph in graphs) > 8


def test_steps_of_several_shapes_after_each_other(graphs: list[Graph]) -> None:
    """The steps of one are replayed after those of another with as many rows."""
    check = Checked("llama", logits_bytes=0)
    rows = [
        [check.root.extend(path(seed, 5)) for seed in range(3)],
        [check.root.extend(path(seed, 12)) for seed in (7, 8, 9)],
    ]
    for group in rows:
        check(group)
    for which in (0, 0, 1, 0, 1, 1, 0):
        rows[which] = [node.child(5) for node in rows[which]]
        check(rows[which])
    assert len({graph.shape for graph in graphs}) >= 2 and max(graph.replays for graph in graphs) >= 2


def test_slots_that_are_given_up_and_made_anew(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that go on from a stem come and go: where none is left, the slots are given up that graphs worked on."""
    monkeypatch.setattr(kv_pool, "KEPT", 0)
    check = Checked("llama", stems=True, logits_bytes=0)
    start = check.root.extend(path(0, 20))
    check([start])
    for number in range(6):
        rows = [start.child(3 + i) for i in range(4)]
        for step in range(5):
            check(rows)
            rows = rows[: 4 - number // 4] if step == 2 else rows  # at last something else follows
            rows = [row.child(3 + (number + step) % 5) for row in rows]
        del rows
    assert any(graph.replays for graph in graphs)


def test_an_empty_context(graphs: list[Graph]) -> None:
    model = Lettered(make("llama"), bos=1)
    right = TransformersModel(make("llama"), bos=1)
    right._steps.capture = False  # type: ignore[union-attr]
    torch.testing.assert_close(model.logits([model.root]), right.logits([right.root]))


@pytest.mark.parametrize("name", MODELS)
def test_texts(name: str, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = drawn(Lettered(make(name), bos=1, ahead=8), SPECS, 40)
    assert any(graph.shape.law is not None and graph.replays for graph in graphs)
    right = drawn(Lettered(make(name), bos=1), SPECS, 40)
    assert [c.value for c in ours] == [c.value for c in right]


def test_a_nucleus_is_not_captured(graphs: list[Graph]) -> None:
    drawn(Lettered(make("llama"), bos=1, ahead=8), [TextSpec(max_tokens=20, top_p=0.9)], 20)
    assert all(graph.shape.law is None for graph in graphs)


def test_few_numbers_of_rows_are_kept(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_steps, "_LANES", 2)
    check = Checked("llama", logits_bytes=0)
    for count in (1, 2, 3, 4, 1, 2, 3):
        rows = [check.root.extend(path(count, 4)).child(3 + i) for i in range(count)]
        for _ in range(3):
            check(rows)
            rows = [row.child(9) for row in rows]
    steps: Any = check.lm._steps
    assert len(steps._lanes) == 2 and {shape.rows for shape in steps._graphs} <= set(steps._lanes)


def test_what_cannot_be_captured_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Lettered(make("llama"), bos=1, ahead=8)
    steps: Any = model._steps

    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", fails)
    for name in ("Stream", "stream", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda *given: nullcontext())
    steps.capture = True
    ours, right = drawn(model, SPECS, 40), drawn(Lettered(make("llama"), bos=1), SPECS, 40)
    assert [c.value for c in ours] == [c.value for c in right]
    assert model.describe().endswith(
        "some steps without CUDA graphs (operation not permitted when stream is capturing)"
    )
    monkeypatch.setattr(kv_steps, "_FAILURES", 0)
    steps._failed.clear()
    drawn(model, SPECS, 40)
    assert not steps.capture and "; without CUDA graphs" in model.describe()


def test_threads_that_share_a_small_cache() -> None:
    size = Lettered(make("llama"), bos=1)
    drawn(size, SPECS, 1)
    model = Lettered(make("llama"), bos=1, ahead=8, cache_bytes=4 * 64 * size._slots.cache.position_bytes)
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            context = model.root.extend(path(seed, 6))
            for turn in range(4):
                asked = [Generate(context, TextSpec(max_tokens=20), derive(seed, turn, i)) for i in range(4)]
                answers(LocalEngine(model), asked)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_room_for_tokens_that_may_never_come_is_not_insisted_on() -> None:
    size = Lettered(make("llama"), bos=1)
    drawn(size, SPECS, 1)
    budget = 40 * size._slots.cache.position_bytes

    def written(ahead: int, spec: TextSpec) -> Any:
        model = Lettered(make("llama"), bos=1, ahead=ahead, cache_bytes=budget)
        return answers(LocalEngine(model), [Generate(model.root.extend(path(0, 36)), spec, derive(0, 1))])[0].value

    third = written(1, TextSpec(max_tokens=3)).tokens[2]
    ends = TextSpec(max_tokens=30, stop=(size.decode_bytes(third).decode(),))
    assert written(8, ends) == written(1, ends)


def test_nodes_of_another_model_are_refused() -> None:
    one, other = (Lettered(make("llama"), bos=1) for _ in range(2))
    node = one.root.extend([5, 6])
    one.logits([node])
    with pytest.raises(ValueError, match="another model's trie"):
        other.logits([node.child(7)])


@pytest.mark.parametrize("ahead", [0, -1])
def test_ahead_is_at_least_one(ahead: int) -> None:
    with pytest.raises(ValueError, match="give at least 1"):
        Lettered(make("llama"), bos=1, ahead=ahead)
