"""A program that was read back from text is the program: the same posterior from the same seed."""

from __future__ import annotations

import functools
import inspect
import linecache
import math
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import ppl
from ppl import Posterior, Program, dist, infer, law_programs, program, sample
from ppl.compiler.printer import to_text
from ppl.compiler.requests import Sample
from ppl.compiler.syntax_errors import IRSyntaxError
from ppl.ir_text import load_ir, read_ir, to_ir

from ..laws.random_programs import compiled, sources

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def runs(prog: Program, args: tuple[Any, ...], method: str, n: int = 12) -> list[Any]:
    posterior: Posterior = infer(prog, *args, method=method, n=n, seed=7)
    evidence = posterior.log_evidence
    return [repr(evidence), *((repr(r.value), r.log_weight, repr(r.trace)) for r in posterior.runs)]


def same(prog: Program, args: tuple[Any, ...], world: Any) -> None:
    again = read_ir(to_ir(prog), world)
    for method in ("smc", "importance"):
        assert runs(again, args, method) == runs(prog, args, method)
    assert to_ir(again) == to_ir(prog)
    assert inspect.signature(again).parameters.keys() == inspect.signature(prog).parameters.keys()


@pytest.mark.parametrize("name", [n for n in law_programs.CORPUS if n not in ("given", "do")])
def test_the_corpus(name: str) -> None:
    prog, args = law_programs.CORPUS[name]
    same(prog, args, law_programs)


@given(sources())
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_programs(source: str) -> None:
    prog = compiled(source)
    same(prog, (1,), inspect.unwrap(prog).__globals__)


def same_after_passes(prog: Program, args: tuple[Any, ...], world: Any) -> bool:
    """IR that passes have changed is read back and runs as they left it; whether they have changed any."""
    done = prog.optimised("all")
    text = to_text(done.program)
    again = read_ir(text, world).with_passes([])
    assert to_text(again.compiled.ir) == text
    # Nested programs that the namespace holds run under the same passes as the whole.
    if not any(site.kind == "program" for site in prog.sites):
        assert runs(again, args, "smc") == runs(prog.with_passes("all"), args, "smc")
    return done.changed


def test_after_passes() -> None:
    corpus = {n: row for n, row in law_programs.CORPUS.items() if n not in ("given", "do")}
    changed = [same_after_passes(prog, args, law_programs) for prog, args in corpus.values()]
    assert any(changed)


@given(sources())
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_programs_after_passes(source: str) -> None:
    prog = compiled(source)
    same_after_passes(prog, (1,), inspect.unwrap(prog).__globals__)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_programs_in_examples_are_read_back(file: Path) -> None:
    from ppl.cli_input import _import

    module = _import(file)
    found = [value for value in vars(module).values() if isinstance(value, Program)]
    assert found
    for prog in found:
        again = read_ir(to_ir(prog), module)
        assert to_ir(again) == to_ir(prog)
        assert [s.span.file for s in again.sites] == [str(file)] * len(again.sites)
        if not any(p.default is p.empty for p in inspect.signature(prog).parameters.values()):
            assert runs(again, (), "smc", 4) == runs(prog, (), "smc", 4)


# --- what its names mean ---


def make(limit: int) -> tuple[Program, Program]:
    @program
    def chain(n: int, step: int = 2, *, last: str = "end"):  # type: ignore[no-untyped-def]
        if n >= limit or sample(dist.flip(0.5)):
            return n, last
        return chain(n + step)

    @program
    def nests(n: int) -> Any:
        seen = [n]

        @program
        def inner(p: float = 0.25) -> int:
            """Add one.

            It is read again from the text.
            """
            seen.append(sample(dist.flip(p)))

            def deeper(x: int) -> int:
                return x + 1

            return deeper(len(seen))

        try:
            int("x")
        except ValueError:

            def negative(x: int) -> int:
                return -x

        return inner(), inner(0.5), seen, negative(n), inner.__doc__

    return chain, nests


@functools.cache
def nested() -> tuple[Program, Program]:
    return make(5)


def world(prog: Program) -> dict[str, Any]:
    function = inspect.unwrap(prog)
    found = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return {**function.__globals__, **{n: c.cell_contents for n, c in found.items() if n != prog.name}}


def test_closures_and_recursion() -> None:
    chain = nested()[0]
    names = world(chain)
    assert "chain" not in names
    same(chain, (0,), names)
    again = read_ir(to_ir(chain), names)
    assert again(9, last="done") == (9, "done")
    with pytest.raises(NameError, match="chain reads limit of the function around it"):
        read_ir(to_ir(chain), {n: v for n, v in names.items() if n != "limit"})


