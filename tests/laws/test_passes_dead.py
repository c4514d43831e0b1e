"""Dead-sample elimination keeps the measure over the return value and the kept addresses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings

from ppl import dist, factor, infer, program, sample
from ppl.certificate_passes import validate_passes
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Level, Remark
from ppl.compiler.passes.dead import DeadSamples
from ppl.law_programs import CORPUS

from .pass_programs import FIRED, PassWriter, Shape, check, counterexample, outcomes, sources, written

KEEP = ("kept", "kept[*")


def unused(writer: PassWriter, loops: int, indent: str) -> list[str]:
    return [writer.sampled(f"sample(dist.flip({writer.probability()}))", loops, indent)]


def unused_text(writer: PassWriter, loops: int, indent: str) -> list[str]:
    return [writer.sampled(f"sample({writer.model_call()})", loops, indent)]


def kept(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """At most one a program: its name is taken then."""
    if "kept" in writer.taken:
        return unused(writer, loops, indent)
    writer.taken.add("kept")
    return [writer.sampled("sample(dist.flip(0.25), name='kept')", loops, indent)]


def used(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled(f"sample(dist.flip({writer.probability()}))", loops, indent)
    name = line.split("=")[0].strip()
    return [line, f"{indent}factor(0.5 if {name} else -0.5)"]


SHAPES: list[Shape] = [unused, unused, unused_text, kept, used]
HANDWRITTEN = [
    written(body)
    for body in (
        "x = sample(dist.flip(0.3))\ny = sample(dist.flip(0.5 if x else 0.2))\nfactor(0.5 if x else 0.1)\nreturn x",
        "kept = sample(dist.flip(0.3))\nfactor(0.5)\nreturn 1",
        "kept = sample(dist.flip(0.3), proposal=dist.flip(0.6))\nx = sample(dist.flip(0.3))\nreturn kept",
        "for i in range(2):\n    x = sample(dist.flip(0.3))\nreturn n",
        "p = enumerate('ab')\nx = sample(dist.uniform(list(p)))\nreturn len(list(p))",
    )
]


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(SHAPES), lambda source: check(source, [DeadSamples()], KEEP))
    assert counts[True] == FIRED, counts


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source, [DeadSamples()], KEEP)


@pytest.mark.slow
@given(sources(SHAPES, choices=5))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, [DeadSamples()], KEEP, limit=400)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes=["dead"])


@dataclass(frozen=True)
class Changed(DeadSamples):
    """The pass, and then something wrong with the samples that are left."""

    def change(self, node: ir.Effect) -> ir.Effect:
        raise NotImplementedError

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)
        if new is program:
            return new, remarks

        def one(node: ir.Node) -> list[ir.Node]:
            return [self.change(node) if isinstance(node, ir.Effect) and node.site.name == "kept" else node]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, one)), remarks


class WrongAddress(Changed):
    """What is left takes the address of another."""

    def change(self, node: ir.Effect) -> ir.Effect:
        return replace(node, site=replace(node.site, name="v0"))


class LosesTheProposal(Changed):
    """What is left is drawn from its proposal, as if that were its distribution."""

    def change(self, node: ir.Effect) -> ir.Effect:
        args = dict(node.args)
        return replace(node, args=(("distribution", args.get("proposal", args["distribution"])),))


@dataclass(frozen=True)
class AnySample(DeadSamples):
    """Leaves out evidence as well, where its answer is not used."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        program, remarks = super().run(program, info)
        body = rewrite.map_nodes(
            program.body, lambda node: [] if isinstance(node, ir.Effect) and node.site.kind == "factor" else [node]
        )
        return rewrite.with_body(program, body), remarks


NAMES = ["value_unused", "address_not_kept"]


@pytest.mark.parametrize(
    "wrong",
    [*(DeadSamples().without(name) for name in NAMES), AnySample(), WrongAddress(), LosesTheProposal()],
    ids=[*NAMES, "evidence", "wrong address", "attributes lost"],
)
def test_planted_bugs_are_caught(wrong: DeadSamples) -> None:
    print(counterexample(wrong, HANDWRITTEN, SHAPES, KEEP))


@program
def some() -> int:
    x = sample(dist.flip(0.3))
    y = sample(dist.flip(0.5 if x else 0.2))
    unknown = dist.flip(0.4) if x else dist.flip(0.6)
    z = sample(unknown)
    factor(0.5 if x else 0.0)
    return int(x)


def test_what_goes_and_what_stays() -> None:
    def addresses(**options: object) -> list[str]:
        return [c.address for c in infer(some, method="enumerate", **options).runs[0].trace]  # type: ignore[arg-type]

    assert addresses() == ["x", "y", "z"]  # dropping addresses is not a default
    assert addresses(passes=["dead"]) == ["x", "z"]
    assert addresses(passes=["dead"], keep="y") == ["x", "y", "z"]
    assert addresses(passes=["dead"], keep="*") == ["x", "y", "z"]
    assert [c.address for c in infer(some.given(y=True), passes="all", method="enumerate").runs[0].trace][:2] == [
        "x",
        "y",
    ]
    assert validate_passes(some, passes=["dead"]).guarantee == Level.MARGINAL.name.lower()
    text = some.explain("all")
    assert "left out the sample 'y'" in text and "'z' is not used, but" in text
