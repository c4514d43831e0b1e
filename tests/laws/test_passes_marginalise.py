"""Samples that only weigh a run are summed out: the measure over everything else stays."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppl import condition, dist, factor, infer, observe, program, sample
from ppl.certificate_passes import validate_passes
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Level, Pass, Remark
from ppl.compiler.passes.marginalise import Marginalise
from ppl.law_programs import CORPUS

from .pass_programs import FIRED, PassWriter, Shape, check, counterexample, outcomes, sources, written
from .random_programs import compiled

KEEP = ("kept", "kept[*")


def choice(writer: PassWriter, loops: int, indent: str, name: str = "") -> tuple[str, str]:
    d = writer.pick([f"flip({writer.probability()})", "categorical([0.5, 0.2, 0.3])", "categorical({2: 0.6, 5: 0.4})"])
    line = writer.sampled(f"sample(dist.{d}{name})", loops, indent)
    return line, line.split("=")[0].strip()


def weight(writer: PassWriter, z: str) -> str:
    """A weight that depends on ``z``."""
    number, p = writer.pick(list(writer.names)), writer.probability()
    return writer.pick(
        [
            f"factor(0.5 * {z} - 0.25 * {number})",
            f"observe(dist.flip(0.9 if {z} > {number} else {p}), bool({number}))",
            f"condition({z} != {number})",
            f"observe(dist.categorical([0.5, 0.2, 0.3]), {z} % 3)",
        ]
    )


def latent(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, z = choice(writer, loops, indent)
    return [line, *(indent + weight(writer, z) for _ in range(2))]


def computed_from(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, z = choice(writer, loops, indent)
    return [line, f"{indent}{z}m = 2 * {z} + 1", indent + weight(writer, f"{z}m"), indent + weight(writer, z)]


def chain(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Choices each of which only leads to the next, and at last to evidence."""
    first, z = choice(writer, loops, indent)
    second = writer.sampled(f"sample(dist.flip(0.9 if {z} else {writer.probability()}))", loops, indent)
    y = second.split("=")[0].strip()
    between = writer.pick(["", f"factor(0.5 * {z})", "xs.append(1)"])
    last = writer.pick([weight(writer, y), f"observe(dist.flip(0.8 if {y} and {z} else 0.3), True)"])
    return [first, second, *([indent + between] if between else []), indent + last]


