"""The rest of a text whose beginning is kept: what a move needs that draws a text anew from a token on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .context import Context
from .runtime.engines.base import Completion, ModelDistribution
from .runtime.engines.requests import Generate, Generated, Score, Support
from .runtime.source import Key
from .text import Text, tokens_of

if TYPE_CHECKING:
    from .text_distributions import TextDistribution


def cuts(distribution: TextDistribution, value: str, unit: str) -> Sequence[int]:
    """The numbers of leading tokens after which a text may be cut.

    Args:
        distribution: which the text is of.
        value: a text of it.
        unit: ``token``: before each token; ``line``: before each line.
    """
    lm = distribution.lm
    tokens = value.tokens_for(lm) if isinstance(value, Text) else None
    if tokens is None:
        return (0,)
    if unit == "token":
        return range(len(tokens))
    return (0, *(i for i in range(1, len(tokens)) if b"\n" in lm.model.decode_bytes(tokens[i - 1])))


class Continuation(ModelDistribution):
    """A distribution over texts, given their first tokens: values are whole texts, densities those of the rest.

    Attributes:
        whole: the distribution that is continued.
        head: the tokens that are kept. With them alone the text has not ended.
    """

    def __init__(self, whole: TextDistribution, head: tuple[int, ...]) -> None:
        """Keep the beginning of a text.

        Args:
            whole: the distribution.
            head: the first tokens of one of its texts, not all of them.
        """
        from .text_distributions import TextDistribution

        lm, spec = whole.lm, whole.spec
        self.whole = whole
        self.head = head
        read = b"".join(map(lm.model.decode_bytes, self.head))
        most = None if spec.max_tokens is None else spec.max_tokens - len(head)
        self._rest = TextDistribution(
            Context(lm, whole.context.node.extend(self.head)),
            replace(spec, max_tokens=most, before=spec.before + read),
        )
        self.engine = whole.engine

    def draw(self, key: Key) -> Generate:
        """The request for the rest."""
        return self._rest.draw(key)

    def score(self, value: str) -> Score:
        """The request for the log-probability of the rest of a text.

        Raises:
            ValueError: it does not begin with the tokens that are kept.
        """
        tokens = tokens_of(value, self.whole.lm, after=True)
        count = len(self.head)
        if tokens[:count] != self.head:
            raise ValueError(f"{value!r} does not begin with the tokens {self.head}")
        return Score(self._rest.context.node, tokens[count:], self._rest.spec)

    def support(self, limit: int) -> Support:
        """The request for all texts of positive mass that begin so."""
        return Support(self._rest.context.node, self._rest.spec, limit, self._text)

    def beginnings(self) -> Support:
        """The request for all tokens that may come next."""
        return self._rest.beginnings()

    def begun(self, beginning: Generated) -> tuple[Text | None, ModelDistribution | None]:
        """The whole text, if it ends with the next token; else the texts that begin so."""
        if self._rest.ends(beginning):
            return self._text(beginning), None
        return None, Continuation(self.whole, (*self.head, *beginning.tokens))

    def value(self, completion: Completion) -> Text:
        """The whole text that was drawn."""
        return self._text(completion.value)

    def _text(self, rest: Generated) -> Text:
        tokens, lm = (*self.head, *rest.tokens), self.whole.lm
        return Text(lm.decode(tokens), tokens, rest.finish, lm)

    def __repr__(self) -> str:
        return f"Continuation({self.whole!r}, {len(self.head)} tokens kept)"
