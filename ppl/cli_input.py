"""From words on the command line to methods, programs and arguments."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .cli_errors import Misuse
from .program import Program
from .runtime.methods import METHODS, Method, make_method

_PICTURES = (".png", ".svg", ".pdf")


def read_method(name: str, n: int | None, options: Iterable[str]) -> Method:
    if name not in METHODS:
        raise Misuse(f"there is no method {name!r}; there are {', '.join(METHODS)}{_meant(name, METHODS)}")
    known = [f.name for f in dataclasses.fields(METHODS[name])]
    given: dict[str, Any] = {} if n is None else {"n": n}
    for key, text in _pairs("--option", options):
        if key not in known:
            raise Misuse(f"method {name} has no option {key!r}; it has {', '.join(known)}{_meant(key, known)}")
        value = _value(text)
        given[key] = tuple(value) if isinstance(value, list) else value
    if "n" in known:
        given.setdefault("n", 32)
    elif "n" in given:
        raise Misuse(f"method {name} takes no --n; it has {', '.join(known)}, to be set with --option")
    try:
        return make_method(name, given)
    except (TypeError, ValueError) as error:
        raise Misuse(f"method {name}: {error}") from error


def check_picture(path: Path | None) -> None:
    """Refuse a file to draw in that could not be written, before there is anything to draw.

    Raises:
        Misuse: saying what to write instead.
    """
    if path is None:
        return
    if path.is_dir():
        raise Misuse(f"--plot {path} is a folder: name a file in it, such as {path / 'plot.png'}")
    if path.suffix not in _PICTURES:
        raise Misuse(f"--plot writes {', '.join(_PICTURES)}, by the end of the file's name: {path.with_suffix('.png')}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise Misuse(f"--plot {path}: {folder} is a file, and no folder to write in")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def read_program(target: str) -> Program:
    """The program that ``FILE.py:PROGRAM`` names."""
    file, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py"):
        file, name = target, ""
    path = Path(file)
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise Misuse(f"there is no file {file}{_meant(path.name, others)}")
    module = _import(path)
    programs = {k: v for k, v in vars(module).items() if isinstance(v, Program)}
    if not name and len(programs) == 1:
        return next(iter(programs.values()))
    if name in programs:
        return programs[name]
    listed = f"it has {', '.join(programs)}" if programs else "it has no program: put @program above a function"
    if not name:
        raise Misuse(f"say which program of {file} is meant, as in {file}:NAME; {listed}")
    if hasattr(module, name):
        kind = type(getattr(module, name)).__name__
        raise Misuse(f"{name} in {file} is a {kind} and no program: {listed}")
    raise Misuse(f"{file} has no program {name!r}; {listed}{_meant(name, programs)}")


def _import(path: Path) -> ModuleType:
    """The file as a module under its own name, its folder first on the path, as ``python FILE`` would have it."""
    path = path.resolve()
    name = path.stem
    there = sys.modules.get(name)
    if there is not None and Path(getattr(there, "__file__", None) or "").resolve() != path:
        raise Misuse(f"{path.name} has the name of the module {name!r}, which is in use; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Misuse(f"{path.name} is no Python file; its name should end in .py")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def read_arguments(program: Program, given: Iterable[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    signature = inspect.signature(program)
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    bound = signature.bind_partial()
    for key, text in _pairs("--arg", given):
        parameter = next((p for p in named if p.name == key), None)
        if parameter is not None:
            bound.arguments[key] = text if parameter.annotation in (str, "str") else _value(text)
        else:
            names = [p.name for p in named]
            listed = f"its parameters are {', '.join(names)}" if names else "it takes none"
            raise Misuse(f"{program.name} has no parameter {key!r}; {listed}{_meant(key, names)}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in bound.arguments]
    if missing:
        needed = " ".join(f"--arg {name}=…" for name in missing)
        raise Misuse(f"{program.name}({', '.join(p.name for p in named)}) needs {needed}")
    return bound.args, bound.kwargs


def _pairs(flag: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise Misuse(f"{flag} {text}: write {flag} NAME=VALUE")
        yield key, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]}?" if close else ""
