"""When an effect may move up past a node, together with the statements that only compute its operands."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from .. import ir
from ..containers import may_swap, outward
from ..facts import EVIDENCE, Facts, remembered
from ..failing import given, surely_positive, total
from ..kinds import Touch, conflict
from .base import Condition


@dataclass(frozen=True)
class Crossing:
    """One step up: what moves is to go past ``node``.

    Attributes:
        node: what stands right above.
        moving: what moves, in order: statements, and the effect last.
        facts: about the program.
    """

    node: ir.Node
    moving: tuple[ir.Node, ...]
    facts: Facts

    @property
    def effect(self) -> ir.Effect:
        """The effect that all is about."""
        last = self.moving[-1]
        assert isinstance(last, ir.Effect)
        return last


# --- what conditions look at ------------------------------------------------------------------------------------------

LEAVES, GUARDS, HINTS, TELLS, FILLS, DEFINES = (1 << n for n in range(6))
"""What a node may have, as bits: control may leave there; it may rule a run out, holds a twist or a barrier, holds
evidence, fills a container; and, seen from what moves, it defines what that needs."""
TOUCHES = {touch: 1 << 6 + touch for touch in Touch}
"""And what it may do to objects that others hold."""
ANYTHING = -1

Heed = Callable[[Facts, ir.Node], int]
HEEDS: dict[Condition, int | Heed] = {}
"""For a condition: the bits that it looks for, maybe as a function of a node that is among what moves. A node without
them is crossed without asking it. A condition that is not listed is asked at every node."""


def heeding(bits: int | Heed) -> Callable[[Condition], Condition]:
    """Say which bits a condition looks for (a decorator)."""

    def declared(condition: Condition) -> Condition:
        HEEDS[condition] = bits
        return condition

    return declared


@remembered
def traits(facts: Facts, node: ir.Node) -> int:
    """All bits of a node but ``DEFINES``."""
    kinds = {effect.site.kind for effect in effects_of(node)}
    touch, filled = outward(facts, node)
    found = TOUCHES[touch] | (FILLS if filled else 0) | (LEAVES if node.regions and facts.leaves(node) else 0)
    if kinds:
        found |= HINTS if kinds & {"twist", "barrier"} else 0
        found |= TELLS if not kinds.isdisjoint(EVIDENCE) else 0
        found |= GUARDS if guards(node, facts) else 0
    return found


# --- side-conditions --------------------------------------------------------------------------------------------------


@heeding(DEFINES)
def operands_defined(step: Crossing) -> str | None:
    """What it uses is defined further up."""
    used = {value for node in step.moving for value in node.uses}
    found = [value for value in step.node.defines if value in used]
    return f"it needs {_shown(found[0])}, which is defined there" if found else None


@heeding(LEAVES)
def no_exit_crossed(step: Crossing) -> str | None:
    """Control can't leave in between: a run that returns, breaks or continues earlier never reaches the effect."""
    return "control may leave there before it is reached" if step.facts.leaves(step.node) else None


_AGAINST = {a: FILLS + sum(bit for b, bit in TOUCHES.items() if conflict(a, b)) for a in Touch}


def _touching(facts: Facts, mover: ir.Node) -> int:
    touch, filled = outward(facts, mover)
    return ANYTHING if filled else _AGAINST[touch]


@heeding(_touching)
def objects_unchanged(step: Crossing) -> str | None:
    """Neither side changes an object that the other looks at, as far as can be told."""
    if may_swap(step.node, step.moving, step.facts):
        return None
    return "that may change an object which it looks at, or the other way round"


@heeding(lambda facts, mover: 0 if total(facts, mover) else GUARDS)
def fails_no_earlier(step: Crossing) -> str | None:
    """What may raise an exception does not come to run where evidence had ruled the run out before: a statement, or an
    effect that may not be able to do with what it is given.

    ``condition`` and ``factor`` may rule out, and so do nested programs and observations that may have no mass, samples
    that are given among them.
    """
    if not guards(step.node, step.facts):
        return None
    unsafe = next((node for node in step.moving if not total(step.facts, node)), None)
    if unsafe is None:
        return None
    what = shown_code(step.facts, unsafe) if isinstance(unsafe, ir.Py) else described(step.effect)
    return f"it may rule the run out, and {what} might then fail where it did not"


@heeding(HINTS)
def hints_respected(step: Crossing) -> str | None:
    """No twist or barrier in between: with those the author says where the population is weighed."""
    kinds = {effect.site.kind for effect in effects_of(step.node)} & {"twist", "barrier"}
    return f"the {kinds.pop()} there says where runs are to be weighed" if kinds else None


MOVING: tuple[Condition, ...] = (
    operands_defined,
    no_exit_crossed,
    objects_unchanged,
    fails_no_earlier,
    hints_respected,
)
"""When an effect may move up past a node."""


def guards(node: ir.Node, facts: Facts) -> bool:
    """Whether a node may rule a run out, so that what follows never runs."""
    return any(_guards(facts, effect) for effect in effects_of(node))


@remembered
def _guards(facts: Facts, effect: ir.Effect) -> bool:
    if effect.site.kind == "observe":
        return not surely_positive(facts, effect)
    if effect.site.kind == "sample":
        return given(facts, effect)
    return effect.site.kind in ("condition", "factor", "program")


# --- in words ---------------------------------------------------------------------------------------------------------


def effects_of(node: ir.Node) -> list[ir.Effect]:
    """The effects in a node: itself, those that it gathers, those in its regions."""
    if isinstance(node, ir.Effect):
        return [node]
    if isinstance(node, ir.Gather):
        return list(node.effects)
    return [effect for region in node.regions for effect in ir.effects(region)]


def described(effect: ir.Effect) -> str:
    """An effect as remarks call it: ``the sample 'x'``."""
    named = effect.site.name not in ("observe", "factor", "condition", "sample", "call")
    return f"the {effect.site.kind}" + (f" {effect.site.pattern!r}" if named else "")


def _shown(value: ir.Value) -> str:
    return "a value" if value.name.startswith("·") else repr(value.name)


@remembered
def shown_code(facts: Facts, node: ir.Py) -> str:
    """A statement as remarks show it, shortened."""
    text = ast.unparse(node.code)
    text = text.split(" = ", 1)[1] if text.startswith("·") and " = " in text else text
    if "·" in text:
        return "what is computed there"  # the compiler's own names say nothing to the author
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"
