"""Runs that survive: a task whose answers are written down, and which goes on from them after its process has died.

Everything that is drawn is a function of (seed, particle, address), so a run is a function of the answers that engines
and batched functions gave it, and of the order in which they came. That is what is written: for each time the task
went on, which of its requests were answered, and how. A run that is begun again is handed the same answers at the same
points, computes nothing that was computed before, and so arrives where the dead one was, with values of any Python
type, none of which was ever written to a file. (Suspended particles themselves hold code, models and whatever the
program made; they could be stored only by a pickle, which one must trust.)

A request is known by its number in the order of asking. Beside that stands a digest of what was asked, so a program
that does not repeat itself is told so, and never handed the answer to another question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from dataclasses import fields
from hashlib import blake2b
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from .budget import Control
from .engines.base import Completion, Request
from .engines.beginnings import Beginnings
from .engines.prefix import Prefix
from .engines.requests import Choose, Generate, Generated, Score, Support, TextSpec
from .errors import ProgramError
from .journal import Journal
from .machine import CallRequest, Wait
from .plain import NotPlain, decode, encode
from .scheduler import Answered, Task

T = TypeVar("T")

_MASK = (1 << 64) - 1
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_AGAIN = None
"""Stands in a journal for an answer that is no plain data: the request is made again."""


def recorded(task: Task[T], journal: Journal, control: Control) -> Task[T]:
    """A task that first goes as far as its journal tells, and then writes its journal.

    Args:
        task: what to run; not begun.
        journal: of the same task, from an earlier attempt; or an empty one.
        control: of the task, whose time begins where the journal ends.

    Returns:
        What the task returns.

    Raises:
        ProgramError: the task asks for something else than it did when the journal was written.
    """
    asked = _Asked()
    try:
        records = iter(journal.read())
        record = next(records, None)
        if record is not None:
            control.rest()
        asked.add(_going_on(task, None))
        while record is not None:
            answered = yield from _repeated(asked, record)
            record = next(records, None)
            if record is None:
                control.begin()
            asked.add(_going_on(task, answered))
        waits = asked.open()
        while True:
            answered = yield waits
            journal.append(asked.record(answered))
            waits = asked.add(_going_on(task, answered))
    except _Finished as end:
        found: T = end.value
        return found
    finally:
        task.close()
        journal.close()


class _Finished(Exception):
    """A task has returned ``value``."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _going_on(task: Task[Any], answered: Answered | None) -> list[Wait]:
    """What a task asks for next."""
    try:
        return next(task) if answered is None else task.send(answered)
    except StopIteration as end:
        raise _Finished(end.value) from None


def _repeated(asked: _Asked, record: list[Any]) -> Generator[list[Wait], Answered, Answered]:
    """The answers that a record holds, in its order; those that could not be written are asked for again."""
    found: list[tuple[Wait, Completion | None]] = [asked.take(*entry) for entry in record]
    waits = [wait for wait, completion in found if completion is None]
    again: dict[int, Completion] = {}
    while len(again) < sum(completion is None for _, completion in found):
        answered = yield waits
        waits = []
        again.update((id(wait.request), completion) for wait, completion in answered)
    return [(wait, again[id(wait.request)] if known is None else known) for wait, known in found]


class _Asked:
    """The requests of a task that are not answered yet, by their numbers."""

    def __init__(self) -> None:
        self._count = 0
        self._waits: dict[int, Wait] = {}
        self._numbers: dict[int, int] = {}
        self._digests = Digests()

    def add(self, waits: list[Wait]) -> list[Wait]:
        """Number some requests, in the order of asking; they themselves."""
        for wait in waits:
            self._waits[self._count] = wait
            self._numbers[id(wait.request)] = self._count
            self._count += 1
            _listen(wait.request)
        return waits

    def open(self) -> list[Wait]:
        """All that are not answered."""
        return list(self._waits.values())

    def record(self, answered: Answered) -> list[Any]:
        """What to write of some answers: number, digest and answer of each."""
        found = []
        for wait, completion in answered:
            number = self._numbers.pop(id(wait.request))
            del self._waits[number]
            found.append([number, self._digests.of(wait.request), written(completion)])
        return found

    def take(self, number: int, digest: str, answer: Any) -> tuple[Wait, Completion | None]:
        """A request and the answer that was written for it; ``None`` if it is to be asked for again.

        Raises:
            ProgramError: another request has this number now.
        """
        wait = self._waits.pop(number, None)
        if wait is None or self._digests.of(wait.request) != digest:
            raise _other(wait, number)
        del self._numbers[id(wait.request)]
        return wait, None if answer is _AGAIN else read(wait.request, answer)


def _other(wait: Wait | None, number: int) -> ProgramError:
    ask = None if wait is None else wait.ask or wait.particle.ask
    what = "the run has ended or waits" if ask is None else f"{ask.site.kind} {ask.local_address!r} asks"
    return ProgramError(
        f"the checkpoint does not fit the run: {what} for something else at request {number} than when it was "
        "recorded. Between its effects a program must do the same each time: look for clocks, files, global random "
        "numbers, and sets of strings, whose order changes from process to process. With another checkpoint= folder "
        "the run begins anew",
        None if ask is None else ask.site.span,
    )


