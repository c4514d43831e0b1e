"""What is known of the functions and methods that a piece of Python calls."""

from __future__ import annotations

import ast
import builtins
import math
import re
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .helpers_judged import helper
from .intrinsics import OWN, PURE, TOLD
from .kinds import ATOMIC, KNOWN, Kind, Touch, join
from .source import MISSING

if TYPE_CHECKING:
    from .purity import Purity


@dataclass(frozen=True)
class Callee:
    """What is known of a called function, given what its arguments are.

    Attributes:
        touch: what it does to shared objects; what computing its arguments does is not counted.
        family: the distribution that it makes: ``flip``, ``torch.Normal``, ``model.choice``; ``None`` if it makes none.
        gives: what its result surely is.
        written: of a distribution over text, the texts that surely have mass; ``...`` if all have that can be written.
        fills: what is known of what it puts into containers that it can reach, see ``contents.py``: ``False`` for
            nothing strange, ``None`` for nothing at all; what it gives is another matter.
    """

    touch: Touch
    family: str | None = None
    gives: Kind = Kind.OTHER
    written: Any = None
    fills: bool | None = None


UNKNOWN = Callee(Touch.WRITE, fills=True)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODEL_METHODS = {
    "token": ("temperature", "top_p", "top_k"),
    "line": ("max_tokens", "temperature", "top_p", "top_k"),
    "text": ("stop", "max_tokens", "temperature", "top_p", "top_k"),
    "choice": ("options", "temperature"),
}
"""Methods of a context that make a distribution over text, and what they take."""
TEXT_METHODS = _words(
    "capitalize casefold count encode endswith expandtabs find format index isalnum isalpha isascii isdecimal isdigit "
    "isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip removeprefix "
    "removesuffix replace rfind rindex rjust rstrip startswith strip swapcase title translate upper zfill"
)
"""Methods of a string that give an atom."""
TELLING_METHODS = _words(
    "casefold endswith isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace "
    "istitle isupper join lower lstrip removeprefix removesuffix replace rstrip startswith strip title upper"
)
"""Those that other known classes have no methods of the names of, but what is as fixed as a string."""
TEXT_SPLITS = _words("partition rpartition rsplit split splitlines")
"""Methods of a string that give strings."""
STRING_FIRST = _words(
    "count endswith find index lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split "
    "startswith strip"
)
"""Methods of a string whose first argument is a string, or they fail."""
CONTAINER_METHODS = {
    **dict.fromkeys(_words("count index"), Kind.NUMBER),
    **dict.fromkeys(_words("copy values"), Kind.KNOWN),
    "keys": Kind.BUILTIN,
    "items": Kind.PAIRS,
    "get": Kind.OTHER,
}
"""Methods of builtin containers that leave them as they are, and what they give."""
PATTERN_METHODS = {
    **dict.fromkeys(_words("fullmatch match search"), Kind.KNOWN),
    **dict.fromkeys(_words("findall split"), Kind.BUILTIN),
}
"""Methods of a compiled pattern that only look, and functions of ``re`` of the same names, with what they find: a match
is as harmless to look at as the known classes are."""
_NUMBERS = _words("bool callable float hash int isinstance issubclass len ord")
_TEXTS = _words("chr format repr str")
_ITERATING = _words("all any dict frozenset list max min set sorted sum tuple")


def called(judge: Purity, node: ast.Call) -> Callee:
    """What is known of the function that a call calls."""
    func = node.func
    found = judge.names.resolve(func, judge.local)
    if found is not MISSING:
        return _object(judge, found, node)
    if isinstance(func, ast.Name) and func.id in ("·enumerate", "·zip"):
        return _paired(judge, node)
    if isinstance(func, ast.Name) and func.id in PURE:
        summed = func.id == "·marginal" and all(judge.kind(part) is Kind.CHOICES for part in node.args)
        return Callee(Touch.READ, gives=Kind.ATOMS if summed else Kind.OTHER)
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == OWN:
        gives = Kind.NUMBER if func.attr in (*TOLD, "total") else Kind.OTHER
        return Callee(Touch.WRITE if func.attr in TOLD else Touch.READ, OWN, gives, fills=False)  # it keeps numbers
    return _method(judge, func, node) if isinstance(func, ast.Attribute) else UNKNOWN


# --- methods ----------------------------------------------------------------------------------------------------------


