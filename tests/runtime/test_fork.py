"""Forking shares what can't change, copies what can, and keeps aliases."""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import functools
import itertools
import pickle
import re
import timeit
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ppl
from ppl.compiler.support import Cursor
from ppl.constraints import Both, Matches, OneOf, StartsWith
from ppl.runtime.fork import CannotFork, fork, fork_values, own
from ppl.runtime.particle import Particle, Scope
from ppl.runtime.shared import MARKED, shared

atoms = st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.none(), st.floats(allow_nan=False))
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=20,
)


@given(values)
def test_a_copy_is_equal_and_shares_no_container(value: Any) -> None:
    new = fork(value, {})
    assert new == value
    assert not set(map(id, _containers(new))) & set(map(id, _containers(value)))


def _containers(value: Any) -> list[Any]:
    if isinstance(value, (list, set)):
        return [value, *(c for v in value for c in _containers(v))]
    if isinstance(value, dict):
        return [value, *(c for v in value.values() for c in _containers(v))]
    if isinstance(value, tuple):
        return [c for v in value for c in _containers(v)]
    return []


def test_aliases_stay_aliases() -> None:
    shared = [1]
    a, b, c = fork_values((shared, {"s": shared}, (shared, 2)), {})
    assert a is b["s"] is c[0]
    assert a is not shared


def test_cycles() -> None:
    loop: list[Any] = []
    loop.append(loop)
    new = fork(loop, {})
    assert new[0] is new and new is not loop


def test_a_member_of_a_set_may_hold_the_set() -> None:
    members: set[Any] = set()
    held = Holder(seen=members)
    members.add(held)
    for one, other in (fork_values((members, held), {}), fork_values((held, members), {})[::-1]):
        (member,) = one
        assert member is other is not held and other.seen is one is not members


def test_an_exception_keeps_what_it_came_from() -> None:
    def raised(again: bool) -> Any:
        try:
            try:
                int("x")
            except ValueError as error:
                if again:
                    raise KeyError("k") from error
                raise KeyError("k")  # noqa: B904
        except KeyError as error:
            return error

    for again in (True, False):
        old = raised(again)
        old.items = [1]
        new = fork(old, {})
        assert type(new.__cause__) is (ValueError if again else type(None)) and type(new.__context__) is ValueError
        assert new.__suppress_context__ is again and new.__traceback__ is old.__traceback__
        assert new.items == [1] and new.items is not old.items and str(new) == str(old)


def test_a_string_with_attributes_is_copied_with_them() -> None:
    class Token(str):
        n: int

    class Slotted(str):
        __slots__ = ("n",)
        n: int

    class Bare(str):
        __slots__ = ()

    for kind in (Token, Slotted):
        old = kind("a")
        old.n = 1
        new = fork(old, {})
        new.n += 1
        assert type(new) is kind and new == "a" and (old.n, new.n) == (1, 2)
    for same in (Bare("b"), ppl.Text("a")):
        assert fork(same, {}) is same


@pytest.mark.parametrize("nest", [lambda i, acc: (i, acc), lambda i, acc: [i, acc], lambda i, acc: Holder(seen=acc)])
def test_data_that_is_nested_too_deeply_says_so(nest: Callable[[int, Any], Any]) -> None:
    @ppl.program
    def deep() -> bool:
        acc: Any = [0]
        for i in range(2000):
            acc = nest(i, acc)
        x = ppl.sample(ppl.dist.flip(0.5))
        return acc is None

    with pytest.raises(CannotFork, match=r"(?s)nested too deeply.*flat.*test_fork\.py"):
        ppl.infer(deep, method="enumerate", passes=[])


def test_immutable_values_are_shared() -> None:
    live = (1, "a", (2, ("b",)), None, frozenset({1}))
    assert fork_values(live[:2], {}) is not None
    assert fork(live[2], {}) is live[2]
    assert fork_values((1, "a", None), {}) == (1, "a", None)


def test_iterators_keep_their_place_and_their_list() -> None:
    items = [1, 2, 3, 4]
    cursor = Cursor(enumerate(items))
    next(cursor.iterator)
    new_items, new_cursor = fork_values((items, cursor), {})
    new_items.append(5)
    assert list(new_cursor.iterator) == [(1, 2), (2, 3), (3, 4), (4, 5)]
    assert list(cursor.iterator) == [(1, 2), (2, 3), (3, 4)]


def test_closures_over_mutable_locals() -> None:
    seen: list[int] = []

    def add(x: int) -> None:
        seen.append(x)

    new_seen, new_add = fork_values((seen, add), {})
    new_add(1)
    assert new_seen == [1] and seen == []
    plain = lambda x: x  # noqa: E731
    assert fork(plain, {}) is plain


def test_bound_methods_belong_to_the_copy() -> None:
    items: list[int] = []
    new_items, append, length = fork_values((items, items.append, len), {})
    append(1)
    assert new_items == [1] and items == [] and length is len


