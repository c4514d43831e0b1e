"""Which values are needed later, at every point: what a suspended program must keep.

In SSA with structured regions this is one backward walk: a loop keeps alive whatever it reads from outside, because it
may come round again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import ir
from .rename import pinned_names

Values = frozenset[ir.Value]
EMPTY: Values = frozenset()


@dataclass
class Liveness:
    """The result.

    Attributes:
        after: for a node, the values needed after it (those it defines among them).
        entry: for a region, the values needed on entry (its parameters among them).
        head: for a loop, the values needed at each test of whether to go on.
        order: a number for each value, in order of definition.
    """

    after: dict[ir.Node, Values] = field(default_factory=dict)
    entry: dict[ir.Region, Values] = field(default_factory=dict)
    head: dict[ir.Loop, Values] = field(default_factory=dict)
    order: dict[ir.Value, int] = field(default_factory=dict)

    def sorted(self, values: Values | set[ir.Value]) -> list[ir.Value]:
        """``values`` in order of definition."""
        return sorted(values, key=lambda v: self.order[v])


@dataclass(frozen=True)
class Way:
    """A way out of a region: which of the values handed over are needed, and what else is."""

    slots: tuple[bool, ...] = ()
    others: Values = EMPTY

    def needs(self, values: tuple[ir.Value, ...]) -> Values:
        """What must be alive to leave with ``values``."""
        return real(tuple(v for v, needed in zip(values, self.slots, strict=True) if needed)) | self.others


NOWHERE = Way()


@dataclass(frozen=True)
class Exits:
    """The ways out of a region."""

    on_yield: Way = NOWHERE
    on_break: Way = NOWHERE
    on_continue: Way = NOWHERE


def real(values: tuple[ir.Value, ...]) -> Values:
    """``values`` without the undefined one."""
    return frozenset(v for v in values if v is not ir.UNDEFINED)


def free_values(*regions: ir.Region) -> Values:
    """The values that the regions use and do not define."""
    used: set[ir.Value] = set()
    defined: set[ir.Value] = set()
    stack = list(regions)
    while stack:
        region = stack.pop()
        defined.update(region.params)
        for node in (*region.nodes, region.end):
            used.update(node.uses)
            defined.update(node.defines)
            stack.extend(node.regions)
            if isinstance(node, ir.Loop) and node.counter is not None:
                defined.add(node.counter)
    return real(tuple(used - defined))


def analyse(program: ir.Program) -> Liveness:
    """The liveness of a whole program."""
    result = Liveness()
    _number(program.body, result.order)
    _region(program.body, Exits(), result)
    return result


def _number(region: ir.Region, order: dict[ir.Value, int]) -> None:
    for value in region.params:
        order[value] = len(order)
    for node in region.nodes:
        if isinstance(node, ir.Loop) and node.counter is not None:
            order[node.counter] = len(order)
        for inner in node.regions:
            _number(inner, order)
        for value in node.defines:
            order[value] = len(order)


def _region(region: ir.Region, exits: Exits, result: Liveness) -> Values:
    """The values needed on entry to ``region``."""
    end = region.end
    if isinstance(end, ir.Yield):
        live = exits.on_yield.needs(end.values)
    elif isinstance(end, ir.Break):
        live = exits.on_break.needs(end.values)
    elif isinstance(end, ir.Continue):
        live = exits.on_continue.needs(end.values)
    else:
        live = real(end.uses)
    for node in reversed(region.nodes):
        result.after[node] = live
        after = live - frozenset(node.defines)
        if isinstance(node, ir.If):
            way = Way(tuple(r in live for r in node.results), after)
            inner = Exits(way, exits.on_break, exits.on_continue)
            live = _region(node.then, inner, result) | _region(node.orelse, inner, result) | {node.test}
        elif isinstance(node, ir.Loop):
            way = Way(tuple(r in live for r in node.results), after)
            live = _loop(node, way, exits, result)
        else:
            live = after | real(node.uses)
    result.entry[region] = live
    return live


def _loop(node: ir.Loop, leaving: Way, exits: Exits, result: Liveness) -> Values:
    """The values that a loop, or what follows it, needs from before it."""
    orelse = _region(node.orelse, Exits(leaving, exits.on_break, exits.on_continue), result)
    # The end of the loop may leave or go round a loop further out, and that loop has needs of its own.
    kept = free_values(*node.regions) | leaving.others | (orelse - frozenset(node.orelse.params))
    counter = EMPTY if node.counter is None else frozenset({node.counter})
    kept -= counter
    around = kept | counter
    slots = (False,) * len(node.initial)
    while True:  # which carried values the next iteration needs depends on which it passes on: a fixed point
        again = Way(slots, around)
        body = _region(node.body, Exits(NOWHERE, leaving, again), result)
        mine = node.body.params if isinstance(node, ir.While) else node.body.params[1:]
        needed = tuple(b in body or o in orelse for b, o in zip(mine, node.orelse.params, strict=True))
        if isinstance(node, ir.While):
            head = _region(node.test, Exits(Way((True, *needed), around)), result)
            mine = node.test.params
            needed = tuple(p in head for p in mine)
        if needed == slots:
            break
        slots = needed
    carried = frozenset(p for p, need in zip(mine, slots, strict=True) if need)
    result.head[node] = around | carried
    initial = real(tuple(v for v, need in zip(node.initial, slots, strict=True) if need))
    iterable = frozenset({node.iterable}) if isinstance(node, ir.For) else EMPTY
    return kept | initial | iterable


def check_names(program: ir.Program, live: Liveness) -> dict[ir.Value, str]:
    """A Python variable for each value, such that no two values needed at once share one.

    A value keeps the name it has in the source wherever that is possible, which is always so before passes have
    moved anything.
    """
    names = {value: value.name for value in live.order}
    taken = set(names.values())
    # Where one of two has to give way, it is not the name of a function, a class or a module.
    pinned = {
        value
        for node in ir.walk(program.body)
        if isinstance(node, ir.Py)
        for name, value in node.writes
        if name in pinned_names(node.code)
    }

    def separate(values: Values | set[ir.Value]) -> None:
        owner: dict[str, ir.Value] = {}
        for value in sorted(values, key=lambda v: (v not in pinned, live.order[v])):
            if names[value] in owner:
                fresh, n = names[value], 1
                while fresh in taken:
                    n += 1
                    fresh = f"{names[value]}·{n}"
                names[value] = fresh
                taken.add(fresh)
            owner[names[value]] = value

    separate(live.entry[program.body] | set(program.body.params))
    for node in ir.walk(program.body):
        for region in node.regions:
            separate(live.entry[region] | set(region.params[:1] if isinstance(node, ir.For) else ()))
        if isinstance(node, ir.Loop):
            separate(live.head[node])
        if node in live.after:
            separate(live.after[node] | set(node.defines))
    return names
