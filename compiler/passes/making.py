"""New nodes that call the functions of ``intrinsics``."""

from __future__ import annotations

import ast
from typing import Any

from .. import ir
from ..errors import Span
from ..intrinsics import OWN, PURE


def computed(name: str, function: str, *operands: Any, at: Span, by: str) -> ir.Py:
    """The statement ``name = function(operands…)``.

    Args:
        name: what its value is called in the text of the IR.
        function: an intrinsic.
        operands: values of the program, expressions without any, constants, and tuples of these.
        at: what it stands for in the user's source.
        by: the pass.
    """
    assert function in PURE, function
    reads: dict[str, ir.Value] = {}
    call = ast.Call(ast.Name(function, ast.Load()), [_expression(o, reads) for o in operands], [])
    return assigned(name, call, reads, at=at, by=by)


def method(name: str, owner: ir.Value, called: str, *operands: ir.Value, at: Span, by: str) -> ir.Py:
    """The statement ``name = owner.called(operands…)``, for an owner that an intrinsic made."""
    reads = {OWN: owner, **{f"·{place}": value for place, value in enumerate(operands, 2)}}
    arguments: list[ast.expr] = [ast.Name(read, ast.Load()) for read in list(reads)[1:]]
    call = ast.Call(ast.Attribute(ast.Name(OWN, ast.Load()), called, ast.Load()), arguments, [])
    return assigned(name, call, reads, at=at, by=by)


def assigned(name: str, code: ast.expr, reads: dict[str, ir.Value], *, at: Span, by: str) -> ir.Py:
    """The statement ``name = code``, whose variables are ``reads``."""
    assert name not in PURE, f"{name} is a function's name"
    node: ast.stmt = ast.Assign([ast.Name(name, ast.Store())], code)
    for inner in ast.walk(node):
        if "lineno" in inner._attributes:
            inner.lineno = inner.end_lineno = at.line  # type: ignore[attr-defined]
            inner.col_offset = inner.end_col_offset = at.column  # type: ignore[attr-defined]
    value = ir.Value(name)
    return ir.Py(span=at, provenance=(by,), code=node, reads=tuple(reads.items()), writes=((name, value),))


def value_of(node: ir.Py) -> ir.Value:
    """What a statement with one result computes."""
    ((_, value),) = node.writes
    return value


def _expression(operand: Any, reads: dict[str, ir.Value]) -> ast.expr:
    if isinstance(operand, ir.Value):
        known = next((name for name, value in reads.items() if value is operand), None)
        name = known or f"·{len(reads) + 1}"
        reads[name] = operand
        return ast.Name(name, ast.Load())
    if isinstance(operand, tuple):
        return ast.Tuple([_expression(o, reads) for o in operand], ast.Load())
    return operand if isinstance(operand, ast.expr) else ast.Constant(operand)