def together(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Choices that are weighed together."""
    first, z = choice(writer, loops, indent)
    second, y = choice(writer, loops, indent)
    both = [
        f"factor(0.5 * {z} - 0.25 * {y})",
        f"condition({z} != {y})",
        f"observe(dist.flip(0.2 if {z} > {y} else 0.7), True)",
    ]
    return [first, second, indent + writer.pick(both), indent + weight(writer, writer.pick([z, y]))]


def in_a_branch(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, z = choice(writer, loops, indent)
    inner = indent + "    "
    test = writer.pick([z, writer.number()])
    return [line, f"{indent}if {test}:", inner + weight(writer, z), f"{indent}else:", inner + weight(writer, z)]


def guarded(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A weight that can only be computed for outcomes that another has left."""
    line, z = choice(writer, loops, indent)
    return [line, f"{indent}condition({z} != 0)", f"{indent}factor(1 / {z})"]


def guarding(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """A weight that keeps something else from failing."""
    line, z = choice(writer, loops, indent)
    number = writer.number()
    return [
        line,
        f"{indent}condition({z} > 5 or {number} != 0)",
        f"{indent}{z}q = 1 / ({number})",
        f"{indent}factor({z} * {z}q)",
    ]


def apart(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Weights with a choice, a change or an exit between them."""
    line, z = choice(writer, loops, indent)
    number = writer.number()
    between = writer.draw(
        st.sampled_from(
            [["xs.append(1)"], [f"if {number}:", "    return 5"], ["y = 1", "if n > y:", "    return (7, ())"]]
        )
    )
    return [line, indent + weight(writer, z), *(indent + b for b in between), f"{indent}factor(0.25 * {z} * len(xs))"]


def kept(writer: PassWriter, loops: int, indent: str) -> list[str]:
    if "kept" in writer.taken:
        return latent(writer, loops, indent)
    writer.taken.add("kept")
    line, z = choice(writer, loops, indent, ", name='kept'")
    return [line, indent + weight(writer, z)]


def used_too(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line, z = choice(writer, loops, indent)
    return [line, indent + weight(writer, z), f"{indent}xs.append(int({z}))"]


SHAPES: list[Shape] = [
    latent,
    latent,
    latent,
    computed_from,
    chain,
    chain,
    together,
    in_a_branch,
    guarded,
    guarding,
    apart,
    kept,
    used_too,
]
HANDWRITTEN = [
    written(body)
    for body in (
        "z = sample(dist.flip(0.3))\nobserve(dist.flip(0.9 if z else 0.2), True)\nreturn n",
        "z = sample(dist.categorical([0.2, 0.3, 0.5]))\ncondition(z != 0)\nfactor(1 / z)\nreturn n",
        "z = sample(dist.flip(0.3))\nfactor(0.7 * z)\nif n:\n    return z\nreturn 1",
        "kept = sample(dist.flip(0.3))\nfactor(0.7 * kept)\nreturn 1",
        "kept = sample(dist.flip(0.3))\nz = sample(dist.flip(0.3))\nfactor(0.7 * z)\nreturn kept",
        "z = sample(dist.flip(0.3))\ny = sample(dist.flip(0.6))\nfactor(0.7 * z)\nif y:\n    return 1\n"
        "factor(0.5 * z)\nreturn 2",
        "z = sample(dist.flip(0.3))\nobserve(dist.flip(0.9 if z + len(xs) else 0.2), True)\nxs.append(1)\n"
        "factor(0.5 * z)\nreturn 2",
        "a = sample(dist.flip(0.3))\nfactor(0.5 * a)\nb = sample(dist.flip(0.6))\nfactor(0.7 * b)\nreturn 1",
        'z = sample(lm.context("a").token())\nfactor(0.5 * len(z))\nreturn 2',
        "it = enumerate([1, 2])\nz = sample(dist.categorical([0, 0.3, 0.7]))\nfactor(z * len(list(it)))\nreturn 2",
        "z = sample(dist.flip(0.3))\ny = sample(dist.categorical([0.4, 0.6]))\ncondition(y != 0 or z is None)\n"
        "q = 1 / y\nfactor(q * z)\nreturn y",
        "a = sample(dist.flip(0.3))\nb = sample(dist.flip(0.6))\nfactor(0.5 * a + 0.25 * b)\nfactor(0.5 * b)\nreturn 1",
        "for i in range(2):\n    z = sample(dist.flip(0.3 + 0.2 * i))\n    factor(0.7 * z + i)\nreturn 3",
        "z = sample(dist.uniform([1, 1, 2]), proposal=dist.uniform([1, 2]))\nfactor(0.5 * z)\nreturn 3",
        "z = sample(dist.flip(0.3))\ncondition(z and not z)\nreturn 1",
        "z = sample(dist.flip(0.3))\nif z:\n    factor(0.5)\nelse:\n    condition(n)\n    factor(-0.5)\nreturn 1",
        'z = sample(dist.flip(0.3))\nobserve(lm.context("a" if z else "b").token(), "a")\nreturn 1',
        "z = sample(dist.flip(0.3))\ny = sample(dist.flip(0.9 if z else 0.1))\n"
        "x = sample(dist.flip(0.7 if y else 0.2))\nfactor(0.3 * z)\nif z:\n    condition(x)\n"
        "observe(dist.flip(0.8 if x else 0.3), True)\nreturn n",
        "z = sample(dist.flip(0.3))\ny = sample(dist.flip(0.6))\nfactor(z * y)\nfactor(0.5 * z)\nreturn n",
        "m = Meter()\nz = sample(dist.uniform([m, None]))\nif z:\n    factor(0.5)\nreturn m.seen",
        "z = sample(dist.flip(0.3))\nfor i in range(2):\n    y = sample(dist.flip(0.9 if z else 0.1))\n"
        "    factor(0.5 * y)\nreturn n",
    )
]


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them."""
    counts = outcomes(sources(SHAPES), lambda source: check(source, [Marginalise()], KEEP))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(SHAPES, choices=5))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    check(source, [Marginalise()], KEEP, limit=3_000)


@pytest.mark.parametrize("source", HANDWRITTEN)
def test_programs_by_hand(source: str) -> None:
    check(source, [Marginalise()], KEEP)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes=["marginalise"])


# --- bugs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LosesAWeight(Marginalise):
    """Leaves the first weight of each outcome out of the sum."""

    def _weighed(self, nodes: object, total: ir.Value) -> tuple[ir.Node, ...]:
        new = super()._weighed(nodes, total)  # type: ignore[arg-type]
        told = next((n for n in new if isinstance(n, ir.Py) and n.writes[0][0] == "·dead"), None)
        return tuple(n for n in new if n is not told and not (isinstance(n, ir.If) and told and n.test in told.defines))


@dataclass(frozen=True)
class GoesOnWhenRuledOut(Marginalise):
    """Does not stop at a weight of zero."""

    def _weighed(self, nodes: object, total: ir.Value) -> tuple[ir.Node, ...]:
        new = super()._weighed(nodes, total)  # type: ignore[arg-type]
        return tuple(n for n in new if not (isinstance(n, ir.If) and n.test.name == "·dead"))


@dataclass(frozen=True)
class WrongDistribution(Marginalise):
    """Sums over the distribution of the first sample of the program."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        first = next((e for e in ir.effects(program.body) if e.site.kind == "sample"), None)
        new, remarks = super().run(program, info)

        def change(node: ir.Node) -> list[ir.Node]:
            sums = isinstance(node, ir.Py) and node.writes and node.writes[0][0] == "·sum"
            return (
                [rewrite.substitute(node, {node.uses[0]: dict(first.args)["distribution"]})]
                if sums and first
                else [node]
            )

        return rewrite.with_body(new, rewrite.map_nodes(new.body, change)), remarks


@dataclass(frozen=True)
class WrongAddress(Marginalise):
    """Gives the samples that are left the address of the sum."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)

        def change(node: ir.Node) -> list[ir.Node]:
            wrong = isinstance(node, ir.Effect) and node.site.name == "kept" and new is not program
            return [replace(node, site=replace(node.site, name="other"))] if wrong else [node]  # type: ignore[attr-defined, call-arg]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, change)), remarks


BUGS: dict[str, Callable[[], Pass]] = {
    name: lambda name=name: Marginalise().without(name)  # type: ignore[misc]
    for name in (
        "only_weighs",
        "address_not_kept",
        "repeatable",
        "no_exit_crossed",
        "objects_unchanged",
        "nothing_unguarded",
        "finite_support",
    )
}
BUGS |= {
    "a weight lost": LosesAWeight,
    "ruled out goes on": GoesOnWhenRuledOut,
    "wrong distribution": WrongDistribution,
    "wrong address": WrongAddress,
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    print(counterexample(BUGS[bug](), HANDWRITTEN, SHAPES, KEEP))


# --- what it does, and what it buys -----------------------------------------------------------------------------------


@program
def mixture(data: list[bool]) -> float:
    bias = sample(dist.categorical({0.2: 0.5, 0.8: 0.5}))
    for seen in data:
        part = sample(dist.flip(bias))
        observe(dist.flip(0.9 if part else 0.1), seen)
    return float(bias)


def test_the_evidence_varies_less() -> None:
    data = [True, True, False, True, True, True]
    options: dict[str, Any] = {"method": "importance", "n": 20}
    plain = [infer(mixture, data, seed=s, passes=[], **options).log_evidence or 0.0 for s in range(40)]
    summed = [infer(mixture, data, seed=s, passes=["marginalise"], **options).log_evidence or 0.0 for s in range(40)]
    exact = infer(mixture, data, method="enumerate").log_evidence
    assert statistics.stdev(summed) < statistics.stdev(plain) / 3
    assert statistics.mean(summed) == pytest.approx(exact, abs=0.1)


def test_what_goes_and_what_stays() -> None:
    @program
    def main(n: int) -> int:
        z = sample(dist.flip(0.3))
        factor(0.5 * z)
        y = sample(dist.flip(0.3))
        condition(y or n)
        unknown = dist.flip(0.2) if n else dist.flip(0.3)
        x = sample(unknown)
        factor(0.1 * x)
        many = sample(dist.uniform(range(n + 3)))
        factor(0.1 * many)
        return int(y)

    def addresses(**options: object) -> list[str]:
        return [c.address for c in infer(main, 1, method="enumerate", **options).runs[0].trace]  # type: ignore[arg-type]

    assert addresses() == ["z", "y", "x", "many"]
    assert addresses(passes=["marginalise"]) == ["y", "x", "many"]
    assert "z" in addresses(passes=["marginalise"], keep="z")
    assert "z" in [c.address for c in infer(main.do(z=True), 1, passes="all", method="enumerate").runs[0].trace]
    text = main.explain(["marginalise"])
    for part in (
        "summed the sample 'z' out of 1 weight",
        "the sample 'x' is drawn, not summed out: the compiler does not know what its distribution is",
        "the number of its outcomes is not told",
    ):
        assert part in text
    assert Marginalise.level is Level.MARGINAL


def test_a_chain_is_summed_out_from_its_end() -> None:
    @program
    def links(n: int) -> int:
        z = sample(dist.flip(0.3))
        y = sample(dist.flip(0.9 if z else 0.1))
        x = sample(dist.categorical({0: 0.5, y + 1: 0.5}))
        observe(dist.flip(0.8 if x else 0.3), True)
        return n

    assert not [c for run in infer(links, 1, method="enumerate", passes=["marginalise"]).runs for c in run.trace]
    assert validate_passes(links, 1, passes=["marginalise"])
    told = links.explain([Marginalise(most=6)])
    assert "the sample 'z' is drawn, not summed out: with the sums that depend on it there would be 8 terms" in told
    normal = "x = sample(torch.distributions.Normal(0.0, 1.0))\nfactor(-(float(x) ** 2))\nreturn n"
    assert "not summed out: Normal is continuous" in compiled("import torch\n" + written(normal)).explain("all")


def test_evidence_with_its_arguments_in_another_order() -> None:
    @program
    def late() -> bool:
        p = sample(dist.uniform([0.2, 0.7]))
        observe(value=True, distribution=dist.flip(p))
        return sample(dist.flip(0.5))

    assert validate_passes(late, passes=["marginalise"])
    assert infer(late, method="enumerate", passes=["marginalise"]).log_evidence == pytest.approx(math.log(0.45))
