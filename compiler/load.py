"""IR without its function → something that runs: for programs that were read from text.

What the names outside the program mean is up to the caller's namespace. The nested definitions in the program's Python
get a source of their own, which ``inspect`` and tracebacks find, for the compiler has to read nested programs again.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import copy
import hashlib
import linecache
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from . import ir
from .portable import unparse
from .scan import Function, Scope
from .syntax import function, load, position

MAX_LINES = 100_000
"""The longest file whose line numbers are kept where nested definitions need a source of their own."""


def stand_in(program: ir.Program, namespace: Mapping[str, Any]) -> types.FunctionType:
    """A function with the signature, the globals and the closure of a program, to link it with.

    Nothing is evaluated: the defaults of the parameters are literals, or names that are looked up.

    Args:
        program: verified IR that nobody else uses.
        namespace: what the names outside the program mean, those of enclosing functions included. A dictionary is
            used as it is, so that what is defined in it later is seen.

    Raises:
        NameError: an enclosing function's variable, or a name in a default, is not there. The program's own name may
            be missing: its cell is empty then.
        ValueError: a default is something else, which only running it could tell.
    """
    missing = [name for name in program.free if name not in namespace and name != program.name]
    if missing:
        raise NameError(
            f"{program.name} reads {', '.join(missing)} of the function around it: put it into the namespace"
        )
    signature = copy.deepcopy(program.signature)
    for argument in ast.walk(signature):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            argument.annotation = ast.Constant(unparse(argument.annotation))
    defaults = [_default(value, namespace, program) for value in signature.defaults]
    named = {
        argument.arg: _default(value, namespace, program)
        for argument, value in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
        if value is not None
    }
    signature.defaults = [ast.Constant(None) for _ in signature.defaults]
    signature.kw_defaults = [value and ast.Constant(None) for value in signature.kw_defaults]
    body: list[ast.stmt] = [ast.Expr(load(name)) for name in program.free]
    inner = function(program.name, signature, [*body, ast.Pass()])
    around = function("·factory", program.free, [inner, ast.Return(load(program.name))])
    scratch: dict[str, Any] = {}
    world = namespace if isinstance(namespace, dict) else dict(namespace)
    module = position(ast.Module([around], []), program.span)
    exec(compile(module, own_file(program), "exec", _futures(namespace), dont_inherit=True), world, scratch)
    found: types.FunctionType = scratch["·factory"](*(namespace.get(name) for name in program.free))
    for name, cell in zip(found.__code__.co_freevars, found.__closure__ or (), strict=True):
        if name in namespace:
            cell.cell_contents = namespace[name]
        else:
            del cell.cell_contents  # its own, which is not made yet
    found.__qualname__ = program.name
    found.__defaults__, found.__kwdefaults__ = tuple(defaults) or None, named or None
    return found


def _default(value: ast.expr, namespace: Mapping[str, Any], program: ir.Program) -> Any:
    """What a parameter's default is: a literal, a name of the namespace, or such a name of a module in it."""
    with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(value)
    if isinstance(value, ast.Name):
        if value.id in namespace or hasattr(builtins, value.id):
            return namespace.get(value.id, getattr(builtins, value.id, None))
        raise NameError(f"a parameter of {program.name} is {value.id} by default: put {value.id} into the namespace")
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
        module = namespace.get(value.value.id)
        if isinstance(module, types.ModuleType) and value.attr in vars(module):
            return vars(module)[value.attr]
    raise ValueError(
        f"a parameter of {program.name} is {unparse(value)} by default, which reading would have to run: "
        f"write the value in the text, or a name, and put that into the namespace"
    )


def _futures(namespace: Mapping[str, Any]) -> int:
    """The flags of ``from __future__ import annotations``, if that stands in the module."""
    flag = __future__.annotations
    return flag.compiler_flag if namespace.get("annotations") is flag else 0


def own_file(program: ir.Program) -> str:
    """Give the nested definitions in a program's Python a source, and say which file the program then stands in.

    That is the user's file if there are none. Else it is one that ``linecache`` alone knows: the lines of the user's
    file, as far as it is there, and the definitions after them.

    Args:
        program: IR that nobody else uses: the positions in its Python are changed.
    """
    pieces = [node for node in ir.walk(program.body) if isinstance(node, ir.Py)]
    definitions = [definition for node in pieces for definition in _outermost(node.code)]
    if not definitions:
        return program.span.file
    last = max(node.span.line for node in pieces)
    lines = [line.rstrip("\n") for line in linecache.getlines(program.span.file)[:last]]
    lines += [""] * (min(last, MAX_LINES) - len(lines))
    for definition in definitions:
        # If it holds a name of the compiler, no user wrote all of it, and no nested program is inside.
        with contextlib.suppress(SyntaxError):
            lines += _settle(definition, len(lines))
    text = "\n".join(lines) + "\n"
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    file = f"<{PurePath(program.span.file).name} from IR {digest}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return file


def _outermost(node: ast.AST) -> Iterator[ast.stmt]:
    """The definitions at and below ``node`` that are not inside another."""
    if isinstance(node, (*Function, ast.ClassDef)):
        yield node
    elif not isinstance(node, Scope):
        for child in ast.iter_child_nodes(node):
            yield from _outermost(child)


def _settle(definition: ast.stmt, before: int) -> list[str]:
    """Move a definition to a source of its own, which follows after ``before`` lines; its lines.

    Raises:
        SyntaxError: it can't be written as source.
    """
    text = unparse(definition)
    written = ast.increment_lineno(ast.parse(text), before).body[0]
    for old, new in zip(ast.walk(definition), ast.walk(written), strict=True):
        ast.copy_location(old, new)
    return text.split("\n")
