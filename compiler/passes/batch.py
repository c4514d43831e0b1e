"""Batching: independent model calls and batched functions of one run are asked for at once."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import ir, rewrite
from ..facts import EVIDENCE, Facts
from ..source import is_program
from .base import Condition, Info, Level, Pass, Remark
from .climbing import Climb, Row, climb
from .moving import MOVING, TELLS, Crossing, described, effects_of, heeding


@heeding(lambda facts, mover: TELLS if isinstance(mover, ir.Effect) and mover.site.kind not in EVIDENCE else 0)
def evidence_first(step: Crossing) -> str | None:
    """What costs a model call does not move up past evidence: a run that is to die should do so before."""
    if step.effect.site.kind in EVIDENCE or not any(e.site.kind in EVIDENCE for e in effects_of(step.node)):
        return None
    return "evidence there may end the run, which saves the call"


CONDITIONS: tuple[Condition, ...] = (*MOVING, evidence_first)


@dataclass(frozen=True)
class BatchCalls(Pass):
    """Ask for several samples, observations and calls as one request, where none depends on another.

    Law: JOINT. Independent draws may be made in any order, and draws are a function of their addresses. Every effect
    keeps its own operands and its own address; k round trips become one. Distributions that answer at once, without a
    model, are left alone.
    """

    name = "batch"
    level = Level.JOINT
    default = True

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        body = rewrite.map_regions(program.body, lambda region: self._region(region, info.facts, remarks))
        return rewrite.with_body(program, body), remarks

    def _region(self, region: ir.Region, facts: Facts, remarks: list[Remark]) -> ir.Region:
        remarks += self._programs(region, facts)
        waiting = [node for node in region.nodes if isinstance(node, ir.Effect) and waits(node, facts)]
        if len(waiting) < 2:
            return region
        row = Row(region.nodes, facts)
        groups: dict[ir.Node, list[ir.Effect]] = {}  # what is asked for together, by the first of it
        for effect in waiting:
            found = climb(row, effect, self.conditions)
            first = next((node for node in reversed(found.crossed) if node in groups), None)
            if first is None:
                groups[effect] = [effect]
                remarks += self._apart(effect, found, groups, row)
                continue
            row.put(found.moving[:-1], row.nodes.index(first))
            row.put([effect], row.nodes.index(groups[first][-1]) + 1)
            groups[first].append(effect)
        for first, members in groups.items():
            if len(members) > 1:
                place = row.nodes.index(first)
                row.nodes[place : place + len(members)] = [self.gathered(members)]
                others = ", ".join(map(described, members[1:]))
                remarks.append(self.applied(first.span, f"{described(members[0])} is asked for together with {others}"))
        return rewrite.with_nodes(region, row.nodes)

    def _programs(self, region: ir.Region, facts: Facts) -> list[Remark]:
        """What to write in the place of programs that are called one after the other though they need not be."""
        calls = {n: name for n in region.nodes if isinstance(n, ir.Effect) and (name := called_program(n, facts))}
        found = []
        for before, call in itertools.pairwise(calls):
            if needed_by(call, region).isdisjoint(before.defines):
                what = f"{described(call)} is not asked for together with {described(before)}"
                found.append(self.missed(call.span, f"{what}: {instead_of(calls[call])}"))
        return found

    def gathered(self, members: Sequence[ir.Effect]) -> ir.Node:
        """The request for all of them."""
        return ir.Gather(span=members[0].span, provenance=(self.name,), effects=tuple(members))

    def _apart(
        self, effect: ir.Effect, found: Climb, groups: Mapping[ir.Node, Sequence[ir.Effect]], row: Row
    ) -> list[Remark]:
        """Why an effect is asked for by itself, if it is not simply for needing what was asked for before."""
        if found.blocker is None or found.reason is None:
            return []
        above = row.nodes[: row.nodes.index(found.blocker)]
        missed = next((node for node in reversed(above) if node in groups), None)
        if missed is None:
            return []
        line = found.blocker.span.line
        where = "" if line == effect.span.line else f", because of line {line}"
        what = f"{described(effect)} is not asked for together with {described(groups[missed][0])}"
        return [self.missed(effect.span, f"{what}{where}: {found.reason}")]


def needed_by(effect: ir.Effect, region: ir.Region) -> set[ir.Value]:
    """Every value that an effect of a region needs, itself or by way of what the region computes before it."""
    needed = set(effect.uses)
    for node in reversed(region.nodes[: region.nodes.index(effect)]):
        if not needed.isdisjoint(node.defines):
            needed.update(node.uses, *(rewrite.used_values(inner) for inner in node.regions))
    return needed


def called_program(effect: ir.Effect, facts: Facts) -> str | None:
    """The name of the ``@program`` that a call is surely one of."""
    found = facts.expression(dict(effect.args)["program"]) if effect.site.kind == "program" else None
    if found is None or not is_program(facts.names.resolve(found[1], dict(found[0].reads).__contains__)):
        return None
    return ast.unparse(found[1])


def instead_of(name: str) -> str:
    """What to write if calls of a program are to be asked for at once."""
    return (
        f"a @program asks step by step; let {name} be a plain function that returns a distribution, and sample from it"
    )


def waits(effect: ir.Effect, facts: Facts) -> bool:
    """Whether a run may have to wait for the answer, so that there is something to gain."""
    if isinstance(effect, ir.Each) or effect.site.kind not in ("sample", "observe", "call"):
        return False
    if effect.site.kind == "call":
        return True
    made = [
        facts.constructor(value)
        for word, value in effect.args
        if word == "distribution" or (word == "proposal" and not _restricted(value, facts))
    ]
    return any(found is None or not found.local for found in made)


def _restricted(value: ir.Value, facts: Facts) -> bool:
    """Whether a proposal is what constraint pushing left of the distribution itself, which answers as that does."""
    found = facts.expression(value)
    return found is not None and isinstance(found[1], ast.Call) and getattr(found[1].func, "id", None) == "·restricted"
