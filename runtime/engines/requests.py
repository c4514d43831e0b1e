"""What may be asked of an engine about text, and when a text ends.

A text is the shortest sequence of tokens that ends: by containing a stop string, by an end-of-sequence token, or by
reaching ``max_tokens``. Its probability is the product of its tokens' probabilities; truncation is part of that
definition, so the probabilities of all complete sequences sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, cast

from ..source import Key
from .base import Request
from .constraint import Constraint, Guide, State, Tokens
from .prefix import Prefix

Finish = Literal["stop", "eos", "length", "pause", "dead"]
"""Why a text ends; ``pause``: it does not, but a piece of it does; ``dead``: its constraint rules out what follows."""
Law = tuple[float, float, int | None]


@dataclass(frozen=True, slots=True)
class TextSpec:
    """Which distribution over token sequences is meant.

    Attributes:
        stop: the text ends with the first token after which its UTF-8 bytes contain one of these.
        max_tokens: the text ends after this many tokens; ``None`` for no bound.
        temperature: logits are divided by it; 0 puts all mass on the first of the largest logits.
        top_p: of what ``top_k`` left, keep the smallest set of most probable tokens that holds this mass
            (ties by lower id).
        top_k: keep the ``top_k`` most probable tokens and those tied with the last of them; ``None`` keeps all.
        constraint: of what is left, keep the tokens with which the text may still become an allowed one, and
            renormalise at each token. Where none is left the text is ``dead``: complete, but not an allowed one.
        before: the bytes before this one of a text that is written in pieces. Stop strings may begin in them.
        pause: this is a piece that ends with the first ``token``, or with the first that holds a newline (``line``).

    Raises:
        ValueError: a field is outside its range.
    """

    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    constraint: Constraint | None = None
    before: bytes = b""
    pause: Literal["token", "line"] | None = None

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise ValueError("stop holds an empty string, which every text contains; leave it out")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: give at least 1, or None for no bound")
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}: give a finite number, 0 (most likely token) or more")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p={self.top_p}: give a number in (0, 1]; 1.0 keeps every token")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}: give at least 1, or None to keep every token")

    @property
    def law(self) -> Law:
        """What changes the next-token distribution: (temperature, top_p, top_k)."""
        return float(self.temperature), float(self.top_p), self.top_k


PLAIN = TextSpec().law


class Generated(NamedTuple):
    """A complete text: its token ids, with the last one whole, and why it ended there."""

    tokens: tuple[int, ...]
    finish: Finish


@dataclass(eq=False, slots=True)
class Generate(Request):
    """Draw a text after ``context``. The completion's value is a :class:`Generated`."""

    context: Prefix
    spec: TextSpec
    key: Key


@dataclass(eq=False, slots=True)
class Score(Request):
    """The log-probability that :class:`Generate` would give exactly ``tokens``.

    ``-inf`` for a sequence that holds an excluded token, goes on after its end, or has not ended (a dead one too). The
    completion's value is ``tokens``.
    """

    context: Prefix
    tokens: tuple[int, ...]
    spec: TextSpec


@dataclass(eq=False, slots=True)
class Choose(Request):
    """One of several given continuations, with probability in proportion to P(option | context)^(1/temperature).

    With ``key``, one is drawn and the completion's value is its index. With ``index``, that one is scored (``-1``
    stands for a value that is none of them: log-probability ``-inf``). With neither, the value is the whole law, as a
    list of pairs (``outcome(index)``, log-probability) in the order of ``options``, without those of no mass;
    ``SupportTooLarge`` if there are more than ``limit``. With ``among``, only these count: the others have no mass, and
    the rest is renormalised. Where nothing is left to renormalise, it is as if ``among`` were not given.
    """

    context: Prefix
    options: tuple[tuple[int, ...], ...]
    key: Key | None = None
    index: int | None = None
    temperature: float = 1.0
    outcome: Callable[[int], Any] | None = None
    limit: int | None = None
    among: frozenset[int] | None = None


@dataclass(eq=False, slots=True)
class Support(Request):
    """Every complete text of positive mass after ``context``.

    The completion's value is a list of pairs (``outcome(generated)``, log-probability), shorter texts first and then
    by token ids. ``SupportTooLarge`` past ``limit`` texts.
    """

    context: Prefix
    spec: TextSpec
    limit: int
    outcome: Callable[[Generated], Any] | None = None


