"""What a pass is: a rewrite of the IR that says what it preserves, when it is valid, and what it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, ClassVar, Literal

from .. import ir
from ..errors import Span
from ..facts import Facts


class Level(IntEnum):
    """What a pass preserves, the strongest promise first."""

    TRACE = 0
    """The same addresses and values, in the same order."""
    JOINT = 1
    """The same unnormalised measure over traces; the order in which choices are made may differ."""
    MARGINAL = 2
    """The same measure over the return value and the kept addresses; other addresses may be gone."""
    PROPER = 3
    """The same in expectation of the weight: values may be drawn from another distribution."""


@dataclass(frozen=True)
class Remark:
    """Something that a pass did, or could not do.

    Attributes:
        kind: ``applied`` or ``missed``.
        pass_name: which pass.
        span: the place in the user's source.
        reason: what it did, or why it could not, in words that end without a full stop.
    """

    kind: Literal["applied", "missed"]
    pass_name: str
    span: Span
    reason: str

    def __str__(self) -> str:
        word = "" if self.kind == "applied" else "not done: "
        return f"line {self.span.line}: {word}{self.reason}"


@dataclass(frozen=True)
class Info:
    """What a pass knows of the program besides its IR.

    Attributes:
        facts: what the program's Python means.
        keep: names of the sites that users ask for, and so must stay (see ``Pipeline.keep``).
    """

    facts: Facts
    keep: frozenset[str] = frozenset()

    def keeps(self, effect: ir.Effect) -> bool:
        """Whether users may ask for this site. A name that is computed may be any."""
        return effect.site.name in self.keep or (effect.site.dynamic and bool(self.keep)) or "*" in self.keep


Condition = Callable[..., "str | None"]
"""A side-condition: ``None`` where it holds, else the reason why not, as a remark says it. Its name and docstring are
shown to users. A pass hands all of its conditions the same arguments."""


@dataclass(frozen=True)
class Pass(ABC):
    """A pass: a frozen dataclass whose fields are its options.

    Attributes:
        name: what ``passes=[...]`` calls it.
        level: what it preserves.
        default: whether it runs where nothing else is asked for. A pass that may drop addresses must not.
        conditions: when a rewrite is valid; all have to hold.
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    default: ClassVar[bool] = False

    conditions: tuple[Condition, ...] = ()

    @abstractmethod
    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        """Rewrite a program.

        Args:
            program: verified IR.
            info: facts about this very IR.

        Returns:
            The new program (``program`` itself if nothing was done), and what was done and what not.
        """

    def pieces(self, before: ir.Program, after: ir.Program) -> frozenset[tuple[str, int]]:
        """The address map: which sites' values are made of pieces after the pass, ``x`` of ``x[0]``, ``x[1]``, …

        Args:
            before, after: the program on both sides of the pass.

        Returns:
            The sites as they were before, each by its name and the number of loops around it.
        """
        return frozenset()

    def bought(self, before: ir.Program, after: ir.Program) -> list[str]:
        """What the pass bought besides fewer draws, fewer round trips and evidence that is weighed sooner.

        Args:
            before, after: the program on both sides of the pass.

        Returns:
            What ``prog.explain()`` is to say, each in a few words.
        """
        return []

    def failing(self, *args: Any) -> str | None:
        """The reason why a rewrite is not valid, or ``None`` if it is."""
        for condition in self.conditions:
            reason = condition(*args)
            if reason is not None:
                return reason
        return None

    def without(self, *names: str) -> Pass:
        """The pass with side-conditions left out: wrong on purpose, for tests that must notice.

        Raises:
            ValueError: it has no such condition.
        """
        known = [condition.__name__ for condition in self.conditions]
        for name in names:
            if name not in known:
                raise ValueError(f"{self.name} has no condition {name!r}; it has {', '.join(known)}")
        return replace(self, conditions=tuple(c for c in self.conditions if c.__name__ not in names))

    def applied(self, span: Span, reason: str) -> Remark:
        """A remark that something was done."""
        return Remark("applied", self.name, span, reason)

    def missed(self, span: Span, reason: str) -> Remark:
        """A remark that something could not be done."""
        return Remark("missed", self.name, span, reason)

    def __init_subclass__(cls) -> None:
        """A pass says what it is called and what it preserves.

        Raises:
            TypeError: it does not, or it would run by default and drop addresses.
        """
        super().__init_subclass__()
        if not isinstance(getattr(cls, "name", None), str) or not isinstance(getattr(cls, "level", None), Level):
            raise TypeError(f"{cls.__name__} must say name = '...' and level = Level.JOINT (or another)")
        if cls.default and cls.level > Level.JOINT:
            raise TypeError(
                f"{cls.__name__} keeps {cls.level.name}, and only passes that keep JOINT or better run by default: "
                "users may ask for any address"
            )


def several(number: int, what: str) -> str:
    """``1 draw``, ``2 draws``; of ``draw or call`` both words get their plural."""
    return f"{number} {what if number == 1 else ' or '.join(f'{word}s' for word in what.split(' or '))}"


@dataclass(frozen=True)
class Step:
    """What one pass of a pipeline did.

    Attributes:
        pass_: the pass.
        before, after: the IR on both sides of it.
        remarks: what it did and what not.
    """

    pass_: Pass
    before: ir.Program
    after: ir.Program
    remarks: tuple[Remark, ...] = field(default=())
