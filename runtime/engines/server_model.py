"""A model that a server has, as this process knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .model import LanguageModel, Usage
from .prefix import Prefix
from .server_client import Client
from .server_probe import Abilities


class Words(Protocol):
    """The tokens of a model, known in this process too."""

    eos_tokens: frozenset[int]
    vocab_size: int

    opens_with_space: bool

    def encode(self, text: str) -> tuple[int, ...]: ...
    def encode_after(self, text: str) -> tuple[int, ...]: ...
    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]: ...
    def decode_bytes(self, token: int) -> bytes: ...


class ServerModel(LanguageModel):
    """A model that a server has: its tokens are known here, its numbers there.

    Attributes:
        name: what the server calls it.
        client: the server.
        bos: the id that implicitly precedes every path, or ``None``.
        max_length: the most tokens of a prompt and what follows, or ``None`` if the server doesn't say.
        abilities: what the server can do; set once it was asked.
    """

    abilities: Abilities

    def __init__(
        self, client: Client, name: str, words: Words, bos: int | None = None, max_length: int | None = None
    ) -> None:
        """Describe a model; nothing is sent.

        Args:
            client: the server.
            name: what the server calls the model.
            words: its tokens.
            bos: the id that precedes every path.
            max_length: the most tokens of a prompt and what follows.
        """
        self.client = client
        self.name = name
        self.bos = bos
        self.max_length = max_length
        self.root = Prefix()
        self.usage = Usage()
        self.vocab_size = words.vocab_size
        self.eos_tokens = words.eos_tokens
        self.opens_with_space = words.opens_with_space
        self._words = words

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, with no special tokens added."""
        return self._words.encode(text)

    def encode_after(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` where other text stands before it."""
        return self._words.encode_after(text)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation, without the implicit BOS.

        Raises:
            ValueError: there is no chat template.
        """
        return self._words.encode_chat(messages)

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens."""
        return self._words.decode_bytes(token)

    def prompt(self, path: Sequence[int]) -> list[int] | str:
        """A path as the server takes it.

        Raises:
            ValueError: there is nothing to send.
        """
        if self.abilities.ids:
            tokens = [*([] if self.bos is None else [self.bos]), *path]
            if not tokens:
                raise ValueError(
                    "the context is empty, and this model has no BOS token to start from: give it some text"
                )
            return tokens
        return self.text_of(path)

    def describe(self) -> str:
        """For example "bundled at http://localhost:8000/v1 (vLLM; prompts as token ids; …)"."""
        return f"{self.name} at {self.client.url} ({self.abilities.describe()})"
