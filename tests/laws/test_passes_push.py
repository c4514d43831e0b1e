"""Conditions that are pushed into samplers: the same expected measure, and less variance."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings

from ppl import condition, dist, factor, infer, program, sample, table_lm
from ppl.certificate_passes import validate_passes
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Level, Pass, Remark
from ppl.compiler.passes.push import PushConstraints
from ppl.law_programs import CORPUS

from .pass_programs import FIRED, PassWriter, Shape, check, counterexample, outcomes, sources, written

WORDS = ["'a'", "'ab'", "('a', 'b')", "'b'"]


def drawn(writer: PassWriter, loops: int, indent: str) -> tuple[str, str]:
    line = writer.sampled(f"sample({writer.model_call()})", loops, indent)
    return line, line.split("=")[0].strip()


def of_text(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A text, and what is asked of it."""
    line, name = drawn(writer, loops, indent)
    tests = [
        f"{name}.startswith({writer.pick(WORDS)})",
        f"{name} in {writer.pick(['(n, 1)', str(('a', 'ba'))])}",
        f"{name} == 'a'",
        f"re.fullmatch('a?b*', {name})",
        f"{writer.pick(['SHORT', 'ANY'])}.fullmatch({name}) is not None",
        f"{name}.startswith(f'{{chr(97 + {writer.number()} % 2)}}')",
        f"{name}.startswith('a') and len({name}) < 2 + n",
    ]
    return [line, f"{indent}condition({writer.pick(tests)})"]


def of_number(writer: PassWriter, loops: int, indent: str) -> list[str]:
    number = writer.number()
    line = writer.sampled("sample(dist.categorical([0.5, 0.2, 0.3]))", loops, indent)
    name = line.split("=")[0].strip()
    return [
        line,
        f"{indent}condition({name} {writer.pick(['== 2', 'in (0, 2)', '== n', 'in {1, n}', f'== {number}'])})",
    ]


