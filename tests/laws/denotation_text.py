"""Text of a table model, by hand: every text with its probability, worked out token by token.

Part of the oracle in ``denotation.py``, of which it is the language models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Row = Callable[[tuple[int, ...]], Sequence[float | Fraction]]
"""The tokens so far → the probability of each token."""


class Words(str):
    """A string with the tokens that it was written in."""

    tokens: tuple[int, ...]

    def __new__(cls, text: str, tokens: tuple[int, ...]) -> Words:
        new = super().__new__(cls, text)
        new.tokens = tokens
        return new


class Table:
    """A model."""

    def __init__(self, vocabulary: Sequence[str], row: Row, eos: str | None) -> None:
        self.vocabulary = [*vocabulary] if eos is None or eos in vocabulary else [*vocabulary, eos]
        self.row = row
        self.eos = None if eos is None else self.vocabulary.index(eos)

    @classmethod
    def of_rows(
        cls, vocabulary: Sequence[str], rows: Mapping[tuple[str, ...], Mapping[str, float]], eos: str | None
    ) -> Table:
        """A model by its rows: that of the longest ending counts."""

        def row(tokens: tuple[int, ...]) -> list[float]:
            names = tuple(table.vocabulary[token] for token in tokens)
            weights = next(rows[names[i:]] for i in range(len(names) + 1) if names[i:] in rows)
            return [float(weights.get(name, 0)) / float(sum(weights.values())) for name in table.vocabulary]

        table = cls(vocabulary, row, eos)
        return table

    def encode(self, text: str) -> tuple[int, ...]:
        """From left to right, the longest token; a text of ours in its own tokens."""
        if isinstance(text, Words):
            return text.tokens
        tokens: tuple[int, ...] = ()
        while text:
            fits = [i for i, name in enumerate(self.vocabulary) if i != self.eos and text.startswith(name)]
            tokens += (max(fits, key=lambda i: len(self.vocabulary[i])),)
            text = text[len(self.vocabulary[tokens[-1]]) :]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary[token] for token in tokens if token != self.eos)

    def context(self, text: str) -> Context:
        return Context(self, self.encode(text))


class Context:
    """What a model has read."""

    def __init__(self, table: Table, tokens: tuple[int, ...]) -> None:
        self.table, self.tokens = table, tokens

    def __add__(self, text: str) -> Context:
        return Context(self.table, self.tokens + self.table.encode(text))

    def token(self, **options: Any) -> Written:
        return self.text(max_tokens=1, **options)

    def line(self, **options: Any) -> Written:
        return self.text(stop="\n", **options)

    def text(self, stop: str | Sequence[str] = (), max_tokens: int = 128, **options: Any) -> Written:
        return Written(self, (stop,) if isinstance(stop, str) else tuple(stop), max_tokens, **options)

    def choice(self, options: Sequence[str], temperature: float = 1.0) -> Chosen:
        return Chosen(self, options, temperature)


class Written:
    """The law of a text after a context, over sequences of tokens."""

    def __init__(
        self,
        context: Context,
        stops: tuple[str, ...],
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
    ) -> None:
        self.context, self.stops, self.max_tokens = context, stops, max_tokens
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def restricted(self, constraint: Any) -> Written:
        """Something to draw from instead; what is meant stays the same."""
        return self

    @property
    def law(self) -> list[tuple[Any, float]]:
        """Every text that can be written."""
        table = self.context.table
        found: list[tuple[Any, float]] = []
        open_: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
        while open_:
            tokens, p = open_.pop()
            for token, q in self._next(self.context.tokens + tokens):
                longer = (*tokens, token)
                if self._ended(longer):
                    found.append((Words(table.decode(longer), longer), p * q))
                else:
                    open_.append((longer, p * q))
        return found

    def density(self, value: str) -> float:
        """The probability of a text; of a string, of the way in which it is encoded, with its end."""
        table = self.context.table
        tokens = table.encode(value)
        if not isinstance(value, Words) and not self._ended(tokens) and table.eos is not None:
            tokens = (*tokens, table.eos)
        return math.fsum(p for text, p in self.law if text.tokens == tokens)

    def _ended(self, tokens: tuple[int, ...]) -> bool:
        table = self.context.table
        stopped = any(stop in table.decode(tokens) for stop in self.stops)
        return stopped or len(tokens) >= self.max_tokens or bool(tokens and tokens[-1] == table.eos)

    def _next(self, tokens: tuple[int, ...]) -> list[tuple[int, float]]:
        """The law of one more token: by temperature, then top-k, then top-p."""
        row = [(token, float(p)) for token, p in enumerate(self.context.table.row(tokens)) if p > 0]
        row.sort(key=lambda each: -each[1])  # of equals, the first stays first
        if self.temperature == 0.0:
            return [(row[0][0], 1.0)]
        row = [(token, p ** (1.0 / self.temperature)) for token, p in row]
        if self.top_k is not None and self.top_k < len(row):
            assert row[self.top_k - 1][1] > row[self.top_k][1], "which of these two is among the first k?"
            row = row[: self.top_k]
        mass, kept = math.fsum(p for _, p in row), 0.0
        for count, (_, p) in enumerate(row, 1):
            kept += p
            if kept >= (self.top_p - 1e-12) * mass:
                row = row[:count]
                break
        return [(token, p / kept) for token, p in row]


class Chosen:
    """The law of one of several texts after a context."""

    def __init__(self, context: Context, options: Sequence[str], temperature: float) -> None:
        self.context, self.options, self.temperature = context, options, temperature

    @property
    def law(self) -> list[tuple[Any, float]]:
        """The options."""
        table = self.context.table
        weights = []
        for option in self.options:
            read, p = self.context.tokens, 1.0
            for token in table.encode(option):
                p *= float(table.row(read)[token])
                read += (token,)
            weights.append((Words(str(option), table.encode(option)), p))
        if self.temperature == 0.0:
            best = max(weights, key=lambda each: each[1])
            return [(best[0], 1.0)]
        weights = [(option, p ** (1.0 / self.temperature)) for option, p in weights]
        total = math.fsum(p for _, p in weights)
        return [(option, p / total) for option, p in weights]

    def density(self, value: str) -> float:
        """The probability of an option."""
        return next((p for option, p in self.law if option == value), 0.0)
