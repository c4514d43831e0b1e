"""Evidence that is moved up leaves the measure over traces as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings

from ppl import SMC, dist, factor, infer, observe, program, sample, twist
from ppl.certificate import validate
from ppl.certificate_passes import validate_passes
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Remark
from ppl.compiler.passes.hoist import HoistEvidence
from ppl.law_programs import CORPUS

from .pass_programs import FIRED, PassWriter, Shape, check, counterexample, outcomes, sources, written


def late(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Evidence about what was known before the last choice."""
    number, p = writer.number(), writer.probability()
    evidence = writer.pick(
        [f"factor(0.5 * {number})", f"condition({number} < 2)", f"observe(dist.flip({p}), bool({number}))"]
    )
    return [writer.sampled("sample(dist.flip(0.25))", loops, indent), indent + evidence]


def late_about_text(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled("sample(dist.flip(0.25))", loops, indent)
    return [line, f'{indent}observe({writer.model_call()}, "{writer.pick(["a", "b"])}")']


def after_a_change(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Evidence about a list that has changed since."""
    line = writer.sampled("sample(dist.flip(0.25))", loops, indent)
    return [line, f"{indent}xs.append({writer.number()})", f"{indent}factor(0.25 * len(xs))"]


def guarded(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Evidence that can only be computed where a condition holds."""
    line = writer.sampled("sample(dist.flip(0.25))", loops, indent)
    new, known = line.split("=")[0].strip(), writer.pick(writer.names)
    return [line, f"{indent}condition({known} != 0 and {new} is not None)", f"{indent}factor(1 / {known})"]


def after_an_exit(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled("sample(dist.flip(0.25))", loops, indent)
    name = line.split("=")[0].strip()
    return [line, f"{indent}if {name}:", f"{indent}    return (9, ())", f"{indent}factor({writer.number()})"]


SHAPES: list[Shape] = [late, late, late_about_text, after_a_change, guarded, after_an_exit]
HANDWRITTEN = [
    written(body)
    for body in (
        "x = sample(dist.flip(0.3))\ny = sample(dist.flip(0.5 if x else 0.2))\nfactor(0.5 if y else 0.1)\nreturn x, y",
        "x = sample(dist.flip(0.3))\nif x:\n    return 1\ny = sample(dist.flip(0.6))\nfactor(0.5)\nreturn y",
        "x = sample(dist.flip(0.3))\nxs.append(1)\ny = sample(dist.flip(0.6))\nfactor(0.5 * len(xs))\nreturn x, y",
        "y = sample(dist.flip(0.3))\nxs.append(1)\nfactor(0.5 * len(xs))\nreturn y",
        "x = sample(dist.categorical([0.3, 0.7]))\ny = sample(dist.flip(0.5))\n"
        "condition(x and y is not None)\nfactor(1 / x)\nreturn y",
        "x = sample(dist.flip(0.3))\nfactor(0.3)\ny = sample(dist.flip(0.5))\nfactor(0.7 if x else 0.1)\nreturn y",
        "for i in range(2):\n    x = sample(dist.flip(0.3))\n    factor(0.5 * i)\nreturn x",
        'x = sample(lm.context("a").token())\ny = sample(lm.context("a" + x).token())\n'
        'observe(lm.context("b" + x).token(top_k=2), "a")\nreturn x, y',
    )
]


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(SHAPES), lambda source: check(source, [HoistEvidence()]))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(SHAPES, choices=5))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, [HoistEvidence()], limit=400)


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source, [HoistEvidence()])


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes=["hoist"])


@dataclass(frozen=True)
class LosesOperands(HoistEvidence):
    """Gives what it moves the operands of the first evidence of its kind."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)
        first = next((e for e in ir.effects(new.body) if e.site.kind == "factor"), None)

        def change(node: ir.Node) -> list[ir.Node]:
            moved = isinstance(node, ir.Effect) and node.site.kind == "factor" and "hoist" in node.provenance
            return [replace(node, args=first.args)] if moved and first and isinstance(node, ir.Effect) else [node]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, change)), remarks


@dataclass(frozen=True)
class MixesAddresses(HoistEvidence):
    """Gives the sample that evidence has passed another name."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)
        last = [e for e in ir.effects(new.body) if e.site.kind == "sample"][-1:] if new is not program else []

        def change(node: ir.Node) -> list[ir.Node]:
            wrong = node in last and isinstance(node, ir.Effect)
            return [replace(node, site=replace(node.site, name="other"))] if wrong else [node]  # type: ignore[attr-defined, call-arg]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, change)), remarks


BUGS = [HoistEvidence().without(c.__name__) for c in HoistEvidence().conditions if c.__name__ != "hints_respected"]


NAMES = [*(c.__name__ for c in HoistEvidence().conditions[:4]), "operands lost", "wrong address"]


@pytest.mark.parametrize("wrong", [*BUGS, LosesOperands(), MixesAddresses()], ids=NAMES)
def test_planted_bugs_are_caught(wrong: HoistEvidence) -> None:
    print(counterexample(wrong, HANDWRITTEN, SHAPES))


@program
def late_news() -> int:
    x = sample(dist.flip(0.3))
    y = sample(dist.uniform(range(20)))
    observe(dist.flip(0.9 if x else 0.1), True)
    factor(0.1 * y)
    return y


def test_what_smc_gains() -> None:
    """Where evidence comes before the choice, the choice is only made for what has survived."""
    hoisted = late_news.with_passes(["hoist"])
    assert validate(hoisted, n=1) and validate_passes(late_news, passes=["hoist"])
    method = SMC(n=40, ess_threshold=1.0)
    before = infer(late_news, method=method, passes=[], seed=1)
    after = infer(late_news, method=method, seed=1)
    assert len({run.value for run in after.runs}) > len({run.value for run in before.runs})


def test_evidence_stays_behind_a_hint() -> None:
    @program
    def hinted() -> bool:
        x = sample(dist.flip(0.3))
        twist(1.0 if x else 0.0)
        y = sample(dist.flip(0.5))
        factor(0.5 if x else -0.5)
        return y

    text = hinted.explain(["hoist"])
    assert "moved the factor up past the sample 'y'" in text
    assert "stays below line" in text and "the twist there says where runs are to be weighed" in text
