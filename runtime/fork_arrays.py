"""Copying arrays: what lies in one piece of memory does so in the copy."""

from __future__ import annotations

import operator
import sys
from typing import Any

from .copying import SHARED, CannotFork, Memo, fork


def fork_tensor(value: Any, memo: Memo) -> Any:
    """What lies in one storage does so in the copy: a row of a table changes with it."""
    if value.layout is not sys.modules["torch"].strided or value.requires_grad or value.is_quantized:
        new = value.clone()
    else:
        storage = value.untyped_storage()
        key = _place(storage)
        known = memo.get(key)
        if known is None and value.is_contiguous() and storage.nbytes() == value.nbytes:
            new = value.clone()
            memo[key] = new.untyped_storage()
        else:
            new = value.new_empty(0).set_(_storage(storage, memo), value.storage_offset(), value.size(), value.stride())
    memo[id(value)] = new
    return new


def _place(storage: Any) -> int:
    """Where the copy of a storage stands in a memo; no object's ``id`` is negative.

    In the processor's own memory it may be that of an array, too, and is known by its address.
    """
    return ~(storage.data_ptr() if storage.device.type == "cpu" else storage._cdata)


def _storage(storage: Any, memo: Memo) -> Any:
    """The copy of a storage, which may have been copied as the memory of an array."""
    key = _place(storage)
    known: Any = memo.get(key)
    if known is not None and hasattr(known, "dtype"):
        known = sys.modules["torch"].from_numpy(known.view("u1")).untyped_storage()
    if known is None or known.nbytes() < storage.nbytes():
        known = memo[key] = storage.clone()
    return known


def fork_array(value: Any, memo: Memo) -> Any:
    """An array of numpy. Those that are views of one memory, perhaps that of a tensor, are so in the copy.

    Raises:
        CannotFork: it is a part, made of Python objects, of memory that holds other things besides.
    """
    if not value.size:
        return value.copy()
    owner = _owner(value)
    first, memory = _memory(owner, memo)
    if id(value) in memo:
        return memo[id(value)]
    place = _address(value) - first
    if memory is None:
        new = value.copy(order="K")
    elif not value.dtype.hasobject:
        new = type(value)(value.shape, value.dtype, memory, place, value.strides)
    elif value.dtype == memory.dtype:
        start = memory[place // value.itemsize :]
        new = sys.modules["numpy"].lib.stride_tricks.as_strided(start, value.shape, value.strides)
    else:
        raise CannotFork(
            "a run holds an array that is a part, made of Python objects, of another array. It can't be copied, so the "
            "run can't be continued in two ways. Keep the whole array instead, or a list of the objects."
        )
    if not value.flags.writeable:
        new.flags.writeable = False
    memo[id(value)] = new
    return new


def _owner(array: Any) -> Any:
    """The array that an array is a view of; itself if it is none."""
    while (base := array.base) is not None:
        base = getattr(base, "base", None) if type(base).__name__ == "DummyArray" else base  # of as_strided
        if type(base) is not type(array):
            break
        array = base
    return array


def _address(array: Any) -> int:
    """Where the first element lies."""
    found: int = array.__array_interface__["data"][0]
    return found


def _memory(owner: Any, memo: Memo) -> tuple[int, Any]:
    """Where the memory of an array begins that is no view of another, and its copy, an array of one dimension.

    ``None`` if the array uses but some of the memory of something else.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(owner.base, torch.Tensor):
        storage = owner.base.untyped_storage()
        return storage.data_ptr(), torch.empty(0, dtype=torch.uint8).set_(_storage(storage, memo)).numpy()
    first = _address(owner)
    known = memo.get(~first)
    if torch is not None and isinstance(known, torch.UntypedStorage):  # it was met as a tensor
        known = torch.empty(0, dtype=torch.uint8).set_(known).numpy() if known.nbytes() >= owner.nbytes else None
    if known is None:
        copy = owner.copy(order="K")
        if copy.strides != owner.strides:
            return first, None
        memo[id(owner)], known = copy, copy.ravel(order="K")
        memo[~first] = known
        if owner.dtype.hasobject:
            known[:] = [fork(item, memo) for item in known.tolist()]
    return first, known


def fork_torch_distribution(value: Any, memo: Memo) -> Any:
    """Its parameters are tensors, maybe those that a run changes in place."""
    parts = value.__dict__
    forked = {name: part if type(part) in SHARED else fork(part, memo) for name, part in parts.items()}
    if all(map(operator.is_, parts.values(), forked.values())):
        return value
    new = memo[id(value)] = object.__new__(type(value))
    new.__dict__.update(forked)
    return new
