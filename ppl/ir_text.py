"""Programs as the text of their IR, and back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from .program import Program, needs_program


def to_ir(program: Program) -> str:
    """What the compiler made of a program, as text that :func:`read_ir` reads.

    Args:
        program: without the values that ``given`` and ``do`` have fixed: they are no part of it.
    """
    needs_program(program, "to_ir")
    from .compiler.printer import to_text

    return to_text(program.compiled.ir)


def read_ir(text: str, namespace: Mapping[str, Any] | ModuleType, file: str = "<ir>") -> Program:
    """The program that a text of IR describes: the same posterior from the same seed.

    **Reading is safe, running is not**: a program is Python, and running it runs that Python, as importing the file
    that it came from would. Run only what you trust.

    Args:
        text: the IR.
        namespace: a module, or a dictionary: what the names mean that the program reads from outside, such as
            imported modules, helper functions, and variables of enclosing functions. The program's own name means
            this program if it is not there.
        file: what the text is called in errors.

    Raises:
        IRSyntaxError: the text is no IR.
        InvalidIR: it can be read, but breaks a rule of the verifier.
        NameError: a variable of an enclosing function, or a name that is a default value, is missing.
        ValueError: a default value is neither a literal nor a name: only running it could tell what it is.
    """
    from .compiler.link import link_ir
    from .compiler.load import stand_in
    from .compiler.parser import parse

    world: Mapping[str, Any] = vars(namespace) if isinstance(namespace, ModuleType) else namespace
    path = world.get("__file__")
    read = parse(text, file, {PurePath(path).name: path} if isinstance(path, str) else {})
    known = read.name in world
    own: dict[str, Any] = world if known and isinstance(world, dict) else dict(world)
    function = stand_in(read, own)
    program = Program(function, compiler=functools.partial(link_ir, program=read))
    if not known:
        own[read.name] = program
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name == read.name:
                cell.cell_contents = program
    return program


def load_ir(path: str | Path, namespace: Mapping[str, Any] | ModuleType) -> Program:
    """:func:`read_ir` of a file, such as ``ppl ir FILE.py:PROGRAM > PROGRAM.ir`` writes.

    Raises:
        ValueError: it is the text itself and no path; and all that :func:`read_ir` raises.
        OSError: the file can't be read.
    """
    if "\n" in str(path):
        raise ValueError(
            "load_ir takes the path of a file, and this is the text itself: write read_ir(text, namespace)"
        )
    path = Path(path)
    return read_ir(path.read_text(encoding="utf-8"), namespace, str(path))
