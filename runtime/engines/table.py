"""A model given by a table of exact rational probabilities, behind the interface of a real one.

It makes programs over language models finite and their meaning computable by hand, so that everything else can be
checked against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from weakref import WeakSet

import torch

from ..source import derive, uniform
from .model import LogitModel, Usage
from .prefix import Prefix

Weight = Fraction | int | float
Row = tuple[Fraction, ...]

_SLACK = Fraction(1, 10**9)
_CACHED_ROWS = 1 << 16


class TableModel(LogitModel):
    """Next-token probabilities looked up by the last tokens of the context.

    ``usage.positions`` counts each node once, however often it is asked about while it lives.

    Args:
        vocabulary: the token strings, in the order of their ids; they may have several characters, and may hold
            parts of one another.
        rows: the probabilities of the next token (of those not named: 0) after a context that ends in the key, a
            tuple of token strings. The longest key that matches counts; ``()`` is required and matches always.
            Fractions must sum to 1, floats too up to rounding; ints are weights, and are normalised.
        eos: the token that ends a text; added to the vocabulary if it is not there.

    Raises:
        ValueError: the vocabulary or a row is not as above. The message names the row.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        rows: Mapping[tuple[str, ...], Mapping[str, Weight]],
        eos: str | None = None,
    ) -> None:
        self._set_up(vocabulary, eos)
        if () not in rows:
            raise ValueError("rows has no key (): give the row for contexts that no other key matches")
        table = {self._key(suffix): self._row(suffix, weights) for suffix, weights in rows.items()}
        self._longest = max(map(len, table))
        self._compute = table.__getitem__
        self._keys: Mapping[tuple[int, ...], Row] | None = table

    @classmethod
    def random(
        cls,
        seed: int,
        vocabulary: Sequence[str],
        eos: str | None = None,
        order: int | None = None,
        sparsity: float = 0.0,
    ) -> TableModel:
        """A model whose every context has a row of its own: whatever drops a token or an attribute shows.

        Args:
            seed: the same seed gives the same model.
            vocabulary: as for the class.
            eos: as for the class.
            order: how many of the last tokens a row depends on; ``None`` for the whole context.
            sparsity: the probability, in [0, 1), with which an entry is 0. At least one of a row is positive.

        Raises:
            ValueError: an argument is outside its range.
        """
        if order is not None and order < 0:
            raise ValueError(f"order={order}: give 0 or more, or None for the whole context")
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"sparsity={sparsity}: give a number in [0, 1)")
        model = cls.__new__(cls)
        model._set_up(vocabulary, eos)
        size = model.vocab_size

        def row(context: tuple[int, ...]) -> Row:
            key = derive(seed & ((1 << 64) - 1), "row", *context)
            weights = [1 + int(12 * uniform(key, i)) for i in range(size)]
            kept = [w if uniform(key, size + i) >= sparsity else 0 for i, w in enumerate(weights)]
            if not any(kept):
                kept[int(size * uniform(key, 2 * size))] = 1
            return tuple(Fraction(w, sum(kept)) for w in kept)

        model._longest = order
        model._compute = row
        model._keys = None
        return model

    _longest: int | None
    _compute: Callable[[tuple[int, ...]], Row]
    _keys: Mapping[tuple[int, ...], Row] | None

    def _set_up(self, vocabulary: Sequence[str], eos: str | None) -> None:
        if isinstance(vocabulary, str):
            vocabulary = list(vocabulary)
        names = [*vocabulary] if eos is None or eos in vocabulary else [*vocabulary, eos]
        if not names:
            raise ValueError("the vocabulary is empty: give at least one token string")
        if "" in names or len(set(names)) < len(names):
            raise ValueError("the token strings of a vocabulary must be distinct, and none empty")
        self._names = tuple(names)
        self._ids = {name: i for i, name in enumerate(names)}
        self.root = Prefix()
        self.vocab_size = len(names)
        self.eos_tokens = frozenset() if eos is None else frozenset({self._ids[eos]})
        self.usage = Usage()
        self._bytes = [b"" if i in self.eos_tokens else name.encode() for i, name in enumerate(names)]
        self._spellings = sorted((n for n in names if n != eos), key=len, reverse=True)
        self._log_rows: dict[tuple[int, ...], list[float]] = {}
        self._seen: WeakSet[Prefix] = WeakSet()

    def _key(self, suffix: tuple[str, ...]) -> tuple[int, ...]:
        if not isinstance(suffix, tuple):
            raise ValueError(f"the key {suffix!r} of rows is not a tuple of token strings; write ({suffix!r},)")
        for name in suffix:
            if name not in self._ids:
                raise ValueError(f"the key {suffix!r} of rows holds {name!r}, which is not in the vocabulary")
        return tuple(self._ids[name] for name in suffix)

    def _row(self, suffix: tuple[str, ...], weights: Mapping[str, Weight]) -> Row:
        where = f"the row after {suffix!r}"
        for name, weight in weights.items():
            if name not in self._ids:
                raise ValueError(f"{where} names {name!r}, which is not in the vocabulary")
            if not 0 <= weight < math.inf:
                raise ValueError(f"{where} gives {name!r} the weight {weight}; give a finite number, 0 or more")
        total = sum((Fraction(weight) for weight in weights.values()), Fraction(0))
        if total == 0:
            raise ValueError(f"{where} has no positive weight")
        if not all(isinstance(weight, int) for weight in weights.values()):
            slack = _SLACK if any(isinstance(weight, float) for weight in weights.values()) else 0
            if abs(total - 1) > slack:
                raise ValueError(f"{where} sums to {total}, not 1; give ints to have weights normalised")
        return tuple(Fraction(weights.get(name, 0)) / total for name in self._names)

    def _state(self, context: tuple[int, ...]) -> tuple[int, ...]:
        """The part of ``context`` that decides its row."""
        if self._longest is not None:
            context = context[max(0, len(context) - self._longest) :]
        if self._keys is not None:
            while context not in self._keys:
                context = context[1:]
        return context

    def probability(self, context_tokens: Sequence[int], token: int) -> Fraction:
        """The exact probability of ``token`` after ``context_tokens`` (ids, from the start of the sequence)."""
        return self._compute(self._state(tuple(context_tokens)))[token]

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        """Log-probabilities, float64 [len(nodes), vocab_size]; ``-inf`` where the probability is 0.

        Raises:
            ValueError: a node is asked for twice in one call, or is not of this model's trie.
        """
        if len(set(nodes)) < len(nodes):
            raise ValueError("a node is asked for twice in one call")
        rows = [self._log_row(node.tokens(since=self.root)) for node in nodes]
        new = [node for node in nodes if node not in self._seen]
        self._seen.update(new)
        self.usage.positions += len(new)
        self.usage.forwards += 1
        return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), self.vocab_size)

    def _log_row(self, context: tuple[int, ...]) -> list[float]:
        state = self._state(context)
        row = self._log_rows.get(state)
        if row is None:
            if len(self._log_rows) >= _CACHED_ROWS:
                self._log_rows.clear()
            # Logarithms of the parts do not round a small probability to 0, as the quotient might.
            row = [math.log(p.numerator) - math.log(p.denominator) if p else -math.inf for p in self._compute(state)]
            self._log_rows[state] = row
        return row

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``: from left to right, the longest token that matches.

        Raises:
            ValueError: no token matches somewhere.
        """
        found = []
        at = 0
        while at < len(text):
            name = next((name for name in self._spellings if text.startswith(name, at)), None)
            if name is None:
                raise ValueError(f"the table model has no token for {text[at]!r}, character {at} of {text!r}")
            found.append(self._ids[name])
            at += len(name)
        return tuple(found)

    def decode_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of a token's string; empty for EOS."""
        return self._bytes[token]

    def describe(self) -> str:
        """For example ``table model of 5 tokens``."""
        return f"table model of {self.vocab_size} tokens"
