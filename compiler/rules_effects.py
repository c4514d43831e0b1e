"""What holds of effects in IR: their operands, their addresses, and which may be asked for together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from . import ir
from .requests import EFFECTS
from .rules_structure import Rule

Addresses = set[tuple[str, int]]
"""Names, each with how many counters follow it."""


def sites_are_listed(program: ir.Program) -> Iterator[str]:
    used = Counter(effect.site for effect in ir.effects(program.body))
    listed = Counter(program.sites)
    if len(used) != sum(used.values()):
        yield "two effects share a site"
    for site in used:
        if site not in listed:
            yield f"the site {site.name!r} at {site.span} is not listed"
    for site, times in listed.items():
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

    def region(body: ir.Region, taken: Addresses) -> bool:
        """Add the addresses that are taken behind a region; whether control falls out of it."""
        for node in body.nodes:
            for effect in _own(node):
                key = (effect.site.name, effect.site.depth)
                if key in taken and not effect.site.dynamic:
                    shared.append(f"the effect at {effect.span} has the address {effect.site.pattern!r} of one before")
                taken.update([] if effect.site.dynamic else [key])
            if isinstance(node, ir.If):
                branches = [(branch, set(taken)) for branch in node.regions]
                falling = [after for branch, after in branches if region(branch, after)]
                if not falling:
                    return False
                taken.update(*falling)
            elif isinstance(node, ir.Loop):
                inside = [inner for inner in node.regions if inner is not node.orelse]
                tested = set(taken)
                for inner in inside:  # the test of the loop, and the body behind it
                    region(inner, tested)
                for effect in (effect for inner in inside for effect in ir.effects(inner)):
                    taken.update([] if effect.site.dynamic else [(effect.site.name, effect.site.depth)])
                after = set(taken)
                if region(node.orelse, after):
                    taken.update(after)
        return isinstance(body.end, ir.Yield)

    region(program.body, set())
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
