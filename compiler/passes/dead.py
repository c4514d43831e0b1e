"""Dead-sample elimination: a random variable that nothing depends on integrates to one."""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir, rewrite
from .base import Condition, Info, Level, Pass, Remark


def value_unused(effect: ir.Effect, info: Info) -> str | None:
    """Nothing that may run afterwards reads the value."""
    return "its value is used" if effect.result in info.facts.liveness.after[effect] else None


def address_not_kept(effect: ir.Effect, info: Info) -> str | None:
    """Nobody asks for the address: it is not fixed, proposed for, or to be kept."""
    return "its address is to be kept" if info.keeps(effect) else None


def distribution_normalised(effect: ir.Effect, info: Info) -> str | None:
    """It is a distribution, by a constructor that the compiler knows: so its mass is one, and nothing else is lost that
    it might do. An error in making it, as of ``flip(2)``, goes with it: exceptions are no part of the measure."""
    known = info.facts.constructor(dict(effect.args)["distribution"])
    return None if known is not None else "the compiler does not know what its distribution is"


CONDITIONS: tuple[Condition, ...] = (value_unused, address_not_kept, distribution_normalised)


@dataclass(frozen=True)
class DeadSamples(Pass):
    """Leave out samples whose value is never used.

    Law: MARGINAL. ∫ p(x) dx = 1, so the measure over everything else stays. Python that only computed the distribution
    goes with the sample.
    """

    name = "dead"
    level = Level.MARGINAL

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        gone: set[ir.Node] = set()
        for node in ir.walk(program.body):
            if not isinstance(node, ir.Effect) or isinstance(node, ir.Each) or node.site.kind != "sample":
                continue
            reason = self.failing(node, info)
            if reason is None:
                gone.add(node)
                remarks.append(
                    self.applied(node.span, f"left out the sample {node.site.pattern!r}, which nothing uses")
                )
            elif value_unused(node, info) is None:
                remarks.append(self.missed(node.span, f"the sample {node.site.pattern!r} is not used, but {reason}"))
        if not gone:
            return program, remarks
        body = rewrite.map_nodes(program.body, lambda node: [] if node in gone else [node])
        # A loop or branch may still hand the value on to where nobody reads it.
        body = rewrite.substitute_region(body, {value: ir.UNDEFINED for node in gone for value in node.defines})
        return rewrite.with_body(program, rewrite.without_dead_code(body, info.facts.pure)), remarks
