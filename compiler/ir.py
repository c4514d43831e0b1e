"""The intermediate representation: structured regions of SSA nodes.

A program is a region; a region is a list of nodes and a terminator. Nodes name the values they use and define, and
are never changed after they are built. Variables that a loop or a branch changes are explicit: as parameters of its
regions and as its results. Two kinds of node do work:

- ``Py``: Python that has no effect on the measure. It stays Python, with its variables bound to values.
- ``Effect``: ``sample``, ``observe``, ... and calls of other programs. Execution is cut here and only here. Passes
  may put several of them together: ``Gather`` and ``Each``.

The order of a region's nodes is an order in which they may run. What *must* come before what is derived from the
operands, the heap and the effects: see ``graph.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from .errors import Span
from .requests import Site


class Value:
    """A single-assignment value. Identity is equality.

    Attributes:
        name: the source variable that it is a version of, or a temporary's name.
        maybe_unbound: some path reaches it with the variable unbound, as Python allows.
    """

    __slots__ = ("maybe_unbound", "name")

    def __init__(self, name: str, maybe_unbound: bool = False) -> None:
        self.name = name
        self.maybe_unbound = maybe_unbound

    def __repr__(self) -> str:
        return f"%{self.name}"


UNDEFINED = Value("undefined", maybe_unbound=True)
"""The value of a variable on paths that have not assigned it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """What all nodes have in common.

    Attributes:
        span: where it stands, or where the user wrote what it was made from.
        provenance: the passes that made or moved it, in their order.
    """

    span: Span
    provenance: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[Value, ...]:
        """The values this node reads itself (those that only its regions read are not among them)."""
        return ()

    @property
    def defines(self) -> tuple[Value, ...]:
        """The values that exist after this node."""
        return ()

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions inside this node."""
        return ()


@dataclass(frozen=True, eq=False)
class Region:
    """A list of nodes with one entry and one terminator.

    Attributes:
        params: the values that whoever enters the region provides.
        nodes: the nodes, in an order in which they may run.
        end: the terminator: ``Yield``, ``Break``, ``Continue`` or ``Return``.
    """

    params: tuple[Value, ...]
    nodes: tuple[Node, ...]
    end: Terminator


# --- nodes that do work ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Py(Node):
    """A Python statement without effects on the measure.

    Attributes:
        code: the statement; its names are looked up in ``reads`` and ``writes``, and outside the program otherwise.
        reads: source name → the value that it reads.
        writes: source name → the value that it defines.
        tied: names in both that the statement may leave as they were, or change in place (``x += 1``, assignments
            under ``try``), so that they must share one Python variable.
    """

    code: ast.stmt
    reads: tuple[tuple[str, Value], ...] = ()
    writes: tuple[tuple[str, Value], ...] = ()
    tied: frozenset[str] = frozenset()

    @property
    def uses(self) -> tuple[Value, ...]:
        return tuple(v for _, v in self.reads)

    @property
    def defines(self) -> tuple[Value, ...]:
        return tuple(v for _, v in self.writes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Effect(Node):
    """A point where execution is cut and the runtime is asked for something.

    Attributes:
        site: the static identity of this point: kind, name, place.
        args: the operands by the name of the request's field (``distribution``, ``value``, ``log_weight`` ...).
        index: the counters of the enclosing loops, outermost first.
        result: the value that the runtime answers with.
    """

    site: Site
    args: tuple[tuple[str, Value], ...] = ()
    index: tuple[Value, ...] = ()
    result: Value

    @property
    def uses(self) -> tuple[Value, ...]:
        return (*(v for _, v in self.args), *self.index)

    @property
    def defines(self) -> tuple[Value, ...]:
        return (self.result,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Each(Effect):
    """One effect, asked for at once for every row: what is left of a loop around it.

    ``args`` are lists of one length, with an item for each row; ``result`` is the list of the answers. The site counts
    one loop more than ``index``: its last counter is the number of the row.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Node):
    """Several effects asked for at once; none uses what another answers.

    Attributes:
        effects: each with the operands, the address and the result that it would have by itself.
    """

    effects: tuple[Effect, ...]

    @property
    def uses(self) -> tuple[Value, ...]:
        return tuple(value for effect in self.effects for value in effect.uses)

    @property
    def defines(self) -> tuple[Value, ...]:
        return tuple(effect.result for effect in self.effects)


