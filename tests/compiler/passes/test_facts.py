"""What passes are told about a program."""

from __future__ import annotations

import pytest

from ppl import Program, condition, dist, factor, observe, program, sample, table_lm
from ppl.compiler import ir
from ppl.compiler.containers import filled_by, may_swap
from ppl.compiler.facts import Facts
from ppl.compiler.failing import total
from ppl.compiler.names import Names
from ppl.compiler.purity import Touch

lm = table_lm(["a", "b"], seed=1)


def facts_of(prog: Program) -> Facts:
    return Facts(prog.compiled.ir, Names(prog._function))


def value(facts: Facts, name: str, number: int = -1) -> ir.Value:
    return [v for v in facts.definer if v.name == name][number]


def statement(facts: Facts, line: str) -> ir.Node:
    return next(node for node in ir.walk(facts.program.body) if node.span.text == line)


@program
def atoms(given: list[int], count: int) -> object:
    number = 0
    text = "a"
    for i in range(3):
        number = number + i
        text += f"{i}"
    word = sample(lm.context("a").token())
    chosen = sample(dist.categorical({"x": 0.5, "y": 0.5}))
    listed = sample(dist.uniform([given, [1]]))
    other = number + count
    loop = number
    for _ in given:
        loop = loop + count
    items = [number]
    return number, text, word, chosen, listed, other, loop, items


@pytest.mark.parametrize(
    ("name", "is_atom"),
    [
        *[(name, True) for name in ("number", "text", "word", "chosen")],
        *[(name, False) for name in ("listed", "other", "loop", "items")],
    ],
)
def test_atoms_are_what_nobody_can_change(name: str, is_atom: bool) -> None:
    facts = facts_of(atoms)
    assert (value(facts, name) in facts.atoms) is is_atom


@program
def constructors(p: float) -> tuple[bool, ...]:
    d = dist.flip(0.25)
    e = d
    x = sample(e)
    y = sample(dist.flip(0.5 if x else 0.75))
    z = sample(dist.flip(p=p))
    w = sample([d][0])
    return x, y, z, w


def test_constructors_are_seen_through_names() -> None:
    facts = facts_of(constructors)
    made = [facts.constructor(effect.args[0][1]) for effect in ir.effects(facts.program.body)]
    assert [m.family if m else None for m in made] == ["flip", "flip", "flip", None]
    x, y, z = made[0], made[1], made[2]
    assert x is not None and y is not None and z is not None
    assert x.local and facts.literals(x.node, x.call.args[0]) == [0.25]
    assert facts.literals(y.node, y.call.args[0]) == [0.5, 0.75]
    assert z.argument(0, "p") is not None and z.value(0, "p") is facts.program.body.params[0]
    assert [total(facts, m.node) for m in (x, y, z)] == [True, True, False]


@program
def exits(n: int) -> int:
    for i in range(n):
        if i == 2:
            break
        if i == 3:
            continue
        condition(i < 5)
    for j in range(n):
        if j:
            return 1
    if n:
        pass
    return 0


def test_where_control_may_leave() -> None:
    facts = facts_of(exits)
    found = {node.span.text: facts.leaves(node) for node in ir.walk(facts.program.body) if node.regions}
    assert found == {
        "for i in range(n):": False,
        "if i == 2:": True,
        "if i == 3:": True,
        "for j in range(n):": True,
        "if j:": True,
        "if n:": False,
    }


@program
def containers(given: list[int]) -> object:
    mine: list[int] = []
    theirs = given
    mine.append(1)
    theirs.append(2)
    for i in range(2):
        mine.append(i)
    shown = len(mine)
    mine.append(shown)
    factor(0.1 * len(given))
    observe(dist.flip(0.5), True)
    return mine


def test_containers_that_are_only_filled() -> None:
    facts = facts_of(containers)
    first, given, late = (
        statement(facts, f"{text})") for text in ("mine.append(1", "theirs.append(2", "mine.append(shown")
    )
    loop = next(node for node in facts.program.body.nodes if isinstance(node, ir.For))
    assert isinstance(first, ir.Py) and isinstance(given, ir.Py) and isinstance(late, ir.Py)
    assert filled_by(first, facts) is value(facts, "mine")
    assert filled_by(given, facts) is None  # the caller knows it
    assert filled_by(late, facts) is None  # it was looked at before
    weight = statement(facts, "factor(0.1 * len(given))")
    assert may_swap(loop, [weight], facts) and not may_swap(given, [weight], facts)
    assert not may_swap(loop, [first], facts)  # the order of the items
    assert facts.touch(given) is Touch.WRITE
