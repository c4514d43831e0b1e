"""Texts drawn piece by piece: put together, the pieces give the same measure over traces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ppl import SMC, TooLarge, condition, dist, infer, program, sample, table_lm
from ppl.certificate_passes import validate_passes
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Level, Pass, Remark
from ppl.compiler.passes.push import PushConstraints
from ppl.compiler.passes.split import SplitTexts
from ppl.law_programs import CORPUS
from ppl.pieces import Pieces

from .pass_programs import FIRED, PassWriter, Shape, fires, outcomes, sources, works, written
from .random_programs import compiled

CALLS = [
    'lm.context("{c}").text(stop="{s}", max_tokens=2, temperature={t}, top_k={k})',
    'lm.context("{c}").text(stop=["{s}\\n", "\\n{s}"], max_tokens=3, top_k=2, temperature={t})',
    'lm.context("{c}").text(max_tokens=2, top_p={p})',
    'lm.context("{c}").line(max_tokens=2, temperature={t}, top_k=3)',
]


def call(writer: PassWriter) -> str:
    text = writer.pick(CALLS)
    for sign, options in {
        "c": ["a", "ab"],
        "s": ["a", "b"],
        "t": ["0.5", "2.0"],
        "k": ["2", "3"],
        "p": ["0.6"],
    }.items():
        text = text.replace("{" + sign + "}", writer.pick(options))
    return text


def text(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled(f"sample({call(writer)})", loops, indent)
    writer.budget -= 2**loops
    name = line.split("=")[0].strip()
    return [line, writer.pick([f"factor(0.25 * len({name}))", f"xs.append(len({name}))", f"condition({name} != 'a')"])]


def conditioned(writer: PassWriter, loops: int, indent: str) -> list[str]:
    line = writer.sampled(f"sample({call(writer)})", loops, indent)
    writer.budget -= 2**loops
    name = line.split("=")[0].strip()
    return [line, f"condition({name}.startswith({writer.pick(['(chr(97), chr(10))', repr('b'), repr('ab')])}))"]


def named(writer: PassWriter, loops: int, indent: str) -> list[str]:
    """Sites in and outside of a loop that have one name."""
    if "x" in writer.taken or loops:
        return text(writer, loops, indent)
    writer.taken.add("x")
    writer.budget -= 2
    return [f"x = sample({call(writer)})", "for i in range(1):", "    x = sample(dist.flip(0.3))"]


def other(writer: PassWriter, loops: int, indent: str) -> list[str]:
    return [writer.sampled(f"sample({writer.model_call()})", loops, indent)]


SHAPES: list[Shape] = [text, text, conditioned, named, other]
PASSES: list[list[Pass]] = [
    [SplitTexts()],
    [SplitTexts(by="token")],
    [PushConstraints(), SplitTexts()],
    [PushConstraints(), SplitTexts(by="token")],
]
HANDWRITTEN = [
    written(body)
    for body in (
        'x = sample(lm.context("a").text(max_tokens=3, stop="b", temperature=0.5, top_k=2))\nreturn x',
        'x = sample(lm.context("a").text(stop=["a\\nb", "\\n\\n"], max_tokens=3, top_k=2))\nreturn x',
        'for i in range(2):\n    x = sample(lm.context("a").text(max_tokens=2, top_k=2))\n'
        '    condition(x != "a")\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2))\nfor i in range(2):\n    x = sample(dist.flip(0.3))\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2), proposal=lm.context("b").text(max_tokens=2))\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2), '
        'proposal=lm.context("a").choice(["aa", "ab", "b\\n"]))\nreturn x',
        'x = sample(lm.context("a").text(max_tokens=2), name="z" + str(n))\nreturn x',
        'x = sample(lm.context("a").line(max_tokens=2))\n'
        'y = sample(lm.context("a" + x).text(max_tokens=1))\nreturn x, y',
        'x = sample(lm.context("a").text(max_tokens=3, top_k=2))\ncondition(x.startswith("a\\n"))\nreturn x',
        'x = sample(lm.context("a").choice(["ab", "b"]))\nreturn x',
    )
]


def with_newlines(source: str) -> str:
    return source.replace('["a", "b", "<eos>"], eos="<eos>", seed=5', '["a", "b", "\\n", "<eos>"], eos="<eos>", seed=5')


def check(source: str, passes: list[Pass], limit: int = 80) -> bool | None:
    prog = compiled(with_newlines(source))
    if not fires(prog, passes[-1:]):
        return False
    try:
        level = Level.PROPER if len(passes) > 1 else Level.JOINT
        certificate = validate_passes(prog, 1, passes=passes, level=level, limit=limit)
    except TooLarge:
        return None
    assert certificate, f"{certificate}\non\n{source}"
    return True


def test_random_programs() -> None:
    """They keep their law, also where the pass changes them, under each of the four in turn."""
    passes = cycle(PASSES)
    counts = outcomes(sources(SHAPES), lambda source: check(source, next(passes)))
    assert counts[True] == FIRED, counts


@pytest.mark.slow
@given(sources(SHAPES, choices=5))
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(source: str) -> None:
    for passes in PASSES:
        check(source, passes, limit=300)


@pytest.mark.parametrize("source", HANDWRITTEN)
@pytest.mark.parametrize("passes", PASSES)
def test_programs_by_hand(source: str, passes: list[Pass]) -> None:
    check(source, passes, limit=2_000)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate_passes(prog, *args, passes=[SplitTexts(by="token")], level=Level.JOINT)


# --- bugs -------------------------------------------------------------------------------------------------------------


def breaks(source: str, wrong: Pass) -> bool:
    prog = compiled(with_newlines(source))
    try:
        return not validate_passes(prog, 1, passes=[wrong], level=Level.JOINT, limit=300)
    except TooLarge:
        return False
    except Exception:
        return works(prog)


@dataclass(frozen=True)
class WrongAddress(SplitTexts):
    """All pieces at one address of a loop around."""

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        new, remarks = super().run(program, info)

        def one(node: ir.Node) -> list[ir.Node]:
            piece = isinstance(node, ir.Effect) and node.site.kind == "sample" and "split" in node.provenance
            return [replace(node, site=replace(node.site, name="piece"))] if piece else [node]  # type: ignore[attr-defined, call-arg]

        return rewrite.with_body(new, rewrite.map_nodes(new.body, one)), remarks


NAMES = ["factorises", "addresses_free", "drawn_by_constraint"]


@pytest.mark.parametrize(
    "wrong", [*(SplitTexts().without(name) for name in NAMES), WrongAddress()], ids=[*NAMES, "wrong address"]
)
def test_planted_bugs_are_caught(wrong: Pass) -> None:
    assert any(breaks(source, wrong) for source in HANDWRITTEN)


ATTRIBUTES: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 1.0},
    "top_k": {"top_k": None},
    "stop": {"stop": ()},
    "bound": {"max_tokens": 3},
    "what came before": {"before": b""},
}


@pytest.mark.parametrize("lost", ATTRIBUTES)
def test_a_lost_attribute_is_caught(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = Pieces._piece

    def wrong(self: Pieces, distribution: Any) -> Any:
        found = piece(self, distribution)
        changed = replace(found.spec, **ATTRIBUTES[lost]) if hasattr(found, "spec") else None
        return found if changed is None else type(found)(found.context, changed)

    monkeypatch.setattr(Pieces, "_piece", wrong)
    assert any(breaks(source, SplitTexts(by="token")) for source in HANDWRITTEN)


# --- what it does, and what it buys -----------------------------------------------------------------------------------

lm = table_lm(["a", "b", "c", "\n", "<eos>"], eos="<eos>", seed=3)


@program
def poem() -> str:
    x = sample(lm.context("a").text(max_tokens=6))
    condition(x.startswith("abc\nab"))
    return x


def test_pieces_are_resampled() -> None:
    """A pushed constraint gives weights at each token, and runs are resampled by them."""
    exact = infer(poem, method="enumerate", max_outcomes=100_000).log_evidence
    found = infer(poem, method=SMC(n=20, ess_threshold=1.0), seed=1, passes=["push", SplitTexts(by="token")])
    assert found.log_evidence == pytest.approx(exact, abs=1e-9)  # each token's mass is the same for all runs
    addresses = [c.address for c in found.runs[0].trace]
    assert addresses[:3] == ["x[0]", "x[1]", "x[2]"] and found.runs[0].value.startswith("abc\nab")


@program
def short() -> str:
    x = sample(lm.context("a").text(max_tokens=2))
    condition(x != "b")
    return x


@pytest.mark.filterwarnings("ignore:no run of short reached")
def test_what_is_fixed_stays_whole() -> None:
    for fixed in (short.given(x="ab"), short.do(x="ab")):
        assert validate_passes(fixed, passes=["split"])
        assert not validate_passes(fixed, passes=[SplitTexts().without("address_not_kept")])


def test_remarks() -> None:
    @program
    def main(n: int) -> Any:
        x = sample(lm.context("a").line())
        y = sample(lm.context("a").text(), name=f"y{n}")
        z = sample(lm.context("a").choice(["a", "b"]))
        w = sample(lm.context("a").text(), proposal=lm.context("b").text())
        v = sample(lm.context("a").text())
        return sample(dist.flip(0.3))

    told = main.explain(["split"])
    for reason in ("one line already", "its name is computed", "not known to be a text", "a proposal of its own"):
        assert reason in told
    assert "the sample 'v' is drawn line by line" in told
    with pytest.raises(ValueError, match="'line' or by 'token'"):
        SplitTexts(by="word")
