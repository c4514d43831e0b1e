"""Ways to ask a server how probable given tokens are, and to read what it answers: a class a way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .server_answers import Reader
from .server_kinds import Body

Places = list[Mapping[int, float] | None]
"""For each of some tokens, log-probabilities of it and maybe of others in its place; ``None`` where none are known."""


class Way(ABC):
    """A way to score given tokens."""

    def prompt(self, count: int, unwanted: int) -> int:
        """How many of ``count`` tokens to send as the prompt, where nothing is wanted about the first ``unwanted``."""
        return count

    @abstractmethod
    def fields(self, rest: Sequence[int], best: int, ends: Collection[int]) -> Body:
        """What else to send.

        Args:
            rest: the tokens that are not in the prompt.
            best: how many of the most probable tokens to report in each place.
            ends: the ids that end a text.
        """

    def read(self, reader: Reader, answer: Any, tokens: Sequence[int], sent: int) -> Places:
        """What an answer says about each of ``tokens``, of which the first ``sent`` were the prompt.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it is damaged, or about other tokens.
        """
        return reader.echoed(answer, tokens)


class _Prompt(Way):
    """The prompt's own log-probabilities, by their ids: vLLM has them."""

    def fields(self, rest: Sequence[int], best: int, ends: Collection[int]) -> Body:
        return {"prompt_logprobs": best, "max_tokens": 1}


class _Echo(Way):
    """The prompt as a part of the answer, as OpenAI's protocol once had it."""

    def fields(self, rest: Sequence[int], best: int, ends: Collection[int]) -> Body:
        return {"echo": True, "logprobs": max(1, best), "max_tokens": 1}


class _Grammar(Way):
    """The tokens are drawn again under a grammar that allows no others, and reported with the model's own
    log-probabilities, before the grammar: llama.cpp has no way of its own to score a prompt."""

    def prompt(self, count: int, unwanted: int) -> int:
        return unwanted

    def fields(self, rest: Sequence[int], best: int, ends: Collection[int]) -> Body:
        # No grammar names an end token: after the last of the others, nothing else is left.
        named = "".join(f" <[{token}]>" for token in rest if token not in ends)
        return {
            "grammar": "root ::=" + (named or ' ""'),
            "post_sampling_probs": False,
            "logprobs": max(1, best),
            "max_tokens": len(rest),
        }

    def read(self, reader: Reader, answer: Any, tokens: Sequence[int], sent: int) -> Places:
        piece = reader.piece(answer)
        if piece.tokens != tuple(tokens[sent:]):
            raise ValueError(f"the server wrote the tokens {piece.tokens}, not {tuple(tokens[sent:])}")
        best: Sequence[Mapping[int, float]] = piece.best or ({},) * len(piece.tokens)
        written = zip(piece.tokens, piece.log_probs, best, strict=True)
        return [None] * sent + [{**others, token: log_prob} for token, log_prob, others in written]


WAYS: Mapping[str, Way] = {"prompt_logprobs": _Prompt(), "echo": _Echo(), "grammar": _Grammar()}
"""The ways, by the names that a make of server lists them with."""
