"""Distributions over what a model may write next. They describe; an engine computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .coverage import missed_options, missed_texts
from .runtime.engines.base import Completion, ModelDistribution
from .runtime.engines.constraint import Both, Constraint
from .runtime.engines.requests import Choose, Ending, Generate, Generated, Score, Support, TextSpec
from .runtime.source import Key, derive, fresh_seed
from .runtime.undrawn import NoValue
from .text import Text, tokens_of

if TYPE_CHECKING:
    from .context import Context
    from .lm import LM


ANY_NUMBER = 2**31
"""A limit that no vocabulary reaches."""


class _OfContext(NoValue, ModelDistribution):
    """What is common to distributions of text after a context.

    Attributes:
        context: what the model has read before.
    """

    context: Context

    def __init__(self, context: Context) -> None:
        self.context = context
        self.engine = context.lm.engine

    @property
    def lm(self) -> LM:
        """The model."""
        return self.context.lm

    def sample(self, seed: int | None = None) -> Text:
        """Draw a value now, apart from any run.

        Args:
            seed: the same seed gives the same value; ``None`` for a new one each time.
        """
        key = derive(0, fresh_seed() if seed is None else seed, "sample")
        value: Text = self.value(self.lm.compute(self.draw(key)))
        return value

    def log_prob(self, value: str) -> float:
        """The log-probability of ``value``, computed now, apart from any run.

        Args:
            value: as for :meth:`score`.
        """
        return self.lm.compute(self.score(value)).log_prob

    def outcomes(self, limit: int = 10_000) -> list[tuple[Text, float]]:
        """Every value of positive mass with its log-probability, computed now, apart from any run.

        Args:
            limit: the most values wanted.

        Raises:
            SupportTooLarge: there are more.
        """
        found: list[tuple[Text, float]] = self.lm.compute(self.support(limit)).value
        return found

    def __copy__(self) -> _OfContext:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _OfContext:
        return self


class TextDistribution(_OfContext):
    """Text after a context; see :meth:`Context.text`. Its density is over token sequences.

    Attributes:
        context: what the model has read before.
        spec: when the text ends and how tokens are drawn.
    """

    def __init__(self, context: Context, spec: TextSpec) -> None:
        super().__init__(context)
        self.spec = spec

    def restricted(self, constraint: Constraint) -> TextDistribution:
        """The same, renormalised at each token over those with which the text may still become an allowed one.

        It is what to draw from when a condition on the text follows: ``sample(d, proposal=d.restricted(c))``. It is
        not ``d`` given that the text is allowed: renormalising token by token does not look ahead.
        """
        known = self.spec.constraint
        return TextDistribution(
            self.context, replace(self.spec, constraint=constraint if known is None else Both(known, constraint))
        )

    def likeliest(self) -> TextDistribution:
        return TextDistribution(self.context, replace(self.spec, temperature=0.0))

    @property
    def base(self) -> TextDistribution | None:
        """The same without its constraint, if it has one."""
        plain = replace(self.spec, constraint=None)
        return None if self.spec.constraint is None else TextDistribution(self.context, plain)

    def draw(self, key: Key) -> Generate:
        """The request for a text."""
        return Generate(self.context.node, self.spec, key)

    def score(self, value: str) -> Score:
        """The request for the log-probability of a text.

        A string can be written with several token sequences. A :class:`Text` of this model is scored by its own; any
        other string by the one sequence that the tokenizer gives it, and with the end-of-sequence token after it if
        it neither holds a stop string nor is ``max_tokens`` long. So a string is given as the value would read,
        with its stop string.

        Raises:
            TypeError: ``value`` is not a string.
            ValueError: ``value`` has no end and the model several end tokens; or it cannot be encoded.
        """
        if not isinstance(value, str):
            raise TypeError(f"a text distribution scores a Text or a str, not a {type(value).__name__}")
        tokens = value.tokens_for(self.lm) if isinstance(value, Text) else None
        return Score(self.context.node, self._complete(value) if tokens is None else tokens, self.spec)

    def _complete(self, value: str) -> tuple[int, ...]:
        tokens = self.lm.encode(value, after=True)  # so that they read as the value does, and no space is put before
        ends = self.lm.model.eos_tokens
        if not ends or Ending(self.spec, self.lm.model).of(tokens)[1] is not None:
            return tokens
        if len(ends) > 1:
            raise ValueError(
                f"{value!r} holds no stop string, and the model has several end tokens {sorted(ends)}; "
                "score Text(value, tokens=lm.encode(value, after=True) + (end,), lm=lm) with the one that is meant"
            )
        return (*tokens, *ends)

    def support(self, limit: int) -> Support:
        """The request for all texts of positive mass, as :class:`Text`, with their log-probabilities."""
        return Support(self.context.node, self.spec, limit, self._text)

    def beginnings(self) -> Support:
        """The request for all first tokens."""
        return Support(self.context.node, replace(self.spec, pause="token"), ANY_NUMBER)

    def begun(self, beginning: Generated) -> tuple[Text | None, ModelDistribution | None]:
        """The text, if it ends with its first token; else the texts that begin with it."""
        from .continuation import Continuation

        if self.ends(beginning):
            return self._text(beginning), None
        return None, Continuation(self, beginning.tokens)

    def ends(self, beginning: Generated) -> bool:
        """Whether a text ends with its first token, of which it is known how it goes on."""
        if beginning.finish != "pause" or self.spec.pause == "token":
            return True
        return self.spec.pause == "line" and b"\n" in self.lm.model.decode_bytes(beginning.tokens[-1])

    def value(self, completion: Completion) -> Text:
        """The text that was drawn."""
        return self.context.lm.written(completion.value)

    def as_drawn(self, value: str) -> str:
        """The text with the tokens that :meth:`score` scores, its end included."""
        if not isinstance(value, str) or (isinstance(value, Text) and value.tokens_for(self.lm) is not None):
            return value
        tokens = self._complete(value)
        return Text(str(value), tokens, Ending(self.spec, self.lm.model).of(tokens)[1], self.lm)

    def as_proposed(self, value: str) -> str:
        """A text that a proposal drew, as one of this model's.

        Raises:
            ValueError: another model wrote it, in tokens of its own: a string can have several sequences of these, and
                the proposal told the probability of one.
        """
        if not isinstance(value, Text) or value.lm is None or value.lm is self.lm or value.finish is None:
            return self.as_drawn(value)
        tokens = value.tokens_for(self.lm)
        if tokens is None:
            raise ValueError(
                f"its proposal is text of {value.lm.name!r}, whose tokens are not those of {self.lm.name!r}, so that "
                "it can't be corrected exactly: propose with a model that has the same tokenizer, or let both choose "
                "among the same strings (context.choice)"
            )
        return Text(str(value), tokens, Ending(self.spec, self.lm.model).of(tokens)[1], self.lm)

    def cuts(self, value: str, unit: str) -> Sequence[int]:
        """Where a text may be cut: before each token, or before each line."""
        from .continuation import cuts

        return cuts(self, value, unit)

    def continued(self, value: str, count: int) -> ModelDistribution:
        """Texts that begin with the first ``count`` tokens of ``value``."""
        from .continuation import Continuation

        return Continuation(self, tokens_of(value, self.lm, after=True)[:count]) if count else self

    def missed_by(self, proposals: Sequence[Any]) -> str | None:
        """What a proposal for this distribution surely never gives; ``None`` if it may give everything."""
        return missed_texts(self, proposals)

    def _text(self, generated: Generated) -> Text:
        return self.context.lm.written(generated)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextDistribution):
            return NotImplemented
        return self.context == other.context and self.spec == other.spec

    def __hash__(self) -> int:
        return hash((self.context, self.spec))

    def __repr__(self) -> str:
        spec = self.spec
        parts = [repr(self.context)]
        if spec.stop:
            parts.append(f"stop={(spec.stop[0] if len(spec.stop) == 1 else spec.stop)!r}")
        parts.append(f"max_tokens={spec.max_tokens}")
        parts += [f"{n}={v}" for n, v, d in _settings(spec) if v != d]
        return f"TextDistribution({', '.join(parts)})"


class ChoiceDistribution(_OfContext):
    """One of several given texts after a context; see :meth:`Context.choice`.

    Attributes:
        context: what the model has read before.
        options: the texts.
        temperature: their probabilities are raised to 1/temperature, then normalised.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or outside its range.
    """

    among: frozenset[int] | None = None
    """The places of the options that are left, where it is restricted."""

    def __init__(self, context: Context, options: Sequence[str], temperature: float = 1.0) -> None:
        super().__init__(context)
        if isinstance(options, str):
            raise TypeError(f"options={options!r} is one string; give a list of them")
        options = list(options)
        if not options:
            raise ValueError("options is empty: give at least one string to choose from")
        for option in options:
            if not isinstance(option, str):
                raise TypeError(f"options holds {option!r}: give strings, such as {str(option)!r}")
            if not option:
                raise ValueError("options holds an empty string, which has no tokens to weigh; leave it out")
        if len(set(options)) < len(options):
            twice = next(option for i, option in enumerate(options) if option in options[:i])
            raise ValueError(f"options holds {str(twice)!r} twice; give each once")
        TextSpec(temperature=temperature)  # the same range, and the same words about it
        lm = context.lm
        after = context.node.parent is not None
        self.options = tuple(Text(str(option), tokens_of(option, lm, after), None, lm) for option in options)
        for text in self.options:
            if not text.tokens:
                raise ValueError(
                    f"options holds {str(text)!r}, which the tokenizer gives no tokens to weigh; leave it out"
                )
        self.temperature = temperature
        self._index = {str(option): i for i, option in enumerate(self.options)}

    def restricted(self, among: Iterable[int]) -> ChoiceDistribution:
        """The same, renormalised over the options with these places in ``options``."""
        new = ChoiceDistribution.__new__(ChoiceDistribution)
        new.__dict__.update(self.__dict__, among=frozenset(among))
        return new

    def likeliest(self) -> ChoiceDistribution:
        new = ChoiceDistribution.__new__(ChoiceDistribution)
        new.__dict__.update(self.__dict__, temperature=0.0)
        return new

    @property
    def base(self) -> ChoiceDistribution | None:
        """The same with all its options, if it is restricted."""
        if self.among is None:
            return None
        new = ChoiceDistribution.__new__(ChoiceDistribution)
        new.__dict__.update(self.__dict__, among=None)
        return new

    def draw(self, key: Key) -> Choose:
        """The request for an option."""
        return self._request(key=key)

    def score(self, value: str) -> Choose:
        """The request for the log-probability of a string; ``-inf`` if it is none of the options.

        Raises:
            TypeError: ``value`` is not a string.
        """
        if not isinstance(value, str):
            raise TypeError(f"a choice scores one of its options, a str, not a {type(value).__name__}")
        index = self._index.get(str(value), -1)
        if index < 0:
            near = next((option for option in self.options if option.strip() == value.strip()), None)
            if near is not None:
                raise ValueError(f"{str(value)!r} is none of the options; did you mean {str(near)!r}?")
        return self._request(index=index)

    def support(self, limit: int) -> Choose:
        """The request for all options of positive mass, as :class:`Text`, with their log-probabilities."""
        return self._request(limit=limit)

    def value(self, completion: Completion) -> Text:
        """The option that was drawn."""
        return self.options[completion.value]

    def as_drawn(self, value: str) -> str:
        """The option that reads like ``value``."""
        index = self._index.get(str(value), -1) if isinstance(value, str) else -1
        return value if index < 0 else self.options[index]

    def missed_by(self, proposals: Sequence[Any]) -> str | None:
        """What a proposal for this distribution surely never gives; ``None`` if it may give everything."""
        return missed_options(self, proposals)

    def _request(self, key: Key | None = None, index: int | None = None, limit: int | None = None) -> Choose:
        tokens = tuple(option.tokens for option in self.options)
        return Choose(
            self.context.node, tokens, key, index, self.temperature, self.options.__getitem__, limit, self.among
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChoiceDistribution):
            return NotImplemented
        return self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.context, self.options, self.temperature, self.among

    def __repr__(self) -> str:
        shown = [str(option) for option in self.options]
        listed = repr(shown) if len(shown) <= 6 else f"[{', '.join(map(repr, shown[:5]))}, … {len(shown)} options]"
        heat = "" if self.temperature == 1.0 else f", temperature={self.temperature}"
        return f"ChoiceDistribution({self.context!r}, {listed}{heat})"


def _settings(spec: TextSpec) -> list[tuple[str, Any, Any]]:
    """Name, value and default of what need not be shown."""
    return [
        ("temperature", spec.temperature, 1.0),
        ("top_p", spec.top_p, 1.0),
        ("top_k", spec.top_k, None),
        ("constraint", spec.constraint, None),
        ("before", spec.before, b""),
        ("pause", spec.pause, None),
    ]
