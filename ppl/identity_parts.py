"""Digests of what has no parts worth a name: code, models, tensors, and objects that nobody but their makers know."""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from .runtime.engines.model import LanguageModel
from .runtime.plain import encode

_SAMPLED = 1024
"""How many elements of each weight tensor of a network are looked at."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PATTERN_SHOWN = 200
"""A compiled pattern's ``repr`` shows so many characters of the pattern, and nothing says that there are more."""


def digest(parts: Sequence[str]) -> str:
    """A short digest of some text."""
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def model_digest(model: LanguageModel) -> str:
    """What a model computes, apart from where: two of one identity give the same numbers, up to rounding."""
    from torch.nn import Module

    from .runtime.engines.table import TableModel

    if isinstance(network := getattr(model, "model", None), Module):
        return f"{type(network).__name__} {weights_digest(network)}"
    if isinstance(model, TableModel):
        after = [(), *((token,) for token in range(model.vocab_size))]
        rows = [[str(model.probability(tokens, token)) for token in range(model.vocab_size)] for tokens in after]
        return f"{model.describe()} {digest([repr((rows, [model.decode_bytes(t) for t in range(model.vocab_size)]))])}"
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


def code_parts(code: types.CodeType) -> Iterator[str]:
    """What a code object does, wherever it stands."""
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags, code.co_argcount))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_parts(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def pattern_parts(pattern: re.Pattern[Any]) -> Iterator[str]:
    """A compiled pattern, however long."""
    yield repr(pattern)
    if len(repr(pattern.pattern)) > _PATTERN_SHOWN:
        yield repr(pattern.pattern)


def opened(value: Any) -> tuple[Any, str]:
    """What an object of an installed package holds.

    It goes by its ``repr``; where that leaves something out, by its numbers, or by what pickle makes of it.

    Args:
        value: the object.

    Returns:
        Its ``repr``, or something to be walked in its place; and why some of it may be missing in that, if so.
    """
    torch, text = sys.modules.get("torch"), _ADDRESS.sub("", repr(value))
    if torch is not None and isinstance(value, torch.Tensor):
        content = _numbers(value)
        return (text, "its numbers can't be read") if content is None else (content, "")
    if not _is_abbreviated(value, text):
        return text, ""
    content = _pickled(value)
    return (text, "its repr leaves something out, and it can't be pickled") if content is None else (content, "")


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor, maybe of a class of the user's own."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return any(isinstance(value, kind) for kind in (torch and torch.Tensor, numpy and numpy.ndarray) if kind)


def _is_abbreviated(value: Any, text: str) -> bool:
    """Whether an object's ``repr`` may leave out some of what it holds, as those of large tables do."""
    if "..." in text or "…" in text or hasattr(type(value), "toarray"):  # the last are sparse matrices
        return True
    # An array shows its numbers rounded. Texts and times it shows as they are.
    return hasattr(type(value), "__array__") and getattr(getattr(value, "dtype", None), "kind", None) not in tuple(
        "USMm"
    )


def _numbers(tensor: Any) -> Any:
    """All numbers of a tensor of any kind, wherever it lies; ``None`` if there are none to be read."""
    import torch

    try:
        dense = tensor.detach()
        if dense.is_quantized:
            dense = dense.dequantize()
        if dense.layout is not torch.strided:
            dense = dense.to_dense()
        return encode(dense.cpu().resolve_conj().resolve_neg().as_subclass(torch.Tensor))
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def _pickled(value: Any) -> Any:
    """What pickle would make an object of again: what its maker says that it holds; ``None`` if that isn't said."""
    try:
        parts = value.__reduce_ex__(4)
    except Exception:  # whatever its maker raises
        return None
    if not isinstance(parts, tuple):
        return None
    made, given, state, items, pairs, *_ = (*parts, None, None, None)
    return made, given, state, list(items or ()), list(pairs or ())


def unwrapped(member: Any) -> Any:
    """The function in a method of any kind."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return getattr(member, "__func__", member)


def members(cls: type) -> dict[str, Any]:
    """What a class was given by its author: neither what Python keeps for itself nor what says where it stands."""
    ours = ("__weakref__", "__firstlineno__", "__static_attributes__")
    found = {key: unwrapped(item) for key, item in vars(cls).items() if key not in ours}
    if isinstance(found.get("__doc__"), str):  # a dataclass's shows its fields' defaults
        found["__doc__"] = _ADDRESS.sub("", found["__doc__"])
    return found
