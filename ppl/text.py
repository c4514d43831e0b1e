"""Text values: strings that know their tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from .runtime.engines.requests import Finish

if TYPE_CHECKING:
    from .lm import LM

_set = object.__setattr__


class Text(str):
    """A string that knows the tokens it was written with. Immutable; everything a string can do, it does.

    What string operations return (``text + "…"``, ``text.strip()``) is a plain ``str``; two texts are equal if their
    strings are. A pickled text forgets its model, and is tokenised anew where it is used.

    Attributes:
        tokens: the token ids.
        finish: why it ended: "stop" (a stop string), "eos" (the model ended it), "length" (``max_tokens``), "pause" (it
            goes on in another piece), "dead" (a constraint ruled out all that follows), or ``None`` if it was not
            generated.
        lm: the model whose tokens these are.
    """

    __slots__ = ("finish", "lm", "tokens")
    __ppl_immutable__ = True

    tokens: tuple[int, ...]
    finish: Finish | None
    lm: LM | None

    def __new__(
        cls, value: str, tokens: Iterable[int] = (), finish: Finish | None = None, lm: LM | None = None
    ) -> Text:
        """Make a text.

        Args:
            value: how it reads.
            tokens: its token ids under ``lm``.
            finish: why it ended.
            lm: the model; ``None`` if the tokens are of no known model.
        """
        self = super().__new__(cls, value)
        _set(self, "tokens", tuple(tokens))
        _set(self, "finish", finish)
        _set(self, "lm", lm)
        return self

    def tokens_for(self, lm: LM) -> tuple[int, ...] | None:
        """The token ids if there are any and they stand for the same with ``lm``, else ``None``."""
        if not self.tokens or self.lm is None:
            return None
        mine, other = self.lm.model, lm.model
        return self.tokens if mine is other or mine.alphabet == other.alphabet else None

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Text cannot be changed, so its {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Text cannot be changed, so its {name} cannot be deleted")

    def __copy__(self) -> Text:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Text:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return Text, (str(self), self.tokens, self.finish)


def tokens_of(value: str, lm: LM, after: bool) -> tuple[int, ...]:
    """The token ids of a string under ``lm``: a text's own if they are of that model, else by its tokenizer.

    Args:
        value: the string.
        lm: the model.
        after: whether other text stands before it.
    """
    tokens = value.tokens_for(lm) if isinstance(value, Text) else None
    return lm.encode(value, after) if tokens is None else tokens
