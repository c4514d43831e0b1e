"""Calls that are asked for at once leave the measure over traces as it was, and take one round trip."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppl.certificate_passes import validate_passes
from ppl.compiler import ir
from ppl.compiler.passes.batch import BatchCalls
from ppl.compiler.passes.loop_split import Split
from ppl.compiler.passes.loops import BatchLoops
from ppl.law_programs import CORPUS

from .pass_programs import FIRED, PassWriter, Shape, check, counterexample, outcomes, sources, written

BATCH, LOOPS = BatchCalls(), BatchLoops()


# --- straight lines ---------------------------------------------------------------------------------------------------


def pair(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Two calls of the model, maybe with something in between; the second may depend on the first."""
    first = writer.sampled(f"sample({writer.model_call()})", loops, indent)
    name = first.split("=")[0].strip()
    between = writer.pick(["", f"xs.append({writer.number()})", f"k = {writer.number()}", f"condition({name} != 'ba')"])
    context = writer.pick(["'a'", f"'b' + {name}", "'a' * (1 + n % 2)"])
    second = writer.sampled(f"sample({writer.model_call(context)})", loops, indent)
    return [first, *([indent + between] if between else []), second]


def side_by_side(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Two calls of the model that need nothing of each other."""
    return [writer.sampled(f"sample({writer.model_call()})", loops, indent) for _ in "ab"]


def judged(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Observations by several judges."""
    return [f'{indent}observe({writer.model_call()}, "{writer.pick(["a", "b"])}")' for _ in range(2)]


def called(writer: PassWriter, loops: int, indent: str) -> list[str]:
    number = writer.number()
    lines = [f"{indent}c1 = call(plus_one, {number})", f"{indent}c2 = call(plus_one, c1 + 1)"]
    other = writer.sampled(f"sample({writer.model_call()})", loops, indent)
    return [*lines, f"{indent}xs.append(c2)", other, f"{indent}c3 = call(plus_one, {writer.number()})"]


SHAPES: list[Shape] = [side_by_side, pair, pair, judged, called]
HANDWRITTEN = [
    written(body)
    for body in (
        'x = sample(lm.context("a").token(temperature=0.5))\n'
        'y = sample(lm.context("b").text(stop="a", max_tokens=2, top_k=2))\nreturn x, y',
        'x = sample(lm.context("a").token())\ny = sample(lm.context("a" + x).token())\n'
        'z = sample(lm.context("b").token(top_k=1))\nreturn x, y, z',
        'x = sample(lm.context("a").token())\nif x == "a":\n    return 1\n'
        'y = sample(lm.context("b").token())\nreturn y',
        "x = call(plus_one, n)\nxs.append(n)\ny = call(plus_one, len(xs))\nreturn x, y",
        'q = sample(dist.categorical([0.5, 0.5]))\nobserve(judge("a", 0.5), "a")\ncondition(q)\n'
        'observe(lm.context("b" * (1 // q)).choice(["a", "ba"]), "a")\nreturn q',
        'observe(judge("a", 0.5), "a")\nobserve(judge("b", 2.0), "ba")\nx = sample(judge("ab", 1.0))\nreturn x',
    )
]


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(SHAPES, choices=2), lambda source: check(source, [BATCH], limit=60))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(SHAPES, choices=4))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, [BATCH], limit=400)


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source, [BATCH])


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes="default")


@dataclass(frozen=True)
class LosesAttributes(BatchCalls):
    """Asks for every member with the operands of the first of its kind."""

    def gathered(self, members: Sequence[ir.Effect]) -> ir.Node:
        first = {effect.site.kind: effect for effect in reversed(members)}
        return super().gathered([replace(e, args=first[e.site.kind].args) for e in members])


@dataclass(frozen=True)
class MixesAnswers(BatchCalls):
    """Hands the answers back in the wrong order."""

    def gathered(self, members: Sequence[ir.Effect]) -> ir.Node:
        results = [effect.result for effect in members]
        return super().gathered([replace(e, result=r) for e, r in zip(members, reversed(results), strict=True)])


@dataclass(frozen=True)
class MixesAddresses(BatchCalls):
    """Draws every member at the address of another."""

    def gathered(self, members: Sequence[ir.Effect]) -> ir.Node:
        sites = [effect.site for effect in members]
        return super().gathered([replace(e, site=s) for e, s in zip(members, reversed(sites), strict=True)])


NAMES = [
    c.__name__
    for c in BATCH.conditions
    if c.__name__ in ("operands_defined", "no_exit_crossed", "objects_unchanged", "fails_no_earlier")
]
WRONG = [*(BATCH.without(name) for name in NAMES), LosesAttributes(), MixesAnswers(), MixesAddresses()]


@pytest.mark.parametrize("wrong", WRONG, ids=[*NAMES, "attributes lost", "answers mixed", "addresses mixed"])
def test_planted_bugs_are_caught(wrong: BatchCalls) -> None:
    print(counterexample(wrong, HANDWRITTEN, SHAPES))


# --- loops ------------------------------------------------------------------------------------------------------------


def comprehension(writer: PassWriter, loops: int, indent: str) -> list[str]:
    writer.budget -= 2 * 2**loops
    if writer.budget < 0:
        return judged(writer, loops, indent)
    name, over = f"v{next(writer.fresh)}", writer.pick(['["a", "b"]', "range(2)", "enumerate('ab')", "[]", "xs"])
    context = writer.pick(["'a'", "'a' * len(str(t))", "'b' * (1 + n % 2)"])
    return [
        f"{indent}{name} = [sample({writer.model_call(context)}) for t in {over}]",
        f"{indent}xs.append(len({name}[-1:]))",
    ]


