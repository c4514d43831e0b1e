"""A text written in pieces: what split programs call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .context import Context
from .text import Text
from .text_distributions import TextDistribution


@dataclass(frozen=True)
class Pieces:
    """What of a text is written, and how it goes on.

    The pieces' distributions multiply to that of the whole text: the same tokens after the same context under the same
    law, ended by the same stop strings, also by one that lies across two pieces, and by the same bound on all tokens
    together.

    Attributes:
        whole: the distribution of the whole text; of another value, if it is none of text.
        by: where pieces end, ``line`` or ``token``.
        sampler: where the text is drawn from instead, if it is.
        written: the pieces so far.
    """

    whole: Any
    by: Any
    sampler: Any = None
    written: tuple[Any, ...] = ()

    __ppl_immutable__ = True

    @property
    def open(self) -> bool:
        """Whether there is more to write."""
        return not self.written or (self._splits and self.written[-1].finish == "pause")

    @property
    def next(self) -> Any:
        """The distribution of the next piece."""
        return self._piece(self.whole)

    @property
    def proposal(self) -> Any:
        """Where the next piece is drawn from, if from another distribution."""
        return self._piece(self.sampler)

    def followed(self, piece: Any) -> Pieces:
        """With one more piece."""
        return replace(self, written=(*self.written, piece))

    @property
    def text(self) -> Any:
        """The whole, when it is complete."""
        return joined(self.written) if self._splits else self.written[-1]

    @property
    def _splits(self) -> bool:
        return isinstance(self.whole, TextDistribution) and self.whole.engine.constrains

    def _piece(self, distribution: Any) -> Any:
        if not isinstance(distribution, TextDistribution) or not self._splits:
            return distribution
        spec, lm = distribution.spec, distribution.lm
        tokens = tuple(token for piece in self.written for token in piece.tokens)
        left = None if spec.max_tokens is None else spec.max_tokens - len(tokens)
        before = spec.before + b"".join(map(lm.model.decode_bytes, tokens))
        piece = replace(spec, before=before, max_tokens=left, pause=self.by)
        return TextDistribution(Context(lm, distribution.context.node.extend(tokens)), piece)


def joined(pieces: tuple[Text, ...]) -> Text:
    """The text that its pieces make."""
    last = pieces[-1]
    assert last.lm is not None
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Text(last.lm.decode(tokens), tokens, last.finish, last.lm)
