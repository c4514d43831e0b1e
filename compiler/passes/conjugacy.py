"""Conjugacy: observations of a parameter are taken in exactly, and the parameter is drawn from its posterior."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import ir, rewrite
from ..facts import Constructor, Facts
from .base import Condition, Info, Level, Pass, Remark, several
from .making import assigned, computed, method, value_of
from .moving import described
from .threading import Thread

PAIRS: dict[str, dict[str, str]] = {
    "Beta": {"Bernoulli": "probs", "flip": "p"},
    "Dirichlet": {"Categorical": "probs", "categorical": "weights"},
    "Normal": {"Normal": "loc"},
    "Gamma": {"Poisson": "rate"},
}
"""The family of a prior → those of its likelihoods, with the word for their first argument, which is the parameter."""


@dataclass(frozen=True)
class Pair:
    """A sample, and an observation whose distribution is made from its value.

    Attributes:
        prior, likelihood: how the two distributions are made.
        sample, observe: the effects.
        looked: what else has looked at the value by then, or in the same loop or branch.
        left: where control may leave before the observation.
        info: about the program.
    """

    prior: Constructor
    likelihood: Constructor
    sample: ir.Effect
    observe: ir.Effect
    looked: ir.Node | None
    left: ir.Node | None
    info: Info

    @property
    def parameter(self) -> ir.Value:
        """The sampled value."""
        return self.sample.result


# --- side-conditions --------------------------------------------------------------------------------------------------


def conjugate_pair(pair: Pair) -> str | None:
    """Prior and likelihood are one of the pairs, and the likelihood's first argument is the sampled value itself."""
    prior, likelihood = _plain(pair.prior.family), pair.likelihood.family
    if likelihood.startswith("helper."):
        return f"a helper makes its distribution; write {_plain(likelihood)}(…) here"
    word = PAIRS.get(prior, {}).get(likelihood.removeprefix("torch."))
    if word is None:
        return f"{_plain(likelihood)} has no known conjugate in {prior}"
    if pair.likelihood.value(0, word) is not pair.parameter:
        return f"it is not as it is the {word!r} of {_plain(likelihood)}"
    return None


def linear_use(pair: Pair) -> str | None:
    """Nothing else of the observation has to do with the sampled value: no other argument, and not what is observed."""
    names = {name for name, value in pair.likelihood.node.reads if value is pair.parameter}
    mentions = [n for n in ast.walk(pair.likelihood.call) if isinstance(n, ast.Name) and n.id in names]
    if len(mentions) > 1:
        return f"{_plain(pair.likelihood.family)} looks at it more than once"
    return "it is what is observed" if dict(pair.observe.args)["value"] is pair.parameter else None


def not_used_before(pair: Pair) -> str | None:
    """Nothing else looks at the value before the observation, nor in the same loop."""
    return None if pair.looked is None else f"line {pair.looked.span.line} looks at it first"


def no_exit_crossed(pair: Pair) -> str | None:
    """Every run that draws the value comes to where it is now drawn, after the observation."""
    return None if pair.left is None else f"control may leave at line {pair.left.span.line} before it is drawn"


def address_not_kept(pair: Pair) -> str | None:
    """Neither the value nor the datum is fixed from outside: both would no longer meet."""
    kept = next((effect for effect in (pair.sample, pair.observe) if pair.info.keeps(effect)), None)
    return None if kept is None else f"the address of {described(kept)} is to be kept"


def drawn_from_its_own(pair: Pair) -> str | None:
    """The sample has no proposal: the posterior is better than any."""
    return "it has a proposal of its own" if any(word == "proposal" for word, _ in pair.sample.args) else None


CONDITIONS: tuple[Condition, ...] = (
    conjugate_pair,
    linear_use,
    not_used_before,
    no_exit_crossed,
    address_not_kept,
    drawn_from_its_own,
)


def _plain(family: str) -> str:
    return family.removeprefix("helper.").removeprefix("torch.")


