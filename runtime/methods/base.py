"""What an inference method is: a guarantee, and a way to run."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from inspect import cleandoc
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, TypeGuard

from ...compiler.requests import Site
from ..population import Population, World
from ..result import GUARANTEES, Guarantee
from ..scheduler import Task


@dataclass(frozen=True)
class Method(ABC):
    """A recipe for a weighted population, as a frozen dataclass whose fields are its options.

    Attributes:
        name: what ``infer(method=...)`` calls it.
        guarantee: the law it obeys: ``proper`` (E[Ẑ f] = μ(f)), ``stationary``, ``exact`` or ``heuristic``.
        evidence: whether its population estimates the evidence.
        least: the fewest particles that it works with.
        law_variants: options with which the table of laws checks it; where they do not say ``n``, at several numbers of
            particles.
        memoryless: after each ``advance`` and each ``resample``, what it does is a function of the population, and of
            which of the two it was, alone; nothing that it computed before counts, and the population's log_scale
            does no more than multiply the result. The exact check may then merge populations that are the same. A
            class says so for itself: a subclass that says nothing is taken to remember things.
        averages: its estimate of the evidence is at most the product, over steps, of the largest factor by which a step
            weighs a run, as where weights are averaged and handed on. By this the statistical check tells an estimate
            that is too small from one that is rarely very large.
    """

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    evidence: ClassVar[bool] = True
    least: ClassVar[int] = 1
    law_variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    memoryless: ClassVar[bool] = False
    averages: ClassVar[bool] = True

    def describe(self) -> str:
        """The method as one would write it: its first option, and those that differ from their defaults."""
        shown = []
        for i, f in enumerate(fields(self)):
            value = getattr(self, f.name)
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if i == 0 or value != default:
                shown.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def by_traces(self) -> bool:
        """Whether its law is of the program's measure over traces, evidence and choices apart, and not only of what
        comes of it: where evidence is left out, or choices count by another power. The compiler's passes that keep
        less are then left out, since they may make evidence part of a choice, or sum a choice out. (Searches promise
        nothing, and may rank runs in another way under such passes.)"""
        return False

    @property
    def remedy(self) -> str | None:
        """What to try where no particle has survived, in words for users; ``None`` where nothing is known to help."""
        n = getattr(self, "n", None)
        return None if n is None else f"more particles (n={4 * n})"

    def check(self, sites: Sequence[Site]) -> None:  # noqa: B027 - most methods take any program
        """Refuse options that make no sense for a program with these sites.

        Raises:
            ValueError: saying what to write instead.
        """

    def __init_subclass__(cls) -> None:
        """A method without a name and a guarantee is none.

        Raises:
            TypeError: one is missing.
        """
        super().__init_subclass__()
        cls.__doc__ = _with_inherited_options(cls)
        cls.memoryless = vars(cls).get("memoryless", False)
        if "__repr__" not in vars(cls):
            cls.__repr__ = Method.describe  # type: ignore[assignment]  # dataclasses would spell out all defaults
        if not isinstance(getattr(cls, "name", None), str) or getattr(cls, "guarantee", None) not in GUARANTEES:
            raise TypeError(
                f"{cls.__name__} must say what it is called and what it promises: name = '...' and guarantee = one of "
                f"{', '.join(map(repr, GUARANTEES))}"
            )

    @abstractmethod
    def run(self, world: World) -> Task[Population]:
        """A task that ends with a finished population."""


def _with_inherited_options(method: type[Method]) -> str | None:
    """A method's docstring, with what others say of the options that it has from them."""
    if not method.__doc__:
        return method.__doc__
    own = cleandoc(method.__doc__)
    said = set(_options(own))
    more: list[str] = []
    for base in method.__mro__[1:]:
        if base is not Method and issubclass(base, Method) and base.__doc__:
            more += [text for name, text in _options(cleandoc(base.__doc__)).items() if name not in said]
            said.update(_options(cleandoc(base.__doc__)))
    if not more:
        return method.__doc__
    before, heading, after = own.partition("Attributes:\n")
    block, gap, rest = after.partition("\n\n")
    start = f"{before}{heading}{block}" if heading else f"{own}\n\nAttributes:"
    return "\n".join((start, *more)) + gap + rest


def _options(docstring: str) -> dict[str, str]:
    """What a docstring says of each option, by its name."""
    block = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.split(r"\n(?=    \w)", block)
    return {entry.strip().partition(":")[0]: entry for entry in entries if entry.strip()}


def at_least_one(n: int) -> None:
    """Raises:
    ValueError: ``n`` is no positive number of particles.
    """
    whole("n", n, "the number of particles")


def whole(option: str, value: object, meaning: str, least: int = 1) -> None:
    """Raises:
    ValueError: ``value`` is no whole number from ``least`` on.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{option} is {meaning}, a whole number of {least} or more; got {value!r}")
    if value < least:
        raise ValueError(f"{option} is {meaning}, {least} or more; got {value!r}")


def share(option: str, value: object) -> None:
    """Raises:
    ValueError: ``value`` is no share of n, from 0 to 1.
    """
    if not number(value) or not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"{option} is a fraction of n, from 0 to 1; got {value!r}")


def number(value: object) -> TypeGuard[float]:
    """Whether a value is a number: NaN is none, and neither is a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(float(value))


def patterns(option: str, value: object, of: str) -> None:
    """Raises:
    ValueError: ``value`` is no pattern, and no sequence of patterns.
    """
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence) or not all(isinstance(pattern, str) for pattern in several):
        raise ValueError(f"{option} is a name or pattern of {of}, or several; got {value!r}")


def rising(betas: object, least: int) -> bool:
    """Whether these are degrees of evidence: at least so many numbers that rise from over 0 to 1."""
    if not isinstance(betas, Sequence) or len(betas) < least or not all(isinstance(beta, Real) for beta in betas):
        return False
    return all(a < b for a, b in pairwise((0.0, *betas))) and betas[-1] == 1.0


def one_of(option: str, value: object, known: Iterable[str]) -> None:
    """Raises:
    ValueError: ``value`` is none of the known ones.
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{option} is one of {', '.join(known)}; got {value!r}")
