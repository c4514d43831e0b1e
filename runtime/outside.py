"""The objects that a program finds outside of its runs: those that its code can reach by the names it uses.

All runs share them, so a copy of a run has the very same ones: ``x is MISSING`` and ``TABLE[key]`` mean what they say.
"""

from __future__ import annotations

import collections
import functools
import math
import sys
import types
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from ..compiler.installed import is_users
from ..compiler.source import code_names
from .copying import SHARED

_PLAIN = {types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType, types.GetSetDescriptorType}
_NO_SLOTS = ("__dict__", "__weakref__")
_AT_ONCE = 2_000
"""How many values to look at before anybody asks: about a millisecond's work."""


class Outside:
    """The objects outside of a program, by ``id``: those that are there before it runs.

    They are kept here, so that no other object gets the ``id`` of one that is gone.

    What counts by its content (it has no hash, as a list) is not among them, and neither are arrays: of those each copy
    of a run has its own. What they hold may be.

    Args:
        function: what the program was made of.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._objects: dict[int, Any] = {}
        self._seen: dict[int, Any] = {id(function): function}
        self._left = collections.deque(_of_program(function))
        # Now, since a run may put objects of its own there. What is far down in a large table can wait: few ask for it.
        self._look(_AT_ONCE)

    def __contains__(self, name: object) -> bool:
        """Whether an object is one of them, by its ``id``."""
        return name in self.objects

    @property
    def objects(self) -> Mapping[int, Any]:
        """All of them, by ``id``."""
        self._look()
        return self._objects

    @property
    def content(self) -> Container[int]:
        """All that the program reaches: what counts by its content, too, and what other programs were made of."""
        self._look()
        return self._seen

    def _look(self, most: float = math.inf) -> None:
        """Go on to what the program reaches, up to so many values."""
        left, seen = self._left, self._seen
        while left and len(seen) < most:
            value = left.popleft()
            kind = type(value)
            if kind in SHARED or kind in _PLAIN or id(value) in seen:
                continue
            seen[id(value)] = value
            parts = _PARTS.get(kind)
            if parts is not None:
                left += parts(value)
            elif isinstance(value, type):
                left += _of_class(value)
            elif hasattr(kind, "__ppl_fork__") and hasattr(value, "function"):
                seen[id(value.function)] = value.function
                left += _of_program(value.function)
            elif not _is_data(value):
                left += _of_object(value)
                if kind.__hash__ is not None:
                    self._objects[id(value)] = value
            if kind is types.FunctionType:
                self._objects[id(value)] = value


def _is_data(value: Any) -> bool:
    """Whether it is numbers: an array, or a module of weights."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, (torch.Tensor, torch.nn.Module)):
        return True
    return numpy is not None and isinstance(value, numpy.ndarray) and value.dtype != object


def _of_program(function: Callable[..., Any]) -> list[Any]:
    """What a program reaches. Not its default arguments: each call of it has its own."""
    return _of_code(function) if isinstance(function, types.FunctionType) else [function]


def _of_items(value: Any) -> list[Any]:
    """What a list, a tuple or a set holds."""
    items = list(value)
    return [] if SHARED.issuperset(map(type, items)) else items


def _of_dict(value: Mapping[Any, Any]) -> list[Any]:
    return [*_of_items(value), *_of_items(value.values())]


def _of_object(value: Any) -> list[Any]:
    """The attributes of an object, what it holds if it is a container, and its class, whose methods it may call."""
    kind = type(value)
    if getattr(kind, "__ppl_immutable__", False) is True and not is_users(kind.__module__):
        return []  # a model of this package, for one
    parts: list[Any] = [kind, *_of_dict(getattr(value, "__dict__", {}))]
    parts += [getattr(value, name, None) for name in slots(kind) if name not in _NO_SLOTS]
    if isinstance(value, dict):
        parts += _of_dict(value)
    elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        parts += _of_items(value)
    elif isinstance(value, functools.partial):
        parts += (value.func, *value.args, *value.keywords.values())
    return parts


def slots(kind: type) -> Iterator[str]:
    """The names of the slots of a class and of those that it is made from, as its objects have them."""
    for each in kind.__mro__:
        names = vars(each).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            private = name.startswith("__") and not name.endswith("__")
            yield f"_{each.__name__.lstrip('_')}{name}" if private else name


def _of_class(kind: type) -> list[Any]:
    """What a class of the user's holds, its methods included."""
    return [*_of_items(dict(vars(kind)).values()), *kind.__bases__] if is_users(kind.__module__) else []


def _of_function(function: types.FunctionType) -> list[Any]:
    """What a function has by default, holds as attributes, and what its code reaches."""
    parts = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *function.__dict__.values()]
    return parts + _of_code(function)


def _of_code(function: types.FunctionType) -> list[Any]:
    """What the code of a function of the user's captures, and finds under the names in it."""
    if not is_users(function.__module__ or ""):
        return []
    parts: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:
            continue
    names = set(code_names(function.__code__))
    known = function.__globals__
    parts += [known[name] for name in names if name in known]
    modules = [part for part in parts if type(part) is types.ModuleType]
    for module in modules:  # grows by the modules in modules
        attributes = vars(module)
        found = [attributes[name] for name in names if name in attributes]
        parts += found
        modules += [part for part in found if type(part) is types.ModuleType and part not in modules]
    return parts


def _of_method(value: types.MethodType) -> list[Any]:
    return [value.__self__, value.__func__]


def _of_property(value: property) -> list[Any]:
    return [value.fget, value.fset, value.fdel]


def _of_wrapper(value: Any) -> list[Any]:
    return [getattr(value, "__wrapped__", None), *_of_dict(getattr(value, "__dict__", {}))]


_PARTS: dict[type, Callable[[Any], list[Any]]] = {
    **dict.fromkeys((list, tuple, set, frozenset, collections.deque), _of_items),
    **dict.fromkeys((dict, collections.Counter, collections.OrderedDict, collections.defaultdict), _of_dict),
    types.FunctionType: _of_function,
    types.MethodType: _of_method,
    property: _of_property,
    **dict.fromkeys((staticmethod, classmethod, type(functools.cache(len))), _of_wrapper),
}