# --- the pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """The observations of a sample that can be taken in.

    Attributes:
        observes: the effects, each with how its distribution is made.
        reach: how many nodes below the sample they stand in.
    """

    observes: dict[ir.Effect, Constructor]
    reach: int


@dataclass(frozen=True)
class Conjugacy(Pass):
    """Draw a parameter after its observations, from its posterior.

    For Beta–Bernoulli, Dirichlet–Categorical, Normal–Normal (of known scale) and Gamma–Poisson. Each observation is
    weighed with the parameter integrated out; what is known of the parameter is carried along, through branches and
    loops, to where the parameter is drawn: right after the last observation that was taken in.

    Law: MARGINAL. p(θ) Π p(yᵢ|θ) = Π p(yᵢ|y₁…yᵢ₋₁) p(θ|y₁…yₙ), so even the measure over traces is the same, with θ at
    its address. It is no JOINT pass for all that: an intervention on θ, or another datum in the place of one, would not
    reach what was taken in before. So what is fixed from outside has to be kept, as for any MARGINAL pass.
    """

    name = "conjugacy"
    level = Level.MARGINAL

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        plain = rewrite.with_body(program, _without_other_names(program.body, info.facts))
        if plain is not program:
            info = Info(info.facts.renewed(plain), info.keep)
        remarks: list[Remark] = []
        body = rewrite.map_regions(plain.body, lambda region: self._region(region, info, remarks))
        if not any(remark.kind == "applied" for remark in remarks):
            return program, remarks
        return rewrite.with_body(program, body), remarks

    def bought(self, before: ir.Program, after: ir.Program) -> list[str]:
        exact = [e.site.kind for e in ir.effects(after.body) if self.name in e.provenance]
        seen, drawn = several(exact.count("observe"), "observation"), several(exact.count("sample"), "parameter")
        return [f"{seen} weighed with {drawn} integrated out"]

    def _region(self, region: ir.Region, info: Info, remarks: list[Remark]) -> ir.Region:
        """``region`` with what can be taken in of the samples that stand in it. Inner regions are done already."""
        for sample in region.nodes:
            if not isinstance(sample, ir.Effect) or isinstance(sample, ir.Each) or sample.site.kind != "sample":
                continue
            prior = info.facts.constructor(dict(sample.args)["distribution"])
            if prior is None or _plain(prior.family) not in PAIRS:
                continue
            place = region.nodes.index(sample)
            taken, missed = self._taken(region.nodes[place + 1 :], sample, prior, info)
            remarks += missed
            if taken.observes:
                count = len(taken.observes)
                what = f"{described(sample)} is drawn given {count} observation{'s' * (count != 1)}, taken in exactly"
                remarks.append(self.applied(sample.span, what))
                region = self._taken_in(region, place, taken, info.facts)
        return region

    def _taken(
        self, nodes: Sequence[ir.Node], sample: ir.Effect, prior: Constructor, info: Info
    ) -> tuple[Taken, list[Remark]]:
        """Which observations in the nodes below a sample can be taken in, and why others can't."""
        facts = info.facts
        while True:
            observes: dict[ir.Effect, Constructor] = {}
            missed: list[Remark] = []
            reach = 0
            looked: ir.Node | None = None
            left: ir.Node | None = None
            for i, node in enumerate(nodes, 1):
                left = left or (node if facts.leaves(node) else None)
                made, others = _users(node, sample.result, facts)
                looked = looked or next(iter(others), None)
                reasons = {
                    observe: self.failing(Pair(prior, likelihood, sample, observe, looked, left, info))
                    for observe, likelihood in made.items()
                }
                for observe, reason in reasons.items():
                    if reason is not None:
                        looked = looked or observe
                        text = f"not taken in before {described(sample)} is drawn: {reason}"
                        missed.append(self.missed(observe.span, text))
                if made and all(reason is None for reason in reasons.values()):
                    observes.update(made)
                    reach = i
            missed += self._by_way_of_others(nodes, sample, prior, facts)
            shared = _made_for_others(nodes[:reach], sample.result, observes, facts)
            if shared is None:
                return Taken(observes, reach), missed
            nodes = nodes[:shared]

    def _by_way_of_others(
        self, nodes: Sequence[ir.Node], sample: ir.Effect, prior: Constructor, facts: Facts
    ) -> list[Remark]:
        """Observations of a family that would do, but whose distribution is made from what was computed first."""
        computed_from: dict[ir.Value, ir.Py] = {}
        missed: list[Remark] = []
        for node in (inner for outer in nodes for inner in _within(outer)):
            if isinstance(node, ir.Py) and not computed_from.keys().isdisjoint(node.uses):
                found = next(computed_from[value] for value in node.uses if value in computed_from)
                computed_from.update(dict.fromkeys(node.defines, found))
            elif isinstance(node, ir.Py) and sample.result in node.uses and not _makes_likelihoods(node, facts):
                computed_from.update(dict.fromkeys(node.defines, node))
            elif isinstance(node, ir.Effect) and not isinstance(node, ir.Each) and node.site.kind == "observe":
                made = dict(node.args)["distribution"]
                known = facts.constructor(made)
                if made in computed_from and known and _plain(known.family) in PAIRS[_plain(prior.family)]:
                    line = computed_from[made].span.line
                    why = f"its distribution is made from what line {line} computes of it, not from {described(sample)}"
                    missed.append(self.missed(node.span, f"not taken in before {described(sample)} is drawn: {why}"))
        return missed

    def _taken_in(self, region: ir.Region, place: int, taken: Taken, facts: Facts) -> ir.Region:
        """``region`` with the sample of ``region.nodes[place]`` below its observations."""
        sample = region.nodes[place]
        assert isinstance(sample, ir.Effect)
        at, by = sample.span, self.name
        start = computed("·known", "·conjugate", dict(sample.args)["distribution"], at=at, by=by)
        look = ast.Attribute(ast.Name("·1", ast.Load()), "stand_in", ast.Load())
        stand_in = assigned("·stand_in", look, {"·1": value_of(start)}, at=at, by=by)
        instead = {sample.result: value_of(stand_in)}

        def change(node: ir.Node, known: ir.Value) -> tuple[list[ir.Node], ir.Value] | None:
            if isinstance(node, ir.Py) and sample.result in node.uses:
                return [rewrite.marked(rewrite.substitute(node, instead), by)], known
            if not isinstance(node, ir.Effect) or node not in taken.observes:
                return None
            args = dict(node.args)
            given = method("·predictive", known, "predictive", args["distribution"], at=node.span, by=by)
            told = method(known.name, known, "updated", args["distribution"], args["value"], at=node.span, by=by)
            args["distribution"] = value_of(given)
            return [given, rewrite.marked(replace(node, args=tuple(args.items())), by), told], value_of(told)

        def enters(node: ir.Node) -> bool:
            inside = [inner for inner in _within(node) if inner in taken.observes or sample.result in inner.uses]
            return bool(inside) or facts.leaves(node)

        below = region.nodes[place + 1 : place + 1 + taken.reach]
        nodes, known = Thread(change, enters).through(below, value_of(start))
        posterior = method("·posterior", known, "posterior", at=at, by=by)
        args = tuple((w, value_of(posterior) if w == "distribution" else v) for w, v in sample.args)
        drawn = rewrite.marked(replace(sample, args=args), by)
        after = region.nodes[place + 1 + taken.reach :]
        new = [*region.nodes[:place], start, stand_in, *nodes, posterior, drawn, *after]
        return ir.Region(region.params, tuple(new), region.end)


