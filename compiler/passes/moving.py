"""Moving an effect up within its region, together with the statements that only compute its operands."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from .. import ir
from ..containers import may_swap
from ..facts import Facts, remembered
from ..purity import Touch
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


# --- side-conditions --------------------------------------------------------------------------------------------------


def operands_defined(step: Crossing) -> str | None:
    """What it uses is defined further up."""
    used = {value for node in step.moving for value in node.uses}
    found = [value for value in step.node.defines if value in used]
    return f"it needs {_shown(found[0])}, which is defined there" if found else None


def no_exit_crossed(step: Crossing) -> str | None:
    """Control can't leave in between: a run that returns, breaks or continues earlier never reaches the effect."""
    return "control may leave there before it is reached" if step.facts.leaves(step.node) else None


def objects_unchanged(step: Crossing) -> str | None:
    """Neither side changes an object that the other looks at, as far as can be told."""
    if may_swap(step.node, step.moving, step.facts):
        return None
    return "that may change an object which it looks at, or the other way round"


def fails_no_earlier(step: Crossing) -> str | None:
    """A statement that may raise an exception does not come to run where evidence had ruled the run out before.

    ``condition`` and ``factor`` may rule out, and so do nested programs and observations of distributions in this
    process that may give no mass. The density of a model's text is not taken for a guard.
    """
    if not guards(step.node, step.facts):
        return None
    unsafe = [node for node in step.moving if isinstance(node, ir.Py) and not step.facts.total(node)]
    if not unsafe:
        return None
    return f"it may rule the run out, and {_code(step.facts, unsafe[0])} might then fail where it did not"


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
    if effect.site.kind != "observe":
        return effect.site.kind in ("condition", "factor", "program")
    made = facts.constructor(dict(effect.args)["distribution"])
    if made is None or not made.local or isinstance(effect, ir.Each):
        return False
    if made.family != "flip" or not made.call.args:
        return True
    values = facts.literals(made.node, made.call.args[0])
    return values is None or not all(isinstance(v, int | float) and 0 < v < 1 for v in values)


# --- moving -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Climb:
    """How far an effect can move up.

    Attributes:
        moving: what moves with it, itself last.
        crossed: what it can go past, nearest first.
        blocker: what it can't go past; ``None`` at the top of the region.
        reason: why not; ``None`` if only because its operands are defined there.
    """

    moving: tuple[ir.Node, ...]
    crossed: tuple[ir.Node, ...]
    blocker: ir.Node | None = None
    reason: str | None = None


def climb(nodes: Sequence[ir.Node], place: int, conditions: Sequence[Condition], facts: Facts) -> Climb:
    """How far the effect at ``nodes[place]`` can move up.

    Statements that compute its operands move with it, if they do nothing else.
    """
    moving: tuple[ir.Node, ...] = (nodes[place],)
    crossed: list[ir.Node] = []
    for node in reversed(nodes[:place]):
        needed = operands_defined(Crossing(node, moving, facts))
        if needed is not None and isinstance(node, ir.Py):
            if facts.movable(node):
                moving = (node, *moving)
                continue
            if facts.touch(node) is Touch.WRITE and operands_defined in conditions:
                unknown = f"it needs {_code(facts, node)}, of which the compiler does not know that it changes nothing"
                return Climb(moving, tuple(crossed), node, unknown)
        step = Crossing(node, moving, facts)
        for condition in conditions:
            reason = condition(step)
            if reason is not None:
                return Climb(moving, tuple(crossed), node, None if condition is operands_defined else reason)
        crossed.append(node)
    return Climb(moving, tuple(crossed))


def raised(nodes: Sequence[ir.Node], moving: Sequence[ir.Node], above: ir.Node) -> list[ir.Node]:
    """``nodes`` with those of ``moving`` that stand below ``above`` put right above it."""
    top = nodes.index(above)
    below = [node for node in nodes[top:] if node in moving]
    return [*nodes[:top], *below, *(node for node in nodes[top:] if node not in moving)]


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
def _code(facts: Facts, node: ir.Py) -> str:
    text = ast.unparse(node.code)
    text = text.split(" = ", 1)[1] if text.startswith("·") and " = " in text else text
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"
