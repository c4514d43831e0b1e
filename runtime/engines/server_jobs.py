"""Requests in progress at a server: texts being drawn, and given tokens being asked about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..source import derive
from .base import Completion, RequestError
from .batch import Batch, Look
from .constraint import State
from .jobs import Job, Reading
from .model import LanguageModel
from .prefix import Prefix
from .requests import Ending, Finish, Generate, Generated, Law
from .server_answers import Piece
from .server_laws import kept, known
from .server_probe import Abilities

_CHUNK = 256
"""Tokens to ask for at a time where a text has no bound."""

_SHORT_CHUNK = 16
"""Tokens to ask for at a time where the server can't be told where to stop: what it writes beyond that is lost."""


class Drawing(Job):
    """A text being drawn: usually one request, more if the server stops before the text ends.

    What a server writes is drawn token by token, so that a text may be cut where it ends by our definition, and gone on
    with where the server stopped short of that. The law is the same.

    Attributes:
        tokens: what was drawn so far.
    """

    __slots__ = (
        "_count",
        "_end",
        "_kind",
        "_log_prob",
        "_longer",
        "_model",
        "_reported",
        "_state",
        "_unsure",
        "tokens",
    )

    request: Generate

    def __init__(self, request: Generate, ending: Ending, model: LanguageModel, abilities: Abilities) -> None:
        super().__init__(request)
        self._end = ending
        self._model = model
        self._kind = abilities.kind
        self._reported = abilities.reported
        self._state = ending.start
        self._log_prob = 0.0
        self._count = 0  # tokens that the server drew: another number than ours, where it gives text only
        self._longer = 0  # tokens to ask for beyond a usual piece
        self._unsure: tuple[Piece, int] | None = None  # a piece that may have ended the text, and what was asked for
        self.tokens: list[int] = []

    def plan(self, batch: Batch) -> None:
        """Nothing: the server draws whole texts."""

    @property
    def path(self) -> tuple[int, ...]:
        """All tokens before the next, from the start of the context."""
        return (*self.request.context.tokens(), *self.tokens)

    @property
    def wanted(self) -> int:
        """How many more tokens to ask for."""
        spec = self.request.spec
        if self._unsure is not None:
            return self._unsure[1] + 1
        if spec.pause == "token":
            return 1
        chunk = (_SHORT_CHUNK if self._kind.cuts_stops and self._ends else _CHUNK) + self._longer
        return chunk if spec.max_tokens is None else min(chunk, spec.max_tokens - self._count)

    @property
    def stops(self) -> list[str]:
        """Where the server is told to stop."""
        return [] if self._kind.cuts_stops else self._ends

    @property
    def _ends(self) -> list[str]:
        spec = self.request.spec
        return [*spec.stop, *(["\n"] if spec.pause == "line" and "\n" not in spec.stop else [])]

    @property
    def seed(self) -> int:
        """The seed of the next piece: a function of the key and of how much was drawn."""
        return derive(self.request.key, "server", self._count) >> (64 - self._kind.seed_bits)

    def take(self, piece: Piece, asked: int) -> None:
        """Take what the server wrote.

        Args:
            piece: its answer.
            asked: how many tokens it was asked for.
        """
        begin = len(self._bytes(self.tokens))
        if piece.tokens is not None:
            finish = self._take_tokens(piece.tokens, piece)
            wrote = bool(piece.tokens)
        else:
            if self._unsure is not None:
                (first, asked), self._unsure = self._unsure, None
                piece = first if _goes_on(first, piece) else replace(first, finish="stop")
            elif self._looks_further(piece, asked):
                return
            finish = self._take_text(piece, asked)
            wrote = bool(piece.text)
        if finish is None and piece.finish == "stop" and not self._overlaps(begin):
            finish = self._ended()
        elif finish is None and self._is_full:
            finish = "length"
        elif finish is None and not wrote:
            self.error = RequestError(
                f"the server stopped ({piece.finish}) without writing anything after {self._count} tokens; look "
                "whether the context is as long as its model allows",
                self.request,
            )
        if finish is not None and self.error is None:
            generated = Generated(tuple(self.tokens), finish)
            self.completion = Completion(self.request, generated, self._log_prob, len(self.tokens))

    @property
    def _is_full(self) -> bool:
        """Whether as many tokens were drawn as the text may have."""
        most = self.request.spec.max_tokens
        return most is not None and self._count >= most

    def _take_tokens(self, tokens: Sequence[int], piece: Piece) -> Finish | None:
        law = self.request.spec.law
        for i, token in enumerate(tokens):
            self.tokens.append(token)
            self._count += 1
            if self._reported is None or not piece.log_probs:
                self._log_prob = math.nan
            else:
                best: Mapping[int, float] = piece.best[i] if piece.best else {}
                self._log_prob += self._reported.log_prob(token, piece.log_probs[i], best, law)
            self._state, finish = self._end.after(self._state, token, self._count)
            if finish is not None:
                return finish
        return None

    def _take_text(self, piece: Piece, asked: int) -> Finish | None:
        """Where the server gives text only: its tokens are those that the tokenizer would write it with."""
        self._log_prob = math.nan
        tokens, self._state, finish = self._spelled(piece)
        self._count += _drawn(piece, asked, len(tokens) - len(self.tokens))
        self._longer = 0
        self.tokens[:] = tokens
        return "length" if finish == "pause" and self._is_full else finish

    def _spelled(self, piece: Piece) -> tuple[Sequence[int], State, Finish | None]:
        """The tokens of the text with one more piece, up to where it ends; the state there, and why it does.

        Its length is no reason here: how many tokens the server drew is another number.
        """
        before = self._bytes(self.tokens).decode("utf-8", errors="replace")
        tokens = self._model.encode_after(before + piece.text)
        state = self._end.start
        for i, token in enumerate(tokens, 1):
            state, finish = self._end.after(state, token, 0)
            if finish in ("stop", "pause"):
                return tokens[:i], state, finish
        return tokens, state, None

    def _looks_further(self, piece: Piece, asked: int) -> bool:
        """Whether the same piece is wanted again and longer, with the same seed, to see what its end means."""
        spec = self.request.spec
        if piece.finish != "length" or asked < self.wanted:
            return False
        tokens, _, finish = self._spelled(piece)
        if finish is not None:
            return False
        rest = math.inf if spec.max_tokens is None else spec.max_tokens - self._count
        if piece.text.endswith("\ufffd") and asked < rest and spec.pause != "token":
            # A part of a character can't be gone on with, as the server would read something else in its place.
            self._longer += asked
            return True
        if self._kind.ends_late and len(tokens) - len(self.tokens) < asked:
            self._unsure = piece, asked
            return True
        return False

    def _ended(self) -> Finish | None:
        """The model ended the text, with a token that the server left out."""
        ends = self._model.eos_tokens
        if len(ends) != 1:
            self.error = RequestError(
                f"the server does not say with which of its end tokens {sorted(ends)} a text ended; give a stop string "
                "or, where the server has an option for it, let it return token ids",
                self.request,
            )
            return None
        self.tokens.extend(ends)
        self._log_prob = math.nan
        return "eos"

    def _overlaps(self, begin: int) -> bool:
        """Whether a stop string that begins in the context ended the text for the server, and does not for us.

        Args:
            begin: how many bytes the text had before the last piece; the stop string ends after these.
        """
        if not self._kind.stops_across or not self.stops:
            return False
        longest = max(len(stop.encode()) for stop in self.stops)
        context = self._bytes(self.request.context.tokens()[-longest:])
        text = context + self._bytes(self.tokens)
        begin += len(context)
        return any(
            text.startswith(stop, i) and i + len(stop) > begin
            for stop in map(str.encode, self.stops)
            for i in range(len(context))
        )

    def _bytes(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self._model.decode_bytes, tokens))