def after_an_exit(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, name = drawn(writer, loops, indent)
    return [line, f"{indent}if {writer.number()}:", f"{indent}    return (8, ())", f"{indent}condition({name} == 'a')"]


def on_some_runs(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, name = drawn(writer, loops, indent)
    return [line, f"{indent}if {writer.number()}:", f"{indent}    condition({name} == 'a')"]


def of_a_list(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Compared with a list that changes in between."""
    line = writer.sampled("sample(dist.categorical([0.5, 0.2, 0.3]))", loops, indent)
    return [line, f"{indent}xs.append({writer.number()})", f"{indent}condition({line.split('=')[0].strip()} in xs)"]


def with_a_proposal(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled("sample(dist.flip(0.3), proposal=dist.flip(0.6))", loops, indent)
    return [line, f"{indent}condition({line.split('=')[0].strip()} == True)"]


SHAPES: list[Shape] = [of_text, of_text, of_number, after_an_exit, on_some_runs, of_a_list, with_a_proposal]


def random(source: str) -> str:
    return f"import re\nSHORT, ANY = re.compile('a?b*'), re.compile('a.*', re.S | re.A)\n{source}"


HANDWRITTEN = [
    random(written(body))
    for body in (
        'x = sample(lm.context("a").text(max_tokens=2))\ncondition(x.startswith("b"))\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2, top_k=2))\nif n:\n    return x\ncondition(x == "b")\nreturn 1',
        'x = sample(lm.context("a").token())\nif len(x):\n    return x\ncondition(x == "b")\nreturn 1',
        'x = sample(lm.context("a").token())\nif n < 0:\n    condition(x == "b")\nreturn x',
        "x = sample(dist.categorical([0.5, 0.2, 0.3]))\nxs.append(n)\ncondition(x in xs)\nreturn x",
        "xs.append(0)\nx = sample(dist.categorical([0.5, 0.2, 0.3]))\nxs.append(2)\ncondition(x in xs)\nreturn x",
        "x = sample(dist.flip(0.3))\ny = sample(dist.flip(0.6))\ncondition(x == y)\nreturn x, y",
        "x = sample(dist.flip(0.3), proposal=dist.flip(0.9))\ncondition(x == True)\nreturn x",
        "x = sample(dist.flip(0.3))\ny = x\ncondition(y == True and n == 1)\ncondition(n == 2 or x == 5)\nreturn x",
        'x = sample(lm.context("a").text(max_tokens=2))\ncondition(re.fullmatch("[ab]b?", x))\n'
        'condition(x.startswith(("a", "bb")))\nreturn x',
        'for i in range(2):\n    x = sample(lm.context("a" * (i + 1)).choice(["a", "b"], temperature=0.5))\n'
        '    condition(x in {"a"})\n    xs.append(x)\nreturn tuple(xs)',
        'x = sample(lm.context("a").token(top_k=1))\ncondition(x == "impossible")\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2))\ncondition(SHORT.fullmatch(x))\n'
        'own = re.compile("[ab]+")\ncondition(bool(own.fullmatch(x)))\nreturn x',
        "x = sample(dist.categorical([0.5, 0.2, 0.3]))\ny = sample(dist.categorical([0.5, 0.2, 0.3]))\n"
        "condition(x == y + 1)\nreturn x, y",
        "it = iter([0, 1])\nx = sample(dist.categorical([0.5, 0.2, 0.3]))\ncondition(x in [k for k in it])\nreturn x",
        "it = enumerate([5, 6])\nx = sample(dist.categorical([0.5, 0.2, 0.3]))\n"
        "condition(x in [k for k, _ in it])\nreturn x",
        "y = sample(dist.categorical([0.5, 0.5]))\nx = sample(dist.categorical([0.5, 0.2, 0.3]))\n"
        "condition(y)\ncondition(x == 1 // y)\nreturn x",
        "y = sample(dist.categorical([0.5, 0.5]))\nx = sample(dist.categorical([0.5, 0.2, 0.3]))\n"
        "condition(y and x == 1 // y)\nreturn x",
        "x = sample(dist.categorical([0.5, 0.2, 0.3]))\nxs.append(n)\ncondition(x in [k for k in xs])\nreturn x",
    )
]
KEEP = ("*",)


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(SHAPES), lambda source: check(random(source), [PushConstraints()], KEEP))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(SHAPES, choices=5))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(random(source), [PushConstraints()], KEEP, limit=3_000)


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source, [PushConstraints()], KEEP)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes=["push"], keep="*")


# --- bugs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changed(PushConstraints):
    """The pass, and then something wrong with what it made."""

    def change(self, node: ir.Effect) -> ir.Effect:
        raise NotImplementedError

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)

        def one(node: ir.Node) -> list[ir.Node]:
            return [self.change(node) if isinstance(node, ir.Effect) and "push" in node.provenance else node]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, one)), remarks


class LosesTheMass(Changed):
    """Draws from the restricted distribution as if it were the program's own: the allowed mass is lost."""

    def change(self, node: ir.Effect) -> ir.Effect:
        args = dict(node.args)
        return replace(node, args=(("distribution", args["proposal"]),))


class WrongAddress(Changed):
    def change(self, node: ir.Effect) -> ir.Effect:
        return replace(node, site=replace(node.site, name=node.site.name + "x"))


@dataclass(frozen=True)
class DropsTheCondition(PushConstraints):
    """Takes a pushed condition for done, though a part of it was not pushed."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)
        if new is program:
            return new, remarks
        body = rewrite.map_nodes(
            new.body, lambda n: [] if isinstance(n, ir.Effect) and n.site.kind == "condition" else [n]
        )
        return rewrite.with_body(new, body), remarks


BUGS: dict[str, Callable[[], Pass]] = {
    "asked_of_every_run": lambda: PushConstraints().without("asked_of_every_run"),
    "operand_known": lambda: PushConstraints().without("operand_known"),
    "operand_unchanged": lambda: PushConstraints().without("operand_unchanged"),
    "operand_repeatable": lambda: PushConstraints().without("operand_repeatable"),
    "operand_fails_no_earlier": lambda: PushConstraints().without("operand_fails_no_earlier"),
    "mass lost": LosesTheMass,
    "wrong address": WrongAddress,
    "condition dropped": DropsTheCondition,
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    print(counterexample(BUGS[bug](), HANDWRITTEN, SHAPES, KEEP))


# --- what it does, and what it buys -----------------------------------------------------------------------------------

lm = table_lm(["a", "b", "ab", "<eos>"], eos="<eos>", seed=7)


@program
def answers(n: int) -> str:
    x = sample(lm.context("a").text(max_tokens=4))
    y = sample(dist.categorical({"u": 0.1, "v": 0.3, "w": 0.6}))
    condition(x.startswith("ab"))
    condition(y == "u")
    z = sample(lm.context("b").choice(["a", "ba", "ab"]))
    condition(re.fullmatch("b?a", z) is not None)
    factor(0.1 * len(x))
    w = sample(lm.context("b").token())
    if n:
        condition(w == "a")
    return x + y


def test_every_particle_survives() -> None:
    before = infer(answers, 0, method="importance", n=60, seed=2, passes=[])
    after = infer(answers, 0, method="importance", n=60, seed=2, passes=["push"])
    exact = infer(answers, 0, method="enumerate")
    assert after.ess > 50 > 10 > before.ess
    assert after.log_evidence == pytest.approx(exact.log_evidence, abs=0.1)
    assert "not asked while 'w' is drawn: the condition is not asked of every run" in answers.explain(["push"])


def test_what_is_fixed_or_run_forward_means_the_same() -> None:
    for fixed in (answers.do(x="ba"), answers.given(x="aba"), answers.do(x="aba"), answers.given(z="ab")):
        assert validate_passes(fixed, 1, passes=["push"], keep="*")
    prior = {run.value for run in infer(answers, 0, method="forward", n=100, seed=1, passes=["push"]).runs}
    assert any(value.endswith("w") for value in prior)


def test_a_proposal_from_outside_comes_first() -> None:
    found = infer(
        answers,
        0,
        method="importance",
        n=400,
        seed=1,
        passes=["push"],
        proposals={"y": lambda site: dist.uniform("uvw")},
    )
    exact = infer(answers, 0, method="enumerate").log_evidence
    assert found.log_evidence == pytest.approx(exact, abs=0.3)


def test_its_level_is_the_weight() -> None:
    assert PushConstraints.level is Level.PROPER and not PushConstraints.default
