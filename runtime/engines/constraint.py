"""Constraints on text: which strings are allowed, and which tokens may therefore come next.

A :class:`Constraint` is a set of strings, told as an automaton over characters. For one model it becomes a
:class:`Guide`, an automaton over tokens; that is all that engines know of it. A constraint that has a token automaton
of its own, as a grammar engine does, gives that as its guide.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

State = Any
"""A hashable value that only its own automaton understands."""


class Tokens(Protocol):
    """What a guide needs to know of a model."""

    vocab_size: int

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens."""


class Guide(Protocol):
    """Which tokens may come next.

    A state is all that matters of the tokens so far. It never changes, and equal states have equal futures.

    Attributes:
        start: the state before any token.
    """

    start: State

    def after(self, state: State, token: int) -> State | None:
        """The state after one more token; ``None`` if no allowed text goes on so, whatever follows."""

    def options(self, state: State) -> Mapping[int, State] | None:
        """Every token that may come next, with the state after it; ``None`` if everything that may follow is allowed.

        A token may be listed though no sequence of *tokens* leads from it to an allowed text.
        """

    def accepts(self, state: State) -> bool:
        """Whether the text may end here."""

    def read(self, state: State, text: bytes) -> State | None:
        """The state after bytes of unknown tokens; ``None`` as for :meth:`after`."""


class Constraint(ABC):
    """A set of strings, as an automaton over characters. Immutable and hashable; equal ones allow the same strings.

    Attributes:
        start: the state before any character.
    """

    __ppl_immutable__ = True  # shared by all particles
    start: State

    @abstractmethod
    def after(self, state: State, text: str) -> State | None:
        """The state after more characters; ``None`` if no allowed string begins like that."""

    @abstractmethod
    def accepts(self, state: State) -> bool:
        """Whether the characters so far are an allowed string."""

    def free(self, state: State) -> bool:
        """Whether the string is allowed however it goes on (``False``: it may not be known)."""
        return False

    def allows(self, text: str) -> bool:
        """Whether a string is allowed."""
        state = self.after(self.start, text)
        return state is not None and self.accepts(state)

    def guide(self, tokens: Tokens) -> Guide:
        """The automaton over the tokens of a model; asked again, the same one, with what it has found out."""
        known = _vocabularies.get(tokens)
        if known is None:
            pieces = [tokens.decode_bytes(token) for token in range(tokens.vocab_size)]
            known = _vocabularies[tokens] = (pieces, _trie(pieces), {})
        pieces, trie, guides = known
        if self not in guides:
            if len(guides) >= _GUIDES:
                guides.clear()
            guides[self] = CharacterGuide(self, trie, pieces)
        return guides[self]


@dataclass(frozen=True)
class Both(Constraint):
    """The strings that two constraints allow."""

    first: Constraint
    second: Constraint

    @property
    def start(self) -> State:
        return self.first.start, self.second.start

    def after(self, state: State, text: str) -> State | None:
        a, b = state
        a, b = self.first.after(a, text), self.second.after(b, text)
        return None if a is None or b is None else (a, b)

    def accepts(self, state: State) -> bool:
        a, b = state
        return self.first.accepts(a) and self.second.accepts(b)

    def free(self, state: State) -> bool:
        a, b = state
        return self.first.free(a) and self.second.free(b)


# --- characters to tokens -------------------------------------------------------------------------------------------


class Trie:
    """The tokens of a vocabulary by their bytes. ``ends`` are the tokens that end here."""

    __slots__ = ("children", "ends")

    def __init__(self) -> None:
        self.children: dict[int, Trie] = {}
        self.ends: list[int] = []


def _trie(pieces: Sequence[bytes]) -> Trie:
    root = Trie()
    for token, piece in enumerate(pieces):
        node = root
        for byte in piece:
            node = node.children.setdefault(byte, Trie())
        node.ends.append(token)
    return root


_vocabularies: WeakKeyDictionary[Tokens, tuple[list[bytes], Trie, dict[Constraint, Guide]]] = WeakKeyDictionary()
_GUIDES = 256
"""How many constraints to remember for a model before starting over."""


Place = tuple[State, bytes]
"""A constraint's state, and the bytes of a character that is not complete yet."""


class CharacterGuide:
    """A guide by the characters that tokens stand for, read as ``lm.decode`` reads them: invalid bytes are U+FFFD.

    Args:
        constraint: over characters.
        trie: the vocabulary's tokens.
        pieces: the bytes of each token.
    """

    def __init__(self, constraint: Constraint, trie: Trie, pieces: Sequence[bytes]) -> None:
        self._constraint = constraint
        self._trie = trie
        self._pieces = pieces
        self._options: dict[Place, Mapping[int, State] | None] = {}
        self.start: State = (constraint.start, b"")

    def after(self, state: State, token: int) -> State | None:
        return self.read(state, self._pieces[token])

    def read(self, state: State, text: bytes) -> State | None:
        inner, pending = state
        characters, pending = _decoded(pending + text)
        inner = self._constraint.after(inner, characters) if characters else inner
        return None if inner is None else (inner, pending)

    def accepts(self, state: State) -> bool:
        inner, pending = state
        if pending:
            inner = self._constraint.after(inner, pending.decode("utf-8", "replace"))
        return inner is not None and self._constraint.accepts(inner)

    def options(self, state: State) -> Mapping[int, State] | None:
        place: Place = state
        if self._constraint.free(place[0]):
            return None
        if place not in self._options:
            found: dict[int, State] = {}
            self._walk(self._trie, place, found)
            self._options[place] = found
        return self._options[place]

    def _walk(self, node: Trie, place: Place, found: dict[int, State]) -> None:
        """Note the tokens at and below ``node``, as far as the constraint goes along."""
        found.update((token, place) for token in node.ends)
        for byte, child in node.children.items():
            after = self.read(place, bytes((byte,)))
            if after is not None:
                self._walk(child, after, found)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The characters that are complete, and the bytes of the one that is not."""
    if data.isascii():
        return data.decode("ascii"), b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, decoder.getstate()[0]
