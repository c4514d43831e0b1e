"""Reading what servers answer: tokens by their ids, each with its log-probability. No string is taken for an id."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model import LanguageModel
from .server_client import ServerError

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
        written: how many tokens it says that it wrote; 0 if it does not say.
        read: positions that it put through its model, as far as it says.
    """

    tokens: tuple[int, ...] | None
    text: str
    log_probs: tuple[float, ...]
    best: tuple[Mapping[int, float], ...]
    finish: str
    written: int
    read: int


class Reader:
    """Reads answers in terms of one model's tokens."""

    def __init__(self, model: LanguageModel, lists_end: bool = True) -> None:
        """Prepare.

        Args:
            model: whose tokens are meant.
            lists_end: whether an end token is among the tokens of an answer, as a string without characters.
        """
        self._model = model
        self._lists_end = lists_end
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
        if tokens is not None and told.get("content") is not None and len(tokens) < _written(answer):
            # llama.cpp lists no token that is a part of a character.
            tokens = None
        log_probs = _log_probs(told) if tokens is not None else ()
        if tokens is not None and len(log_probs) not in (0, len(tokens)):
            raise ValueError(f"{len(tokens)} tokens with {len(log_probs)} log-probabilities")
        best = self._best(told) if log_probs else ()
        if len(best) not in (0, len(log_probs)):
            raise ValueError(f"the most probable tokens in {len(best)} places, of {len(log_probs)} tokens")
        return Piece(tokens, text, log_probs, best, str(choice.get("finish_reason")), _written(answer), _read(answer))

    def reported(self, answer: Any) -> Piece:
        """As :meth:`piece`, of a server that reports log-probabilities: an answer without them is damaged.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it is.
        """
        piece = self.piece(answer)
        told = answer["choices"][0].get("logprobs") or {}
        listed = told.get("content") is not None or told.get("tokens") is not None
        # Tokens that are parts of characters may be missing, and an end token.
        if not piece.log_probs and (piece.tokens or (not listed and piece.text and piece.text.isascii())):
            raise ValueError("its log-probabilities are missing")
        return piece

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
            ids = choice.get("prompt_token_ids")
            tokens = self._tokens({} if ids is None else {"token_ids": [*ids, *choice["token_ids"]]}, told)
            if tokens is None or tokens[: len(prompt)] != tuple(prompt):
                raise ValueError("the server echoed other tokens than it was sent")
            best = self._best(told) or ({},) * len(tokens)
            # The first token has none.
            log_probs = _log_probs(told, start=1)
            found = [None, *({**best[i], tokens[i]: x} for i, x in enumerate(log_probs, 1))]
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
            return tuple(map(_id, ids))
        content = told.get("content")
        if content is not None:
            return tuple(self._id(entry) for entry in content)
        names = told.get("tokens")
        if names is None:
            return None
        if not all(map(_number_in, names)) and choice.get("text", "".join(names)) != "".join(names):
            # A token that is a part of a character is named by what is left of it.
            return None
        return tuple(map(self._named, names))

    def _best(self, told: Mapping[str, Any]) -> tuple[Mapping[int, float], ...]:
        content = told.get("content")
        if content is not None:
            return tuple(self._others(place) for place in content)
        places = told.get("top_logprobs")
        if places is None:
            return ()
        return tuple({self._other(i, n): _number(x) for i, (n, x) in enumerate((p or {}).items())} for p in places)

    def _others(self, place: Mapping[str, Any]) -> dict[int, float]:
        entries = place.get("top_logprobs") or place.get("top_probs") or ()
        return {self._id(entry): _told(entry) for entry in entries}

    def _id(self, entry: Mapping[str, Any]) -> int:
        return int(entry["id"]) if "id" in entry else self._named(entry["token"])

    def _named(self, name: str) -> int:
        """The id of a token that the server gives as a string."""
        found = self._find(name)
        if found is None:
            raise ServerError(
                f"the server names a token by the string {name!r}, which no single token of this model reads as, so "
                "that what it wrote can't be known: look whether tokenizer= is the model's, or use a server that gives "
                "token ids (vLLM, SGLang, llama.cpp's llama-server)",
                refused=True,
            )
        return found

    def _other(self, place: int, name: str) -> int:
        """As :meth:`_named` for a token that was not drawn: if it can't be told which, a number of its own will do."""
        found = self._find(name)
        return -1 - place if found is None else found

    def _find(self, name: str) -> int | None:
        number = _number_in(name)
        if number:
            return int(number)
        if self._ids is None:
            self._ids = _names(self._model, self._lists_end)
        return self._ids.get(name)


def _id(token: Any) -> int:
    if not isinstance(token, int) or token < 0:
        raise ValueError(f"{token!r} is no token id")
    return token


def _number_in(name: str) -> str:
    """The id in a name such as "token_id:17"; empty for other names."""
    head, mark, number = name.rpartition("token_id:")
    return number if mark and not head and number.isdigit() else ""


def _names(model: LanguageModel, lists_end: bool) -> dict[str, int | None]:
    """Token ids by how they read; ``None`` where several read alike."""
    found: dict[str, int | None] = {}
    for token in range(model.vocab_size):
        name = model.decode_bytes(token).decode("utf-8", errors="replace")
        found[name] = None if name in found else token
    found[""] = next(iter(model.eos_tokens)) if lists_end and len(model.eos_tokens) == 1 else None
    return found


def _told(entry: Mapping[str, Any]) -> float:
    """A log-probability; llama.cpp gives a probability instead where samplers have changed it."""
    if "prob" not in entry:
        return _number(entry["logprob"])
    prob = float(entry["prob"])
    return -math.inf if prob == 0.0 else _number(math.log(prob))


def _log_probs(told: Mapping[str, Any], start: int = 0) -> tuple[float, ...]:
    if told.get("content") is not None:
        return tuple(_told(entry) for entry in told["content"][start:])
    return tuple(map(_number, (told.get("token_logprobs") or ())[start:]))


def _number(log_prob: Any) -> float:
    if log_prob is None:
        raise ValueError("a log-probability is null")
    found = float(log_prob)
    if math.isnan(found) or found > 1e-3:
        raise ValueError(f"{found} is no log-probability")
    return -math.inf if found <= _NOTHING else min(found, 0.0)


def _written(answer: Mapping[str, Any]) -> int:
    """How many tokens the server wrote, as far as it says."""
    return int((answer.get("usage") or {}).get("completion_tokens") or 0)


def _read(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return int(usage.get("prompt_tokens") or 0) - int(cached) + int(usage.get("completion_tokens") or 0)
