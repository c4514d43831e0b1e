"""What holds of effects in IR: their operands, their addresses, and which may be asked for together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from . import ir
from .requests import EFFECTS
from .rules_structure import Rule

Addresses = frozenset[tuple[str, int]]
"""Names, each with how many counters follow it."""


def sites_are_listed(program: ir.Program) -> Iterator[str]:
    used = [effect.site for effect in ir.effects(program.body)]
    if len(set(used)) != len(used):
        yield "two effects share a site"
    for site in used:
        if site not in program.sites:
            yield f"the site {site.name!r} at {site.span} is not listed"
    for site, times in Counter(program.sites).items():
        if times > 1:
            yield f"the site {site.name!r} at {site.span} is listed {times} times"
        if site not in used:
            yield f"the site {site.name!r} at {site.span} is listed, and no effect has it"


def operands_fit_the_kind(program: ir.Program) -> Iterator[str]:
    for effect in ir.effects(program.body):
        kind, given = effect.site.kind, Counter(word for word, _ in effect.args)
        where = f"the {kind} at {effect.span}"
        if kind not in EFFECTS:
            yield f"{where} is of no kind of effect"
            continue
        spec = EFFECTS[kind]
        known = {*spec.operands, *spec.optional}
        for word, times in given.items():
            if word not in known:
                yield f"{where} has no operand {word!r}"
            elif times > 1:
                yield f"{where} has the operand {word!r} {times} times"
        for word in spec.operands:
            if word not in given:
                yield f"{where} lacks the operand {word!r}"
        if effect.site.dynamic != ("name" in given):
            yield f"{where} has an operand 'name' or is dynamic, and needs both or neither"


def names_make_addresses(program: ir.Program) -> Iterator[str]:
    """``/`` and brackets stand between the parts of an address; of a computed name the text is only for people."""
    for site in program.sites:
        if not site.dynamic and (not site.name or any(sign in site.name for sign in "/[]")):
            yield f"the name {site.name!r} at {site.span} can't be a part of an address"


def effects_are_counted(program: ir.Program) -> Iterator[str]:
    """An address ends in the counters of all loops around, so that each round has one of its own."""

    def region(body: ir.Region, counters: tuple[ir.Value | None, ...]) -> Iterator[str]:
        for node in body.nodes:
            for effect in _own(node):
                expected = () if effect.site.dynamic else counters
                if effect.index != expected:
                    yield f"the effect at {effect.span} is not counted by the {len(expected)} loops around it"
                if effect.site.depth != len(effect.index) + isinstance(effect, ir.Each):
                    yield f"the site at {effect.span} says that it has {effect.site.depth} counters"
            for nested in node.regions:
                inside = isinstance(node, ir.Loop) and nested is not node.orelse
                yield from region(nested, (*counters, node.counter) if inside else counters)  # type: ignore[attr-defined]

    yield from region(program.body, ())


def addresses_are_unique(program: ir.Program) -> Iterator[str]:
    """On no path two effects have one address. On exclusive branches they may: it is the same choice."""
    shared: list[str] = []

    def use(effect: ir.Effect, before: Addresses) -> Addresses:
        key = (effect.site.name, effect.site.depth)
        if effect.site.dynamic:
            return before
        if key in before:
            shared.append(f"the effect at {effect.span} has the address {effect.site.pattern!r} of one before it")
        return before | {key}

    def region(body: ir.Region, before: Addresses) -> Addresses | None:
        """The addresses that are taken where control falls out of a region, if it does."""
        for node in body.nodes:
            for effect in _own(node):
                before = use(effect, before)
            after = node_regions(node, before)
            if after is None:
                return None
            before = after
        return before if isinstance(body.end, ir.Yield) else None

    def node_regions(node: ir.Node, before: Addresses) -> Addresses | None:
        if isinstance(node, ir.If):
            falling = [out for out in (region(inner, before) for inner in node.regions) if out is not None]
            return frozenset().union(*falling) if falling else None
        if isinstance(node, ir.Loop):
            tested = region(node.test, before) if isinstance(node, ir.While) else before
            region(node.body, tested or before)
            inside = [inner for inner in node.regions if inner is not node.orelse]
            before |= {(e.site.name, e.site.depth) for inner in inside for e in ir.effects(inner) if not e.site.dynamic}
            return before | (region(node.orelse, before) or before)
        return before

    region(program.body, frozenset())
    yield from shared


def requests_are_independent(program: ir.Program) -> Iterator[str]:
    for node in ir.walk(program.body):
        if isinstance(node, ir.Gather):
            if not node.effects:
                yield f"nothing is gathered at {node.span}"
            if not set(node.defines).isdisjoint(node.uses):
                yield f"an effect gathered at {node.span} uses the answer of another"
            if any(effect.site.kind == "program" for effect in node.effects):
                yield f"a nested program is gathered at {node.span}, and it can't be asked for as one request"


def rows_can_be_asked_for(program: ir.Program) -> Iterator[str]:
    for effect in ir.effects(program.body):
        if isinstance(effect, ir.Each):
            if effect.site.kind == "program" or effect.site.dynamic:
                yield f"the {effect.site.kind} at {effect.span} can't be asked for in rows"
            if not effect.args:
                yield f"the {effect.site.kind} at {effect.span} has no operands that would say how many rows there are"


def _own(node: ir.Node) -> tuple[ir.Effect, ...]:
    """The effects that a node itself is."""
    if isinstance(node, ir.Gather):
        return node.effects
    return (node,) if isinstance(node, ir.Effect) else ()


EFFECT_RULES: tuple[Rule, ...] = (
    sites_are_listed,
    operands_fit_the_kind,
    names_make_addresses,
    effects_are_counted,
    addresses_are_unique,
    requests_are_independent,
    rows_can_be_asked_for,
)
