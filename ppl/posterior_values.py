"""Values as they are grouped, shown and written: programs return anything, and models write anything."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ValueMap(Mapping[Any, T], Generic[T]):
    """An immutable ordered mapping whose keys need not be hashable: they are looked up by :func:`freeze`.

    A key that it lacks maps to ``default``, as in a ``collections.Counter``; ``in`` tells whether it is there.
    """

    __slots__ = ("_default", "_entries")

    def __init__(self, items: Iterable[tuple[Any, T]], default: T) -> None:
        """Keep ``items`` in their order.

        Args:
            items: pairs of key and value; the keys are distinct.
            default: what other keys map to.
        """
        self._entries: dict[Hashable, tuple[Any, T]] = {freeze(key): (key, value) for key, value in items}
        self._default = default

    def __getitem__(self, key: Any) -> T:
        return self._entries.get(freeze(key), (key, self._default))[1]

    def __contains__(self, key: object) -> bool:
        return freeze(key) in self._entries

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and all(key in self and self[key] == value for key, value in other.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{show(key)}: {show(value)}" for key, value in self._entries.values()) + "}"


def freeze(value: Any) -> Hashable:
    """A hashable stand-in: two values get equal ones iff they count as the same outcome.

    That is Python's equality, carried into lists, tuples, sets, dicts and dataclasses, with these additions: arrays
    and tensors are equal if shape and elements are, those without axes equal the number that they hold, NaN equals
    NaN, and other unhashable values are compared by their ``repr``.
    """
    try:
        return _freeze(value)
    except RecursionError:  # a value that contains itself
        return ("repr", type(value), _safe_repr(value))


def _freeze(value: Any) -> Hashable:
    value = _plain(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float) and math.isnan(value):
        return ("nan",)
    if isinstance(value, list | tuple):
        return ("list" if isinstance(value, list) else "tuple", tuple(map(_freeze, value)))
    if isinstance(value, AbstractSet):
        return ("set", frozenset(map(_freeze, value)))
    if isinstance(value, dict):
        return ("dict", frozenset((_freeze(key), _freeze(item)) for key, item in value.items()))
    if _is_array(value):
        return ("array", tuple(getattr(value, "shape", ())), _freeze(value.tolist()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__eq__ is not object.__eq__:
        compared = (getattr(value, field.name) for field in dataclasses.fields(value) if field.compare)
        return ("dataclass", type(value), tuple(map(_freeze, compared)))
    try:
        hash(value)
    except TypeError:
        return ("repr", type(value), _safe_repr(value))
    return ("value", value)


def _is_array(value: Any) -> bool:
    return hasattr(type(value), "tolist")


def _plain(value: Any) -> Any:
    """The Python number in an array or tensor without axes; anything else as it is."""
    return value.tolist() if _is_array(value) and getattr(value, "ndim", None) == 0 else value


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr failed with {type(error).__name__}>"


def visible(text: str) -> str:
    r"""The text on one line with every character in plain sight: what does not print is escaped, e.g. ``\x1b``.

    Model text is untrusted: it may hold terminal escapes, line breaks or characters that reverse the line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters; where some must go, the middle goes, since answers differ at their ends."""
    if len(text) <= width:
        return text
    tail = max((width - 1) // 3, 0)
    return text[: max(width - 1 - tail, 0)] + "…" + text[len(text) - tail :]


def listed(names: Sequence[str], most: int) -> str:
    """Names side by side; of many the first, and how many there are."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def show(value: Any, width: int = 60) -> str:
    """How a value is shown to people: its ``repr``, on one line, safe to print, and no longer than ``width``."""
    return shorten(visible(_safe_repr(_plain(value))), width)


def labels(values: Iterable[Any], width: int) -> list[str]:
    """How values are shown side by side, each no longer than ``width``; those that would read the same are numbered."""
    found: dict[str, None] = {}
    seen: Counter[str] = Counter()
    for value in values:
        label = name = show(value, width)
        seen[label] += 1
        while name in found:
            number = f"  #{seen[label]}"
            name = shorten(label, max(width - len(number), 1)) + number
            seen[label] += name in found
        found[name] = None
    return list(found)


def show_frozen(key: Hashable, width: int = 60) -> str:
    """How a value is shown of which only what :func:`freeze` gave is there."""
    return shorten(visible(_thawed(key)), width)


def _thawed(key: Any) -> str:
    if isinstance(key, str):
        return repr(key)
    kind, *parts = key
    if kind in _BRACKETS:
        (items,) = parts
        shown = [_thawed(item) for item in items] if kind in ("list", "tuple") else sorted(map(_thawed, items))
        opening, closing = _BRACKETS[kind]
        return f"{opening}{', '.join(shown)}{',' * (kind == 'tuple' and len(shown) == 1)}{closing}"
    if kind == "dict":
        return "{" + ", ".join(sorted(f"{_thawed(name)}: {_thawed(item)}" for name, item in parts[0])) + "}"
    if kind == "dataclass":
        return f"{parts[0].__name__}({', '.join(map(_thawed, parts[1]))})"
    if kind == "array":
        return _thawed(parts[1])
    return _safe_repr(parts[0]) if kind == "value" else str(key[-1])  # "nan", or a repr


_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}")}


def to_jsonable(value: Any) -> Any:
    """The value as JSON can hold it.

    Texts become strings, tuples and sets lists, arrays and tensors nested lists. JSON has no infinities and no NaN:
    they become ``"inf"``, ``"-inf"`` and ``"nan"``, which ``float`` reads. Anything else becomes its ``repr``.
    """
    try:
        return _to_jsonable(value)
    except RecursionError:
        return _safe_repr(value)


def _to_jsonable(value: Any) -> Any:
    value = _plain(value)
    simple: tuple[tuple[type, Callable[[Any], Any]], ...] = ((str, str.__str__), (bool, bool), (int, int))
    for kind, convert in simple:
        if isinstance(value, kind):
            return convert(value)
    if value is None:
        return None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, dict):
        return {_json_key(key): _to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_jsonable(item) for item in value]
    if isinstance(value, AbstractSet):
        return [_to_jsonable(item) for item in sorted(value, key=_safe_repr)]
    if _is_array(value):
        return _to_jsonable(value.tolist())
    return _safe_repr(value)


def _json_key(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else _safe_repr(_plain(key))