def test_mutable_defaults() -> None:
    def keep(x: int, seen: list[int] = []) -> list[int]:  # noqa: B006
        seen.append(x)
        return seen

    new = fork(keep, {})
    assert new(1) == [1] and keep(2) == [2]


def test_nested_programs_over_mutable_locals() -> None:
    @ppl.program
    def outer() -> list[bool]:
        seen: list[bool] = []

        @ppl.program
        def note() -> None:
            seen.append(ppl.sample(ppl.dist.flip(0.5), name="x"))

        first = note()
        second = note()
        return seen

    exact = ppl.infer(outer, method="enumerate")
    assert sorted(run.value for run in exact.runs) == [[a, b] for a in (False, True) for b in (False, True)]


def test_tensors_and_objects() -> None:
    @dataclasses.dataclass
    class Box:
        items: list[int]

    tensor, box = torch.zeros(2), Box([1])
    new_tensor, new_box = fork_values((tensor, box), {})
    new_tensor[0] = 1
    new_box.items.append(2)
    assert tensor[0] == 0 and box.items == [1]
    module = torch.nn.Linear(2, 2)
    assert fork(module, {}) is module
    assert fork(torch.distributions.Normal(0.0, 1.0), {}) is not None


def test_tensors_of_one_storage_stay_so() -> None:
    table = torch.zeros(2, 3)
    row, turned, wide = table[1], table.t(), torch.zeros(1).expand(4)
    law = torch.distributions.Independent(torch.distributions.Normal(table, 1.0), 1)
    for live in ((table, row, turned, law, wide), (law, turned, wide, row, table)):
        new = dict(zip(map(id, live), fork_values(live, {}), strict=True))
        new[id(table)].add_(2.0)
        assert new[id(row)].tolist() == [2.0] * 3 and new[id(turned)].sum() == 12.0
        assert new[id(law)].mean.sum() == 12.0 and new[id(wide)].tolist() == [0.0] * 4
        assert table.sum() == 0.0 and law.mean.sum() == 0.0
    part = table.half()[0].to_sparse()
    assert fork(part, {}).to_dense().tolist() == [0.0] * 3


def test_distributions_and_views_follow_their_tensor_on_every_branch() -> None:
    @ppl.program
    def main() -> tuple[float, float]:
        mean = torch.zeros(2)
        law, first = torch.distributions.Normal(mean, 1.0), mean[0]
        more = ppl.sample(ppl.dist.categorical([0.25, 0.75]))
        first.add_(1.0 + more)
        return float(law.mean[0]), float(first)

    assert {run.value for run in ppl.infer(main, method="enumerate").runs} == {(1.0, 1.0), (2.0, 2.0)}


def test_models_are_shared() -> None:
    lm = ppl.table_lm(["a", "b"], seed=0)
    for value in (lm, lm.model, lm.engine, lm.context("a"), lm.context("a").token()):
        assert fork(value, {}) is value


def test_patterns_and_constraints_are_shared() -> None:
    pattern = re.compile("a+")
    word = Matches("(ab|c)+")
    for value in (pattern, word, StartsWith(("a", "b")), Both(word, OneOf(["ab"])), pattern.match("aa")):
        assert fork(value, {}) is value


def test_what_can_not_be_copied_says_so() -> None:
    with pytest.raises(CannotFork, match="generator"):
        fork_values((1, (i for i in itertools.count())), {})


class Holder:
    seen: Any
    add: Any
    lm: Any
    module: Any
    weak: Any
    kind: Any

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)

    def note(self, x: int) -> None:
        self.seen.append(x)


def test_objects_that_hold_closures_methods_and_models() -> None:
    seen: list[int] = []
    lm = ppl.table_lm(["a", "b"], seed=0)
    box = Holder(add=lambda x: seen.append(x), seen=seen, lm=lm, module=torch.nn.Linear(1, 1))
    partial, queue = functools.partial(box.add), collections.deque([box.note], maxlen=3)
    new_seen, new_box, new_partial, new_queue = fork_values((seen, box, partial, queue), {})
    new_box.add(1)
    new_partial(2)
    new_queue[0](3)
    assert new_seen == [1, 2, 3] and new_seen is new_box.seen and seen == []
    assert new_box.lm is lm and new_box.module is box.module and new_queue.maxlen == 3


def test_slots_defaults_and_copies_of_their_own() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Slotted:
        items: list[int]

    class Own:
        def __deepcopy__(self, memo: dict[int, Any]) -> str:
            return "own"

    old = (Slotted([1]), collections.defaultdict(list, a=[1]), collections.Counter("aab"), Own(), frozenset({1}))
    slotted, default, counter, own, frozen = fork_values(old, {})
    slotted.items.append(2)
    default["a"].append(2)
    assert old[0].items == [1] and old[1]["a"] == [1] and default["new"] == []
    assert counter == old[2] and own == "own" and frozen == {1}


