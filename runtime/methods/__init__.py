"""The inference methods: one a file, and a row in ``ROWS``; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import Method

if TYPE_CHECKING:
    from .a_star import AStar
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

ROWS = {
    "smc": ("smc", "SMC"),
    "smc2": ("smc2", "SMC2"),
    "steering": ("steering", "Steering"),
    "look-ahead": ("look_ahead", "LookAhead"),
    "entropic": ("entropic", "Entropic"),
    "tempered": ("tempered", "Tempered"),
    "importance": ("importance", "Importance"),
    "enumerate": ("enumerate", "Enumerate"),
    "best-first": ("best_first", "BestFirst"),
    "forward": ("forward", "Forward"),
    "mh": ("mh", "MH"),
    "pgibbs": ("pgibbs", "PGibbs"),
    "pmmh": ("pmmh", "PMMH"),
    "parallel-tempering": ("tempering", "ParallelTempering"),
    "beam": ("beam", "Beam"),
    "dvts": ("beam", "DiverseTrees"),
    "a-star": ("a_star", "AStar"),
    "best-of-n": ("voting", "BestOfN"),
    "self-consistency": ("voting", "SelfConsistency"),
    "weighted-majority": ("voting", "WeightedMajority"),
    "revision": ("revision", "Revision"),
    "published": ("published", "Published"),
}
"""The name of each method of the package, the module here that it stands in, and its class."""


class Registry(MutableMapping[str, type[Method]]):
    """The methods by name: those of the package, in the order of ``ROWS``, and what was registered.

    A class without a guarantee can't be made (``Method`` sees to it), so none can stand here.
    """

    def __init__(self) -> None:
        self._methods: dict[str, type[Method] | None] = dict.fromkeys(ROWS)  # None: not imported yet

    def __getitem__(self, name: str) -> type[Method]:
        method = self._methods[name]
        if method is None:
            module, kind = ROWS[name]
            method = self._methods[name] = getattr(import_module(f".{module}", __name__), kind)
        return method

    def __setitem__(self, name: str, method: type[Method]) -> None:
        self._methods[name] = method

    def __delitem__(self, name: str) -> None:
        del self._methods[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)


METHODS = Registry()
_MODULES = {kind: module for module, kind in ROWS.values()}


def __getattr__(name: str) -> Any:
    """A method's class, imported now."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return found


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


_COUNTS = frozenset({"N", "num_particles", "n_particles", "particles", "num_samples", "n_samples", "samples", "size"})
"""What others call the number of particles."""


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
        near = get_close_matches(str(method).lower(), METHODS, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"no method {method!r}; there are {', '.join(map(repr, METHODS))}, or give a method object{meant}"
        )
    known = [f.name for f in fields(found)]
    unknown = [o for o in options if o not in known]
    if unknown:
        near = ["n"] if unknown[0] in _COUNTS and "n" in known else get_close_matches(unknown[0], known, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownOption(
            f"method={method!r} has no option {unknown[0]!r}; it has {', '.join(known)}{meant}", unknown[0]
        )
    return found(**options)


__all__ = [
    "METHODS",
    "MH",
    "PMMH",
    "ROWS",
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
    "Registry",
    "Revision",
    "SelfConsistency",
    "Steering",
    "Tempered",
    "UnknownOption",
    "WeightedMajority",
    "make_method",
    "register",
]