def _drawn(piece: Piece, asked: int, spelled: int) -> int:
    """How many tokens a server drew for a piece of text: what it says itself, else what it was asked for."""
    if 0 < piece.written <= asked:
        return piece.written
    return asked if piece.finish == "length" else min(asked, max(1, spelled))


def _goes_on(first: Piece, longer: Piece) -> bool:
    """Whether a text goes on after a piece, as far as one more token tells; the seed was the same."""
    return longer.finish != "stop" or longer.text != first.text or longer.written > first.written


@dataclass(eq=False)
class Question:
    """Log-probabilities wanted along one path of tokens: one request.

    Attributes:
        leaf: the path with its last token.
        law: the law that they are wanted under.
        looks: which are wanted: how many tokens come before it in the path, and who asks.
    """

    leaf: Prefix
    law: Law
    looks: list[tuple[int, Look]] = field(default_factory=list)

    @property
    def path(self) -> tuple[int, ...]:
        """All tokens, from the start."""
        return self.leaf.tokens()

    @property
    def jobs(self) -> list[Reading]:
        """Who asks."""
        return list(dict.fromkeys(look.job for _, look in self.looks))

    def best(self) -> int:
        """How many of the most probable tokens must be known in each place: 0 if the given one is enough."""
        temperature, _, top_k = self.law
        if temperature == 0.0:
            return 1
        return top_k or 0

    def take(self, places: Sequence[Mapping[int, float] | None], offset: int) -> None:
        """Take the log-probabilities in each place, of which ``offset`` come before the path."""
        best = self.best()
        for count, look in self.looks:
            place = places[offset + count]
            assert place is not None
            if best and not known(place, self.law):
                look.job.error = RequestError(
                    f"of the {best} most probable tokens the server names only {len(place)} apart; score with "
                    "temperature=1 and no top_p or top_k",
                    look.job.request,
                )
            elif best:
                look.job.found(look.slot, kept(place, self.law).get(look.token, -math.inf))
            else:
                look.job.found(look.slot, place[look.token])
        for job in self.jobs:
            job.settle()


def questions(jobs: Iterable[Reading]) -> list[Question]:
    """The fewest paths that answer all that jobs ask: one for each leaf of the trie of what is asked.

    Args:
        jobs: those that nothing was asked for yet.
    """
    batch = Batch(None)
    for job in jobs:
        job.plan(batch)
    found: list[Question] = []
    nodes = list(batch.rows)
    for law, wanted in batch.wanted.items():
        looks: dict[Prefix, list[Look]] = {}
        for look in wanted.looks:
            looks.setdefault(nodes[look.row].child(look.token), []).append(look)
        # Longest first: what a longer path answers needs no path of its own.
        for leaf in sorted(looks, key=lambda node: -node.length):
            if leaf in looks:
                question = Question(leaf, law)
                for node in leaf.ancestors():
                    question.looks += [(node.length - 1, look) for look in looks.pop(node, ())]
                found.append(question)
    return found
