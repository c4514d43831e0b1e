"""Each rule of the verifier is seen to catch IR that breaks it."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

import ppl
from ppl import law_programs
from ppl.compiler import Site, Span, codegen, ir, link, rules_effects, rules_structure
from ppl.compiler.parser import parse
from ppl.compiler.passes import Info, Level, Pass, Remark
from ppl.compiler.requests import EFFECTS
from ppl.compiler.syntax_errors import IRSyntaxError
from ppl.compiler.verify import RULES, InvalidIR, verify

SPAN = Span("f.py", 1)
A, B, C, T = (ir.Value(n) for n in "abct")
LOOSE = ir.Value("b", maybe_unbound=True)


def py(code: str = "pass", reads: str = "", **writes: ir.Value) -> ir.Py:
    """A statement; ``reads``: the letters of the values that it reads, by their own names."""
    known = {"a": A, "b": B, "c": C}
    return ir.Py(
        span=SPAN,
        code=ast.parse(code).body[0],
        reads=tuple((name, known[name]) for name in reads),
        writes=tuple(writes.items()),
    )


def ret(*values: ir.Value) -> ir.Return:
    return ir.Return(span=SPAN, values=values)


def yields(*values: ir.Value) -> ir.Region:
    return region(ir.Yield(span=SPAN, values=values))


def region(end: ir.Terminator, *nodes: ir.Node, params: tuple[ir.Value, ...] = ()) -> ir.Region:
    return ir.Region(params, nodes, end)


def branch(then: ir.Region, orelse: ir.Region | None = None, *results: ir.Value) -> ir.If:
    return ir.If(span=SPAN, test=A, then=then, orelse=orelse or yields(), results=results)


def program(*nodes: ir.Node, end: ir.Terminator | None = None, sites: Any = None, signature: str = "a") -> ir.Program:
    """A program that lists the sites of its effects."""
    body = ir.Region((A,), nodes, end or ret(A))
    if sites is None:
        sites = tuple(dict.fromkeys(effect.site for effect in ir.effects(body)))
    arguments = ast.parse(f"def f({signature}): pass").body[0].args  # type: ignore[attr-defined]
    return ir.Program("f", arguments, body, (), SPAN, sites)


def loop(**changes: Any) -> ir.For:
    item, carried, after, result = (ir.Value(n) for n in ("i", "x", "x", "x"))
    body = ir.Region((item, carried), (), ir.Continue(span=SPAN, values=(carried,)))
    orelse = ir.Region((after,), (), ir.Yield(span=SPAN, values=(after,)))
    whole = ir.For(span=SPAN, iterable=A, initial=(A,), counter=None, body=body, orelse=orelse, results=(result,))
    return replace(whole, **changes)


def round_of(*nodes: ir.Node, counter: ir.Value | None = None, after: tuple[ir.Node, ...] = ()) -> ir.For:
    """A loop that carries nothing; ``after`` stands in its else."""
    body = ir.Region((ir.Value("i"),), nodes, ir.Continue(span=SPAN))
    return loop(initial=(), results=(), counter=counter, body=body, orelse=region(yields().end, *after))


def until(test: ir.Region) -> ir.While:
    body = region(ir.Continue(span=SPAN, values=(C,)), params=(C,))
    orelse = region(ir.Yield(span=SPAN, values=(T,)), params=(T,))
    return ir.While(
        span=SPAN, initial=(A,), counter=None, test=test, body=body, orelse=orelse, results=(ir.Value("r"),)
    )


def effect(
    kind: str = "sample",
    name: str = "x",
    *words: str,
    index: tuple[ir.Value, ...] = (),
    depth: int | None = None,
    dynamic: bool = False,
    made: type[ir.Effect] = ir.Effect,
    site: Site | None = None,
) -> Any:
    """An effect; ``words``: its operands, by default those that its kind needs."""
    depth = len(index) + (made is ir.Each) if depth is None else depth
    operands = words or (EFFECTS[kind].operands if kind in EFFECTS else ())
    return made(
        span=SPAN,
        site=site or Site(kind, name, depth, "f", SPAN, dynamic),
        args=tuple((word, A) for word in operands if word != "nothing"),
        index=index,
        result=ir.Value("x"),
    )


ONE = Site("sample", "x", 0, "f", SPAN)
K, L = ir.Value("k"), ir.Value("l")
FIRST = effect(name="first")

WRONG: dict[str, dict[str, tuple[ir.Program, str]]] = {
    "values_are_defined_once": {
        "a value": (program(py("b = 1", b=B), py("b = 1", b=B)), "%b is defined twice"),
        "a parameter": (program(py("a = 1", a=A)), "%a is defined twice"),
        "the undefined value": (program(py("b = 1", b=ir.UNDEFINED)), "%undefined is defined twice"),
        "a counter of two loops": (program(round_of(counter=K), round_of(counter=K)), "%k is defined twice"),
    },
    "uses_are_dominated": {
        "before its definition": (program(py("b", "b"), py("b = 1", b=B)), "%b is used at f.py:1 where"),
        "outside its region": (program(branch(region(yields().end, py("b = 1", b=B))), end=ret(B)), "%b is used"),
        "a counter behind its loop": (program(round_of(counter=K), end=ret(K)), "%k is used"),
        "a counter in the else": (
            program(round_of(counter=K, after=(effect(index=(K,)),))),
            "%k is used",
        ),
    },
    "operands_are_bound": {
        "of an effect": (program(replace(effect(), args=(("distribution", ir.UNDEFINED),))), "%undefined is an op"),
        "a test": (program(replace(branch(yields()), test=ir.UNDEFINED)), "%undefined is an operand"),
        "what a loop runs over": (program(loop(iterable=ir.UNDEFINED)), "%undefined is an operand"),
        "what is returned": (program(py("b = 1", b=LOOSE), end=ret(LOOSE)), "%b is an operand at f.py:1, and may be"),
    },
    "parameters_are_the_signatures": {
        "another name": (program(signature="b"), r"the signature takes \(b\), and the entry \(a\)"),
        "one more": (program(signature="a, *b"), r"takes \(a, b\)"),
        "twice": (program(signature="a, *a"), "a parameter stands twice"),
    },
    "regions_end_where_they_may": {
        "a program that yields": (program(end=ir.Yield(span=SPAN)), "nothing follows"),
        "break outside a loop": (program(end=ir.Break(span=SPAN)), "break outside a loop"),
        "continue outside a loop": (program(end=ir.Continue(span=SPAN)), "continue outside a loop"),
        "a loop body that yields": (program(loop(body=ir.Region((B, C), (), yields(C).end))), "nothing follows"),
        "a test that leaves the loop": (
            program(
                until(region(yields(A, B).end, branch(region(ir.Break(span=SPAN, values=(A,)))), params=(B,))),
            ),
            "break outside a loop",
        ),
        "a test that returns": (program(until(region(ret(B), params=(B,)))), "does not yield whether to go on"),
    },
    "the_unreachable_is_not_reached": {
        "the end of a program": (program(end=ir.Unreachable(span=SPAN)), "control may get to"),
        "behind a branch that yields": (
            program(branch(region(ret(A)), yields()), end=ir.Unreachable(span=SPAN)),
            "control may get to",
        ),
        "behind a loop that breaks": (
            program(
                round_of(branch(region(ir.Break(span=SPAN)))),
                end=ir.Unreachable(span=SPAN),
            ),
            "control may get to",
        ),
    },
    "edges_carry_what_is_expected": {
        "a branch": (program(branch(yields(A), yields(), T)), "yields 0 of 1"),
        "what a branch takes": (program(branch(ir.Region((B,), (), yields().end))), "takes values"),
        "continue": (program(loop(body=ir.Region((B, C), (), ir.Continue(span=SPAN)))), "continue at f.py:1 carries 0"),
        "break": (program(loop(body=ir.Region((B, C), (), ir.Break(span=SPAN)))), "break at f.py:1 carries 0"),
        "the end of a loop": (program(loop(orelse=ir.Region((T,), (), yields().end))), "loop at f.py:1 yields 0"),
        "the body of a loop": (
            program(loop(body=ir.Region((B,), (), ir.Continue(span=SPAN, values=(A,))))),
            "another number",
        ),
        "the test of a loop": (program(until(region(yields(B).end, params=(B,)))), "the test of the loop at f.py:1"),
        "return": (program(end=ret()), "returns 0 values"),
        "unreachable": (
            program(
                branch(region(ret(A)), region(ret(A))),
                end=ir.Unreachable(span=SPAN, values=(A,)),
            ),
            "the unreachable at f.py:1 carries 1",
        ),
    },
    "statements_keep_their_place": {
        "return": (program(replace(py(), code=ast.Return(ast.Constant(1)))), "holds 'return'"),
        "break": (program(replace(py(), code=ast.Break())), "holds 'break'"),
        "yield": (program(py("(yield)")), "holds 'yield'"),
        "global": (program(py("if 1:\n    global g")), "holds 'global'"),
    },
    "statements_write_what_they_bind": {
        "nothing of it": (program(py("b = c = 1", b=B)), "binds b, c and writes b"),
        "more than it": (program(py("pass", b=B)), "binds nothing and writes b"),
        "a name twice": (program(replace(py("b = 1"), writes=(("b", B), ("b", C)))), "writes b, b"),
        "a name read twice": (program(replace(py("a"), reads=(("a", A), ("a", A)))), "reads a name twice"),
    },
    "tied_names_are_read_and_written": {
        "not written": (program(replace(py("a", "a"), tied=frozenset("a"))), "ties names"),
    },
    "sites_are_listed": {
        "used twice": (program(effect(site=ONE), effect(site=ONE)), "share a site"),
        "not listed": (program(effect(), sites=()), "'x' at f.py:1 is not listed"),
        "listed twice": (program(effect(site=ONE), sites=(ONE, ONE)), "listed 2 times"),
        "not used": (program(sites=(ONE,)), "no effect has it"),
    },
    "operands_fit_the_kind": {
        "no kind": (program(effect("bet")), "the bet at f.py:1 is of no kind"),
        "one is missing": (program(effect("sample", "x", "proposal")), "lacks the operand 'distribution'"),
        "none": (program(effect("sample", "x", "nothing")), "lacks the operand 'distribution'"),
        "another kind's": (
            program(effect("factor", "x", "log_weight", "value")),
            "the factor .* has no operand 'value'",
        ),
        "the runtime's own": (program(effect("sample", "x", "distribution", "site")), "has no operand 'site'"),
        "twice": (program(effect("sample", "x", "distribution", "distribution")), "'distribution' 2 times"),
        "a name that is not computed": (program(effect("sample", "x", "distribution", "name")), "both or neither"),
        "a computed name that is not there": (program(effect(dynamic=True)), "both or neither"),
        "a nested program's name": (
            program(effect("program", "x", "program", "args", "kwargs", "name", dynamic=True)),
            "the program .* has no operand 'name'",
        ),
    },
    "names_make_addresses": {
        "empty": (program(effect(name="")), "name '' at f.py:1"),
        "a slash": (program(effect(name="a/b")), "name 'a/b' at f.py:1"),
        "a bracket": (program(effect(name="a[0]")), "can't be a part"),
    },
    "effects_are_counted": {
        "a value that counts nothing": (program(effect(index=(A,))), "not counted by the 0 loops"),
        "too few": (program(round_of(effect(), counter=K)), "not counted by the 1 loops"),
        "in another order": (
            program(round_of(round_of(effect(index=(L, K)), counter=L), counter=K)),
            "not counted by the 2 loops",
        ),
        "a loop that does not count": (program(round_of(effect())), "not counted by the 1 loops"),
        "a site that says otherwise": (program(effect(depth=1)), "says that it has 1 counters"),
        "rows that are not counted": (program(effect(made=ir.Each, depth=0)), "says that it has 0 counters"),
        "a computed name with counters": (
            program(
                round_of(effect("sample", "x", "distribution", "name", index=(K,), dynamic=True), counter=K),
            ),
            "not counted by the 0 loops",
        ),
    },
    "addresses_are_unique": {
        "one after the other": (program(effect(), effect()), "has the address 'x' of one before"),
        "together": (program(ir.Gather(span=SPAN, effects=(effect(), effect()))), "the address 'x'"),
        "behind a branch": (program(branch(region(yields().end, effect())), effect()), "the address 'x'"),
        "in two loops": (
            program(round_of(effect(index=(K,)), counter=K), round_of(effect(index=(L,)), counter=L)),
            r"the address 'x\[·\]'",
        ),
        "in a round that leaves the loop": (
            program(
                round_of(
                    branch(region(ir.Break(span=SPAN), effect(index=(K,)))), counter=K, after=(effect("barrier", "y"),)
                ),
                round_of(effect(index=(L,)), counter=L),
            ),
            r"the address 'x\[·\]'",
        ),
        "rows and a loop": (
            program(effect(made=ir.Each), round_of(effect(index=(K,)), counter=K)),
            r"the address 'x\[·\]'",
        ),
    },
    "requests_are_independent": {
        "of nothing": (program(ir.Gather(span=SPAN, effects=())), "nothing is gathered"),
        "with another's answer": (
            program(
                ir.Gather(
                    span=SPAN, effects=(FIRST, replace(effect(name="second"), args=(("distribution", FIRST.result),)))
                )
            ),
            "uses the answer of another",
        ),
        "a nested program": (program(ir.Gather(span=SPAN, effects=(effect("program"),))), "a nested program"),
    },
    "rows_can_be_asked_for": {
        "a nested program": (program(effect("program", made=ir.Each)), "can't be asked for in rows"),
        "a computed name": (
            program(effect("sample", "x", "distribution", "name", made=ir.Each, depth=0, dynamic=True)),
            "can't be asked for in rows",
        ),
        "no rows": (program(effect("barrier", made=ir.Each)), "how many rows"),
    },
}
"""Rule → what breaks it."""


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in WRONG.items() for case in cases])
def test_a_broken_rule_is_caught(rule: str, case: str) -> None:
    broken, message = WRONG[rule][case]
    (function,) = (r for r in RULES if r.__name__ == rule)
    assert any(re.search(message, found) for found in function(broken))
    with pytest.raises(InvalidIR, match=message):
        verify(broken)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert [rule.__name__ for rule in RULES] == list(WRONG) and all(WRONG.values())
    defined = {
        name
        for module in (rules_structure, rules_effects)
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert defined == set(WRONG)  # none was left out of the table


def test_valid_ir_passes() -> None:
    exclusive = branch(region(yields().end, effect()), region(yields().end, effect()))
    together = ir.Gather(span=SPAN, effects=(effect(name="u"), effect("observe", "v")))
    named = effect("factor", "f'y{i}'", "log_weight", "name", dynamic=True)
    rows = effect(name="rows", made=ir.Each)
    inner = round_of(effect(name="x", index=(K, L)), counter=L)
    outer = round_of(inner, effect(name="x", index=(K,)), counter=K, after=(effect(name="z"),))
    nodes = (py("b = a", "a", b=B), loop(), exclusive, together, named, rows, outer)
    verify(program(*nodes))
    verify(program(branch(region(ret(A)), region(ret(A))), end=ir.Unreachable(span=SPAN)))


def test_the_kinds_are_the_same_everywhere() -> None:
    """In the table, in the language, in the requests, in the text, and in the code."""
    assert set(EFFECTS) == set(codegen.REQUESTS)
    for kind, spec in EFFECTS.items():
        fields = [*spec.operands, *spec.optional]
        request = inspect.signature(link.HELPERS[codegen.REQUESTS[kind]]).parameters
        assert set(request) - {"self", "site", "index"} == set(fields)
        assert all((request[word].default is inspect.Parameter.empty) == (word in spec.operands) for word in fields)
        if kind != "program":
            assert list(inspect.signature(getattr(ppl, kind)).parameters) == fields
        parse(TEXT.format(f'[%x] = {kind} "x" ({", ".join(f"{word}=%p" for word in spec.operands)}) at []'))


TEXT = "program f(p)\n  free []\n  entry (%p)\n    {}\n    return [%p]\n"
HOSTILE = [
    '[%x] = sample "x" () at []',
    '[%x] = sample "x" (distribution=%p, index=%p) at []',
    '[%x] = sample "x" (distribution=undefined) at []',
    '[%x] = factor "x" (value=%p) at []',
    '[%x] = sample "" (distribution=%p) at []',
    '[%x] = sample "x" (distribution=%p) at [%p]',
    '[%x] = sample "x" dynamic (distribution=%p) at []',
    '[%x] = sample "x" (distribution=%p) at []\n    [%y] = sample "x" (distribution=%p) at []',
    '[%x] = each barrier "x" () at []',
    "py [] -> [x=%x, y=%y] | x = 1",
    "py [] -> [] | x = 1",
    "[] = if %p\n      then (%q)\n        yield []\n      else ()\n        yield []",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_text_is_refused_where_it_is_read(line: str) -> None:
    """What would fail late, or silently count for nothing, is told with its place."""
    with pytest.raises(InvalidIR, match=r"f: .*text\.ir:\d"):
        parse(TEXT.format(line), "text.ir")


def test_a_kind_that_is_none_is_refused_by_the_grammar() -> None:
    with pytest.raises(IRSyntaxError, match="sample"):
        parse(TEXT.format('[%x] = bet "x" () at []'))


@dataclass(frozen=True)
class Becomes(Pass):
    """A pass that makes other IR of a program, whatever it was."""

    name = "becomes"
    level = Level.TRACE

    made: ir.Program | None = None

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        return self.made or program, []


def test_with_debug_every_step_is_verified() -> None:
    """What one pass breaks and the next mends is else not noticed."""
    coin = law_programs.coin
    broken, mended = Becomes(made=program(py("b", "b"))), Becomes(made=coin.compiled.ir)
    with pytest.raises(InvalidIR, match="%b is used"):
        coin.optimised([broken, mended], debug=True)
    assert coin.optimised([broken, mended], debug=False).program is coin.compiled.ir
    with pytest.raises(InvalidIR, match="%b is used"):
        coin.optimised([broken], debug=False)