def loop(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A loop with state before and after its call, which may or may not depend on it."""
    writer.budget -= 2 * 2**loops
    if writer.budget < 0:
        return judged(writer, loops, indent)
    s, t, y = (f"{letter}{next(writer.fresh)}" for letter in "sty")
    before = writer.pick([f"{s} = {s} + 1", f"{s} = {s} + len(str({t}))", "pass", "xs.append(1)", f"if {s} > 5: break"])
    context = writer.pick(["'ab'", f"'a' * (1 + {s} % 3)", f"'b' * (1 + {t})"])
    rest = [f"{t} = {t} + len({y})", f"xs.append(len({y}))", f"{s} = {s} * 2", "factor(0.3)", "pass"]
    after = writer.pick(rest)
    inner = indent + "    "
    return [
        f"{indent}{s} = {t} = 0",
        f"{indent}for {writer.pick(['i', '_'])} in range(2):",
        inner + before,
        f"{inner}{y} = sample({writer.model_call(context)})",
        inner + after,
        f"{indent}xs.append({s} + {t})",
    ]


def either(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A comprehension can always be split, most loops can't."""
    shape = writer.draw(st.sampled_from([comprehension, comprehension, loop]))
    return [line.replace("max_tokens=2", "max_tokens=1") for line in shape(writer, loops, indent)]


LOOP_SHAPES: list[Shape] = [either, comprehension, loop]
LOOP_PROGRAMS = [
    written(body)
    for body in (
        'vs = [sample(lm.context("a" * (i + 1)).token(temperature=0.5 + i)) for i in range(2)]\nreturn vs',
        't = "a"\nfor i in range(2):\n    y = sample(lm.context(t).token())\n    t = t + y\nreturn t',
        'for i in range(2):\n    y = sample(lm.context("a").token())\n    if y == "a":\n        break\nreturn y',
        'for i in range(2):\n    y = sample(lm.context("a" * (1 + len(xs))).token())\n    xs.append(y)\nreturn xs',
        's = 0\nfor i in range(2):\n    s = s + i\n    y = sample(lm.context("a" * (1 + s)).token(top_k=2))\n'
        "    xs.append((s, y))\nelse:\n    s = -s\nreturn s, xs, y",
        'ok = [True, False]\nfor i in range(2):\n    c = lm.context("a" * (1 // (1 - i)))\n'
        '    observe(c.choice(["a", "ba"]), "a")\n    condition(False)\nreturn 1',
        'vs = {t: call(plus_one, len(t)) for t in ["a", "bb"]}\nreturn vs',
        'vs = [(sample(lm.context(t).token()), sample(lm.context(t).choice(["a", "ba"]))) for t in ["a"]]\nreturn vs',
        'for i in range(2):\n    for t in ["a", "b"]:\n        xs.append(sample(lm.context(t).choice(["a", "ba"])))\n'
        "return 0",
        'for i in range(2):\n    if i:\n        s = 1\n    y = sample(lm.context("a").token())\n    if i:\n'
        "        xs.append((s, y))\nreturn xs",
    )
]


def test_random_loops() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(LOOP_SHAPES, choices=4), lambda source: check(source, [LOOPS], limit=60))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(LOOP_SHAPES, choices=6))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_loops(source: str) -> None:
    check(source, [LOOPS], limit=400)


@pytest.mark.parametrize("source", LOOP_PROGRAMS)
def test_loops_by_hand(source: str) -> None:
    check(source, [LOOPS])
    check(source, [LOOPS, BATCH])


@dataclass(frozen=True)
class MixesRows(BatchLoops):
    """Uses the operands of the rounds in reverse."""

    def split(self, found: Split) -> list[ir.Node]:
        nodes = super().split(found)
        each = next(node for node in nodes if isinstance(node, ir.Each))
        reads = tuple(("rows", rows) for word, rows in each.args if word == "distribution")
        mixed = ir.Py(span=each.span, code=ast.parse("rows.reverse()").body[0], reads=reads)
        return [new for node in nodes for new in ([mixed, node] if node is each and reads else [node])]


@dataclass(frozen=True)
class LosesState(BatchLoops):
    """Lets the rest of each round see the state after the last round."""

    def split(self, found: Split) -> list[ir.Node]:
        found.__dict__["saved"] = []
        return super().split(found)


@dataclass(frozen=True)
class WrongAddress(BatchLoops):
    """Draws all rows at the addresses of another name."""

    def split(self, found: Split) -> list[ir.Node]:
        def change(node: ir.Node) -> ir.Node:
            return (
                replace(node, site=replace(node.site, name=f"{node.site.name}s")) if isinstance(node, ir.Each) else node
            )

        return [change(node) for node in super().split(found)]


LOOP_NAMES = ["one_path", "rounds_independent", "rounds_apart", "rounds_fail_no_earlier", "rows_complete"]
LOOP_WRONG = [*(LOOPS.without(name) for name in LOOP_NAMES), LosesState(), MixesRows(), WrongAddress()]


@pytest.mark.parametrize("wrong", LOOP_WRONG, ids=[*LOOP_NAMES, "state lost", "rows mixed", "wrong address"])
def test_planted_bugs_in_loops_are_caught(wrong: BatchLoops) -> None:
    print(counterexample(wrong, LOOP_PROGRAMS, LOOP_SHAPES))
