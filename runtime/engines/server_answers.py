"""Reading what servers answer: tokens by their ids, each with its log-probability. No string is taken for an id."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model import LanguageModel

_NOTHING = -9998.0
"""JSON has no infinities; vLLM writes -9999 for a token of no mass."""


@dataclass(frozen=True)
class Piece:
    """Tokens that a server wrote.

    Attributes:
        tokens: their ids; ``None`` if only ``text`` is known.
        text: how it reads.
        log_probs: one a token, as reported; empty if none were.
        best: for each token, the most probable ones in its place; empty if none were reported.
        finish: the server's word for why it stopped there.
        read: positions that it put through its model, as far as it says.
    """

    tokens: tuple[int, ...] | None
    text: str
    log_probs: tuple[float, ...]
    best: tuple[Mapping[int, float], ...]
    finish: str
    read: int


class Reader:
    """Reads answers in terms of one model's tokens."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids: dict[str, int | None] | None = None

    def piece(self, answer: Any) -> Piece:
        """What a completion says.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it is damaged.
        """
        choice = answer["choices"][0]
        text = choice["text"]
        if not isinstance(text, str):
            raise ValueError("the text is no string")
        told = choice.get("logprobs") or {}
        tokens = self._tokens(choice, told)
        log_probs = _log_probs(told) if tokens is not None else ()
        if tokens is not None and len(log_probs) not in (0, len(tokens)):
            raise ValueError(f"{len(tokens)} tokens with {len(log_probs)} log-probabilities")
        best = self._best(told) if log_probs else ()
        return Piece(tokens, text, log_probs, best, str(choice.get("finish_reason")), _read(answer))

    def echoed(self, answer: Any, prompt: Sequence[int]) -> list[Mapping[int, float] | None]:
        """What an answer says about its prompt.

        Args:
            answer: to a request with ``prompt_logprobs`` or ``echo``.
            prompt: the ids that were sent.

        Returns:
            For each token of the prompt, log-probabilities of it and maybe others; ``None`` for the first.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it is damaged, or about other tokens.
        """
        choice = answer["choices"][0]
        places = choice.get("prompt_logprobs")
        if places is not None:
            found: list[Mapping[int, float] | None] = [
                None if place is None else self._place(place) for place in places
            ]
        else:
            told = choice.get("logprobs") or {}
            tokens = self._tokens({}, told)
            if tokens is None or tokens[: len(prompt)] != tuple(prompt):
                raise ValueError("the server echoed other tokens than it was sent")
            best = self._best(told) or ({},) * len(tokens)
            found = [{**best[i], tokens[i]: x} for i, x in enumerate(_log_probs(told))]
            found[:1] = [None]
        found = found[: len(prompt)]
        for token, place in zip(prompt[1:], found[1:], strict=True):
            if place is None or token not in place:
                raise ValueError(f"no log-probability for token {token} of the prompt")
        return found

    def _place(self, place: Mapping[str, Any]) -> dict[int, float]:
        return {int(token): _number(entry["logprob"]) for token, entry in place.items()}

    def _tokens(self, choice: Mapping[str, Any], told: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The ids of what was written, from wherever the server gives them."""
        ids = choice.get("token_ids")
        if ids is not None:
            return tuple(int(token) for token in ids)
        content = told.get("content")
        if content is not None:
            return tuple(self._id(entry) for entry in content)
        names = told.get("tokens")
        return None if names is None else tuple(map(self._named, names))

    def _best(self, told: Mapping[str, Any]) -> tuple[Mapping[int, float], ...]:
        content = told.get("content")
        if content is not None:
            return tuple(
                {self._id(entry): _number(entry["logprob"]) for entry in place.get("top_logprobs") or ()}
                for place in content
            )
        places = told.get("top_logprobs")
        if places is None:
            return ()
        return tuple({self._named(n): _number(x) for n, x in (place or {}).items()} for place in places)

    def _id(self, entry: Mapping[str, Any]) -> int:
        return int(entry["id"]) if "id" in entry else self._named(entry["token"])

    def _named(self, name: str) -> int:
        """The id of a token that the server gives as a string."""
        head, _, number = name.rpartition("token_id:")
        if not head and number.isdigit():
            return int(number)
        if self._ids is None:
            self._ids = _names(self._model)
        found = self._ids.get(name)
        if found is None:
            raise ValueError(f"the server names a token by the string {name!r}, which no single token reads as")
        return found


def _names(model: LanguageModel) -> dict[str, int | None]:
    """Token ids by how they read; ``None`` where several read alike."""
    found: dict[str, int | None] = {}
    for token in range(model.vocab_size):
        name = model.decode_bytes(token).decode("utf-8", errors="replace")
        found[name] = None if name in found else token
    if len(model.eos_tokens) == 1:
        found[""] = next(iter(model.eos_tokens))
    return found


def _log_probs(told: Mapping[str, Any]) -> tuple[float, ...]:
    if told.get("content") is not None:
        return tuple(_number(entry["logprob"]) for entry in told["content"])
    # The first token of an echoed prompt has none.
    return tuple(math.nan if x is None else _number(x) for x in told.get("token_logprobs") or ())


def _number(log_prob: Any) -> float:
    found = float(log_prob)
    if math.isnan(found) or found > 1e-3:
        raise ValueError(f"{found} is no log-probability")
    return -math.inf if found <= _NOTHING else min(found, 0.0)


def _read(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return int(usage.get("prompt_tokens") or 0) - int(cached) + int(usage.get("completion_tokens") or 0)
