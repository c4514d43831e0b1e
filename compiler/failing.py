"""What surely can't fail, and which observations surely have mass: what may be done where it was not done before."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection

from . import ir
from .facts import Facts, assigned, remembered
from .kinds import ATOMIC, DRAWN, FIXED, Kind


@remembered
def total(facts: Facts, node: ir.Node) -> bool:
    """Whether a node, and all inside it, surely can't fail."""
    if isinstance(node, ir.Py):
        code = assigned(node)
        return code is not None and _total(facts, node, code)
    if isinstance(node, ir.Gather):
        return all(total(facts, each) for each in node.effects)
    if isinstance(node, ir.Effect):
        return _total_effect(facts, node)
    steered = not isinstance(node, ir.For | ir.While | ir.If) or _steers_surely(facts, node)
    return steered and all(total(facts, inner) for region in node.regions for inner in region.nodes)


def _steers_surely(facts: Facts, node: ir.Node) -> bool:
    if isinstance(node, ir.For):
        return facts.kind(node.iterable) in (Kind.ATOMS, Kind.BUILTIN) and not node.iterable.maybe_unbound
    end = node.test if isinstance(node, ir.If) else None
    if isinstance(node, ir.While) and isinstance(node.test.end, ir.Yield) and node.test.end.values:
        end = node.test.end.values[0]
    return isinstance(end, ir.Value) and _surely(facts, end, {*FIXED, Kind.BUILTIN})


def _surely(facts: Facts, value: ir.Value, kinds: Collection[Kind]) -> bool:
    """Whether a value is bound, and one of these kinds."""
    return not value.maybe_unbound and facts.kind(value) in kinds


def _total_effect(facts: Facts, effect: ir.Effect) -> bool:
    """Whether what an effect is given surely is what it can do with: a model's own failures are not meant."""
    args = dict(effect.args)
    if isinstance(effect, ir.Each) or effect.site.dynamic or "proposal" in args:
        return False
    if effect.site.kind == "barrier":
        return True
    if effect.site.kind == "condition":
        return _surely(facts, args["holds"], {*FIXED, Kind.BUILTIN})
    if effect.site.kind in ("factor", "twist"):
        found = facts.expression(args["log_weight"])
        values = None if found is None else facts.literals(*found)
        return values is not None and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    if effect.site.kind == "sample":
        return _surely(facts, args["distribution"], DRAWN)
    if effect.site.kind == "observe":
        return _surely(facts, args["value"], ATOMIC) and _takes(facts, args["distribution"], args["value"])
    return False


def _takes(facts: Facts, distribution: ir.Value, value: ir.Value) -> bool:
    """Whether a distribution surely has a density at an atom."""
    if _surely(facts, distribution, {Kind.TEXTS}):
        return facts.kind(value) is Kind.TEXT
    made = facts.constructor(distribution)
    finite = made is not None and made.family in ("flip", "categorical", "uniform", "delta")
    return finite and not distribution.maybe_unbound


def surely_positive(facts: Facts, effect: ir.Effect) -> bool:
    """Whether an observation surely has mass: as far as the parameters of a coin that is seen to be true or false, or
    the options of a choice tell, and a model can write every text that is written out in the program."""
    if isinstance(effect, ir.Each):
        return False
    args = dict(effect.args)
    made = facts.constructor(args["distribution"])
    if made is None:
        return False
    if made.family == "flip":
        chances = facts.literals(made.node, made.call.args[0]) if made.call.args else None
        sure = chances is not None and all(isinstance(v, int | float) and 0 < v < 1 for v in chances)
        return sure and _is_truth(facts, args["value"])
    written = facts.callee(made.node, made.call).written
    found = facts.expression(args["value"])
    values = None if found is None else facts.literals(*found)
    if written is None or values is None or not all(isinstance(v, str) for v in values):
        return False
    return written is ... or set(values) <= set(written)


def given(facts: Facts, sample: ir.Effect) -> bool:
    """Whether a sample may be given from outside a value that it can't have; a model can write what is given."""
    asked = sample.site.name in facts.observed or (sample.site.dynamic and bool(facts.observed))
    return asked and facts.kind(dict(sample.args)["distribution"]) is not Kind.TEXTS


def _is_truth(facts: Facts, value: ir.Value) -> bool:
    """Whether a value surely is true or false: what a coin gave, or a test."""
    drawn = facts.definer.get(value)
    if isinstance(drawn, ir.Effect) and not isinstance(drawn, ir.Each) and drawn.site.kind == "sample":
        made = facts.constructor(dict(drawn.args)["distribution"])
        return made is not None and made.family.removeprefix("helper.") == "flip"
    found = facts.expression(value)
    return found is not None and _gives_truth(facts, *found)


def _gives_truth(facts: Facts, node: ir.Py, code: ast.expr) -> bool:
    if isinstance(code, ast.Name):
        value = dict(node.reads).get(code.id)
        return value is not None and _is_truth(facts, value)
    if isinstance(code, ast.Constant):
        return code.value in (True, False)
    if isinstance(code, ast.UnaryOp):
        return isinstance(code.op, ast.Not)
    if isinstance(code, ast.Compare):
        return facts.purity(node).kind(code) is Kind.NUMBER
    if isinstance(code, ast.BoolOp | ast.IfExp):
        parts = code.values if isinstance(code, ast.BoolOp) else [code.body, code.orelse]
        return all(_gives_truth(facts, node, part) for part in parts)
    called = code.func if isinstance(code, ast.Call) else None
    return called is not None and facts.names.resolve(called, dict(node.reads).__contains__) is bool


def _total(facts: Facts, node: ir.Py, code: ast.expr) -> bool:
    purity = facts.purity(node)
    if isinstance(code, ast.Constant):
        return True
    if isinstance(code, ast.Name):
        value = dict(node.reads).get(code.id)
        return value is not None and not value.maybe_unbound
    if isinstance(code, ast.Compare):
        simple = all(isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq) for op in code.ops)
        parts = [code.left, *code.comparators]
        return simple and all(_total(facts, node, p) and purity.atom(p) for p in parts)
    asked: list[ast.expr] = []  # of which it is asked whether they are true
    parts = []
    if isinstance(code, ast.UnaryOp) and isinstance(code.op, ast.Not):
        asked, parts = [code.operand], [code.operand]
    elif isinstance(code, ast.BoolOp):
        asked, parts = code.values[:-1], code.values
    elif isinstance(code, ast.IfExp):
        asked, parts = [code.test], [code.test, code.body, code.orelse]
    elif isinstance(code, ast.Tuple | ast.List) and not any(isinstance(e, ast.Starred) for e in code.elts):
        return all(_total(facts, node, part) for part in code.elts)
    if parts:
        known = all(purity.kind(part) in (*FIXED, Kind.BUILTIN) for part in asked)
        return known and all(_total(facts, node, part) for part in parts)
    return isinstance(code, ast.Call) and _total_constructor(facts, node, code)


def _total_constructor(facts: Facts, node: ir.Py, code: ast.Call) -> bool:
    if facts.callee(node, code).family != "flip" or len(code.args) + len(code.keywords) != 1:
        return False
    (p,) = (*code.args, *(k.value for k in code.keywords))
    values = facts.literals(node, p)
    tests = [inner.test for inner in ast.walk(p) if isinstance(inner, ast.IfExp)]
    sure = values is not None and all(isinstance(v, int | float) and 0 <= v <= 1 for v in values)
    return sure and all(_total(facts, node, test) for test in tests)
