"""What is known of the functions and methods that a piece of Python calls."""

from __future__ import annotations

import ast
import builtins
import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import CompileError
from .intrinsics import PURE
from .kinds import ATOMIC, FIXED, KNOWN, Kind, Touch, join, kind_of
from .scan import bound_names, parameters
from .source import MISSING, parse_function

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
    """

    touch: Touch
    family: str | None = None
    gives: Kind = Kind.OTHER
    written: Any = None


UNKNOWN = Callee(Touch.WRITE)


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
        return Callee(Touch.READ)
    return _method(judge, func, node) if isinstance(func, ast.Attribute) else UNKNOWN


# --- methods ----------------------------------------------------------------------------------------------------------


def _method(judge: Purity, func: ast.Attribute, node: ast.Call) -> Callee:
    """What is known of a method, by what its owner surely is."""
    owner, name = judge.kind(func.value), func.attr
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
    if name == "tensor" and getattr(found, "__module__", None) == "torch":
        return Callee(_looked(judge, node), gives=Kind.TENSOR)
    return _helper(judge, found, node) if isinstance(found, types.FunctionType) else UNKNOWN


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


# --- helper functions -------------------------------------------------------------------------------------------------


def _helper(judge: Purity, fn: types.FunctionType, node: ast.Call) -> Callee:
    """A plain function, judged by its own source for what its arguments are."""
    given = _given(judge, fn, node)
    key = (fn, tuple(given.values()), judge.members)
    judged: dict[Any, Callee] = judge.names.judged
    if key not in judged:
        judged[key] = UNKNOWN  # what it is for calls of itself
        judged[key] = _judged(judge, fn, given)
    return judged[key]


def _given(judge: Purity, fn: types.FunctionType, node: ast.Call) -> dict[str, Kind]:
    """What the parameters of a helper are."""
    code = fn.__code__
    count = code.co_argcount
    listed, alone = code.co_varnames[:count], code.co_varnames[count : count + code.co_kwonlyargcount]
    found = dict.fromkeys((*listed, *alone), Kind.OTHER)
    if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
        return found
    defaults = fn.__defaults__ or ()
    found.update((word, kind_of(value)) for word, value in zip(listed[count - len(defaults) :], defaults, strict=True))
    found.update((word, kind_of(value)) for word, value in (fn.__kwdefaults__ or {}).items())
    found.update((word, judge.kind(argument)) for word, argument in zip(listed, node.args, strict=False))
    found.update((k.arg, judge.kind(k.value)) for k in node.keywords if k.arg in found)
    return found


def _judged(judge: Purity, fn: types.FunctionType, given: dict[str, Kind]) -> Callee:
    from .contents import holds_plainly
    from .purity import Purity, walruses

    try:
        tree, _ = parse_function(fn)
    except (CompileError, TypeError, SyntaxError, OSError):
        return UNKNOWN
    statements = _statements(tree.body)
    if any(not isinstance(statement, _IN_HELPERS) for statement in statements):
        return UNKNOWN
    variables = {*parameters(tree.args), *bound_names(tree.body)}
    outside = Purity(judge.names.of(fn), variables.__contains__, members=judge.members)
    pairs = [pair for statement in statements for pair in (*_assignments(statement), *walruses(statement))]
    kinds = outside.bound(pairs, given)
    inside = Purity(
        outside.names, variables.__contains__, lambda name: kinds.get(name, Kind.OTHER), members=judge.members
    )
    touch = max((inside.touch(statement) for statement in tree.body), default=Touch.NONE)
    holds = all(holds_plainly(inside, statement) for statement in tree.body)
    returned: list[ast.expr] = [s.value or ast.Constant(None) for s in statements if isinstance(s, ast.Return)]
    if _goes_on(tree.body):
        returned.append(ast.Constant(None))
    gives = join(map(inside.kind, returned))
    made = [inside.callee(v) if isinstance(v, ast.Call) else UNKNOWN for v in returned]
    if len({each.family for each in made}) == 1 and made[0].family is not None:
        written = made[0].written if len(made) == 1 else None
        return Callee(touch, f"helper.{made[0].family.removeprefix('helper.')}", gives, written)
    return Callee(touch, gives=gives if holds or gives in FIXED else Kind.OTHER)


def _goes_on(body: Sequence[ast.stmt]) -> bool:
    """Whether control may come to the end of the statements."""
    last = body[-1]
    if isinstance(last, ast.If):
        return not last.orelse or _goes_on(last.body) or _goes_on(last.orelse)
    return not isinstance(last, ast.Return | ast.Raise)


def _assignments(statement: ast.stmt) -> list[tuple[str, ast.expr | None]]:
    """What a statement of a helper assigns: to a tuple of names, unknown things."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [(statement.target.id, statement.value)] if statement.value is not None else []
    found: list[tuple[str, ast.expr | None]] = []
    for target in statement.targets if isinstance(statement, ast.Assign) else []:
        if isinstance(target, ast.Name):
            found.append((target.id, statement.value))  # type: ignore[attr-defined]
        else:
            found += [(name, None) for name in bound_names([target])]
    return found


_IN_HELPERS = (ast.Return, ast.Assign, ast.AnnAssign, ast.If, ast.Pass, ast.Expr, ast.Assert, ast.Raise)


def _statements(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    found = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, ast.If):
            found += _statements([*statement.body, *statement.orelse])
    return found


def torch_family(found: Any) -> str | None:
    """``torch.Normal`` for a distribution class of torch or pyro, by the first torch class that it descends from."""
    if isinstance(found, type) and found.__module__.startswith(("torch.distributions.", "pyro.distributions.")):
        for base in found.__mro__:
            if base.__module__.startswith("torch.distributions.") and base.__name__ not in _ABSTRACT:
                return f"torch.{base.__name__}"
    return None


_ABSTRACT = ("Distribution", "ExponentialFamily", "TransformedDistribution")
