"""Contexts: what a model has read so far."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from .runtime.engines.base import ModelDistribution
from .runtime.engines.prefix import Prefix
from .runtime.engines.requests import TextSpec
from .text import Text, tokens_of
from .text_distributions import ChoiceDistribution, TextDistribution

if TYPE_CHECKING:
    from .lm import LM

_set = object.__setattr__

_ONE = 1.0
_TOKEN = TextSpec(max_tokens=1)
"""What most programs ask for at each step."""


class Context:
    """What a model has read so far: tokens and the model. Immutable; ``context + text`` is a new one.

    A copy is a reference, and contexts that begin alike share what was computed for their beginning. Its methods
    give *distributions*: nothing runs until they are sampled, observed or asked.

    Attributes:
        lm: the model.
        node: the tokens, as a node of the model's prefix trie.
    """

    __slots__ = ("lm", "node")
    __ppl_immutable__ = True  # all particles share it
    __ppl_pure__ = frozenset({"token", "line", "text", "choice"})  # methods that change nothing, for the compiler

    lm: LM
    node: Prefix

    def __init__(self, lm: LM, node: Prefix) -> None:
        _set(self, "lm", lm)
        _set(self, "node", node)

    def token(self, temperature: float = _ONE, top_p: float = _ONE, top_k: int | None = None) -> TextDistribution:
        """The next token, as a text of one token.

        Args:
            temperature: logits are divided by it; 0 for the most likely token.
            top_p: keep the most probable tokens that together hold this mass, in (0, 1].
            top_k: keep this many most probable tokens, before ``top_p``.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or outside its range.
        """
        if temperature is _ONE and top_p is _ONE and top_k is None:
            return TextDistribution(self, _TOKEN)
        return TextDistribution(self, _described((), 1, temperature, top_p, top_k))

    def line(
        self, max_tokens: int | None = 128, temperature: float = 1.0, top_p: float = 1.0, top_k: int | None = None
    ) -> TextDistribution:
        r"""Text up to and with the next newline: :meth:`text` with ``stop="\n"``."""
        return self.text("\n", max_tokens, temperature, top_p, top_k)

    def text(
        self,
        stop: str | Sequence[str] | None = None,
        max_tokens: int | None = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
    ) -> TextDistribution:
        """Text until the first token with which it contains a stop string, the model ends it, or it is long enough.

        The value keeps the stop string, and what the last token holds after it. The distribution is over token
        sequences; that texts are cut at ``max_tokens`` is part of it.

        Args:
            stop: one string or several, none empty.
            max_tokens: the most tokens, at least 1; ``None`` for no bound.
            temperature: logits are divided by it; 0 for the most likely token each time.
            top_p: at each token, keep the most probable ones that together hold this mass, in (0, 1].
            top_k: at each token, keep this many most probable ones, before ``top_p``.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or outside its range.
        """
        stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
        for item in stops:
            if not isinstance(item, str):
                raise TypeError(f"stop holds {item!r}: give a string, or several")
        return TextDistribution(self, _described(tuple(map(str, stops)), max_tokens, temperature, top_p, top_k))

    def choice(self, options: Sequence[str], temperature: float = 1.0) -> ChoiceDistribution:
        """One of ``options``, in proportion to P(option's tokens | context)^(1/temperature).

        Args:
            options: distinct strings, none empty. A :class:`Text` of this model counts by its tokens.
            temperature: 0 for the most likely option.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or outside its range.
        """
        return ChoiceDistribution(self, options, _number("temperature", temperature))

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids."""
        return self.node.tokens()

    def __add__(self, other: str) -> Context:
        if isinstance(other, Context):
            raise TypeError("a context cannot be added to a context; add its text: context + str(other)")
        if not isinstance(other, str):
            if isinstance(other, ModelDistribution):
                raise TypeError(f"{other!r} is a distribution, which no text is yet: write context + sample(...)")
            return NotImplemented
        if type(other) is Text and other.lm is self.lm and other.tokens:  # what most programs add, a token at a time
            return Context(self.lm, self.node.extend(other.tokens))
        return Context(self.lm, self.node.extend(tokens_of(other, self.lm, self.node.parent is not None)))

    def __radd__(self, other: object) -> NoReturn:
        raise TypeError("a context can only be extended at its end; write context + text, or lm.context(text + …)")

    def __len__(self) -> int:
        return self.node.length

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.lm.model.text_of(self.tokens)

    def __repr__(self) -> str:
        # As many last tokens as are likely to be shown: a context can be long, and errors print many of them.
        tail = self.lm.decode(_last_tokens(self.node, 24))
        shown = repr(tail) if len(tail) <= 40 else "…" + repr(tail[-40:])
        return f"Context({shown}, {len(self)} tokens)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self.lm.model is other.lm.model and self.node is other.node

    def __hash__(self) -> int:
        return hash(self.node)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a Context cannot be changed; context + text is a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Context cannot be changed; context + text is a new one")

    def __copy__(self) -> Context:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Context:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Context belongs to a model in this process; pickle str(context) or context.tokens")


def _last_tokens(node: Prefix, count: int) -> list[int]:
    found: list[int] = []
    for ancestor in node.ancestors():
        if ancestor.parent is None or len(found) == count:
            break
        found.append(ancestor.token)
    return found[::-1]


_PLAIN = frozenset({int, float, type(None)})


def _described(stops: tuple[str, ...], *settings: Any) -> TextSpec:
    """What :meth:`Context.text` was asked for. A program asks the same of many contexts."""
    # A tensor may change, and is not known by what it is now.
    make = _spec if _PLAIN.issuperset(map(type, settings)) else _spec.__wrapped__
    return make(stops, *settings)


@lru_cache(maxsize=1024, typed=True)
def _spec(stops: tuple[str, ...], max_tokens: Any, temperature: Any, top_p: Any, top_k: Any) -> TextSpec:
    """See :func:`_described`."""
    return TextSpec(
        stops,
        _whole("max_tokens", max_tokens),
        _number("temperature", temperature),
        _number("top_p", top_p),
        _whole("top_k", top_k),
    )


def _whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: give an int or None")
    return index(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str | bool):
        raise TypeError(f"{name}={value!r}: give a number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r}: give a number") from None
