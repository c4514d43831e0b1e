"""The IR's invariants, checked before code is generated.

Each rule is a function from a program to the violations it finds; ``RULES`` is the list of them. It looks for bugs of
the compiler, so a program that was just lowered is checked only where ``PPL_DEBUG`` is set, as it is in the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from . import ir


class InvalidIR(Exception):
    """The compiler made IR that breaks its own rules: a bug in the compiler, never in the user's program."""


DEBUG = bool(os.environ.get("PPL_DEBUG"))

Rule = Callable[[ir.Program], Iterator[str]]


def _values_are_defined_once(program: ir.Program) -> Iterator[str]:
    seen: set[ir.Value] = set()

    def define(values: tuple[ir.Value, ...], where: object) -> Iterator[str]:
        for value in values:
            if value in seen or value is ir.UNDEFINED:
                yield f"{value} is defined twice, at {where}"
            seen.add(value)

    yield from define(program.body.params, program.span)
    for node in ir.walk(program.body):
        yield from define(node.defines, node.span)
        for region in node.regions:
            yield from define(region.params, node.span)


def _uses_are_dominated(program: ir.Program) -> Iterator[str]:
    def region(body: ir.Region, visible: set[ir.Value]) -> Iterator[str]:
        visible = visible | set(body.params) | {ir.UNDEFINED}
        for node in (*body.nodes, body.end):
            for value in node.uses:
                if value not in visible:
                    yield f"{value} is used at {node.span} where it is not defined"
            inner = visible | ({node.counter} if isinstance(node, ir.Loop) and node.counter else set())
            for nested in node.regions:
                yield from region(nested, inner)
            visible |= set(node.defines)

    yield from region(program.body, set())


def _regions_end_where_they_may(program: ir.Program) -> Iterator[str]:
    def region(body: ir.Region, in_loop: bool, may_yield: bool) -> Iterator[str]:
        end = body.end
        if isinstance(end, ir.Yield) and not may_yield:
            yield f"a region that nothing follows yields, at {end.span}"
        if isinstance(end, (ir.Break, ir.Continue)) and not in_loop:
            yield f"{end.word} outside a loop, at {end.span}"
        for node in body.nodes:
            if isinstance(node, ir.If):
                yield from region(node.then, in_loop, True)
                yield from region(node.orelse, in_loop, True)
            elif isinstance(node, ir.Loop):
                yield from region(node.body, True, False)
                yield from region(node.orelse, in_loop, True)
                if isinstance(node, ir.While):
                    yield from region(node.test, False, True)

    yield from region(program.body, False, False)


def _edges_carry_what_is_expected(program: ir.Program) -> Iterator[str]:
    def check(region: ir.Region, kind: type[ir.Terminator], count: int) -> Iterator[str]:
        for end in ir.ends(region, kind):
            if len(end.values) != count:
                yield f"{end.word} at {end.span} carries {len(end.values)} values where {count} are expected"

    for node in ir.walk(program.body):
        if isinstance(node, ir.Return) and len(node.values) != 1:
            yield f"the return at {node.span} returns {len(node.values)} values"
        if isinstance(node, ir.If):
            for region in node.regions:
                if isinstance(region.end, ir.Yield) and len(region.end.values) != len(node.results):
                    yield f"a branch at {node.span} yields {len(region.end.values)} of {len(node.results)} values"
        if isinstance(node, ir.Loop):
            count = len(node.initial)
            yield from check(node.body, ir.Break, len(node.results))
            yield from check(node.body, ir.Continue, count)
            if isinstance(node.orelse.end, ir.Yield) and len(node.orelse.end.values) != len(node.results):
                yield f"the end of the loop at {node.span} yields {len(node.orelse.end.values)} values"
            if isinstance(node, ir.While) and (len(node.test.end.values), len(node.test.params)) != (count + 1, count):
                yield f"the test of the loop at {node.span} does not pass on the {count} carried values"
            if len(node.body.params) != count + isinstance(node, ir.For) or len(node.orelse.params) != count:
                yield f"the loop at {node.span} carries {count} values but its regions take another number"


def _sites_are_listed(program: ir.Program) -> Iterator[str]:
    used = [effect.site for effect in ir.effects(program.body)]
    if len(set(map(id, used))) != len(used):
        yield "two effects share a site"
    for site in used:
        if site not in program.sites:
            yield f"the site {site.name!r} at {site.span} is not listed"


def _effects_are_counted(program: ir.Program) -> Iterator[str]:
    for effect in ir.effects(program.body):
        expected = effect.site.depth - isinstance(effect, ir.Each)
        if len(effect.index) != expected:
            yield f"the effect at {effect.span} has {len(effect.index)} counters where {expected} are expected"


def _gathered_effects_are_independent(program: ir.Program) -> Iterator[str]:
    for node in ir.walk(program.body):
        if isinstance(node, ir.Gather):
            if not node.effects:
                yield f"nothing is gathered at {node.span}"
            if not set(node.defines).isdisjoint(node.uses):
                yield f"an effect gathered at {node.span} uses the answer of another"
            if any(effect.site.kind == "program" for effect in node.effects):
                yield f"a nested program is gathered at {node.span}, and it can't be asked for as one request"
        if isinstance(node, ir.Each) and (node.site.kind == "program" or node.site.dynamic):
            yield f"the {node.site.kind} at {node.span} can't be asked for in rows"


def _tied_names_are_read_and_written(program: ir.Program) -> Iterator[str]:
    for node in ir.walk(program.body):
        if isinstance(node, ir.Py) and not node.tied <= dict(node.reads).keys() & dict(node.writes).keys():
            yield f"the statement at {node.span} ties names that it does not both read and write"


RULES: tuple[Rule, ...] = (
    _values_are_defined_once,
    _uses_are_dominated,
    _regions_end_where_they_may,
    _edges_carry_what_is_expected,
    _sites_are_listed,
    _effects_are_counted,
    _gathered_effects_are_independent,
    _tied_names_are_read_and_written,
)


def verify(program: ir.Program) -> None:
    """Check every rule.

    Raises:
        InvalidIR: listing what is wrong.
    """
    found = [message for rule in RULES for message in rule(program)]
    if found:
        raise InvalidIR(f"{program.name}: " + "; ".join(found))
