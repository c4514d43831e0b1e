"""Observe hoisting: evidence is weighed as soon as it is known."""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir, rewrite
from ..facts import EVIDENCE
from .base import Condition, Info, Level, Pass, Remark
from .climbing import Row, climb
from .moving import MOVING, described, effects_of

WORK = ("sample", "call", "program")
"""What is worth weighing a run before: random choices and calls, which cost, and may be of a run that is to die."""


@dataclass(frozen=True)
class HoistEvidence(Pass):
    """Move ``observe``, ``factor`` and ``condition`` up past samples and calls that they do not depend on.

    Law: JOINT. The measure is a product, and its factors commute; intermediate targets move, so that SMC can drop a run
    before more is spent on it. A ``sample`` never moves past another, so every draw has the same past.
    """

    name = "hoist"
    level = Level.JOINT
    default = True

    conditions: tuple[Condition, ...] = MOVING

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        body = rewrite.map_regions(program.body, lambda region: self._region(region, info, remarks))
        return rewrite.with_body(program, body), remarks

    def _region(self, region: ir.Region, info: Info, remarks: list[Remark]) -> ir.Region:
        evidence = [node for node in region.nodes if isinstance(node, ir.Effect) and node.site.kind in EVIDENCE]
        if not evidence:
            return region
        row = Row(region.nodes, info.facts)
        moved: set[ir.Node] = set()
        for effect in evidence:
            moved.update(self._hoisted(row, effect, remarks))
        return rewrite.with_nodes(region, [rewrite.marked(n, self.name) if n in moved else n for n in row.nodes])

    def _hoisted(self, row: Row, effect: ir.Effect, remarks: list[Remark]) -> tuple[ir.Node, ...]:
        """Move one piece of evidence up as far as it goes; gives what moved."""
        found = climb(row, effect, self.conditions)
        saved = [node for node in found.crossed if _work(node)]
        if found.reason is not None and found.blocker is not None:
            above = row.nodes[: row.nodes.index(found.blocker) + 1]
            own = found.blocker.span == effect.span  # made by another pass for this very effect
            if any(_work(node) for node in above) and not own:
                line = found.blocker.span.line
                stays = "is not moved up" if line == effect.span.line else f"stays below line {line}"
                remarks.append(self.missed(effect.span, f"{described(effect)} {stays}: {found.reason}"))
        if not saved:
            return ()
        past = [described(e) for node in reversed(saved) for e in effects_of(node) if e.site.kind in WORK]
        remarks.append(self.applied(effect.span, f"moved {described(effect)} up past {_listed(past)}"))
        row.put(found.moving, row.nodes.index(saved[-1]))
        return found.moving


def _work(node: ir.Node) -> bool:
    return any(effect.site.kind in WORK for effect in effects_of(node))


def _listed(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