def _method(judge: Purity, func: ast.Attribute, node: ast.Call) -> Callee:
    """What is known of a method, by what its owner surely is."""
    owner, name = judge.kind(func.value), func.attr
    if name in PATTERN_METHODS and isinstance(judge.names.resolve(func.value, judge.local), re.Pattern):
        return Callee(_looked(judge, node), gives=PATTERN_METHODS[name])
    if owner is Kind.NEVER:
        return Callee(Touch.NONE, gives=Kind.NEVER)
    # Of the known classes only one has methods of these names.
    if owner in (Kind.MODEL, Kind.KNOWN) and name in ("context", "encode", "decode"):
        gives = {"context": Kind.CONTEXT, "encode": Kind.ATOMS, "decode": Kind.TEXT}[name]
        return Callee(_looked(judge, node), gives=gives if owner is Kind.MODEL or name == "context" else Kind.KNOWN)
    if owner in (Kind.CONTEXT, Kind.KNOWN) and name in MODEL_METHODS:
        return Callee(_looked(judge, node), f"model.{name}", Kind.TEXTS, _written(judge, name, node))
    if name in (TEXT_METHODS if owner in ATOMIC else TELLING_METHODS if owner is Kind.KNOWN else ()):
        return Callee(max(judge.inside(func.value), _text_touch(judge, name, node)), gives=Kind.ATOM)
    if owner in (*ATOMIC, Kind.KNOWN) and name in TEXT_SPLITS:
        gives = Kind.ATOMS if "partition" in name else Kind.BUILTIN
        return Callee(max(judge.inside(func.value), _text_touch(judge, name, node)), gives=gives)
    if owner in (Kind.BUILTIN, Kind.KNOWN) and name in CONTAINER_METHODS:
        asked = judge.looked(func.value) if name in ("count", "index") else Touch.READ
        gives = CONTAINER_METHODS[name]
        found = join([judge.members, *map(judge.kind, node.args), Kind.ATOM]) if name == "get" else gives
        return Callee(max(asked, _looked(judge, node)), gives=found)
    return UNKNOWN


def _text_touch(judge: Purity, name: str, node: ast.Call) -> Touch:
    """What a method of a string does to its arguments; most take strings alone, and look at nothing else."""
    if name == "join":
        return _members(judge, node)
    strings = 2 if name == "replace" else 1 if name in STRING_FIRST else 0
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    return max(map(judge.looked, _arguments(node)[0 if starred else strings :]), default=Touch.NONE)


def _written(judge: Purity, name: str, node: ast.Call) -> Any:
    """The texts that surely have mass under the distribution that a context's method makes."""
    given: dict[str | None, ast.expr] = dict(zip(MODEL_METHODS[name], node.args, strict=False))
    given.update((keyword.arg, keyword.value) for keyword in node.keywords)
    limited = any(isinstance(argument, ast.Starred) for argument in node.args) or None in given
    heat = given.get("temperature", ast.Constant(1.0))
    warm = isinstance(heat, ast.Constant) and isinstance(heat.value, int | float) and heat.value > 0
    if limited or "top_p" in given or "top_k" in given or not warm:
        return None
    return _options(judge, given.get("options")) if name == "choice" else ...


def _options(judge: Purity, code: ast.expr | None) -> Any:
    """The options of a choice, if they are written out here or in a tuple outside."""
    if code is None:
        return None
    try:
        listed = ast.literal_eval(code)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        listed = judge.names.resolve(code, judge.local) if judge.names.kind(code, judge.local) is Kind.ATOMS else None
    return tuple(listed) if isinstance(listed, list | tuple) else None


# --- functions and classes --------------------------------------------------------------------------------------------


def _object(judge: Purity, found: Any, node: ast.Call) -> Callee:
    family = getattr(found, "__ppl_family__", None)
    if isinstance(family, str):
        return _distribution(judge, family, node)
    family = torch_family(found)
    if family is not None:
        return Callee(max(Touch.READ, _looked(judge, node)), family, Kind.TENSORS)
    name = getattr(found, "__name__", "")
    if getattr(builtins, name, MISSING) is found:
        return _builtin(judge, name, node)
    if getattr(math, name, MISSING) is found:
        several = name in ("fsum", "prod", "dist", "sumprod")
        gives = Kind.ATOMS if name in ("frexp", "modf") else Kind.NUMBER
        return Callee(_members(judge, node) if several else _looked(judge, node), gives=gives)
    if name in PATTERN_METHODS and getattr(re, name) is found:
        return Callee(_looked(judge, node), gives=PATTERN_METHODS[name])
    if found is re.compile:
        return Callee(_looked(judge, node))
    if name == "tensor" and getattr(found, "__module__", None) == "torch":
        return Callee(_looked(judge, node), gives=Kind.TENSOR)
    return helper(judge, found, node) if isinstance(found, types.FunctionType) else UNKNOWN


