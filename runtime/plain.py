"""Plain values as JSON, and back exactly: what may go into a file that nobody needs to trust.

JSON alone forgets what is a tuple, cannot say infinity, and knows no arrays. What it lacks is written as an object with
the key ``~``. Reading makes data only: nothing is imported, called by name or unpickled.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

_MARK = "~"
_LONGEST = 2048
"""Whole numbers of more bits are written in hexadecimal digits."""


class NotPlain(TypeError):
    """A value that is more than data, or that would not come back as it was."""


Special = Callable[[Any], "tuple[str, Any] | None"]
"""What else may be written: from a value to the name of its kind and a content that is plain; ``None``: it may not."""


def encode(value: Any, special: Special | None = None) -> Any:
    """A value as what ``json`` writes.

    Args:
        value: numbers, strings, bytes, lists, tuples and dicts of them, arrays of numpy and tensors of torch in the
            memory of the CPU. Exactly of these types: a subclass is more than its content.
        special: knows of more types.

    Raises:
        NotPlain: it is something else.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:  # Python writes no longer ones in decimal digits
        return value if value.bit_length() <= _LONGEST else {_MARK: "int", "of": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {_MARK: "float", "of": repr(value)}
    if kind is list:
        return [encode(item, special) for item in value]
    if kind is tuple:
        return {_MARK: "tuple", "of": [encode(item, special) for item in value]}
    if kind is dict:
        if all(type(key) is str for key in value) and _MARK not in value:
            return {key: encode(item, special) for key, item in value.items()}
        pairs = [[encode(key, special), encode(item, special)] for key, item in value.items()]
        return {_MARK: "dict", "of": pairs}
    if kind is bytes:
        return {_MARK: "bytes", "of": _text(value)}
    found = _array(value)
    if found is None and special is not None and (known := special(value)) is not None:
        return {_MARK: known[0], "of": encode(known[1], special)}
    if found is None:
        raise NotPlain(f"a {kind.__module__}.{kind.__qualname__} is not plain data")
    return found


def decode(written: Any, special: Mapping[str, Callable[[Any], Any]] | None = None) -> Any:
    """The value that :func:`encode` wrote.

    Args:
        written: what it wrote.
        special: from the names of further kinds to what makes a value of the content.

    Raises:
        ValueError: it wrote no such thing.
    """
    if isinstance(written, list):
        return [decode(item, special) for item in written]
    if not isinstance(written, dict):
        return written
    if _MARK not in written:
        return {key: decode(item, special) for key, item in written.items()}
    kind, content = written[_MARK], written.get("of")
    match kind:
        case "float":
            return float(content)  # type: ignore[arg-type]
        case "int":
            return int(content, 16)  # type: ignore[arg-type]
        case "tuple":
            return tuple(decode(item, special) for item in content)  # type: ignore[union-attr]
        case "dict":
            return {decode(key, special): decode(item, special) for key, item in content}  # type: ignore[union-attr]
        case "bytes":
            return base64.b64decode(content)  # type: ignore[arg-type]
        case "numpy" | "number" | "torch":
            return _read_array(kind, written)
    if special is not None and kind in special:
        return special[kind](decode(content, special))
    raise ValueError(f"{kind!r} is no kind of plain value")


def _array(value: Any) -> dict[str, Any] | None:
    """An array or tensor as an object; ``None`` if it is none that can be written."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if torch is not None and type(value) is torch.Tensor:
        if value.device.type != "cpu" or value.requires_grad or value.layout is not torch.strided:
            return None
        flat = value.contiguous().reshape(-1).view(torch.uint8) if value.numel() else b""
        data = bytes(flat) if isinstance(flat, bytes) else flat.numpy().tobytes()
        dtype = str(value.dtype).removeprefix("torch.")
        return {_MARK: "torch", "dtype": dtype, "shape": list(value.shape), "of": _text(data)}
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray) and value.dtype.kind in "biufc":
        if type(value) is not numpy.ndarray and isinstance(value, numpy.ndarray):
            return None
        kind = "numpy" if isinstance(value, numpy.ndarray) else "number"
        return {_MARK: kind, "dtype": value.dtype.str, "shape": list(value.shape), "of": _text(value.tobytes())}
    return None


def _read_array(kind: str, written: dict[str, Any]) -> Any:
    data, shape = base64.b64decode(written["of"]), tuple(written["shape"])
    if kind == "torch":
        import torch

        dtype = getattr(torch, written["dtype"], None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{written['dtype']!r} is no type of tensors")
        if not data:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
    import numpy as np

    found = np.frombuffer(bytearray(data), dtype=np.dtype(written["dtype"])).reshape(shape)
    return found[()] if kind == "number" else found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
