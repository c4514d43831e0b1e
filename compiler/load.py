"""IR without its function → something that runs: for programs that were read from text.

What the names outside the program mean is up to the caller's namespace. The nested definitions in the program's Python
get a source of their own, which ``inspect`` and tracebacks find, for the compiler has to read nested programs again.
"""

from __future__ import annotations
import __future__

import ast
import copy
import hashlib
import linecache
import types
from collections.abc import Iterator, Mapping
from typing import Any

from . import ir
from .link import Compiled, link_ir
from .portable import unparse
from .scan import Function, Scope
from .syntax import function, load, position


def stand_in(program: ir.Program, namespace: Mapping[str, Any]) -> types.FunctionType:
    """A function with the signature, the globals and the closure of a program, to link it with.

    The defaults of the parameters are evaluated, in ``namespace``; nothing else is.

    Args:
        program: verified IR.
        namespace: what the names outside the program mean, those of enclosing functions included. A dictionary is
            used as it is, so that what is defined in it later is seen.

    Raises:
        NameError: an enclosing function's variable is not there. The program's own name may be missing: its cell is
            empty then.
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
    body: list[ast.stmt] = [ast.Expr(load(name)) for name in program.free]
    inner = function(program.name, signature, [*body, ast.Pass()])
    outer = function("·factory", program.free, [inner, ast.Return(load(program.name))])
    scratch: dict[str, Any] = {}
    world = namespace if isinstance(namespace, dict) else dict(namespace)
    module = position(ast.Module([outer], []), program.span)
    exec(compile(module, program.span.file, "exec", _futures(namespace), dont_inherit=True), world, scratch)
    found: types.FunctionType = scratch["·factory"](*(namespace.get(name) for name in program.free))
    if program.name in program.free and program.name not in namespace:
        cells = dict(zip(found.__code__.co_freevars, found.__closure__ or (), strict=True))
        del cells[program.name].cell_contents
    found.__qualname__ = program.name
    return found


def _futures(namespace: Mapping[str, Any]) -> int:
    """The flags of ``from __future__ import annotations``, if that stands in the module."""
    flag = __future__.annotations
    return flag.compiler_flag if namespace.get("annotations") is flag else 0


class Loader:
    """Links one program that was read from text, with any function like the one from :func:`stand_in`."""

    def __init__(self, program: ir.Program) -> None:
        """Give the nested definitions in ``program`` their source.

        Args:
            program: verified IR that nobody else uses: the positions in its Python are changed.
        """
        self.program = program
        self.places: set[tuple[str, int]] = set()
        definitions = [node for py in ir.walk(program.body) if isinstance(py, ir.Py) for node in _outermost(py.code)]
        lines: list[str] = []
        for definition in definitions:
            try:
                lines += _settle(definition, len(lines), self.places)
            except SyntaxError:  # it holds a name of the compiler, so no user wrote all of it
                continue
        text = "\n".join(lines) + "\n"
        self.file = f"<nested in {program.name} {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}>"
        if lines:
            linecache.cache[self.file] = (len(text), None, text.splitlines(keepends=True), self.file)

    def __call__(self, fn: Any) -> Compiled:
        """The program, linked with the globals, the closure and the defaults of ``fn``."""
        compiled = link_ir(fn, self.program)
        if self.places:
            for block in _blocks(compiled.entry, f"{self.program.name}·"):
                block.__code__ = self._moved(block.__code__)
        return compiled

    def _moved(self, code: types.CodeType, inside: bool = False) -> types.CodeType:
        """``code`` with the nested definitions in it said to stand where their source is."""

        def move(constant: Any) -> Any:
            if not isinstance(constant, types.CodeType):
                return constant
            return self._moved(constant, inside or (constant.co_name, constant.co_firstlineno) in self.places)

        code = code.replace(co_consts=tuple(map(move, code.co_consts)))
        return code.replace(co_filename=self.file) if inside else code


def _blocks(entry: Any, prefix: str) -> Iterator[types.FunctionType]:
    """The block functions of a linked program, which know each other by names that begin with ``prefix``."""
    found: dict[int, types.FunctionType] = {id(entry): entry}
    todo = [entry]
    while todo:
        block = todo.pop()
        yield block
        for name, cell in zip(block.__code__.co_freevars, block.__closure__ or (), strict=True):
            if name.startswith(prefix) and id(cell.cell_contents) not in found:
                found[id(cell.cell_contents)] = cell.cell_contents
                todo.append(cell.cell_contents)


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The definitions at and below ``node`` that are not inside another."""
    if isinstance(node, (*Function, ast.ClassDef)):
        yield node
    elif not isinstance(node, Scope):
        for child in ast.iter_child_nodes(node):
            yield from _outermost(child)


def _settle(definition: ast.stmt, before: int, places: set[tuple[str, int]]) -> list[str]:
    """Move a definition to its own source, which follows after ``before`` lines; its lines.

    Raises:
        SyntaxError: it can't be written as source.
    """
    text = unparse(definition)
    written = ast.increment_lineno(ast.parse(text), before).body[0]
    for old, new in zip(ast.walk(definition), ast.walk(written), strict=True):
        ast.copy_location(old, new)
        if isinstance(new, (*Function, ast.ClassDef)):
            first = min([new.lineno, *(d.lineno for d in new.decorator_list)])
            places.add((new.name, first))
    return text.split("\n")
