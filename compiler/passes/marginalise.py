"""Finite marginalisation: a random choice that only weighs the run is summed out, not drawn."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import ir, rewrite
from ..facts import EVIDENCE, Constructor, Facts
from ..failing import total
from ..kinds import Touch, conflict
from ..requests import Site
from .base import Condition, Info, Level, Pass, Remark
from .making import computed, method, value_of
from .moving import described, effects_of, guards

MOST = 64
"""The most outcomes to sum over, by default."""


@dataclass(frozen=True)
class Use:
    """A sample and what becomes of its value in its region.

    Attributes:
        sample: the effect.
        nodes: what stands below it, down to the last node that depends on the value.
        consumers: those of ``nodes`` that depend on the value.
        needed: the values that anything after ``nodes`` may read.
        most: the most outcomes to sum over.
        info: about the program.
    """

    sample: ir.Effect
    nodes: tuple[ir.Node, ...]
    consumers: frozenset[ir.Node]
    needed: frozenset[ir.Value]
    most: int
    info: Info

    @property
    def facts(self) -> Facts:
        """About the program."""
        return self.info.facts

    @property
    def others(self) -> list[ir.Node]:
        """What stands in between and does not depend on the value."""
        return [node for node in self.nodes if node not in self.consumers]

    @property
    def known(self) -> set[ir.Value]:
        """The value, and all that depends on it."""
        return {self.sample.result, *(value for node in self.consumers for value in node.defines)}

    @property
    def weights(self) -> list[ir.Effect]:
        """The effects that depend on the value."""
        return [effect for node in self.nodes if node in self.consumers for effect in effects_of(node)]


# --- side-conditions --------------------------------------------------------------------------------------------------


def finite_support(use: Use) -> str | None:
    """The distribution is one of this process, and lists at most so many outcomes where it is made."""
    made = use.facts.constructor(dict(use.sample.args)["distribution"])
    if made is None:
        return "the compiler does not know what its distribution is"
    if not made.local:
        return "a model computes its distribution"
    count = outcomes(made)
    if count is None:
        return "the number of its outcomes is not told where its distribution is made"
    return None if count <= use.most else f"it has {count} outcomes, more than {use.most}"


def address_not_kept(use: Use) -> str | None:
    """Nobody asks for the address of the sample, nor for that of an observation which the sum takes in."""
    kept = next((effect for effect in (use.sample, *use.weights) if use.info.keeps(effect)), None)
    return None if kept is None else f"the address of {described(kept)} is to be kept"


def only_weighs(use: Use) -> str | None:
    """Its value leads to nothing but weights that are computed in this process."""
    for node in use.nodes:
        if node in use.consumers and (reason := _more_than_weight(node, use.facts)) is not None:
            return f"line {node.span.line} depends on it, {reason}"
    answers = {effect.result for effect in use.weights}
    if not answers.isdisjoint(use.needed) or any(not answers.isdisjoint(_used(node)) for node in use.nodes):
        return "the answer of a weight is used"
    return None if use.known.isdisjoint(use.needed) else "it is used further on"


def repeatable(use: Use) -> str | None:
    """What depends on the value can be computed once for each outcome."""
    for node in use.nodes:
        if node in use.consumers and any(use.facts.touch(inner) > Touch.READ for inner in _statements(node)):
            return f"line {node.span.line} depends on it, and may use an iterator up"
    return None


def no_exit_crossed(use: Use) -> str | None:
    """Every run that meets the first weight meets the last: control does not leave in between."""
    leaving = next((node for node in use.others if use.facts.leaves(node)), None)
    return None if leaving is None else f"control may leave at line {leaving.span.line} before all weights are known"


def objects_unchanged(use: Use) -> str | None:
    """Nothing in between changes an object that the weights look at."""
    for node in use.others:
        for consumer in use.consumers:
            if conflict(use.facts.touch(node), use.facts.touch(consumer)):
                return f"line {node.span.line} may change an object that line {consumer.span.line} looks at"
    return None


def nothing_unguarded(use: Use) -> str | None:
    """Nothing in between may fail where a weight, which is now computed after it, ruled the run out."""
    guarded = False
    for node in use.nodes:
        if node in use.consumers:
            guarded = guarded or guards(node, use.facts)
        elif guarded and not total(use.facts, node):
            return f"line {node.span.line} may fail where a weight above it had ruled the run out"
    return None


CONDITIONS: tuple[Condition, ...] = (
    finite_support,
    only_weighs,
    address_not_kept,
    repeatable,
    no_exit_crossed,
    objects_unchanged,
    nothing_unguarded,
)


def outcomes(made: Constructor) -> int | None:
    """How many outcomes a distribution lists, if its call tells: at most, for one that is listed twice is one."""
    if made.family in ("flip", "delta", "torch.Bernoulli"):
        probability = made.argument(0, "probs")
        single = made.family != "torch.Bernoulli" or isinstance(probability, ast.Constant)
        return (1 if made.family == "delta" else 2) if single else None
    if made.family not in ("categorical", "uniform"):
        return None
    listed = made.argument(0, "weights" if made.family == "categorical" else "outcomes")
    if isinstance(listed, ast.Dict) and None not in listed.keys:
        return len(listed.keys)
    if isinstance(listed, ast.List | ast.Tuple) and not any(isinstance(e, ast.Starred) for e in listed.elts):
        return len(listed.elts)
    if isinstance(listed, ast.Constant) and isinstance(listed.value, str):
        return len(listed.value)
    return None


def _more_than_weight(node: ir.Node, facts: Facts) -> str | None:
    """Why a node does more than to compute and to weigh."""
    if isinstance(node, ir.Py):
        plain = isinstance(node.code, ast.Assign | ast.AugAssign | ast.AnnAssign)
        return None if plain and facts.touch(node) < Touch.WRITE else "and may do more than compute"
    if isinstance(node, ir.Effect) and not isinstance(node, ir.Each):
        if node.site.kind not in EVIDENCE:
            return f"in {described(node)}"
        if node.site.dynamic:
            return "in evidence whose name is computed"
        made = facts.constructor(dict(node.args)["distribution"]) if node.site.kind == "observe" else None
        known = node.site.kind != "observe" or (made is not None and made.local)
        return None if known else "in an observation whose density a model may compute"
    if isinstance(node, ir.If) and not facts.leaves(node):
        inner = (_more_than_weight(n, facts) for region in node.regions for n in region.nodes)
        return next((reason for reason in inner if reason is not None), None)
    word = {ir.If: "and may leave there", ir.For: "in a loop", ir.While: "in a loop"}
    return word.get(type(node), "in several effects at once")


def _statements(node: ir.Node) -> Iterator[ir.Py]:
    """The statements in a node: itself, or those in its regions."""
    if isinstance(node, ir.Py):
        yield node
    for region in node.regions:
        yield from (inner for inner in ir.walk(region) if isinstance(inner, ir.Py))


# --- the pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marginalise(Pass):
    """Sum samples out whose value only weighs the run.

    A sample of few outcomes that leads to nothing but evidence becomes one factor, the logarithm of Σ p(x) w(x) over
    its outcomes, where the last of that evidence stood.

    Law: MARGINAL. ∫ p(x) w(x) f dx = f Σ p(x) w(x) for every f that does not look at x: the measure over everything
    else stays (Rao and Blackwell: no estimate gets worse). The address of the sample is gone, and so are those of the
    observations that were taken in.

    Attributes:
        most: the most outcomes to sum over.
    """

    name = "marginalise"
    level = Level.MARGINAL

    conditions: tuple[Condition, ...] = CONDITIONS
    most: int = MOST

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        done: list[Remark] = []
        while True:  # facts hold of one IR, so one sample at a time
            missed: list[Remark] = []
            use = self._next(program.body, info, missed)
            if use is None:
                return program, done + missed
            count = len(use.weights)
            what = f"summed {described(use.sample)} out of {count} weight{'s' * (count != 1)}"
            done.append(self.applied(use.sample.span, what))
            change = rewrite.map_regions(program.body, lambda region, use=use: self._without(region, use))  # type: ignore[misc]
            program = rewrite.with_body(program, change)
            info = Info(Facts(program, info.facts.names), info.keep)

    def _next(self, region: ir.Region, info: Info, missed: list[Remark]) -> Use | None:
        """The first sample at or below ``region`` that can be summed out; remarks for those that can't."""
        for place, node in enumerate(region.nodes):
            if isinstance(node, ir.Effect) and not isinstance(node, ir.Each) and node.site.kind == "sample":
                use = _use(region, place, self.most, info)
                if not use.weights:
                    continue  # a sample that nothing depends on is no concern of this pass
                reason = self.failing(use)
                if reason is None:
                    return use
                missed.append(self.missed(node.span, f"{described(node)} is drawn, not summed out: {reason}"))
            for inner in node.regions:
                found = self._next(inner, info, missed)
                if found is not None:
                    return found
        return None

    def _without(self, region: ir.Region, use: Use) -> ir.Region:
        """``region`` with the sum in the place of the sample's last consumer."""
        if use.sample not in region.nodes:
            return region
        place = region.nodes.index(use.sample)
        after = place + 1 + len(use.nodes)
        new = [*region.nodes[:place], *use.others, *self._sum(use), *region.nodes[after:]]
        # A loop hands its variables on also where nobody reads them any more.
        end = rewrite.substitute(region.end, dict.fromkeys(use.known, ir.UNDEFINED))
        return ir.Region(region.params, tuple(new), end)

    def _sum(self, use: Use) -> list[ir.Node]:
        """The weight of each outcome in a loop, and a factor of their sum."""
        site, at = use.sample.site, use.sample.span
        made = computed("·sum", "·marginal", dict(use.sample.args)["distribution"], at=at, by=self.name)
        total = value_of(made)
        moved = [node for node in use.nodes if node in use.consumers]
        body = ir.Region((use.sample.result,), self._weighed(moved, total), ir.Continue(span=at))
        nothing = ir.Region((), (), ir.Yield(span=at))
        loop = ir.For(
            span=at, provenance=(self.name,), initial=(), counter=None, iterable=total, body=body, orelse=nothing
        )
        weight = method("·weight", total, "total", at=at, by=self.name)
        factor = Site("factor", f"{site.name}·sum", site.depth, site.program, site.span, site.dynamic)
        args = (("log_weight", value_of(weight)), *(arg for arg in use.sample.args if arg[0] == "name"))
        effect = ir.Effect(
            span=at, provenance=(self.name,), site=factor, args=args, index=use.sample.index, result=ir.Value("·0")
        )
        return [made, loop, weight, effect]

    def _weighed(self, nodes: Sequence[ir.Node], total: ir.Value) -> tuple[ir.Node, ...]:
        """``nodes`` with their evidence told to the sum; an outcome that is ruled out goes no further."""
        new: list[ir.Node] = []
        for node in nodes:
            if isinstance(node, ir.If):
                regions = [rewrite.with_nodes(r, self._weighed(r.nodes, total)) for r in node.regions]
                new.append(rewrite.with_regions(node, regions))
            elif isinstance(node, ir.Effect):
                operands = tuple(value for word, value in node.args if word != "name")
                told = method("·dead", total, node.site.kind, *operands, at=node.span, by=self.name)
                stop = ir.Region((), (), ir.Continue(span=node.span))
                go_on = ir.Region((), (), ir.Yield(span=node.span))
                test = ir.If(span=node.span, provenance=(self.name,), test=value_of(told), then=stop, orelse=go_on)
                new += [told, test]
            else:
                new.append(node)
        return tuple(rewrite.marked(node, self.name) for node in new)


def _use(region: ir.Region, place: int, most: int, info: Info) -> Use:
    """What becomes of the value of the sample at ``region.nodes[place]``."""
    sample = region.nodes[place]
    assert isinstance(sample, ir.Effect)
    known = {sample.result}
    consumers: list[ir.Node] = []
    for node in region.nodes[place + 1 :]:
        if not known.isdisjoint(_used(node)):
            consumers.append(node)
            known.update(node.defines)
    last = max((region.nodes.index(node) for node in consumers), default=place)
    needed = info.facts.liveness.after[region.nodes[last]]
    return Use(sample, region.nodes[place + 1 : last + 1], frozenset(consumers), needed, most, info)


def _used(node: ir.Node) -> set[ir.Value]:
    """What a node uses, or any inside it."""
    return {*node.uses, *(value for region in node.regions for value in rewrite.used_values(region))}