# --- other names ------------------------------------------------------------------------------------------------------


def _without_other_names(body: ir.Region, facts: Facts) -> ir.Region:
    """``body`` with ``q = p`` followed, where ``p`` is a sample: what is made from ``q`` is made from ``p``."""
    same: dict[ir.Value, ir.Value] = {}
    names: set[ir.Node] = set()
    for node in ir.walk(body):
        if not isinstance(node, ir.Py) or not isinstance(node.code, ast.Assign) or len(node.writes) != 1:
            continue
        if not isinstance(node.code.value, ast.Name) or len(node.reads) != 1:
            continue
        ((_, new),), ((_, old),) = node.writes, node.reads
        old = same.get(old, old)
        drawn = facts.definer.get(old)
        if isinstance(drawn, ir.Effect) and drawn.site.kind == "sample" and not _is_tied(new, facts):
            same[new] = old
            names.add(node)
    if not same:
        return body
    return rewrite.substitute_region(rewrite.map_nodes(body, lambda n: [] if n in names else [n]), same)


def _is_tied(value: ir.Value, facts: Facts) -> bool:
    """Whether a statement may change the variable in place, which must then be one of its own."""
    return any(isinstance(user, ir.Py) and user.tied for user in facts.users.get(value, ()))


# --- who uses a value -------------------------------------------------------------------------------------------------


def _within(node: ir.Node) -> list[ir.Node]:
    """A node and all inside it."""
    return [node, *(inner for region in node.regions for inner in ir.walk(region))]


def _users(node: ir.Node, value: ir.Value, facts: Facts) -> tuple[dict[ir.Effect, Constructor], list[ir.Node]]:
    """What in a node uses a value: observations by way of a distribution made from it, and all others."""
    observes: dict[ir.Effect, Constructor] = {}
    others: list[ir.Node] = []
    for inner in _within(node):
        made = _likelihood(inner, value, facts)
        if made is not None:
            assert isinstance(inner, ir.Effect)
            observes[inner] = made
        elif value in inner.uses and not _makes_likelihoods(inner, facts):
            others.append(inner)
    return observes, others


def _likelihood(node: ir.Node, value: ir.Value, facts: Facts) -> Constructor | None:
    """How the distribution of an observation is made, if it is made from a value."""
    if not isinstance(node, ir.Effect) or isinstance(node, ir.Each) or node.site.kind != "observe":
        return None
    distribution = dict(node.args)["distribution"]
    made = facts.constructor(distribution)
    direct = made is not None and distribution in made.node.defines and value in made.node.uses
    return made if direct else None


def _makes_likelihoods(node: ir.Node, facts: Facts) -> bool:
    """Whether a node only makes a distribution, and only observations use that."""
    if not isinstance(node, ir.Py) or len(node.writes) != 1 or facts.constructor(node.writes[0][1]) is None:
        return False
    users = facts.users.get(node.writes[0][1], [])
    return all(isinstance(user, ir.Effect) and user.site.kind == "observe" for user in users)


def _made_for_others(
    nodes: Sequence[ir.Node], value: ir.Value, observes: dict[ir.Effect, Constructor], facts: Facts
) -> int | None:
    """The place of a node that makes a distribution from a value also for observations that are not taken in."""
    for place, node in enumerate(nodes):
        for inner in _within(node):
            if isinstance(inner, ir.Py) and value in inner.uses:
                users = [user for made in inner.defines for user in facts.users.get(made, [])]
                if any(user not in observes for user in users):
                    return place
    return None