# --- structured control flow ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class If(Node):
    """Run one of two regions; each yields the results or leaves the loop or the program."""

    test: Value
    then: Region
    orelse: Region
    results: tuple[Value, ...] = ()

    @property
    def uses(self) -> tuple[Value, ...]:
        return (self.test,)

    @property
    def defines(self) -> tuple[Value, ...]:
        return self.results

    @property
    def regions(self) -> tuple[Region, ...]:
        return (self.then, self.orelse)


@dataclass(frozen=True, eq=False, kw_only=True)
class Loop(Node):
    """What ``while`` and ``for`` share.

    Attributes:
        initial: the carried values on entry.
        counter: the number of finished iterations, where addresses need it; else ``None``.
        body: its terminators ``Continue`` and ``Break`` give the carried values and the results.
        orelse: runs when the loop ends without ``break``; its parameters are the carried values; yields the results.
        results: the carried values afterwards.
    """

    initial: tuple[Value, ...]
    counter: Value | None
    body: Region
    orelse: Region
    results: tuple[Value, ...] = ()

    @property
    def defines(self) -> tuple[Value, ...]:
        return self.results


@dataclass(frozen=True, eq=False, kw_only=True)
class While(Loop):
    """``test``: parameters are the carried values; yields the condition, then the carried values for the body."""

    test: Region

    @property
    def uses(self) -> tuple[Value, ...]:
        return self.initial

    @property
    def regions(self) -> tuple[Region, ...]:
        return (self.test, self.body, self.orelse)


@dataclass(frozen=True, eq=False, kw_only=True)
class For(Loop):
    """The first parameter of ``body`` is the item; the carried values follow."""

    iterable: Value

    @property
    def uses(self) -> tuple[Value, ...]:
        return (self.iterable, *self.initial)

    @property
    def regions(self) -> tuple[Region, ...]:
        return (self.body, self.orelse)


# --- terminators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Terminator(Node):
    """The end of a region. ``values`` go to whoever is entered next."""

    values: tuple[Value, ...] = ()
    word: ClassVar[str] = ""

    @property
    def uses(self) -> tuple[Value, ...]:
        return self.values


@dataclass(frozen=True, eq=False, kw_only=True)
class Yield(Terminator):
    """Fall out of the region."""

    word: ClassVar[str] = "yield"


@dataclass(frozen=True, eq=False, kw_only=True)
class Break(Terminator):
    """Leave the innermost loop with its results."""

    word: ClassVar[str] = "break"


@dataclass(frozen=True, eq=False, kw_only=True)
class Continue(Terminator):
    """Go on to the next iteration of the innermost loop with its carried values."""

    word: ClassVar[str] = "continue"


@dataclass(frozen=True, eq=False, kw_only=True)
class Return(Terminator):
    """Leave the program with one value."""

    word: ClassVar[str] = "return"


@dataclass(frozen=True, eq=False, kw_only=True)
class Unreachable(Terminator):
    """Control never gets here: every branch before has left."""

    word: ClassVar[str] = "unreachable"


# --- programs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Program:
    """A lowered function.

    Attributes:
        name: the function's name.
        signature: its parameters as written (defaults live with the function object, not here).
        body: its region; the parameters are ``signature``'s, in order.
        free: names of enclosing functions' variables that it reads.
        span: where it stands.
        sites: every effect's site, in source order.
    """

    name: str
    signature: ast.arguments
    body: Region
    free: tuple[str, ...]
    span: Span
    sites: tuple[Site, ...] = field(default=())


def walk(region: Region) -> Iterator[Node]:
    """Every node and terminator below ``region``, outer before inner, in order."""
    for node in region.nodes:
        yield node
        for inner in node.regions:
            yield from walk(inner)
    yield region.end


def ends(region: Region, kind: type[Terminator]) -> Iterator[Terminator]:
    """The terminators of one kind that go where those of ``region`` itself go: for ``Break`` and ``Continue``, out of
    the loop around it."""
    if isinstance(region.end, kind):
        yield region.end
    if kind is Yield:
        return
    for node in region.nodes:
        if isinstance(node, If):
            for nested in node.regions:
                yield from ends(nested, kind)
        elif isinstance(node, Loop):
            yield from ends(node.orelse, kind)


def effects(region: Region) -> Iterator[Effect]:
    """Every effect below ``region``, in order; those that are gathered one after the other."""
    for node in walk(region):
        if isinstance(node, Gather):
            yield from node.effects
        elif isinstance(node, Effect):
            yield node


def has_effects(node: Node) -> bool:
    """Whether execution may be cut inside ``node``."""
    return isinstance(node, (Effect, Gather)) or any(
        isinstance(inner, (Effect, Gather)) for region in node.regions for inner in walk(region)
    )
