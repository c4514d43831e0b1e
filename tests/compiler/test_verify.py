"""Each rule of the verifier is seen to catch IR that breaks it."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest

from ppl.compiler import Site, Span, ir
from ppl.compiler.verify import InvalidIR, verify

SPAN = Span("f.py", 1)
A, B, C, T = (ir.Value(n) for n in "abct")


def py(reads: tuple[ir.Value, ...] = (), writes: tuple[ir.Value, ...] = ()) -> ir.Py:
    code = ast.parse("pass").body[0]
    return ir.Py(
        span=SPAN, code=code, reads=tuple((v.name, v) for v in reads), writes=tuple((v.name, v) for v in writes)
    )


def ret(*values: ir.Value) -> ir.Return:
    return ir.Return(span=SPAN, values=values)


def yields(*values: ir.Value) -> ir.Region:
    return ir.Region((), (), ir.Yield(span=SPAN, values=values))


def program(*nodes: ir.Node, end: ir.Terminator | None = None, sites: tuple[Site, ...] = ()) -> ir.Program:
    signature = ast.arguments([], [ast.arg("a")], None, [], [], None, [])
    return ir.Program("f", signature, ir.Region((A,), nodes, end or ret(A)), (), SPAN, sites)


def loop(**changes: Any) -> ir.For:
    item, carried, after, result = (ir.Value(n) for n in ("i", "x", "x", "x"))
    body = ir.Region((item, carried), (), ir.Continue(span=SPAN, values=(carried,)))
    orelse = ir.Region((after,), (), ir.Yield(span=SPAN, values=(after,)))
    whole = ir.For(span=SPAN, iterable=A, initial=(A,), counter=None, body=body, orelse=orelse, results=(result,))
    return replace(whole, **changes)


def effect(site: Site) -> ir.Effect:
    return ir.Effect(span=SPAN, site=site, args=(("distribution", A),), result=ir.Value("x"))


def site(name: str = "x", depth: int = 0) -> Site:
    return Site("sample", name, depth, "f", SPAN)


ONE = site()
WRONG = {
    "a value defined twice": (program(py((), (B,)), py((), (B,))), "defined twice"),
    "a parameter defined again": (program(py((), (A,))), "defined twice"),
    "the undefined value defined": (program(py((), (ir.UNDEFINED,))), "defined twice"),
    "a use before its definition": (program(py((B,)), py((), (B,))), "not defined"),
    "a use outside its region": (
        program(
            ir.If(span=SPAN, test=A, then=ir.Region((), (py((), (B,)),), yields().end), orelse=yields()), end=ret(B)
        ),
        "not defined",
    ),
    "a program that yields": (program(end=ir.Yield(span=SPAN, values=())), "nothing follows"),
    "break outside a loop": (program(end=ir.Break(span=SPAN)), "outside a loop"),
    "continue outside a loop": (program(end=ir.Continue(span=SPAN)), "outside a loop"),
    "a loop body that yields": (program(loop(body=ir.Region((B, C), (), yields(C).end))), "nothing follows"),
    "a branch that yields too little": (
        program(ir.If(span=SPAN, test=A, then=yields(A), orelse=yields(), results=(T,))),
        "yields 0 of 1",
    ),
    "a continue that carries too little": (
        program(loop(body=ir.Region((B, C), (), ir.Continue(span=SPAN)))),
        "continue at f.py:1 carries 0",
    ),
    "a break that carries too little": (
        program(loop(body=ir.Region((B, C), (), ir.Break(span=SPAN)))),
        "break at f.py:1 carries 0",
    ),
    "the end of a loop that yields too little": (
        program(loop(orelse=ir.Region((T,), (), yields().end))),
        "the end of the loop at f.py:1 yields 0",
    ),
    "a loop whose body takes too little": (
        program(loop(body=ir.Region((B,), (), ir.Continue(span=SPAN, values=(A,))))),
        "another number",
    ),
    "a while test that yields too little": (
        program(
            ir.While(
                span=SPAN,
                initial=(A,),
                counter=None,
                test=ir.Region((B,), (), yields(B).end),
                body=ir.Region((C,), (), ir.Continue(span=SPAN, values=(C,))),
                orelse=ir.Region((T,), (), yields(T).end),
                results=(ir.Value("r"),),
            )
        ),
        "the test of the loop at f.py:1",
    ),
    "a site used twice": (program(effect(ONE), effect(ONE), sites=(ONE,)), "share a site"),
    "a site that is not listed": (program(effect(ONE)), "not listed"),
    "an effect with too few counters": (program(effect(d := site(depth=1)), sites=(d,)), "counters"),
    "a return of nothing": (program(end=ret()), "returns 0 values"),
    "a tied name that is not written": (
        program(replace(py((A,)), tied=frozenset("a"))),
        "ties names",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_broken_rule_is_caught(case: str) -> None:
    broken, message = WRONG[case]
    with pytest.raises(InvalidIR, match=message):
        verify(broken)


def test_valid_ir_passes() -> None:
    verify(program(py((A,), (B,)), loop(), effect(ONE), sites=(ONE,)))
