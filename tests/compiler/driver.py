"""Runs a program twice, by CPython and compiled, and records all that can be told apart.

The same source is executed in two sets of globals. In one, ``sample`` and its kin are plain functions that record
their arguments and answer from a stream; in the other they are the language's, and a small driver answers the
compiled program's requests from the same stream.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import linecache
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl import effects
from ppl.compiler import Compiled, compile_function
from ppl.compiler import requests as rq

MAX_EFFECTS, MAX_TICKS = 60, 600


class OutOfFuel(Exception):
    """The run has gone on for long enough."""


@dataclass
class Run:
    """One run's answers, and what it has done so far."""

    answers: Sequence[int]
    asked: int = 0
    ticks: int = 0
    log: list[tuple[str, str]] = field(default_factory=list)

    def record(self, kind: str, *values: Any) -> None:
        self.log.append((kind, repr(values)))

    def answer(self) -> int:
        if self.asked >= min(MAX_EFFECTS, len(self.answers)):
            raise OutOfFuel
        self.asked += 1
        return self.answers[self.asked - 1]

    def fork(self, answers: Sequence[int]) -> Run:
        """A copy that goes on with other answers."""
        return Run([*self.answers[: self.asked], *answers[self.asked :]], self.asked, self.ticks, list(self.log))


_current = Run(())


@contextlib.contextmanager
def current(run: Run) -> Any:
    """Make ``run`` the one that native helpers record in."""
    global _current
    before, _current = _current, run
    try:
        yield
    finally:
        _current = before


def note(value: Any) -> Any:
    """Native code whose place in the order of evaluation is recorded."""
    _current.record("note", value)
    return value


def tick() -> bool:
    """Stops native loops that go on for ever."""
    _current.ticks += 1
    if _current.ticks > MAX_TICKS:
        raise OutOfFuel
    return True


def show(*args: Any, **kwargs: Any) -> int:
    """A native function that sees its arguments."""
    _current.record("show", args, kwargs)
    return len(args)


def double(rows: list[Any]) -> list[Any]:
    """A batched function for ``call``."""
    return [row * 2 for row in rows]


class Program:
    """The least that the compiler takes for a program."""

    __ppl_program__ = True

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    @property
    def compiled(self) -> Compiled:
        return compile_function(self.fn)

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return Program(copy_value(self.fn, memo))


def program(fn: Callable[..., Any]) -> Any:
    """``@program``."""
    return Program(fn)


program.__ppl_decorator__ = True  # type: ignore[attr-defined]


# --- the two worlds -------------------------------------------------------------------------------------------------


def _plain_sample(distribution: Any, proposal: Any = None, *, name: str | None = None) -> int:
    _current.record("sample", distribution)
    return _current.answer()


def _plain_observe(distribution: Any, value: Any, *, name: str | None = None) -> None:
    _current.record("observe", distribution, value)


def _plain_twist(log_value: Any, *, name: str | None = None) -> None:
    _current.record("twist", log_value)


def _plain_effect(kind: str) -> Callable[..., None]:
    def effect(*args: Any, name: str | None = None) -> None:
        _current.record(kind, *args)

    return effect


def _plain_call(function: Callable[..., Any], *args: Any, name: str | None = None) -> Any:
    _current.record("call", args)
    return function(*([a] for a in args))[0]


class Box:
    """An object with attributes and items, whose loads and stores are recorded."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"Box({self.__dict__})"

    def __getitem__(self, key: Any) -> int:
        _current.record("get", key)
        return 1

    def __setitem__(self, key: Any, value: Any) -> None:
        _current.record("set", key, value)

    def __delitem__(self, key: Any) -> None:
        _current.record("del", key)

    def __format__(self, spec: str) -> str:
        _current.record("format", spec)
        return "box"

    @property
    def method(self) -> Callable[..., int]:
        _current.record("load method")
        return show


_SHARED = {
    "note": note,
    "tick": tick,
    "show": show,
    "double": double,
    "contextlib": contextlib,
    "Box": Box,
}
_PLAIN = {
    **_SHARED,
    "sample": _plain_sample,
    "call": _plain_call,
    "program": lambda fn: fn,
    "observe": _plain_observe,
    "twist": _plain_twist,
    **{k: _plain_effect(k) for k in ("factor", "condition", "barrier")},
}
_COMPILED = {
    **_SHARED,
    "program": program,
    **{k: getattr(effects, k) for k in ("sample", "call", "observe", "factor", "condition", "twist", "barrier")},
}
_files = itertools.count()


def define(source: str) -> tuple[Callable[..., Any], Compiled]:
    """The function ``f`` of ``source``: plain, and compiled."""
    file = f"<program {next(_files)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    code = compile(source, file, "exec", dont_inherit=True)
    plain: dict[str, Any] = dict(_PLAIN)
    exec(code, plain)
    staged: dict[str, Any] = dict(_COMPILED)
    exec(code, staged)
    fn = staged["f"]
    fn = fn.fn if isinstance(fn, Program) else fn
    return plain["f"], compile_function(fn)


# --- outcomes -------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a run came to."""

    value: str
    log: list[tuple[str, str]]
    ticks: int