class Vocabulary(Protocol):
    """What :class:`Ending` needs to know of a model."""

    eos_tokens: frozenset[int]

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for."""


class Allowed:
    """The tokens that may come next.

    Attributes:
        tokens: their ids, in order.
        bias: where an engine keeps them in a form of its own.
    """

    __slots__ = ("bias", "tokens")

    def __init__(self, tokens: tuple[int, ...]) -> None:
        self.tokens = tokens
        self.bias: Any = None


class Ending:
    """Finds where a text ends, one token at a time.

    The state between tokens is the last bytes of the text, as many as a stop string could still begin in; where there
    is a constraint, its state too. So a token costs its own length, however long the text is.

    Attributes:
        start: the state before the first token.
        law: what tokens are drawn from.
        constrained: whether a constraint rules tokens out.
    """

    __slots__ = (
        "_allowed",
        "_blind",
        "_bytes",
        "_eos",
        "_guide",
        "_keep",
        "_max_tokens",
        "_pause",
        "_stops",
        "_vocabulary",
        "constrained",
        "law",
        "start",
    )

    def __init__(self, spec: TextSpec, vocabulary: Vocabulary) -> None:
        self._stops = tuple(stop.encode() for stop in spec.stop)
        self._keep = max((len(stop) for stop in self._stops), default=1) - 1
        self._max_tokens = math.inf if spec.max_tokens is None else spec.max_tokens
        self._pause = spec.pause
        self._blind = not self._stops and self._pause is None  # how the tokens read is all one
        self._vocabulary = vocabulary
        self.law = spec.law
        self.constrained = spec.constraint is not None
        self._eos = vocabulary.eos_tokens
        self._bytes: dict[int, bytes] = {}
        self._allowed: dict[tuple[State, bool], Allowed | None] = {}
        self._guide: Guide | None = None
        self.start: State = spec.before[-self._keep :] if self._keep else b""
        if spec.constraint is not None:
            self._guide = spec.constraint.guide(cast(Tokens, vocabulary))
            self.start = (self.start, self._guide.read(self._guide.start, spec.before))

    def after(self, state: State, token: int, count: int) -> tuple[State, Finish | None]:
        """The state after one more token.

        Args:
            state: the state before it.
            token: its id.
            count: the number of tokens in the text, with this one.

        Returns:
            The new state, and why the text ends here (``None`` if it goes on).
        """
        if self._guide is None:
            if self._blind and token not in self._eos:
                return b"", "length" if count >= self._max_tokens else None
            return self._plain(state, token, count)
        tail, place = state
        place = None if place is None else self._guide.after(place, token)
        tail, finish = self._plain(tail, token, count)
        return (tail, place), self._judged(place, finish)

    def through(self, state: State, tokens: Iterable[int]) -> State:
        """The state after more tokens of which it is known that none ends the text; without a constraint only."""
        if not self._keep:
            return state
        tail: bytes = state + b"".join(self._vocabulary.decode_bytes(token) for token in tokens)
        return tail[-self._keep :]

    def allowed(self, state: State, count: int) -> Allowed | None:
        """The tokens that the constraint lets come next.

        Args:
            state: the state before.
            count: the number of tokens in the text, with the next.

        Returns:
            The tokens; ``None`` for all.
        """
        if self._guide is None:
            return None
        last = count >= self._max_tokens
        if (state, last) not in self._allowed:
            self._allowed[state, last] = self._permitted(self._guide, state, count)
        return self._allowed[state, last]

    def _permitted(self, guide: Guide, state: State, count: int) -> Allowed | None:
        tail, place = state
        options = {} if place is None else guide.options(place)
        if options is None:
            return None
        judged = ((t, self._judged(after, self._plain(tail, t, count)[1])) for t, after in options.items())
        return Allowed(tuple(sorted(token for token, finish in judged if finish != "dead")))

    def _judged(self, place: State | None, finish: Finish | None) -> Finish | None:
        """Why the text ends, in the light of the constraint."""
        assert self._guide is not None
        if place is None or (finish not in (None, "pause") and not self._guide.accepts(place)):
            return "dead"
        return finish

    def _plain(self, tail: bytes, token: int, count: int) -> tuple[bytes, Finish | None]:
        """As :meth:`after`, apart from the constraint."""
        if token in self._eos:
            return b"", "eos"
        piece = b""
        if self._stops or self._pause:
            found = self._bytes.get(token)
            if found is None:
                found = self._bytes[token] = self._vocabulary.decode_bytes(token)
            piece = found
        if self._stops:
            text = tail + piece if tail else piece
            for stop in self._stops:
                if stop in text:
                    return b"", "stop"
            tail = text[-self._keep :] if self._keep else b""
        if count >= self._max_tokens:
            return tail, "length"
        paused = self._pause is not None and (self._pause == "token" or b"\n" in piece)
        return tail, "pause" if paused else None

    def of(self, tokens: Iterable[int]) -> tuple[int, Finish | None]:
        """Where a sequence first ends.

        Returns:
            The number of tokens up to and with the end, and its kind; (all tokens, ``None``) if it does not end.
        """
        state, count = self.start, 0
        for token in tokens:
            count += 1
            state, finish = self.after(state, token, count)
            if finish is not None:
                return count, finish
        return count, None

    def completes(self, tokens: Sequence[int]) -> bool:
        """Whether this is a complete text: it ends with its last token and not before."""
        count, finish = self.of(tokens)
        return finish not in (None, "dead") and count == len(tokens)
