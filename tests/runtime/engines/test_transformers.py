"""TransformersModel against plain forward passes of the same model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from ppl.runtime.engines import kv_pool
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.transformers import TransformersModel

from .tiny_models import MAX_LENGTH, MODELS, VOCAB, make, plain_logits

torch.set_num_threads(1)  # tiny matrices: threads only get in each other's way
NAMES = list(MODELS)
_models: dict[str, Any] = {}


def model_of(name: str) -> Any:
    if name not in _models:
        _models[name] = make(name)
    return _models[name]


class Checked:
    """A model whose every answer is compared to a plain forward pass over the whole sequence.

    With ``keep``, all nodes that were asked for stay alive, so that each is computed exactly once.
    """

    def __init__(self, name: str, keep: bool = False, stems: bool = False, **options: Any) -> None:
        self.kept: list[Prefix] | None = [] if keep else None
        self.plain = model_of(name)
        self.lm = TransformersModel(self.plain, **options)
        if stems and self.lm._slots.sharing is not None:
            self.lm._slots.sharing = 1  # however short
        self.root = self.lm.root
        self.prefix = [] if self.lm.bos is None else [self.lm.bos]
        self.known: dict[tuple[int, ...], torch.Tensor] = {}
        self.computed: set[tuple[int, ...]] = set()
        self.again = 0

    def __call__(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        # A position that was computed on the way to another one has no logits yet: it is computed once more.
        paths = [(*self.prefix, *node.tokens()) for node in nodes]
        self.again += sum(tokens in self.computed and tokens not in self.known for tokens in paths)
        rows = self.lm.logits(nodes)
        if self.kept is not None:
            self.kept += nodes
        assert rows.shape == (len(nodes), VOCAB) and rows.dtype == torch.float32
        for tokens, row in zip(paths, rows, strict=True):
            self.computed.update(tokens[: n + 1] for n in range(len(tokens)))
            if tokens not in self.known:
                self.known[tokens] = plain_logits(self.plain, tokens).log_softmax(-1)
            torch.testing.assert_close(row.log_softmax(-1), self.known[tokens], atol=1e-4, rtol=0)
        return rows

    def expected_positions(self) -> int:
        """What a run that forgets nothing puts through the model: every node once."""
        return len(self.computed) + self.again

    def kv_tensors(self) -> list[torch.Tensor]:
        layers: Any = self.lm._slots.cache.layers
        slots = [store for layer in layers for store in (layer.keys, layer.values) if store is not None]
        stems = [store for layer in layers for store in (layer.stem_keys, layer.stem_values) if store is not None]
        return slots + stems


def path(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(3, VOCAB), k=length)


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_works_for_this_architecture(name: str) -> None:
    assert TransformersModel(model_of(name))._pass is not None


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_ragged_batches_forks_and_continuations(name: str, stems: bool) -> None:
    check = Checked(name, keep=True, stems=stems)
    nodes = [check.root.extend(path(seed, length)) for seed, length in enumerate((1, 2, 7, 12, 13, 30))]
    check(nodes)
    check([node.child(5) for node in nodes] + [node.child(6) for node in nodes[1:4]])
    branch = nodes[5]
    for _ in range(12):
        branch = branch.parent or branch
    check([branch.child(40), branch.child(41).child(42), nodes[5].child(5).child(1), nodes[0].child(5)])
    assert check.lm.usage.positions == check.expected_positions()


@pytest.mark.parametrize("name", NAMES)
def test_a_given_text_is_scored_in_one_pass(name: str) -> None:
    check = Checked(name)
    tokens = path(1, 25)
    chain = [check.root.extend(tokens[:n]) for n in range(4, 26)]
    rows = check(chain)
    assert check.lm.usage.forwards == 1 and check.lm.usage.positions == 25
    fresh = TransformersModel(check.plain)
    alone = torch.cat([fresh.logits([fresh.root.extend(node.tokens())]) for node in chain])
    torch.testing.assert_close(rows, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_resampling_at_every_ragged_position(name: str, stems: bool) -> None:
    check = Checked(name, keep=True, stems=stems)
    rng = random.Random(7)
    prompt = check.root.extend(path(3, 5))
    rows = [prompt.child(10 + i) for i in range(6)]
    rows[3:] = [row.extend(path(i, i)) for i, row in enumerate(rows[3:])]
    for _ in range(12):
        check(list(dict.fromkeys(rows)))
        rows = [row.child(rng.randrange(3, VOCAB)) for row in rng.choices(rows, k=len(rows))]
    assert check.lm.usage.positions == check.expected_positions()


def walk(check: Checked, seed: int, steps: int) -> None:
    """Ask for random mixtures of children, siblings, ancestors, new paths and repeated nodes; drop some nodes."""
    rng = random.Random(seed)
    nodes = [check.root.extend(path(seed, rng.randrange(1, 9))) for _ in range(3)]
    for _ in range(steps):
        asked: dict[Any, None] = {}
        for _ in range(rng.randrange(1, 7)):
            node = rng.choice(nodes)
            kind = rng.random()
            if kind < 0.35:
                node = node.child(rng.randrange(3, VOCAB))
            elif kind < 0.5:
                node = node.extend(rng.choices(range(3, VOCAB), k=rng.randrange(1, 14)))
            elif kind < 0.7:
                for _ in range(rng.randrange(1, 5)):
                    node = node.parent if node.parent is not None and node.parent.length else node
                node = node if rng.random() < 0.4 else node.child(rng.randrange(3, 6))
            elif kind < 0.8:
                node = check.root.extend(rng.choices(range(3, 6), k=rng.randrange(1, 5)))
            if node.length < MAX_LENGTH - 1:
                asked[node] = None
                if rng.random() < 0.1 and node.length > 4:
                    asked.update(dict.fromkeys(n for n in node.ancestors() if n.length > 2))
        order = list(asked)
        rng.shuffle(order)
        check(order)
        nodes = (nodes + order)[-rng.randrange(3, 14) :]


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_random_walks_over_the_trie(name: str, stems: bool) -> None:
    check = Checked(name, stems=stems, logits_bytes=4 * VOCAB * 6)
    walk(check, seed=NAMES.index(name), steps=25)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma3"])
@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("stems", [False, True])
def test_random_walks_with_room_for_few_slots(name: str, slots: int, stems: bool) -> None:
    size = TransformersModel(model_of(name))._slots.cache.position_bytes
    budget = size * MAX_LENGTH * slots
    check = Checked(name, stems=stems, cache_bytes=budget, logits_bytes=0)
    walk(check, seed=slots, steps=20)
    assert sum(store.numel() * store.element_size() for store in check.kv_tensors()) <= budget


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stems", [False, True])
def test_many_random_walks(seed: int, stems: bool) -> None:
    rng = random.Random(seed)
    size = TransformersModel(model_of("llama"))._slots.cache.position_bytes
    check = Checked(
        "llama",
        stems=stems,
        bos=rng.choice([None, 1]),
        cache_bytes=size * rng.randrange(MAX_LENGTH, 12 * MAX_LENGTH),
        logits_bytes=rng.choice([0, 4 * VOCAB * 8, 1 << 20]),
        max_batch=rng.choice([1, 3, 256]),
    )
    walk(check, seed=100 + seed, steps=30)


@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_node_is_computed_once(seed: int, stems: bool) -> None:
    check = Checked("llama", keep=True, stems=stems)
    walk(check, seed=seed, steps=30)
    assert check.lm.usage.positions == check.expected_positions()


def test_siblings_share_an_uncached_prompt() -> None:
    check = Checked("llama")
    prompt = check.root.extend(path(0, 20))
    check([prompt.child(token) for token in range(3, 19)])
    assert check.lm.usage.positions == 20 + 16
    assert check.lm.usage.forwards == 2
    assert check.lm.usage.copied_positions == 15 * 20


def test_decoding_in_place_copies_nothing_and_reads_views() -> None:
    check = Checked("llama")
    rows = [check.root.child(token) for token in range(3, 9)]
    for step in range(10):
        check(rows)
        slots = [row.home.index for row in rows]
        assert slots == list(range(6))
        rows = [row.child(step + i) for i, row in enumerate(rows)]
    assert check.lm.usage.copied_positions == 0


def test_rows_move_together_when_others_stop() -> None:
    check = Checked("llama")
    rows = [check.root.child(token) for token in range(3, 11)]
    check(rows)
    stopped = [rows.pop(2), rows.pop(4)]
    for step in range(4):
        rows = [row.child(step) for row in rows]
        check(rows)
        slots = sorted(row.home.index for row in rows)
        assert slots == list(range(slots[0], slots[0] + len(rows)))
    check([node.child(40) for node in stopped])
    check([rows[5].child(1), stopped[0].child(40).child(2), rows[0].child(1)])


def test_splitting_a_batch_changes_nothing() -> None:
    nodes = [path(seed, 3 + seed) for seed in range(9)]
    whole = TransformersModel(model_of("llama"))
    expected = whole.logits([whole.root.extend(tokens) for tokens in nodes])
    for max_batch in (1, 2, 4):
        split = TransformersModel(model_of("llama"), max_batch=max_batch)
        rows = split.logits([split.root.extend(tokens) for tokens in nodes])
        torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)
        assert split.usage.positions == whole.usage.positions


def test_rows_do_not_depend_on_the_rest_of_the_batch() -> None:
    crowd, alone = TransformersModel(model_of("llama")), TransformersModel(model_of("llama"))
    tokens = path(5, 18)
    others = [crowd.root.extend(path(seed, 3 * seed)) for seed in range(6, 12)]
    for n in range(1, 18):
        rows = crowd.logits([crowd.root.extend(tokens[:n]), *(other.extend(path(n, n % 4 + 1)) for other in others)])
        row = alone.logits([alone.root.extend(tokens[:n])])
        torch.testing.assert_close(rows[:1], row, atol=1e-5, rtol=1e-5)


def test_long_prompts_are_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl.runtime.engines.kv_slotted._LONGEST_ROW", 4)
    check = Checked("gemma3", keep=True)
    check([check.root.extend(path(0, 30)), check.root.extend(path(0, 17)).child(3), check.root.extend(path(1, 5))])
    assert check.lm.usage.positions == check.expected_positions()


def test_repeated_questions_are_answered_from_memory() -> None:
    check = Checked("llama")
    nodes = [check.root.extend(path(seed, 6)) for seed in range(4)]
    first = check(nodes)
    before = check.lm.usage.snapshot()
    first.zero_()
    check(nodes[::-1])
    check([nodes[2], nodes[0]])
    assert check.lm.usage.since(before).forwards == 0
    check.lm._recent.clear()
    check(nodes)
    assert check.lm.usage.since(before).positions == 4


@pytest.mark.parametrize("kept", [0, 4, 64])
def test_memory_is_flat_over_runs(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pool, "KEPT", kept)
    check = Checked("llama", logits_bytes=4 * VOCAB * 32)
    shapes = set()
    for run in range(6):
        rng = random.Random(run)
        rows = [check.root.extend(path(run, 6)).child(token) for token in range(3, 11)]
        for _ in range(10):
            check.lm.logits(list(dict.fromkeys(rows)))
            rows = [row.child(rng.randrange(VOCAB)) for row in rng.choices(rows, k=8)]
        del rows
        assert kept or not check.lm._slots.pool.in_use
        assert check.lm._recent.bytes <= 4 * VOCAB * 32
        shapes.add((check.lm._slots.cache.slots, check.lm._slots.cache.capacity))
    assert len(shapes) == 1 and shapes.pop()[0] <= max(16, kept)


def test_what_nobody_holds_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pool, "KEPT", 4)
    check = Checked("llama")
    prompt = check.root.extend(path(0, 5))
    ways = [(token, 3, token) for token in range(3, 9)]
    for way in ways:
        check([prompt.extend(way)])
    assert check.lm.usage.positions == 5 + 3 * 6
    check.lm._recent.clear()
    for way in ways[:1:-1]:
        check([prompt.extend(way).child(7)])
    assert check.lm.usage.positions == 5 + 3 * 6 + 4
    check([prompt.extend(ways[0])])
    assert check.lm.usage.positions == 5 + 3 * 6 + 4 + 3


def test_what_is_kept_gives_way_to_what_is_held() -> None:
    check = Checked("llama")
    check([check.root.extend(path(0, 5))])
    check.lm._slots.pool.budget = 6 * 64 * check.lm._slots.cache.position_bytes
    held = [check.root.extend(path(seed, 8)) for seed in range(3)]
    check(held)
    for seed in range(10, 20):
        check([check.root.extend(path(seed, 8))])
    assert check.lm._slots.cache.slots <= 6
    before = check.lm.usage.snapshot()
    check([node.child(3) for node in held])
    assert check.lm.usage.since(before).positions == 3


def test_slots_of_dead_branches_are_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pool, "KEPT", 0)
    check = Checked("llama")
    rng = random.Random(0)
    rows = [check.root.extend(path(0, 6)).child(token) for token in range(3, 11)]
    for _ in range(40):
        check.lm.logits(list(dict.fromkeys(rows)))
        rows = [row.child(rng.randrange(VOCAB)) for row in rng.choices(rows, k=8)]
    assert check.lm._slots.cache.slots <= 16
    assert check.lm.usage.positions <= 6 + 8 * 40


def test_a_shared_part_moves_to_a_copy_when_its_own_branch_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pool, "KEPT", 0)
    check = Checked("llama")
    prompt = check.root.extend(path(0, 5))
    check([prompt])
    dead, heir, other = (prompt.child(token) for token in (3, 4, 5))
    check([dead, heir, other])
    del dead
    stranger = check.root.extend(path(1, 5))
    check([stranger])  # takes the dead branch's slot; the prompt now lives in the heir's
    assert prompt.home is heir.home
    check([check.root.extend(path(2, 5))])  # may not take the stranger for what `other` was copied from
    check([stranger.child(7), prompt.child(8), heir.child(9), other.child(9)])
    assert check.lm.usage.positions == check.expected_positions()


def test_a_part_that_moved_is_still_protected_from_eviction() -> None:
    size = TransformersModel(model_of("llama"))._slots.cache.position_bytes
    check = Checked("llama", cache_bytes=23 * size)  # three slots of seven positions
    prompt = check.root.extend(path(0, 5))
    check([prompt])
    dead, heir, other = (prompt.child(token) for token in (3, 4, 5))
    check([dead, heir, other])
    last = other.child(6)
    check([last])
    del dead
    check([check.root.child(90), check.root.child(91), prompt.child(7)])
    assert check.lm._slots.cache.slots == 3


def test_global_random_state_is_untouched() -> None:
    before = torch.random.get_rng_state()
    check = Checked("llama")
    check([check.root.extend(path(0, 5))])
    assert torch.equal(before, torch.random.get_rng_state())


def test_logits_may_take_part_in_a_gradient() -> None:
    check = Checked("llama")
    scale = torch.ones((), requires_grad=True)
    (check([check.root.extend(path(0, 5))]) * scale).log_softmax(-1)[0, 3].backward()
    assert scale.grad is not None


def test_empty_context() -> None:
    with pytest.raises(ValueError, match="no BOS token"):
        lm = TransformersModel(model_of("llama"))
        lm.logits([lm.root])
    check = Checked("llama", keep=True, bos=1)
    check([check.root, check.root.extend(path(0, 4)), check.root.extend(path(1, 2))])
    check([check.root.child(9), check.root])
    assert check.lm.usage.positions == check.expected_positions()
    torch.testing.assert_close(check.lm.logits([check.root])[0], plain_logits(check.plain, [1]), atol=1e-4, rtol=0)


def test_no_nodes() -> None:
    assert TransformersModel(model_of("llama")).logits([]).shape == (0, VOCAB)