def _ended(run: Run, error: BaseException | None, value: Any = None) -> Outcome:
    if error is None:
        shown = repr(value)
    else:
        # A comprehension's own scope turns UnboundLocalError into NameError, depending on the version of Python.
        message = re.sub(r"^\S+\(\) got multiple values", "got multiple values", str(error))
        shown = "NameError" if isinstance(error, NameError) else f"{type(error).__name__}: {message}"
    return Outcome(shown, list(run.log), run.ticks)


def run_plain(fn: Callable[..., Any], args: Sequence[Any], answers: Sequence[int]) -> Outcome:
    """Let CPython run it."""
    run = Run(answers)
    with current(run):
        try:
            return _ended(run, None, fn(*args))
        except Exception as error:
            return _ended(run, error)


@dataclass
class Suspended:
    """A compiled program between two requests: data that can be copied."""

    run: Run
    request: Any
    block: Any
    live: tuple[Any, ...]
    stack: list[Any]

    def fork(self, answers: Sequence[int]) -> Suspended:
        """An independent copy that goes on with other answers."""
        request, live, stack = copy_value((self.request, self.live, self.stack), {})
        return Suspended(self.run.fork(answers), request, self.block, live, stack)


class Machine:
    """Answers a compiled program's requests. ``at_request`` sees it at each suspension, before the answer."""

    def __init__(self, at_request: Callable[[Suspended], None] | None = None) -> None:
        self.at_request = at_request
        self.addresses: list[str] = []

    def start(self, compiled: Compiled, args: Sequence[Any], answers: Sequence[int]) -> Outcome:
        """Run from the beginning."""
        run = Run(answers)
        with current(run):
            try:
                state = Suspended(run, *compiled.entry(*args), [])
                return self.go_on(state)
            except Exception as error:
                return _ended(run, error)

    def resume(self, state: Suspended) -> Outcome:
        """Go on from a suspension."""
        with current(state.run):
            try:
                return self.go_on(state)
            except Exception as error:
                return _ended(state.run, error)

    def go_on(self, state: Suspended) -> Outcome:
        while True:
            request, block, live = state.request, state.block, state.live
            if block is None:
                if not state.stack:
                    return _ended(state.run, None, request)
                block, live = state.stack.pop()
                step = block(request, *live)
            elif request is None:
                step = block(*live)
            elif isinstance(request, rq.Invoke):
                state.stack.append((block, live))
                step = request.program.compiled.entry(*request.args, **request.kwargs)
            else:
                if self.at_request is not None:
                    self.at_request(state)
                if not state.stack:
                    self.addresses.append(request.local_address)
                step = block(self.answer(state.run, request), *live)
            state.request, state.block, state.live = step

    def answer(self, run: Run, request: Any) -> Any:
        kind = type(request).__name__.lower()
        if isinstance(request, rq.Sample):
            run.record(kind, request.distribution)
            return run.answer()
        if isinstance(request, rq.Call):
            run.record(kind, request.args)
            return request.function(*([a] for a in request.args))[0]
        fields = {"observe": ("distribution", "value"), "factor": ("log_weight",), "condition": ("holds",)}
        fields |= {"twist": ("log_value",), "barrier": ()}
        run.record(kind, *(getattr(request, name) for name in fields[kind]))
        return None


def copy_value(value: Any, memo: dict[int, Any]) -> Any:
    """``copy.deepcopy``, reaching through bound methods of containers and the closures of functions as well."""
    table = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    saved = {t: table.get(t) for t in (types.FunctionType, types.BuiltinMethodType, types.ModuleType)}
    table[types.ModuleType] = lambda value, memo: value
    table[types.FunctionType] = _copy_function
    table[types.BuiltinMethodType] = _copy_builtin
    try:
        return copy.deepcopy(value, memo)
    finally:
        for kind, old in saved.items():
            if old is None:
                table.pop(kind, None)
            else:
                table[kind] = old


def _copy_builtin(value: Any, memo: dict[int, Any]) -> Any:
    owner = value.__self__
    if owner is None or isinstance(owner, (types.ModuleType, type)):
        return value
    return getattr(copy.deepcopy(owner, memo), value.__name__)


def _copy_function(value: Any, memo: dict[int, Any]) -> Any:
    nested = "<locals>" in value.__qualname__ and value.__code__.co_filename.startswith("<program")
    if not nested or value.__name__ == "f":
        return value  # a block, or a function that stands outside the program
    cells = tuple(types.CellType() for _ in value.__closure__ or ())
    new = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, cells or None)
    new.__qualname__ = value.__qualname__
    memo[id(value)] = new
    new.__defaults__, new.__kwdefaults__ = copy.deepcopy((value.__defaults__, value.__kwdefaults__), memo)
    for cell, old in zip(cells, value.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            cell.cell_contents = copy.deepcopy(old.cell_contents, memo)
    return new
