"""The inference methods: one a file, and a row here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .a_star import AStar
from .base import Method
from .beam import Beam, DiverseTrees
from .best_first import BestFirst
from .entropic import Entropic
from .enumerate import Enumerate
from .forward import Forward
from .importance import Importance
from .look_ahead import LookAhead
from .mh import MH
from .pgibbs import PGibbs
from .pmmh import PMMH
from .published import Published
from .revision import Revision
from .smc import SMC
from .smc2 import SMC2
from .steering import Steering
from .tempered import Tempered
from .tempering import ParallelTempering
from .voting import BestOfN, SelfConsistency, WeightedMajority

_SMC = (SMC, SMC2, Steering, LookAhead, Entropic, Tempered)
_RUNS = (Importance, Enumerate, BestFirst, Forward)
_CHAINS = (MH, PGibbs, PMMH, ParallelTempering)
_SEARCHES = (Beam, DiverseTrees, AStar, BestOfN, SelfConsistency, WeightedMajority, Revision, Published)

METHODS: dict[str, type[Method]] = {method.name: method for method in (*_SMC, *_RUNS, *_CHAINS, *_SEARCHES)}


def register(method: type[Method]) -> type[Method]:
    """Make a method known by its name to ``infer`` and to the table of laws (a decorator).

    A class that is defined again, as when a notebook's cell is run twice, takes its own place.

    Raises:
        ValueError: the name is taken by another.
    """
    known = METHODS.get(method.name, method)
    if (known.__module__, known.__qualname__) != (method.__module__, method.__qualname__):
        raise ValueError(f"there is a method called {method.name!r} already: {known.__name__}")
    METHODS[method.name] = method
    return method


class UnknownOption(ValueError):
    """A method was given an option that it does not have.

    Attributes:
        option: its name.
    """

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


def make_method(method: str | Method, options: dict[str, Any]) -> Method:
    """The method that a user named, with its options.

    Raises:
        ValueError: there is no such method, or it has no such option.
    """
    if isinstance(method, Method):
        if options:
            raise ValueError(
                f"options go into the method object: write method={type(method).__name__}"
                f"({', '.join(f'{k}={v!r}' for k, v in options.items())})"
            )
        return method
    if isinstance(method, type) and issubclass(method, Method):
        raise ValueError(f"method= takes an object, not the class: write {method.__name__}(...)")
    found = METHODS.get(method) if isinstance(method, str) else None
    if found is None:
        raise ValueError(f"no method {method!r}; there are {', '.join(map(repr, METHODS))}, or give a method object")
    known = [f.name for f in fields(found)]
    unknown = [o for o in options if o not in known]
    if unknown:
        raise UnknownOption(f"method={method!r} has no option {unknown[0]!r}; it has {', '.join(known)}", unknown[0])
    return found(**options)


__all__ = [
    "METHODS",
    "MH",
    "PMMH",
    "SMC",
    "SMC2",
    "AStar",
    "Beam",
    "BestFirst",
    "BestOfN",
    "DiverseTrees",
    "Entropic",
    "Enumerate",
    "Forward",
    "Importance",
    "LookAhead",
    "Method",
    "PGibbs",
    "ParallelTempering",
    "Published",
    "Revision",
    "SelfConsistency",
    "Steering",
    "Tempered",
    "UnknownOption",
    "WeightedMajority",
    "make_method",
    "register",
]
