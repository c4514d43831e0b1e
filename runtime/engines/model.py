"""What a language model is to the runtime: tokens, and next-token logits at nodes of the prefix trie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from .prefix import Prefix

if TYPE_CHECKING:
    import torch

    from .ahead import Stretch, Written


@dataclass
class Usage:
    """What a model has computed so far. Counters only grow; take differences for a run.

    Attributes:
        positions: token positions put through the model.
        forwards: batched forward passes.
        copied_positions: cached positions copied because two sequences diverged.
    """

    positions: int = 0
    forwards: int = 0
    copied_positions: int = 0

    def since(self, start: Usage) -> Usage:
        """What was used after the snapshot ``start``."""
        return Usage(
            self.positions - start.positions,
            self.forwards - start.forwards,
            self.copied_positions - start.copied_positions,
        )

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.positions + other.positions,
            self.forwards + other.forwards,
            self.copied_positions + other.copied_positions,
        )

    def snapshot(self) -> Usage:
        """A copy that later work leaves as it is."""
        return Usage(self.positions, self.forwards, self.copied_positions)


@dataclass(frozen=True)
class CacheInfo:
    """What a model keeps in order not to compute it again.

    Attributes:
        bytes: memory of keys and values.
        budget: how many bytes they may take; the least recently used are given up first, which changes no result.
        paths: token sequences that can be gone on with at once.
        shared: beginnings kept once for several sequences.
        logits_bytes: memory of recent logits, besides.
        usage: what was computed so far.
    """

    bytes: int
    budget: int
    paths: int
    shared: int
    logits_bytes: int
    usage: Usage

    def __str__(self) -> str:
        mib = 1 << 20
        return (
            f"{self.bytes / mib:,.1f} of {self.budget / mib:,.0f} MiB in {self.paths} paths and {self.shared} shared "
            f"beginnings; {self.usage.positions:,} positions computed, {self.usage.copied_positions:,} copied"
        )


class ContextError(ValueError):
    """A model gives no distribution after a context.

    Attributes:
        node: which.
    """

    def __init__(self, message: str, node: Prefix) -> None:
        super().__init__(message)
        self.node = node


class NoRoom(ContextError, MemoryError):
    """There is no memory for a context, even alone."""


class LanguageModel(ABC):
    """A language model as contexts and texts know it: its tokens, wherever its numbers are computed.

    Attributes:
        root: the empty sequence; the nodes of all contexts descend from it.
        vocab_size: how many token ids there are.
        eos_tokens: the ids that end a text.
        usage: what was computed so far.
        opens_with_space: whether the tokens of a text read as if it began with a space.
    """

    __ppl_immutable__ = True  # shared by all particles

    root: Prefix
    vocab_size: int
    eos_tokens: frozenset[int]
    usage: Usage
    opens_with_space: bool = False
    _alphabet: bytes | None = None

    @property
    def alphabet(self) -> bytes:
        """A digest of what the token ids stand for and which of them end a text.

        Models that agree in it can read each other's tokens.

        Ids behind the last that stands for something are left out: sizes of one kind of model are padded differently.
        """
        if self._alphabet is None:
            digest, empty = blake2b(repr(sorted(self.eos_tokens)).encode(), digest_size=16), 0
            for token in range(self.vocab_size):
                name = self.decode_bytes(token)
                if not name:
                    empty += 1
                    continue
                digest.update(bytes(4) * empty + len(name).to_bytes(4, "little") + name)
                empty = 0
            self._alphabet = digest.digest()
        return self._alphabet

    @abstractmethod
    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, as of one that begins here, with no special tokens added."""

    def encode_after(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` where other text stands before it."""
        return self.encode(text)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The token ids of a conversation up to where the model's turn begins, by the model's own chat template.

        Args:
            messages: mappings with the keys ``role`` and ``content``.

        Raises:
            ValueError: the model has no chat template.
        """
        raise ValueError(f"{self.describe()} has no chat template; give the context as text")

    @abstractmethod
    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens such as EOS."""

    def text_of(self, tokens: Sequence[int]) -> str:
        """How tokens read from a text's beginning on, without the space that the tokenizer may have put there.

        Special tokens read as nothing, incomplete characters as U+FFFD.
        """
        pieces = list(map(self.decode_bytes, tokens))
        if self.opens_with_space and pieces and pieces[0].startswith(b" "):
            pieces[0] = pieces[0][1:]
        return b"".join(pieces).decode("utf-8", errors="replace")

    def cache_info(self) -> CacheInfo | None:
        """What is kept, or ``None`` if nothing ever is."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """One line for people: what the model is, where it runs."""


class LogitModel(LanguageModel):
    """A causal model that this process can ask for whole next-token distributions.

    Attributes:
        size: the number of parameters; 0 where there are none.
        ahead: up to how many tokens of a text it can draw by itself (:meth:`write`); 1 if it can't.
    """

    size: int = 0
    ahead: int = 1

    def extends(self, node: Prefix) -> bool:
        """Whether all of a node's path but its last token is cached, so that :meth:`write` can go on there."""
        return False

    def write(self, stretch: Stretch) -> list[Written | None]:
        """Draw up to ``ahead`` tokens for each of some texts, as one at a time would be drawn from :meth:`logits`.

        Returns:
            For each text what it went on with; ``None`` where that has to be tried again, or one token at a time.

        Raises:
            NoRoom: there is no memory for one of them.
        """
        raise NotImplementedError

    @abstractmethod
    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        """Next-token logits after each of ``nodes``.

        Args:
            nodes: distinct nodes of this model's trie, none the root of a model that needs a first token. They
                may share prefixes, be forks of each other, or lie on one path (when a given text is scored).

        Returns:
            A float32 or float64 tensor [len(nodes), vocab_size] on any device, rows in the order of ``nodes``.

        Raises:
            ContextError: one of them is too long, or empty where there must be a token, and nothing was computed; or
                there is no memory for one of them (:class:`NoRoom`).
        """
