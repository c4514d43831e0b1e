"""Finite marginalisation: a random choice that only weighs the run is summed out, not drawn."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import ir, rewrite
from ..containers import filled_by, outward
from ..facts import EVIDENCE, Constructor, Facts
from ..failing import total
from ..intrinsics import OWN
from ..kinds import Touch, conflict
from ..requests import EFFECTS, Site
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
    family = made.family.removeprefix("torch.")
    if family in CONTINUOUS:
        return f"{family} is continuous"
    count = outcomes(made)
    if count is None:
        return "the number of its outcomes is not told where its distribution is made"
    if count > use.most:
        return f"it has {count} outcomes, more than {use.most}"
    terms = count * _inner_terms(use)
    if terms > use.most:
        return f"with the sums that depend on it there would be {terms} terms, more than {use.most}"
    return None


def address_not_kept(use: Use) -> str | None:
    """Nobody asks for the address of the sample, nor for that of an observation which the sum takes in."""
    kept = next((effect for effect in (use.sample, *use.weights) if use.info.keeps(effect)), None)
    return None if kept is None else f"the address of {described(kept)} is to be kept"


def only_weighs(use: Use) -> str | None:
    """Its value leads to nothing but weights that are computed in this process."""
    for node in use.nodes:
        if node in use.consumers and (reason := _more_than_weight(node, use.facts)) is not None:
            return f"line {node.span.line} depends on it, {reason}"
        if (begin := _begin(node, use.facts)) in use.others:
            return f"line {node.span.line} depends on it, in a sum that begins at line {begin.span.line}"
    answers = {effect.result for effect in use.weights}
    if not answers.isdisjoint(use.needed) or any(not answers.isdisjoint(_used(node)) for node in use.nodes):
        return "the answer of a weight is used"
    return None if use.known.isdisjoint(use.needed) else "it is used further on"


def repeatable(use: Use) -> str | None:
    """What depends on the value can be computed once for each outcome."""
    for node in use.nodes:
        if node in use.consumers and any(outward(use.facts, inner)[0] > Touch.READ for inner in _statements(node)):
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


_FAMILIES = """
    Beta Cauchy Chi2 Dirichlet Exponential FisherSnedecor Gamma Gumbel HalfCauchy HalfNormal InverseGamma Kumaraswamy
    Laplace LKJCholesky LogNormal LowRankMultivariateNormal MultivariateNormal Normal Pareto StudentT Uniform VonMises
    Weibull Wishart
"""
CONTINUOUS = frozenset(_FAMILIES.split())
"""The families of torch that have a density."""


def _summed(node: ir.Node, facts: Facts) -> Constructor | None:
    """The distribution that a loop of this pass sums over."""
    made = facts.expression(node.iterable) if isinstance(node, ir.For) else None
    if made is None or not isinstance(made[1], ast.Call) or getattr(made[1].func, "id", None) != "·marginal":
        return None
    (argument,) = made[1].args
    return facts.constructor(dict(made[0].reads)[argument.id]) if isinstance(argument, ast.Name) else None


def _begin(node: ir.Node, facts: Facts) -> ir.Node | None:
    """Where the sum of such a loop begins."""
    return None if _summed(node, facts) is None or not isinstance(node, ir.For) else facts.definer[node.iterable]


def _inner_terms(use: Use) -> int:
    """How many terms the sums have that this pass has made of what depends on the value, one inside the other."""
    count = 1
    for node in use.nodes:
        if node in use.consumers:
            inside = [node, *(inner for region in node.regions for inner in ir.walk(region))]
            made = [found for inner in inside if (found := _summed(inner, use.facts)) is not None]
            count *= math.prod(outcomes(each) or 1 for each in made)
    return count


def _more_than_weight(node: ir.Node, facts: Facts, in_sum: bool = False) -> str | None:
    """Why a node does more than to compute and to weigh; ``in_sum``: it only leaves for the next term of a sum."""
    if isinstance(node, ir.Py):
        if filled_by(node, facts) is not None and dict(node.reads).get(OWN) is not None:
            return None  # what a sum of this pass is told
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
    if isinstance(node, ir.If) and facts.steering(node) is Touch.WRITE:
        return "and to ask whether it is true may do more than compute"
    in_sum = in_sum or _summed(node, facts) is not None
    if in_sum or (isinstance(node, ir.If) and not facts.leaves(node)):
        inner = (_more_than_weight(n, facts, in_sum) for region in node.regions for n in region.nodes)
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
    observations that were taken in. The last sample of a chain goes first: of z → y → evidence y is summed out, then z,
    each of whose terms holds the sum over y, as long as there are few terms in all.

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
            info = Info(info.facts.renewed(program), info.keep)

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
                args = dict(node.args)  # in the order in which they were written
                operands = tuple(args[word] for word in EFFECTS[node.site.kind].operands)
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
    below = region.nodes[place + 1 :]
    begun: set[ir.Node] = set()
    while True:
        known = {sample.result}
        consumers: list[ir.Node] = []
        for node in below:
            if node in begun or not known.isdisjoint(_used(node)):
                consumers.append(node)
                known.update(node.defines)
        # A sum that is told of the value depends on it from where it begins.
        more = {begin for node in consumers if (begin := _begin(node, info.facts)) in below and begin not in consumers}
        if not more:
            break
        begun |= more
    last = max((region.nodes.index(node) for node in consumers), default=place)
    needed = info.facts.liveness.after[region.nodes[last]]
    return Use(sample, region.nodes[place + 1 : last + 1], frozenset(consumers), needed, most, info)


def _used(node: ir.Node) -> set[ir.Value]:
    """What a node uses, or any inside it."""
    return {*node.uses, *(value for region in node.regions for value in rewrite.used_values(region))}