# --- answers --------------------------------------------------------------------------------------------------------


class _Heard:
    """Notes what a request's ``outcome`` is called with: that is data, and what it makes of it is not."""

    def __init__(self, outcome: Callable[[Any], Any] | None) -> None:
        self.outcome = outcome
        self.arguments: list[Any] = []

    def __call__(self, argument: Any) -> Any:
        self.arguments.append(argument)
        return argument if self.outcome is None else self.outcome(argument)


def _listen(request: Request) -> None:
    if isinstance(request, Choose | Support):
        request.outcome = _Heard(request.outcome)


def written(completion: Completion) -> Any:
    """An answer as JSON; ``None`` if it is no plain data."""
    found: dict[str, Any] = {}
    if not isinstance(completion.request, Score):  # whose value is the request's own
        try:
            found["v"] = _value(completion.request, completion.value)
        except NotPlain:
            return _AGAIN
    if completion.log_prob != 0.0:
        found["p"] = encode(completion.log_prob)
    if completion.tokens != _usual(completion.value):
        found["n"] = completion.tokens
    if completion.log_base is not None:
        found["b"] = encode(completion.log_base)
    return found


def _value(request: Request, value: Any) -> Any:
    if isinstance(value, Beginnings):
        value = list(value)
    match request:
        case Generate():
            return _outcome(value)
        case Choose(outcome=_Heard() as heard) | Support(outcome=_Heard() as heard) if isinstance(value, list):
            if len(heard.arguments) != len(value):
                raise NotPlain("the outcomes were not made one by one")
            laws = zip(heard.arguments, value, strict=True)
            return [[_outcome(argument), encode(log_prob)] for argument, (_, log_prob) in laws]
    return encode(value)


def read(request: Request, answer: dict[str, Any]) -> Completion:
    """The answer to a request that :func:`written` wrote."""
    value = answer.get("v")
    match request:
        case Generate():
            value = _generated(value)
        case Score():
            value = request.tokens
        case Choose(outcome=_Heard() as heard) | Support(outcome=_Heard() as heard) if isinstance(value, list):
            laws = [(_generated(a) if isinstance(a, list) else a, decode(log_prob)) for a, log_prob in value]
            value = [(heard(argument), log_prob) for argument, log_prob in laws]
        case _:
            value = decode(value)
    base = decode(answer["b"]) if "b" in answer else None
    return Completion(request, value, float(decode(answer.get("p", 0.0))), answer.get("n", _usual(value)), base)


def _usual(value: Any) -> int:
    """How many tokens an answer usually costs, which need not be written."""
    return len(value.tokens) if isinstance(value, Generated) else 0


def _outcome(value: Any) -> Any:
    return [value.finish, *value.tokens] if isinstance(value, Generated) else value


def _generated(value: Any) -> Generated:
    finish, *tokens = value
    return Generated(tuple(tokens), finish)


# --- digests --------------------------------------------------------------------------------------------------------


class Digests:
    """What was asked, in eight hexadecimal digits: the context, the distribution and the key."""

    def __init__(self) -> None:
        self._paths: WeakKeyDictionary[Prefix, int] = WeakKeyDictionary()
        self._specs: dict[TextSpec, str] = {}

    def of(self, request: Request) -> str:
        """The digest of a request."""
        parts = [type(request).__name__]
        if isinstance(request, CallRequest):
            parts += [getattr(request.function, "__name__", ""), *map(_shown, request.args)]
        else:
            parts += [self._part(getattr(request, field.name)) for field in fields(request)]
        return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()

    def _part(self, value: Any) -> str:
        if isinstance(value, Prefix):
            return str(self._path(value))
        if isinstance(value, TextSpec):
            known = self._specs.get(value)
            if known is None:
                known = self._specs[value] = _ADDRESS.sub("", repr(value))
            return known
        if isinstance(value, frozenset):
            return repr(sorted(value))
        return "" if callable(value) else repr(value)

    def _path(self, node: Prefix) -> int:
        """A digest of the tokens up to a node. That of a node that was asked about is kept: others grow from it."""
        new: list[int] = []
        at: Prefix | None = node
        known = None
        while at is not None and (known := self._paths.get(at)) is None:
            new.append(at.token)
            at = at.parent
        value = known or 0
        for token in reversed(new):
            value = ((value ^ (token + 2)) * 0x9E3779B97F4A7C15 + (value >> 29)) & _MASK
        self._paths[node] = value
        return value


def _shown(argument: Any) -> str:
    """An argument of a batched function: its content if it is data, else its type."""
    try:
        return json.dumps(encode(str.__str__(argument) if isinstance(argument, str) else argument))
    except NotPlain:
        return type(argument).__qualname__
