"""Whether a program, its arguments and its models are still what they were: digests that outlive a process.

A program means what its code does, and what the names mean that its code reads: helper functions, constants, models.
All of that is followed, through functions and classes of the user's own. Code counts by what it compiles to, so that
comments and layout may change; a variable counts by what it holds when inference begins. Installed packages are not
followed.

Functions made by one ``def`` share their code and differ in what they closed over, so each is a part of its own. What
is met twice under one name is numbered, in the order of the walk: that of the code, and never that of memory.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
import types
from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

from .compiler import compile_function
from .compiler.installed import is_users
from .compiler.source import code_names
from .context import Context
from .identity_parts import (
    code_parts,
    digest,
    is_array,
    members,
    model_digest,
    opened,
    pattern_parts,
    weights_digest,
)
from .lm import LM
from .program import Program
from .running import warn_user
from .runtime.outside import slots
from .runtime.plain import NotPlain, encode
from .text import Text

_SHORT = 60
_BUILTIN_METHODS = (types.BuiltinMethodType, types.MethodWrapperType)


class Identity:
    """Collects what a run depends on.

    Attributes:
        parts: what was met on the way that has a name: functions, classes, names outside a function, models; each with
            a digest, or its ``repr`` where that is short.
        held: the same for what variables outside the functions hold that can change while the program runs, those of
            classes too: tables of settings, but caches and counters too.
        lms: the models, in the order in which they were met.
    """

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.lms: list[LM] = []
        self._known: MutableMapping[int, tuple[Any, str]] = {}  # functions and classes, kept so that ids stay theirs
        self._models: dict[int, tuple[LM, str]] = {}
        self._met: Counter[str] = Counter()
        self._read: set[tuple[int, int]] = set()  # code, and globals, whose names have been followed
        self._within: dict[int, int] = {}  # what is being walked → how deep
        # What was walked of rings that aren't walked to their end yet.
        self._again: dict[int, tuple[Any, int, int]] = {}
        self._back = sys.maxsize  # how far back the walk was led to what it is within
        self._alone = False
        self._tied = False
        self._warned: set[str] = set()

    def of(self, value: Any) -> str:
        """A digest of a value; what it refers to goes among the parts."""
        return digest(tuple(self._walk(value)))

    def shown(self, value: Any) -> str:
        """A value in words if they are few, else its digest."""
        found = self.of(value)
        text = repr(value) if type(value) in (type(None), bool, int, float, str, tuple, list, dict) else ""
        return text if 0 < len(text) <= _SHORT and " at 0x" not in text else found

    def _walk(self, value: Any) -> Iterator[str]:
        """The content of a value, piece by piece."""
        try:
            yield f"{type(value).__name__} {encode(value)!r}"
            return
        except (NotPlain, RecursionError):
            pass
        if id(value) in self._within:
            self._back = min(self._back, self._within[id(value)])
            yield "itself"
            return
        if id(value) in self._again and not self._tied:  # or every way through a graph would be gone
            _, number, back = self._again[id(value)]
            self._back = min(self._back, back)
            yield f"again {number}"
            return
        depth, before = len(self._within), len(self._again)
        self._within[id(value)] = depth
        back, self._back = self._back, sys.maxsize
        try:
            yield type(value).__qualname__
            yield from self._inside(value)
        finally:
            del self._within[id(value)]
            if self._back < depth and not self._tied:  # it is part of a ring
                self._again[id(value)] = (value, len(self._again), self._back)
            elif self._back >= depth:
                while len(self._again) > before:
                    self._again.popitem()
                self._back = sys.maxsize
            self._back = min(back, self._back)

    def _inside(self, value: Any) -> Iterator[str]:
        if is_users(type(value).__module__):
            self._class(type(value))
        match value:
            case Text():
                yield f"{str(value)!r} {value.tokens}"
            case str() | int() | float() | enum.Enum():
                yield repr(value)
            case list() | tuple():
                for item in value:
                    yield from self._walk(item)
            case Mapping():
                for key, item in value.items():
                    yield from self._walk(key)
                    yield from self._walk(item)
            case set() | frozenset():
                yield from self._set(value)
            case Context():
                yield f"{self._model(value.lm)} {value.tokens}"
            case LM():
                yield self._model(value)
            case Program():
                yield self._program(value)
                yield from self._walk({a: (f.value, f.observed) for a, f in (value.fixed or {}).items()})
                yield from self._walk(getattr(value, "method", None))  # of a nested one
            case types.FunctionType():
                yield self._function(value)
            case types.MethodType():
                yield self._function(value.__func__)
                yield from self._walk(value.__self__)
            case partial():
                yield from self._walk((value.func, value.args, value.keywords))
            case type():
                yield self._class(value)
            case types.ModuleType():
                yield value.__name__
            case re.Pattern():
                yield from pattern_parts(value)
            case _:
                yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str]:
        torch = sys.modules.get("torch")
        if isinstance(getattr(value, "__wrapped__", None), types.FunctionType):  # functools.cache, and wrappers like it
            yield self._function(value.__wrapped__)
        elif torch is not None and isinstance(value, torch.nn.Module):
            yield weights_digest(value)
        elif torch is not None and isinstance(value, torch.distributions.Distribution):
            for name in value.arg_constraints:
                yield from self._walk(getattr(value, name, None))
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                yield field.name
                yield from self._walk(getattr(value, field.name, None))
        elif is_users(type(value).__module__):
            yield self._class(type(value))
            state = dict(getattr(value, "__dict__", {}))
            state.update((name, getattr(value, name, None)) for name in slots(type(value)))
            yield from self._walk(state)
            if is_array(value):
                yield from self._walk(opened(value)[0])
        elif isinstance(value, _BUILTIN_METHODS) and not isinstance(value.__self__, types.ModuleType | types.NoneType):
            yield value.__name__
            yield from self._walk(value.__self__)
        else:
            content, why_not = opened(value)
            if why_not:
                self._warn(value, why_not)
            yield from [content] if isinstance(content, str) else self._walk(content)

    def _warn(self, value: Any, why: str) -> None:
        """Warn of what can't be followed, once for each kind."""
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if kind not in self._warned:
            self._warned.add(kind)
            warn_user(
                f"checkpoint=: the program reads a {kind} that can't be looked into ({why}), so that a change in it "
                "goes unnoticed. Where it changes, name another folder"
            )

    def _set(self, items: set[Any] | frozenset[Any]) -> Iterator[str]:
        """The items of a set, whose own order is another in the next process.

        What is met in them is numbered as it comes, so they are taken in the order of what they are by themselves.
        Where that is the same for two of them there is no such order, and a ring is followed in all ways through it.
        """
        objects = [item for item in items if not _is_plain(item)]
        if self._alone:
            plain = ("\x1f".join(self._walk(item)) for item in items if _is_plain(item))
            yield from sorted((*plain, *(type(item).__qualname__ for item in objects)))
            return
        for _, kind in sorted(
            {f"{type(item).__module__} {type(item).__qualname__}": type(item) for item in objects}.items()
        ):
            self._class(kind)
        keys = {id(item): self._by_itself(item) for item in objects}
        tied, self._tied = self._tied, self._tied or len(set(keys.values())) < len(keys)
        in_order = (
            *(item for item in items if id(item) not in keys),
            *sorted(objects, key=lambda item: keys[id(item)]),
        )
        yield from sorted(["\x1f".join(self._walk(item)) for item in in_order])
        self._tied = tied

    def _by_itself(self, item: Any) -> str:
        """A digest of an item and of all that it leads to, without a note of it."""
        other = Identity()
        other._known = ChainMap({}, self._known)
        other._models, other._warned, other._alone = self._models, self._warned, True
        other._within, other._again = dict(self._within), dict(self._again)
        return digest((other.of(item), repr(sorted(other.parts.items())), repr(sorted(other.held.items()))))

    def _model(self, lm: LM) -> str:
        if id(lm) not in self._models:
            self._models[id(lm)] = (lm, model_digest(lm.model))
        found = self._models[id(lm)][1]
        if not any(lm is known for known in self.lms):
            self.lms.append(lm)
        self.parts[f"the model {lm.name}"] = found
        return found

    def _program(self, program: Program) -> str:
        name = self._function(program.function)
        if program.compiler is not compile_function:  # it was read from IR, and its function only stands in for it
            from .compiler.printer import to_text

            self.parts[name] = digest([to_text(program.compiled.ir)])
        return name

    def _function(self, function: Any) -> str:
        name = f"{function.__qualname__}()"
        if id(function) in self._known or not is_users(function.__module__ or "__main__"):
            return self._known.get(id(function), (function, name))[1]
        name, code = self._introduce(function, name), function.__code__
        self.parts[name] = digest((*code_parts(code), *self._walk((function.__defaults__, function.__kwdefaults__))))
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._named(variable, cell.cell_contents, name)
            except ValueError:  # the cell is still empty
                continue
        if (id(code), id(function.__globals__)) in self._read:
            return name
        self._read.add((id(code), id(function.__globals__)))
        read = dict.fromkeys(code_names(code))
        for variable in read:
            value = function.__globals__.get(variable)
            if isinstance(value, types.ModuleType) and is_users(value.__name__):
                for attribute in read:
                    if attribute in vars(value):
                        self._named(f"{variable}.{attribute}", vars(value)[attribute], name)
            elif variable in function.__globals__:
                self._named(variable, value, name)
        return name

    def _class(self, cls: type) -> str:
        name = f"class {cls.__qualname__}"
        if id(cls) in self._known or not is_users(cls.__module__):
            return self._known.get(id(cls), (cls, name))[1]
        name, found = self._introduce(cls, name), members(cls)
        if issubclass(cls, enum.Enum):  # what members are does not change while it runs
            found = {**found, **{key: member.value for key, member in cls.__members__.items()}}
        plain = {key: item for key, item in found.items() if type(item) in (int, float, str, bool, tuple)}
        self.parts[name] = digest(tuple(self._walk(plain)))
        for key, item in found.items():
            if isinstance(item, types.FunctionType):
                self._function(item)
            elif key not in plain and not (key.startswith("_") and key.endswith(("_", "_abc_impl"))):
                self._named(key, item, name, self.held)
        for base in cls.__bases__:
            self._class(base)
        return name

    def _introduce(self, value: Any, name: str) -> str:
        """Give a function or class its name, or one like it that no other has yet."""
        self._met[name] += 1
        name = name if self._met[name] == 1 else f"{name} no. {self._met[name]}"
        self._known[id(value)] = (value, name)
        return name

    def _named(self, name: str, value: Any, place: str, into: dict[str, str] | None = None) -> None:
        """Note what a name outside a function, or in a class, stands for.

        Code and models are noted under names of their own; here it is noted only which of them a name stands for, where
        that isn't said by the name itself.

        Args:
            name: the name.
            value: what it stands for.
            place: the function or class that it is a name in.
            into: where to note it; otherwise that depends on whether the value can change while the program runs.
        """
        where = f"{name} in {place}"
        if isinstance(value, types.FunctionType | type):
            found = self._function(value) if isinstance(value, types.FunctionType) else self._class(value)
            own = value.__qualname__.rpartition(".")[2]
            if name.rpartition(".")[2] != own and not name.startswith("__"):
                self.parts[where] = found
        elif isinstance(value, LM):
            found = self._model(value)
            if len(self.lms) > 1:
                self.parts[where] = found
        elif isinstance(value, Program):
            self.parts[where] = self.of(value)
        elif not isinstance(value, types.ModuleType):
            if into is None:
                into = self.held if _can_change(value) else self.parts
            into[where] = self.shown(value)


def _is_plain(value: Any) -> bool:
    try:
        encode(value)
    except (NotPlain, RecursionError):
        return False
    return True


def _can_change(value: Any) -> bool:
    """Whether a value is one of those that Python gives no hash since they change, or a method of one."""
    return type(value).__hash__ is None or (isinstance(value, _BUILTIN_METHODS) and _can_change(value.__self__))