def test_the_programs_own_name_means_what_it_means_in_the_namespace() -> None:
    chain = nested()[0]
    other = read_ir(to_ir(chain), {**world(chain), "chain": lambda n: "another"})
    assert {r.value for r in infer(other, 0, n=20, method="importance", seed=0).runs} >= {"another"}


def test_nested_programs_have_a_source_of_their_own() -> None:
    nests = nested()[1]
    text = to_ir(nests).replace("test_ir_text.py", "gone.py")
    again = read_ir(text, world(nests))
    assert runs(again, (3,), "smc") == runs(nests, (3,), "smc")
    assert runs(again.with_passes("all"), (3,), "smc") == runs(nests.with_passes("all"), (3,), "smc")


def test_interventions_and_passes_work_on_it() -> None:
    hidden = law_programs.hidden_markov
    again = read_ir(to_ir(hidden), law_programs)
    for change in (lambda p: p.given({"state[0]": True}), lambda p: p.do(start=False), lambda p: p.with_passes("all")):
        assert runs(change(again), ([True, False],), "smc") == runs(change(hidden), ([True, False],), "smc")


def test_reading_evaluates_nothing() -> None:
    ran: list[str] = []
    text = "program f(x=note, y: note('annotation')=1)\n  free []\n  entry (%x, %y)\n"
    text += "    py [] -> [z=%z] | z = note('body')\n    return [%z]\n"
    again = read_ir(text, {"note": ran.append})
    assert ran == []
    again()
    assert ran == ["body"]


def test_tracebacks_point_at_the_users_line(tmp_path: Path) -> None:
    source = "from ppl import program, sample, dist\n\n@program\ndef f(a):\n    sample(dist.flip(a))\n"
    source += "    return 1 / (a - a)\n"
    (tmp_path / "divides.py").write_text(source)
    module: dict[str, Any] = {"__name__": "divides", "__file__": str(tmp_path / "divides.py")}
    exec(compile(source, module["__file__"], "exec"), module)
    again = read_ir(to_ir(module["f"]), module)
    with pytest.raises(ZeroDivisionError) as caught:
        _, block, live = again.entry(0.5)
        block(True, *live)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == (module["__file__"], 6, "f")


def test_a_text_by_hand_runs() -> None:
    text = """\
program twice(p)
  free []
  entry (%p)
    py [p=%p] -> [d=%d] | d = dist.flip(p)
    gather
      [%x] = sample "x" (distribution=%d) at []
      [%y] = sample "y" (distribution=%d) at []
    py [x=%x, y=%y] -> [z=%z] | z = x and y
    return [%z]
"""
    twice = read_ir(text, ppl)
    assert abs(infer(twice, 0.5, method="enumerate").probability(True) - 0.25) < 1e-12
    request = twice.entry(0.5)[0]
    assert [type(ask) for ask in request.asks] == [Sample, Sample]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "coin.ir"
    path.write_text(to_ir(law_programs.coin), encoding="utf-8")
    assert runs(load_ir(path, law_programs), (0.3,), "smc") == runs(law_programs.coin, (0.3,), "smc")
    path.write_text("program\n")
    with pytest.raises(IRSyntaxError) as caught:
        load_ir(path, law_programs)
    assert caught.value.filename == str(path) and caught.value.lineno == 1
    with pytest.raises(ValueError, match="this is the text itself: write read_ir"):
        load_ir(to_ir(law_programs.coin), law_programs)


def test_sources_are_kept_once() -> None:
    nests = nested()[1]
    read_ir(to_ir(nests), world(nests))
    before = len(linecache.cache)
    read_ir(to_ir(nests), world(nests))
    assert len(linecache.cache) == before


def test_reading_evaluates_no_default(capfd: pytest.CaptureFixture[str]) -> None:
    text = "program f(x={})\n  free []\n  entry (%x)\n    return [%x]\n"
    hostile = text.format('__import__("os").system("echo run")')
    with pytest.raises(ValueError, match="which reading would have to run: write the value"):
        read_ir(hostile, {})
    assert "run" not in capfd.readouterr().out
    assert infer(read_ir(text.format("(1, [-2.5])"), {}), n=1).runs[0].value == (1, [-2.5])
    assert infer(read_ir(text.format("LIMIT"), {"LIMIT": 7}), n=1).runs[0].value == 7
    assert infer(read_ir(text.format("math.inf"), {"math": math}), n=1).runs[0].value == math.inf
    with pytest.raises(NameError, match="put LIMIT into the namespace"):
        read_ir(text.format("LIMIT"), {})
