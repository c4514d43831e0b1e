"""Posteriors in a checkpoint: as JSON from which they come back exactly, so that what is finished is not run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .compiler.errors import Span
from .compiler.requests import Site
from .lm import LM
from .posterior import Posterior
from .runtime.engines.model import Usage
from .runtime.plain import NotPlain, decode, encode
from .runtime.result import Choice, Cost, Death, Generation, Result, Run
from .text import Text

_KINDS = {kind.__name__: kind for kind in (Choice, Cost, Death, Generation, Result, Run, Site, Span, Usage)}
"""What a result is made of, besides the program's own values."""


def written(posterior: Posterior, lms: Sequence[LM]) -> Any:
    """A posterior as JSON; ``None`` if it holds values that are more than data.

    Args:
        posterior: what is finished.
        lms: the models that its texts may be of.
    """

    def special(value: Any) -> tuple[str, Any] | None:
        if type(value) is Text:
            place = next((i for i, lm in enumerate(lms) if lm is value.lm), None)
            if place is None and value.lm is not None:
                return None
            return "Text", (str(value), value.tokens, value.finish, place)
        kind = type(value)
        if _KINDS.get(kind.__name__) is not kind:
            return None
        if isinstance(value, Choice):
            return kind.__name__, value._asdict()
        return kind.__name__, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}

    result = dataclasses.replace(posterior.result, runs=list(posterior.result.runs))
    try:
        return encode(result, special)
    except (NotPlain, RecursionError):
        return None


def read(content: Any, lms: Sequence[LM]) -> Posterior:
    """The posterior that :func:`written` wrote.

    Args:
        content: what it wrote.
        lms: as when it was written.

    Raises:
        ValueError, TypeError, LookupError: it wrote no such thing.
    """

    def text(parts: tuple[str, tuple[int, ...], Any, int | None]) -> Text:
        value, tokens, finish, place = parts
        return Text(value, tokens, finish, None if place is None else lms[place])

    def maker(kind: Any) -> Any:
        return lambda members: kind(**members)

    result = decode(content, {"Text": text, **{name: maker(kind) for name, kind in _KINDS.items()}})
    if not isinstance(result, Result):
        raise ValueError("it is no result")
    return Posterior(result)
