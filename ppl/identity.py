"""Whether a program, its arguments and its models are still what they were: digests that outlive a process.

A program means what its code does, and what the names mean that its code reads: helper functions, constants, models.
All of that is followed, through functions and classes of the user's own. Code counts by what it compiles to, so that
comments and layout may change; a variable counts by what it holds when inference begins. Installed packages are not
followed.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
import types
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

from .compiler import compile_function
from .compiler.installed import is_users
from .compiler.source import code_names
from .context import Context
from .lm import LM
from .program import Program
from .runtime.engines.model import LanguageModel
from .runtime.plain import NotPlain, encode
from .text import Text

_SHORT = 60
_SAMPLED = 1024
"""How many elements of each weight tensor of a network are looked at."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Identity:
    """Collects what a run depends on.

    Attributes:
        parts: what was met on the way that has a name: functions, classes, names outside a function, models; each with
            a digest, or its ``repr`` where that is short.
        held: the same for what variables outside the functions hold that can change while the program runs: tables
            of settings, but caches and counters too.
        lms: the models, in the order in which they were met.
    """

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.lms: list[LM] = []
        self._known: set[int] = set()
        self._within: set[int] = set()

    def of(self, value: Any) -> str:
        """A digest of a value; what it refers to goes among the parts."""
        return _digest("\x1f".join(self._walk(value)))

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
            yield "itself"
            return
        self._within.add(id(value))
        try:
            yield type(value).__qualname__
            yield from self._inside(value)
        finally:
            self._within.remove(id(value))

    def _inside(self, value: Any) -> Iterator[str]:
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
                yield from sorted("\x1f".join(self._walk(item)) for item in value)
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
            state.update((name, getattr(value, name, None)) for name in getattr(type(value), "__slots__", ()))
            yield from self._walk(state)
        else:
            yield _ADDRESS.sub("", repr(value))

    def _model(self, lm: LM) -> str:
        found = _model(lm.model)
        if not any(lm is known for known in self.lms):
            self.lms.append(lm)
        self.parts[f"the model {lm.name}"] = found
        return found

    def _program(self, program: Program) -> str:
        name = self._function(program.function)
        if program.compiler is not compile_function:  # it was read from IR, and its function only stands in for it
            from .compiler.printer import to_text

            self.parts[name] = _digest(to_text(program.compiled.ir))
        return name

    def _function(self, function: Any) -> str:
        module = function.__module__ or "__main__"
        name = f"{function.__qualname__}()"
        if not is_users(module) or id(function.__code__) in self._known:
            return name
        self._known.add(id(function.__code__))
        name = self._free(name)
        self.parts[name] = _digest(
            "\x1f".join((*_code(function.__code__), *self._walk((function.__defaults__, function.__kwdefaults__))))
        )
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._named(variable, cell.cell_contents, function)
            except ValueError:  # the cell is still empty
                continue
        read = dict.fromkeys(code_names(function.__code__))
        for variable in read:
            value = function.__globals__.get(variable)
            if isinstance(value, types.ModuleType) and is_users(value.__name__):
                for attribute in read:
                    if attribute in vars(value):
                        self._named(f"{variable}.{attribute}", vars(value)[attribute], function)
            elif variable in function.__globals__:
                self._named(variable, value, function)
        return name

    def _named(self, name: str, value: Any, function: types.FunctionType) -> None:
        """Note what a name outside a function stands for; code and models are noted under names of their own."""
        if isinstance(value, types.FunctionType | type | LM):
            self.of(value)
        elif isinstance(value, Program):
            self.parts[f"{name} in {function.__qualname__}()"] = self.of(value)
        elif not isinstance(value, types.ModuleType):
            into = self.held if type(value).__hash__ is None else self.parts
            into[f"{name} in {function.__qualname__}()"] = self.shown(value)

    def _class(self, cls: type) -> str:
        name = f"class {cls.__qualname__}"
        if is_users(cls.__module__) and id(cls) not in self._known:
            self._known.add(id(cls))
            members = {key: _unwrapped(item) for key, item in vars(cls).items() if not key.startswith("__weakref")}
            methods = {key: item for key, item in members.items() if isinstance(item, types.FunctionType)}
            plain = {key: item for key, item in members.items() if type(item) in (int, float, str, bool, tuple)}
            self.parts[self._free(name)] = _digest("\x1f".join(self._walk(plain)))
            for method in methods.values():
                self._function(method)
            for base in cls.__bases__:
                self._class(base)
        return name

    def _free(self, name: str) -> str:
        """The name, or one like it that no part has yet."""
        number = 1
        while (found := name if number == 1 else f"{name} no. {number}") in self.parts:
            number += 1
        return found


def _model(model: LanguageModel) -> str:
    """What a model computes, apart from where: two of one identity give the same numbers, up to rounding."""
    from torch.nn import Module

    from .runtime.engines.table import TableModel

    if isinstance(network := getattr(model, "model", None), Module):
        return f"{type(network).__name__} {weights_digest(network)}"
    if isinstance(model, TableModel):
        after = [(), *((token,) for token in range(model.vocab_size))]
        rows = [[str(model.probability(tokens, token)) for token in range(model.vocab_size)] for tokens in after]
        return f"{model.describe()} {_digest(repr((rows, [model.decode_bytes(t) for t in range(model.vocab_size)])))}"
    return model.describe()


def weights_digest(module: Any) -> str:
    """A digest of a torch network: its shapes and types, and some of the numbers of each of its tensors."""
    found = blake2b(digest_size=8)
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED)].double().cpu()
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(some.numpy().tobytes())
    return found.hexdigest()


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _code(code: types.CodeType) -> Iterator[str]:
    """What a code object does, wherever it stands."""
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags, code.co_argcount))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _unwrapped(member: Any) -> Any:
    """The function in a method of any kind."""
    if isinstance(member, property):
        return member.fget
    return getattr(member, "__func__", member)