def _distribution(judge: Purity, family: str, node: ast.Call) -> Callee:
    """One of the distributions of this process."""
    listed = next(iter([*node.args, *(keyword.value for keyword in node.keywords)]), None)
    gives = Kind.OTHER
    if family == "flip":
        gives = Kind.CHOICES
    elif listed is not None and family == "categorical":
        chosen = judge.member(listed) if isinstance(listed, ast.Dict) else Kind.ATOM
        gives = Kind.CHOICES if isinstance(listed, ast.List | ast.Dict) and chosen in ATOMIC else Kind.OTHER
    elif listed is not None and family in ("uniform", "delta"):
        chosen = judge.member(listed) if family == "uniform" else judge.kind(listed)
        gives = Kind.CHOICES if chosen in ATOMIC else Kind.OTHER
    return Callee(Touch.READ if family == "delta" else _looked(judge, node), family, gives)


def _builtin(judge: Purity, name: str, node: ast.Call) -> Callee:
    kinds = [judge.kind(argument) for argument in node.args]
    words = {keyword.arg for keyword in node.keywords}
    if words & {"key", "default"} or any(isinstance(argument, ast.Lambda) for argument in node.args):
        return UNKNOWN
    if name in ("abs", "round"):
        plain = all(kind in ATOMIC or kind is Kind.TENSOR for kind in kinds)
        return Callee(_looked(judge, node), gives=join(kinds) if plain else Kind.OTHER)
    if name in ("len", "bool", "isinstance", "issubclass"):
        return Callee(max(map(judge.inside, node.args[:1]), default=Touch.NONE), gives=Kind.NUMBER)
    if name == "callable":
        return Callee(Touch.READ, gives=Kind.NUMBER)
    if name in _NUMBERS or name in _TEXTS:
        return Callee(_looked(judge, node), gives=Kind.NUMBER if name in _NUMBERS else Kind.TEXT)
    if name in ("enumerate", "zip"):
        return _paired(judge, node)
    if name in _ITERATING:
        return _iterating(judge, name, node)
    if name == "range":
        return Callee(_looked(judge, node), gives=Kind.ATOMS)
    return Callee(Touch.READ) if name in ("slice", "type") and len(node.args) != 3 else UNKNOWN


def _paired(judge: Purity, node: ast.Call) -> Callee:
    """``enumerate(xs)``, ``zip(xs, ys)``: they go through their arguments later."""
    parts = [*node.args, *(keyword.value for keyword in node.keywords)]
    touch = max([Touch.ITERATE, *map(judge.iterated, parts)])
    later = any(isinstance(part, ast.GeneratorExp) for part in parts)
    return Callee(touch, gives=Kind.OTHER if touch is Touch.WRITE or later else Kind.PAIRS)


def _iterating(judge: Purity, name: str, node: ast.Call) -> Callee:
    """Builtins that go through their argument at once."""
    only = node.args[0] if len(node.args) == 1 and not node.keywords else None
    if name in ("list", "tuple") and only is not None:
        return Callee(judge.iterated(only), gives=Kind.BUILTIN)
    touch = _members(judge, node)
    if name in ("all", "any"):
        return Callee(touch, gives=Kind.NUMBER)
    if name in ("max", "min", "sum"):
        each = [judge.member(only)] if only is not None else [judge.kind(argument) for argument in node.args]
        gives = join([*each, Kind.NUMBER]) if name == "sum" else join(each)
        return Callee(touch, gives=gives if gives in ATOMIC or not set(each) <= KNOWN else Kind.KNOWN)
    return Callee(touch, gives=Kind.BUILTIN)


def _looked(judge: Purity, node: ast.Call) -> Touch:
    """What it does to compute with the arguments."""
    return max(map(judge.looked, _arguments(node)), default=Touch.NONE)


def _members(judge: Purity, node: ast.Call) -> Touch:
    """What it does to go through the arguments and to compute with their members."""
    return max((max(judge.looked(a), judge.members_looked(a)) for a in _arguments(node)), default=Touch.NONE)


def _arguments(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def torch_family(found: Any) -> str | None:
    """``torch.Normal`` for a distribution class of torch or pyro, by the first torch class that it descends from."""
    if isinstance(found, type) and found.__module__.startswith(("torch.distributions.", "pyro.distributions.")):
        for base in found.__mro__:
            if base.__module__.startswith("torch.distributions.") and base.__name__ not in _ABSTRACT:
                return f"torch.{base.__name__}"
    return None


_ABSTRACT = ("Distribution", "ExponentialFamily", "TransformedDistribution")
