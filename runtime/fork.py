"""Copying a suspended run: share what can't change, copy each mutable container once, keep aliases."""

from __future__ import annotations

import copy
import copyreg
import functools
import operator
import re
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from ..compiler.link import made_in_program
from ..compiler.support import Cursor
from .distributions import Distribution
from .engines.base import ModelDistribution
from .local_classes import assigned_attribute, changing_attribute, defined_by_programs
from .shared import MARKED

Memo = dict[int, Any]

_SHARED: set[type] = {  # grows by the types that turn out to be such
    *(int, float, complex, str, bytes, bool, range, slice, type(None), type(...), type(NotImplemented)),
    *(types.ModuleType, types.CodeType, property, weakref.ref, re.Pattern, re.Match),
}

_NUMBERS = ("fractions.Fraction", "decimal.Decimal")
"""Types of numbers that can't change, and are imported only where somebody uses them."""


class CannotFork(TypeError):
    """A run holds a value that Python can't copy, so it can't be continued in two ways."""


def fork_values(values: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    """A copy of a run's live values.

    Args:
        values: the live values of one block.
        memo: ``id`` of an original → its copy; one for all values of a run, so that aliases stay aliases.

    Returns:
        ``values`` itself if nothing in it can change.

    Raises:
        CannotFork: a value can't be copied, a generator for one.
    """
    if _SHARED.issuperset(map(type, values)):
        return values
    return tuple(
        [
            v if type(v) in _SHARED or (type(v) is tuple and _SHARED.issuperset(map(type, v))) else fork(v, memo)
            for v in values
        ]
    )


def fork(value: Any, memo: Memo) -> Any:
    """A copy of one value; see :func:`fork_values`."""
    kind = type(value)
    if kind in _SHARED:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if id(value) in MARKED:
        return value
    handler = _HANDLERS.get(kind) or getattr(kind, "__ppl_fork__", None)
    if handler is not None:
        return handler(value, memo)
    if isinstance(value, type):
        return _class(value, memo)
    _class(kind, memo)
    if isinstance(value, (str, Distribution, ModelDistribution)) or _is_shared(value):
        _SHARED.add(kind)
        return value
    return _by_protocol(value, memo)


def own(value: Any) -> Any:
    """A value that a run may change: what a distribution or a function gave it may be in others' hands too.

    What counts as equal by content (it has no hash) is copied; an object with an identity stays what it is.
    """
    if type(value) in _SHARED:
        return value
    if type(value) is tuple:
        if _SHARED.issuperset(map(type, value)):
            return value
        mine = tuple([own(v) for v in value])
        return value if all(map(operator.is_, value, mine)) else mine
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return (
            value if id(value) in MARKED else value.clone()
        )  # not what else lies in its storage: it may be a row of a batch
    if type(value).__hash__ is None:
        try:
            return fork(value, {})
        except CannotFork:
            return value
    return value


# Containers of nothing but shared values, which most are, are copied in one go.


def _list(value: list[Any], memo: Memo) -> list[Any]:
    new = memo[id(value)] = value.copy()
    if not _SHARED.issuperset(map(type, value)):
        new[:] = [v if type(v) in _SHARED else fork(v, memo) for v in value]
    return new


def _tuple(value: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    if _SHARED.issuperset(map(type, value)):
        return value
    new = tuple([v if type(v) in _SHARED else fork(v, memo) for v in value])
    if all(map(operator.is_, value, new)):
        return value
    memo[id(value)] = new
    return new


def _dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    new = memo[id(value)] = value.copy()
    for key, item in value.items():
        if type(key) not in _SHARED:
            break
        if type(item) not in _SHARED:
            new[key] = fork(item, memo)
    else:
        return new
    new.clear()  # a key may be another object in the copy
    for key, item in value.items():
        new[fork(key, memo)] = fork(item, memo)
    return new


def _set(value: set[Any], memo: Memo) -> set[Any]:
    simple = _SHARED.issuperset(map(type, value))
    new = memo[id(value)] = value.copy() if simple else {fork(v, memo) for v in value}
    return new


def _frozenset(value: frozenset[Any], memo: Memo) -> frozenset[Any]:
    if _SHARED.issuperset(map(type, value)):
        return value
    new = frozenset([fork(v, memo) for v in value])
    memo[id(value)] = new = value if all(map(operator.is_, value, new)) else new
    return new


def _cursor(value: Cursor, memo: Memo) -> Cursor:
    new = memo[id(value)] = Cursor(fork(value.iterator, memo))
    return new


def _function(value: types.FunctionType, memo: Memo) -> types.FunctionType:
    """A closure over something mutable gets cells of its own, and so do mutable defaults."""
    if not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__:
        return value
    closure = value.__closure__ or ()
    cells = tuple(types.CellType() for _ in closure)
    new = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, cells)
    memo[id(value)] = new  # first: a recursive function holds itself
    new.__defaults__ = None if value.__defaults__ is None else fork(value.__defaults__, memo)
    changed = new.__defaults__ is not value.__defaults__
    if value.__kwdefaults__:
        new.__kwdefaults__ = {k: fork(v, memo) for k, v in value.__kwdefaults__.items()}
        changed |= any(new.__kwdefaults__[k] is not v for k, v in value.__kwdefaults__.items())
    for cell, old in zip(cells, closure, strict=True):
        try:
            content = old.cell_contents
        except ValueError:
            continue
        cell.cell_contents = fork(content, memo)
        changed |= cell.cell_contents is not content and content is not value
    if not changed:
        memo[id(value)] = value
        return value
    return new


def _builtin(value: Any, memo: Memo) -> Any:
    """``xs.append``, held while its argument is drawn, belongs to the copy of ``xs``."""
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return value
    new = fork(owner, memo)
    return value if new is owner else getattr(new, value.__name__)


def _method(value: types.MethodType, memo: Memo) -> types.MethodType:
    return types.MethodType(value.__func__, fork(value.__self__, memo))


def _class(value: type, memo: Memo) -> type:
    """A class stays what it is. One that a program defined must hold nothing then that the run may change."""
    for kind in defined_by_programs(value):
        if id(kind) in memo:
            continue
        memo[id(kind)] = kind  # first: a method may hold its class
        name = assigned_attribute(kind)
        if name is not None:
            raise CannotFork(
                f"the attribute {name!r} of the class {kind.__name__}, which the program defines, was assigned between "
                "two effects. A copy of the run has data of its own, but the class stays one. Keep it in a variable, "
                "or make it an attribute of its objects, in __init__."
            )
        name = changing_attribute(kind, lambda part: fork(part, memo) is part)
        if name is not None:
            raise CannotFork(
                f"the class {kind.__name__}, which the program defines, holds or captures something that may change, "
                f"in {name!r}. A copy of the run has data of its own, but the class stays one. Give it to the objects "
                "of the class in __init__, or move the class out of the program."
            )
    return value


def _cached(value: Any, memo: Memo) -> Any:
    """What ``functools.cache`` made of a function stays what it is; one that captures data can't be copied with it."""
    function = value.__wrapped__
    if isinstance(function, types.FunctionType) and made_in_program(function) and fork(function, memo) is not function:
        raise CannotFork(
            f"{function.__name__}() is cached, and captures something that may change. A copy of the run has data of "
            "its own, but the cache stays one. Leave out the cache: a plain function is copied with the run."
        )
    return value


_HANDLERS: dict[type, Callable[[Any, Memo], Any]] = {
    type: _class,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _frozenset,
    Cursor: _cursor,
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinMethodType: _builtin,
    types.MethodWrapperType: _builtin,
    type(functools.cache(len)): _cached,
}


def _is_shared(value: Any) -> bool:
    """Values that are not meant to change: distributions of this package, modules of weights, programs."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return True
    kind = type(value)
    return getattr(kind, "__ppl_immutable__", False) is True or f"{kind.__module__}.{kind.__qualname__}" in _NUMBERS


def _tensor(value: Any, memo: Memo) -> Any:
    """What lies in one storage does so in the copy: a row of a table changes with it."""
    if value.layout is not sys.modules["torch"].strided or value.requires_grad or value.is_quantized:
        new = value.clone()
    else:
        storage = value.untyped_storage()
        known = memo.get(~storage._cdata)  # no object's id is negative
        if known is None and value.is_contiguous() and storage.nbytes() == value.nbytes:
            new = value.clone()
            memo[~storage._cdata] = new.untyped_storage()
        else:
            if known is None:
                known = memo[~storage._cdata] = storage.clone()
            new = value.new_empty(0).set_(known, value.storage_offset(), value.size(), value.stride())
    memo[id(value)] = new
    return new


def _torch_distribution(value: Any, memo: Memo) -> Any:
    """Its parameters are tensors, maybe those that a run changes in place."""
    parts = value.__dict__
    forked = {name: part if type(part) in _SHARED else fork(part, memo) for name, part in parts.items()}
    if all(map(operator.is_, parts.values(), forked.values())):
        return value
    new = memo[id(value)] = object.__new__(type(value))
    new.__dict__.update(forked)
    return new


def _is_frozen(value: Any) -> bool:
    """Whether it is made of nothing but shared values, in tuples, and in data classes that say that they are frozen."""
    kind = type(value)
    if kind in _SHARED:
        return True
    if isinstance(value, tuple) and not hasattr(value, "__dict__"):
        return all(map(_is_frozen, value))
    given = getattr(kind, "__dataclass_params__", None)
    if given is None or not given.frozen:
        return False
    fields: dict[str, Any] = kind.__dataclass_fields__
    return fields.keys() >= getattr(value, "__dict__", {}).keys() and all(
        _is_frozen(getattr(value, name, None)) for name in fields
    )


def _by_protocol(value: Any, memo: Memo) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        _HANDLERS.setdefault(torch.Tensor, _tensor)  # the next one is found at once
        return _tensor(value, memo)
    if torch is not None and isinstance(value, torch.distributions.Distribution):
        return _torch_distribution(value, memo)
    try:
        if _is_frozen(value):
            return value
        if type(value).__reduce_ex__ is object.__reduce_ex__ and not hasattr(value, "__deepcopy__"):
            reducer = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(4) if reducer is None else reducer(value)
            if isinstance(reduced, str):
                return value
            memo.setdefault(id(memo), []).append(reduced)  # as deepcopy does: what is freed would lend out its id
            return _rebuilt(value, memo, *reduced)
        return copy.deepcopy(value, memo)
    except CannotFork:
        raise
    except (TypeError, RecursionError, copy.Error) as error:
        raise CannotFork(
            f"a run holds a {type(value).__name__}, which can't be copied, so the run can't be continued in two ways "
            f"({error}). Keep plain data in variables that live across an effect, for example a list."
        ) from error


def _rebuilt(
    value: Any, memo: Memo, make: Callable[..., Any], args: Any, state: Any = None, items: Any = None, pairs: Any = None
) -> Any:
    """What ``copy.deepcopy`` does with an object, but by :func:`fork`: it may hold closures, models or programs."""
    new = memo[id(value)] = make(*[fork(arg, memo) for arg in args])
    if state is not None:
        state = fork(state, memo)
        if hasattr(new, "__setstate__"):
            new.__setstate__(state)
        else:
            attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            if attributes:
                new.__dict__.update(attributes)
            for name, attribute in (slots or {}).items():
                setattr(new, name, attribute)
    for item in items or ():
        new.append(fork(item, memo))
    for key, item in pairs or ():
        new[fork(key, memo)] = fork(item, memo)
    return new
