"""Copying arrays: what lies in one piece of memory does so in the copy."""

from __future__ import annotations

import operator
import sys
from typing import Any

from .copying import SHARED, Memo, fork


def fork_tensor(value: Any, memo: Memo) -> Any:
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


def fork_torch_distribution(value: Any, memo: Memo) -> Any:
    """Its parameters are tensors, maybe those that a run changes in place."""
    parts = value.__dict__
    forked = {name: part if type(part) in SHARED else fork(part, memo) for name, part in parts.items()}
    if all(map(operator.is_, parts.values(), forked.values())):
        return value
    new = memo[id(value)] = object.__new__(type(value))
    new.__dict__.update(forked)
    return new
