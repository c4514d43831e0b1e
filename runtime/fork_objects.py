"""Copying objects of any other class: by what they tell ``copy`` and ``pickle`` about themselves."""

from __future__ import annotations

import copy
import copyreg
import sys
from collections.abc import Callable
from typing import Any

from .copying import HANDLERS, OUTSIDE, SHARED, CannotFork, Memo, fork
from .distributions import Distribution
from .engines.base import ModelDistribution
from .fork_arrays import fork_array, fork_tensor, fork_torch_distribution
from .fork_functions import fork_class

_NUMBERS = ("fractions.Fraction", "decimal.Decimal")
"""Types of numbers that can't change, and are imported only where somebody uses them."""


def fork_object(value: Any, memo: Memo) -> Any:
    """A copy of what is of no kind that has a way of its own."""
    if id(value) in memo.get(OUTSIDE, ()):
        return value
    if isinstance(value, type):
        return fork_class(value, memo)
    kind = type(value)
    fork_class(kind, memo)
    if isinstance(value, (Distribution, ModelDistribution)) or _is_shared(value) or _is_bare_string(kind):
        SHARED.add(kind)
        return value
    return _by_protocol(value, memo)


def _is_shared(value: Any) -> bool:
    """Values that are not meant to change: distributions of this package, modules of weights, programs."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return True
    kind = type(value)
    return getattr(kind, "__ppl_immutable__", False) is True or f"{kind.__module__}.{kind.__qualname__}" in _NUMBERS


def _is_bare_string(kind: type) -> bool:
    """Whether objects of a class are strings that hold nothing besides."""
    return issubclass(kind, str) and not kind.__dictoffset__ and kind.__basicsize__ == str.__basicsize__


def _is_frozen(value: Any) -> bool:
    """Whether it is made of nothing but shared values, in tuples, and in data classes that say that they are frozen."""
    kind = type(value)
    if kind in SHARED:
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
        HANDLERS.setdefault(torch.Tensor, fork_tensor)  # the next one is found at once
        return fork_tensor(value, memo)
    if torch is not None and isinstance(value, torch.distributions.Distribution):
        return fork_torch_distribution(value, memo)
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray:
        HANDLERS.setdefault(numpy.ndarray, fork_array)
        return fork_array(value, memo)
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
        if OUTSIDE in memo:  # deepcopy looks for what is known nowhere else
            memo.update(memo[OUTSIDE].objects)
        return copy.deepcopy(value, memo)
    except CannotFork:
        raise
    except (TypeError, copy.Error) as error:
        raise CannotFork(
            f"a run holds a {type(value).__name__}, which can't be copied, so the run can't be continued in two ways "
            f"({error}). Keep plain data in variables that live across an effect, for example a list."
        ) from error


def _rebuilt(
    value: Any, memo: Memo, make: Callable[..., Any], args: Any, state: Any = None, items: Any = None, pairs: Any = None
) -> Any:
    """What ``copy.deepcopy`` does with an object, but by :func:`fork`: it may hold closures, models or programs."""
    new = memo[id(value)] = make(*[fork(arg, memo) for arg in args])
    if isinstance(value, BaseException):
        new.__cause__, new.__context__ = fork(value.__cause__, memo), fork(value.__context__, memo)
        new.__suppress_context__, new.__traceback__ = value.__suppress_context__, value.__traceback__
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
