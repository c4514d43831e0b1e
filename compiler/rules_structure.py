"""What holds of all IR: values, regions, edges, and the Python in statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import ir
from .scan import names, parameters
from .snippets import leaving

Rule = Callable[[ir.Program], Iterator[str]]
"""What is wrong with a program, each violation in words that say where."""


def values_are_defined_once(program: ir.Program) -> Iterator[str]:
    seen: set[ir.Value] = set()

    def define(values: tuple[ir.Value, ...], where: object) -> Iterator[str]:
        for value in values:
            if value in seen or value is ir.UNDEFINED:
                yield f"{value} is defined twice, at {where}"
            seen.add(value)

    yield from define(program.body.params, program.span)
    for node in ir.walk(program.body):
        yield from define(node.defines, node.span)
        if isinstance(node, ir.Loop) and node.counter is not None:
            yield from define((node.counter,), node.span)
        for region in node.regions:
            yield from define(region.params, node.span)


def uses_are_dominated(program: ir.Program) -> Iterator[str]:
    def region(body: ir.Region, visible: set[ir.Value]) -> Iterator[str]:
        visible = visible | set(body.params) | {ir.UNDEFINED}
        for node in (*body.nodes, body.end):
            for value in node.uses:
                if value not in visible:
                    yield f"{value} is used at {node.span} where it is not defined"
            for nested in node.regions:
                counted = isinstance(node, ir.Loop) and node.counter is not None and nested is not node.orelse
                yield from region(nested, visible | {node.counter} if counted else visible)  # type: ignore[attr-defined]
            visible |= set(node.defines)

    yield from region(program.body, set())


def operands_are_bound(program: ir.Program) -> Iterator[str]:
    """Only statements may read a variable that is perhaps unbound, as Python lets them, and edges hand it on."""
    for node in ir.walk(program.body):
        if isinstance(node, (ir.Effect, ir.Gather, ir.If, ir.Return)):
            needed = node.uses
        else:
            needed = (node.iterable,) if isinstance(node, ir.For) else ()
        for value in needed:
            if value.maybe_unbound:
                yield f"{value} is an operand at {node.span}, and may be unbound there"


def parameters_are_the_signatures(program: ir.Program) -> Iterator[str]:
    expected, found = parameters(program.signature), [value.name for value in program.body.params]
    if expected != found:
        yield f"the signature takes ({', '.join(expected)}), and the entry ({', '.join(found)})"
    if len(set(expected)) != len(expected):
        yield f"a parameter stands twice in the signature ({', '.join(expected)})"


def regions_end_where_they_may(program: ir.Program) -> Iterator[str]:
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
                    if not isinstance(node.test.end, ir.Yield):
                        yield f"the test of the loop at {node.span} does not yield whether to go on"

    yield from region(program.body, False, False)


def the_unreachable_is_not_reached(program: ir.Program) -> Iterator[str]:
    def passed(node: ir.Node) -> bool:
        """Whether control may go on behind a node."""
        if isinstance(node, ir.If):
            return any(isinstance(region.end, ir.Yield) for region in node.regions)
        if isinstance(node, ir.Loop):
            return isinstance(node.orelse.end, ir.Yield) or any(ir.ends(node.body, ir.Break))
        return True

    def region(body: ir.Region) -> Iterator[str]:
        if isinstance(body.end, ir.Unreachable) and all(map(passed, body.nodes)):
            yield f"control may get to what is called unreachable, at {body.end.span}"
        for node in body.nodes:
            for nested in node.regions:
                yield from region(nested)

    yield from region(program.body)


def edges_carry_what_is_expected(program: ir.Program) -> Iterator[str]:
    def check(region: ir.Region, kind: type[ir.Terminator], count: int) -> Iterator[str]:
        for end in ir.ends(region, kind):
            if len(end.values) != count:
                yield f"{end.word} at {end.span} carries {len(end.values)} values where {count} are expected"

    for node in ir.walk(program.body):
        if isinstance(node, ir.Return) and len(node.values) != 1:
            yield f"the return at {node.span} returns {len(node.values)} values"
        if isinstance(node, ir.Unreachable) and node.values:
            yield f"the unreachable at {node.span} carries {len(node.values)} values"
        if isinstance(node, ir.If):
            for region in node.regions:
                if isinstance(region.end, ir.Yield) and len(region.end.values) != len(node.results):
                    yield f"a branch at {node.span} yields {len(region.end.values)} of {len(node.results)} values"
                if region.params:
                    yield f"a branch at {node.span} takes values, and nobody gives it any"
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


def statements_keep_their_place(program: ir.Program) -> Iterator[str]:
    """What leaves a statement is a terminator of the IR, never Python's own."""
    for node in ir.walk(program.body):
        if isinstance(node, ir.Py):
            for inner in leaving(node.code):
                yield f"the statement at {node.span} can't leave its place, and holds {type(inner).__name__.lower()!r}"


def statements_write_what_they_bind(program: ir.Program) -> Iterator[str]:
    for node in ir.walk(program.body):
        if isinstance(node, ir.Py):
            found, written = names(node.code), [name for name, _ in node.writes]
            bound = found.binds - found.deletes
            if len(set(written)) != len(written) or not bound <= set(written) <= found.binds:
                yield f"the statement at {node.span} binds {_listed(found.binds)} and writes {_listed(written)}"
            if len(dict(node.reads)) != len(node.reads):
                yield f"the statement at {node.span} reads a name twice"


def tied_names_are_read_and_written(program: ir.Program) -> Iterator[str]:
    for node in ir.walk(program.body):
        if isinstance(node, ir.Py) and not node.tied <= dict(node.reads).keys() & dict(node.writes).keys():
            yield f"the statement at {node.span} ties names that it does not both read and write"


def _listed(words: list[str] | set[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"


STRUCTURE: tuple[Rule, ...] = (
    values_are_defined_once,
    uses_are_dominated,
    operands_are_bound,
    parameters_are_the_signatures,
    regions_end_where_they_may,
    the_unreachable_is_not_reached,
    edges_carry_what_is_expected,
    statements_keep_their_place,
    statements_write_what_they_bind,
    tied_names_are_read_and_written,
)
