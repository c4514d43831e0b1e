"""The engine interface: submit requests, step, collect what finished.

An engine owns no randomness and no particles. Requests carry a ``key``; draws are a function of it, so a result
does not depend on which other requests shared its batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..source import Key, Source
from ..undrawn import Undrawn
from .model import Usage


@dataclass(eq=False, slots=True)
class Request:
    """A piece of work for an engine; subclasses say what. Identity is equality: each is answered once."""


@dataclass(slots=True)
class Completion:
    """A finished request.

    Attributes:
        request: the very object that was submitted.
        value: what the request asked for.
        log_prob: log-probability of ``value`` under the distribution asked about, where there is one;
            NaN for a draw of an engine that can't tell.
        tokens: model tokens generated or scored for it.
        log_base: log-probability of ``value`` under the same distribution without its restriction, if it has one and
            the engine saw both.
    """

    request: Request
    value: Any
    log_prob: float = 0.0
    tokens: int = 0
    log_base: float | None = None


class Engine(ABC):
    """Computes requests in batches of its own making."""

    __ppl_immutable__ = True  # shared by all particles

    name = ""
    """What people call its model; the cost of a run is told by it."""

    elsewhere = False
    """Whether its work is done outside of this process, so that a :meth:`step` only takes what was answered."""

    constrains = False
    """Whether it can draw text under a constraint (``TextSpec.constraint``)."""

    @abstractmethod
    def submit(self, request: Request, source: Source) -> None:
        """Take a request; its draws, if any, come from ``source``."""

    @abstractmethod
    def step(self) -> list[Completion]:
        """Do one batch of work; return what finished, in an order that depends only on the requests."""

    def start(self) -> None:  # noqa: B027 - most have nothing to begin
        """Begin what goes on by itself, such as requests to a server, without waiting for it."""

    @property
    def waiting(self) -> bool:
        """Whether :meth:`step` would only wait for something outside of this process."""
        return False

    def on_answer(self, ring: Callable[[], object]) -> None:  # noqa: B027 - most never wait
        """Let ``ring`` be called, from any thread, whenever :attr:`waiting` may have become false."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """How many requests are not finished yet."""

    @property
    def usage(self) -> Usage:
        """What this engine has computed so far."""
        return Usage()

    def session(self) -> Engine:
        """Where one run of inference sends its requests: an engine over the same model that owes nothing to others.

        So an inference inside a program, or in another thread, answers and cancels its own requests alone.
        """
        return self

    @abstractmethod
    def cancel(self) -> None:
        """Drop everything pending (a run was interrupted)."""


class ModelDistribution(Undrawn, ABC):
    """A distribution whose draws and densities are computed by an engine, so that they can share batches.

    Local distributions (torch, pyro, ``ppl.dist``) answer at once; these answer with a request.
    """

    engine: Engine

    @property
    def base(self) -> ModelDistribution | None:
        """What this distribution restricts; the completion of its draws has ``log_base`` under that."""
        return None

    def cuts(self, value: Any, unit: str) -> Sequence[int]:
        """Where a value may be cut, to keep what is before and draw what is after anew.

        Args:
            value: one of this distribution's.
            unit: ``token`` or ``line``.

        Returns:
            Numbers of leading tokens; 0 comes first and stands for the whole value.
        """
        return (0,)

    def continued(self, value: Any, count: int) -> ModelDistribution:
        """This distribution given the first ``count`` tokens of a value, at one of its :meth:`cuts`.

        Raises:
            ValueError: it has no such values.
        """
        if count:
            raise ValueError(f"{type(self).__name__} can't be continued after {count} tokens")
        return self

    def likeliest(self) -> ModelDistribution:
        """All mass on the most probable value; for text, on the most probable token each time.

        Raises:
            NotImplementedError: it is not known which that is.
        """
        raise NotImplementedError

    @abstractmethod
    def draw(self, key: Key) -> Request:
        """The request whose completion carries a value drawn from this distribution and its log-probability."""

    @abstractmethod
    def score(self, value: Any) -> Request:
        """The request whose completion carries ``log p(value)``.

        Raises:
            TypeError, ValueError: the value could not be one of this distribution's.
        """

    @abstractmethod
    def support(self, limit: int) -> Request:
        """The request whose completion's value is every outcome of positive mass with its log-probability.

        Args:
            limit: the most outcomes wanted; the engine raises ``SupportTooLarge`` past it.
        """

    def beginnings(self) -> Request | None:
        """The request whose completion's value is every way in which a value may begin, with its log-probability.

        Of values that are not made piece by piece there is none.
        """
        return None

    def begun(self, beginning: Any) -> tuple[Any, ModelDistribution | None]:
        """What one of the :meth:`beginnings` comes to.

        Returns:
            The value, if that is all of it; else the distribution over the whole values that begin so.
        """
        raise NotImplementedError

    def value(self, completion: Completion) -> Any:
        """What the program sees as the drawn value of a completed :meth:`draw`."""
        return completion.value

    def as_drawn(self, value: Any) -> Any:
        """A value from outside as the program would see it, had it been drawn.

        Raises:
            ValueError: as for :meth:`score`.
        """
        return value

    def as_proposed(self, value: Any) -> Any:
        """As :meth:`as_drawn`, for a value that a proposal drew and weighed.

        Raises:
            ValueError: what the proposal weighed is not what this distribution would.
        """
        return self.as_drawn(value)


class RequestError(ValueError):
    """A request has no answer.

    Attributes:
        request: which one.
    """

    def __init__(self, message: str, request: Request) -> None:
        super().__init__(message)
        self.request = request


class SupportTooLarge(RequestError):
    """A distribution has more outcomes than were allowed for."""
