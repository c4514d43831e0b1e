"""What a pass bought, counted on the IR before and after it: fewer draws, fewer round trips, weights known sooner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import ir
from ..facts import EVIDENCE, Facts
from ..names import Names
from .base import Step, several
from .batch import waits
from .moving import effects_of

COSTLY = ("sample", "call", "program")
"""What a run that is to die had better not do first."""


@dataclass(frozen=True)
class Count:
    """How often something is done.

    Attributes:
        once: the places outside of loops.
        looped: the places in loops, each of which counts once a round.
    """

    once: int = 0
    looped: int = 0

    def __str__(self) -> str:
        parts = [str(self.once)] if self.once or not self.looped else []
        return " and ".join([*parts, *([f"{self.looped} a round"] if self.looped else [])])


def bought(step: Step, names: Names) -> list[str]:
    """What a step of a pipeline bought, in words; nothing where it changed nothing.

    Places are counted, not runs: a draw in a branch counts as one, and one in a loop as one a round.

    Args:
        step: the step.
        names: what the program's outside names stand for.
    """
    if step.before is step.after:
        return []
    before, after = Facts(step.before, names), Facts(step.after, names)
    found = []
    # Pieces are more draws and more round trips, which is what they are for.
    counts = {} if step.pass_.pieces(step.before, step.after) else {"draws": _draws, "round trips": _round_trips}
    for word, count in counts.items():
        old, new = count(before), count(after)
        if old != new:
            found.append(f"{word} {old} → {new}")
    sooner = _sooner(step.before, step.after)
    if sooner:
        in_all = " in all" if len(sooner) > 1 else ""
        found.append(
            f"{several(len(sooner), 'weight')} known sooner, by {several(sum(sooner), 'draw or call')}{in_all}"
        )
    return [*found, *step.pass_.bought(step.before, step.after)]


def _draws(facts: Facts) -> Count:
    """A row of samples is one a round, as it was in its loop."""
    counts = {False: 0, True: 0}
    for node, looped in _nodes(facts.program.body, False):
        if isinstance(node, ir.Effect | ir.Gather):
            for effect in effects_of(node):
                counts[looped or isinstance(effect, ir.Each)] += effect.site.kind == "sample"
    return Count(counts[False], counts[True])


def _round_trips(facts: Facts) -> Count:
    """Requests that a run may have to wait for; what is asked for together is one."""

    def trips(node: ir.Node) -> int:
        if isinstance(node, ir.Each):
            return 1
        return isinstance(node, ir.Effect | ir.Gather) and any(waits(effect, facts) for effect in effects_of(node))

    counts = {False: 0, True: 0}
    for node, looped in _nodes(facts.program.body, False):
        counts[looped] += trips(node)
    return Count(counts[False], counts[True])


def _nodes(region: ir.Region, looped: bool) -> Iterator[tuple[ir.Node, bool]]:
    """All nodes, each with whether it stands in a loop."""
    for node in region.nodes:
        yield node, looped
        for inner in node.regions:
            yield from _nodes(inner, looped or isinstance(node, ir.Loop))


def _sooner(before: ir.Program, after: ir.Program) -> list[int]:
    """For each piece of evidence that comes sooner: how many draws and calls stood before it that no longer do."""
    there, here = _costs_before(before), _costs_before(after)
    kept: set[object] = {effect.site for effect in ir.effects(after.body)}
    saved = [
        len({site for site in costs if site in kept} - here[site]) for site, costs in there.items() if site in here
    ]
    return [number for number in saved if number]


def _costs_before(program: ir.Program) -> dict[object, set[object]]:
    """The sites of the draws and calls in the regions of each piece of evidence that stand before it."""
    found: dict[object, set[object]] = {}

    def go(region: ir.Region, known: frozenset[object]) -> None:
        for node in region.nodes:
            if isinstance(node, ir.Effect | ir.Gather):
                found.update((effect.site, set(known)) for effect in effects_of(node) if effect.site.kind in EVIDENCE)
            for inner in node.regions:
                go(inner, known)
            known |= {effect.site for effect in effects_of(node) if effect.site.kind in COSTLY}

    go(program.body, frozenset())
    return found