def test_classes_and_weak_references_are_shared() -> None:
    box = Holder(kind=collections.abc.Sequence, weak=weakref.ref(Holder))
    (new,) = fork_values((box,), {})
    assert new is not box and new.kind is collections.abc.Sequence and new.weak is box.weak


def test_many_objects_with_slots_stay_apart() -> None:
    @dataclasses.dataclass(slots=True)
    class Slotted:
        items: list[int]
        number: int

    old = [Slotted([i], i) for i in range(500)]
    assert fork(old, {}) == old


def test_a_forked_particle_keeps_all_but_its_key_and_who_leads_it() -> None:
    particle = Particle(lambda: (None, None, ()), (1, "a"), Scope(), 1)
    for slot in Particle.__slots__:
        if slot not in ("block", "live", "scope", "key", "frame", "status"):
            setattr(particle, slot, object())
    child = particle.fork(2)
    lost = {s for s in Particle.__slots__ if getattr(child, s) is not getattr(particle, s)}
    assert lost <= {"key", "follow", "guided"}
    assert child.key == 2 and child.follow is None


def test_a_fork_is_much_cheaper_than_deepcopy() -> None:
    live = ([[i, i] for i in range(50)], {str(i): (i, i) for i in range(50)}, set(range(50)), list(range(200)))
    particle = Particle(lambda: (None, None, ()), live, Scope(), 1)

    def seconds(run: Callable[[], object]) -> float:
        return min(timeit.repeat(run, number=20, repeat=5))

    assert 2 * seconds(lambda: particle.fork(2)) < seconds(lambda: copy.deepcopy(live))


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, lambda items: dict.fromkeys(items, 0)])
def test_a_container_may_hold_what_can_change(kind: Callable[[list[Any]], Any]) -> None:
    held = _Hashable()
    held.items.append(1)
    new = fork(kind([held, 2]), {})
    (found,) = [v for v in new if v != 2]
    assert found is not held and found.items == [1] and found.items is not held.items


class _Hashable:
    """An object that can stand anywhere and be changed everywhere."""

    def __init__(self) -> None:
        self.items: list[int] = []


def test_what_was_marked_as_shared_is_not_copied() -> None:
    table, words, tensor = shared({"a": [1]}), shared(["x", ["y"]]), shared(torch.zeros(3))
    live = (table, [words, tensor], (tensor, 1))
    new = fork_values(live, {})
    assert new[0] is table and new[1] is not live[1]
    assert new[1][0] is words and new[1][1] is tensor and new[2][0] is tensor
    assert own(table) is table and own(tensor) is tensor
    other = torch.zeros(3)
    assert fork(other, {}) is not other


def test_shared_lists_and_dicts_refuse_to_be_changed() -> None:
    words = shared(["b", "a"])
    table = shared({"a": 1})
    changes: list[Callable[[], Any]] = [
        lambda: words.append("c"),
        lambda: words.sort(),
        lambda: words.__setitem__(0, "c"),
        lambda: words.__delitem__(0),
        lambda: words.__iadd__(["c"]),
        lambda: table.__setitem__("b", 2),
        lambda: table.update(b=2),
        lambda: table.__ior__({"b": 2}),
        lambda: table.pop("a"),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="change a copy"):
            change()
    assert words == ["b", "a"] and table == {"a": 1}
    assert type(words * 2) is list and type(words.copy()) is list and type(table | {}) is dict
    for value in (words, table):
        again = pickle.loads(pickle.dumps(value))
        assert again == value and type(again) is type(value)
    assert shared(words) is words and shared("text") == "text"
    with pytest.raises(TypeError, match="weak references"):
        shared((words, table))


def test_a_mark_does_not_outlive_its_object() -> None:
    before = len(MARKED)
    tensor = shared(torch.zeros(3))
    assert len(MARKED) == before + 1
    del tensor
    assert len(MARKED) == before


def test_particles_share_an_argument_that_was_marked() -> None:
    seen: list[int] = []

    @ppl.program
    def reads(table: dict[str, float], notes: dict[str, int]) -> bool:
        seen.append(id(table))
        x = ppl.sample(ppl.dist.flip(table["p"]))
        notes["x"] = x
        ppl.factor(0.0 if x else -1.0)
        return x

    table = ppl.shared({"p": 0.5})
    posterior = ppl.infer(reads, table, {}, method="smc", n=8, seed=0)
    assert set(seen) == {id(table)} and len(posterior.runs) == 8


def test_a_fork_of_a_particle_has_all_that_a_particle_has() -> None:
    parent = Particle(lambda: None, ([1], "a"), Scope(), 3)  # type: ignore[arg-type,return-value]
    parent.log_weight, parent.asked, parent.names = -2.0, 5, frozenset({"x"})
    child = parent.fork(7)
    differ = {name for name in Particle.__slots__ if getattr(child, name) is not getattr(parent, name)}
    assert differ == {"key", "live"} and child.key == 7 and child.live == parent.live
