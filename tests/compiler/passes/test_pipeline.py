"""Choosing passes, what they may look at, and what they tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ppl import condition, dist, factor, infer, program, sample, table_lm
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import PASSES, Info, Level, Pass, Pipeline, Remark, make_pipeline, register
from ppl.compiler.verify import InvalidIR

lm = table_lm(["a", "b"], seed=1)


@program
def two(bias: float) -> tuple[bool, bool]:
    x = sample(dist.flip(bias))
    y = sample(dist.flip(0.5))
    factor(0.5 if x else -0.5)
    return x, y


@dataclass(frozen=True)
class Breaks(Pass):
    """Uses a value before it is there."""

    name = "breaks"
    level = Level.JOINT

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        return rewrite.with_body(program, rewrite.with_nodes(program.body, reversed(program.body.nodes))), []


@pytest.fixture
def registry() -> Iterator[None]:
    before = dict(PASSES)
    yield
    PASSES.clear()
    PASSES.update(before)


def test_the_default_keeps_every_address() -> None:
    assert all(p.level <= Level.JOINT for p in make_pipeline(None).passes)
    assert {"hoist", "loops", "batch"} <= {p.name for p in make_pipeline("default").passes}
    assert [p.name for p in make_pipeline("all").passes] == list(PASSES)
    assert make_pipeline([]).passes == ()
    assert make_pipeline(["batch", "hoist"]).passes == (PASSES["batch"], PASSES["hoist"])
    assert make_pipeline("hoist") == make_pipeline(["hoist"]) == make_pipeline(PASSES["hoist"])


def test_levels() -> None:
    assert make_pipeline([]).level is Level.TRACE
    assert make_pipeline(["hoist", "dead"]).level is Level.MARGINAL
    assert make_pipeline("dead", keep=["child/x[0]", "y"]).kept_names == {"child", "x", "y"}
    # What is kept does not matter to passes that drop nothing, so it makes no other pipeline.
    assert make_pipeline("hoist", keep=["x"]) == make_pipeline("hoist")


def test_errors_say_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no pass 'hosit'; there are 'dead'.*'default' and 'all'"):
        infer(two, 0.5, passes=["hosit"])
    with pytest.raises(ValueError, match="write HoistEvidence"):
        infer(two, 0.5, passes=[type(PASSES["hoist"])])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="has no condition 'x'; it has operands_defined"):
        PASSES["hoist"].without("x")
    with pytest.raises(TypeError, match="must say name"):
        type("Nameless", (Pass,), {"level": Level.JOINT})
    with pytest.raises(TypeError, match="only passes that keep JOINT"):
        type("Greedy", (Pass,), {"name": "greedy", "level": Level.MARGINAL, "default": True})


def test_registering_a_pass(registry: None) -> None:
    register(Breaks(), before="batch")
    names = list(PASSES)
    assert names.index("breaks") + 1 == names.index("batch")
    with pytest.raises(ValueError, match="already"):
        register(Breaks())
    del PASSES["breaks"]
    with pytest.raises(ValueError, match="no pass 'nothing'"):
        register(Breaks(), before="nothing")


def test_broken_ir_is_found_before_it_runs() -> None:
    with pytest.raises(InvalidIR, match="not defined"):
        infer(two, 0.5, passes=[Breaks()])


def test_nested_programs_run_under_the_same_passes() -> None:
    @program
    def child() -> bool:
        unused = sample(dist.flip(0.5))
        kept = sample(dist.flip(0.25))
        return kept

    @program
    def parent() -> bool:
        return child()

    def addresses(**options: object) -> list[str]:
        return [c.address for c in infer(parent, method="enumerate", **options).runs[0].trace]  # type: ignore[arg-type]

    assert addresses() == ["child/unused", "child/kept"]
    assert addresses(passes=["dead"]) == ["child/kept"]
    assert addresses(passes=["dead"], keep=["child/unused"]) == ["child/unused", "child/kept"]
    fixed = parent.given({"child/unused": True})
    found = infer(fixed, method="enumerate", passes=["dead"])
    assert found.log_evidence == pytest.approx(-0.6931471805599453)


def test_a_program_can_carry_its_passes() -> None:
    plain = two.with_passes([])
    assert infer(plain, 0.5, method="smc", n=4, seed=1).history[0].site == "factor"
    assert "no passes" in plain.explain() and "hoist" in two.explain()
    assert plain.given(x=True).pipeline == Pipeline()


def test_helpers_that_change_are_noticed() -> None:
    """A notebook defines a helper anew: what was found out about the old one no longer counts."""
    space: dict[str, object] = {"sample": sample, "condition": condition, "lm": lm, "program": program}
    import linecache

    source = (
        "def judge(x):\n    return lm.context(x).token()\n\n@program\ndef main():\n"
        "    a = sample(judge('a'))\n    b = sample(judge('b'))\n    return a, b\n"
    )
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    exec(compile(source, "<cell>", "exec"), space)
    main = space["main"]
    assert "1 done" in main.explain("batch")  # type: ignore[attr-defined]
    other = "seen = []\ndef judge(x):\n    seen.append(x)\n    return lm.context(x).token()\n"
    linecache.cache["<cell 2>"] = (len(other), None, other.splitlines(keepends=True), "<cell 2>")
    exec(compile(other, "<cell 2>", "exec"), space)
    text = main.explain("batch")  # type: ignore[attr-defined]
    assert "0 done, 1 not" in text and "`judge('b')`, of which the compiler does not know that it changes" in text


def test_explain() -> None:
    text = two.explain(["dead", "hoist"])
    assert "1. dead (keeps MARGINAL): nothing to do" in text
    assert "2. hoist (keeps JOINT): 1 done, 0 not" in text
    assert "moved the factor up past the sample 'y'\n       factor(0.5 if x else -0.5)" in text
    assert "by hoist" in text  # the IR's own comments


@program
def judge(text: str) -> str:
    verdict = sample(lm.context(text).token())
    return verdict


def test_what_is_not_batched_says_what_to_write() -> None:
    @program
    def main(n: int) -> object:
        a = judge("a")
        b = judge("b")
        c = judge(b)
        each = [judge("a" * i) for i in range(n)]
        state = "a"
        for _ in range(n):
            state = judge(state)
        while len(state) < n:
            state = state + sample(lm.context("b").token())
        return a, c, each, state

    told = main.explain()
    first = main._function.__code__.co_firstlineno
    advice = (
        "a @program asks step by step; let judge be a plain function that returns a distribution, and sample from it"
    )
    assert (
        f"line {first + 3}: not done: the program 'b' is not asked for together with the program 'a': {advice}" in told
    )
    assert f"line {first + 5}: not done: the program 'each[·]' is asked for round by round: {advice}" in told
    assert f"line {first + 10}: not done" in told and "how often a while loop goes round is not known before" in told
    assert "the program 'c'" not in told and "'state[·]' is asked for round by round: a @program" not in told


def test_remarks_show_no_code_of_the_compilers_own() -> None:
    @program
    def main(n: int) -> object:
        z = sample(dist.flip(0.3))
        factor(0.5 if z else 0.1)
        x = sample(lm.context("a").token())
        y = sample(lm.context("b").token())
        condition(print(x) is None)
        condition(y.startswith("a") and sample(dist.flip(0.5)))
        return x, y

    told = main.explain("all").split("\n\nprogram")[0]
    assert "·1" not in told and "·own" not in told
    assert "the condition is not moved up: it needs `print(x) is None`" in told
