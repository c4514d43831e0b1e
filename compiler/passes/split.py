"""Chain-rule splitting: a text is drawn piece by piece, so that runs can be weighed while it is written."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .. import ir, rewrite
from ..errors import Span
from ..requests import Site
from .base import Condition, Info, Level, Pass, Remark, several
from .making import assigned, computed, method, value_of
from .moving import described


@dataclass(frozen=True)
class Whole:
    """A sample that may be split.

    Attributes:
        sample: the effect.
        by: ``line`` or ``token``.
        program: the program that it stands in.
        info: about the program.
    """

    sample: ir.Effect
    by: str
    program: ir.Program
    info: Info


# --- side-conditions --------------------------------------------------------------------------------------------------


def factorises(whole: Whole) -> str | None:
    """It is a text by a context's own method, so that the pieces have its tokenizer, temperature and stop strings."""
    made = whole.info.facts.constructor(dict(whole.sample.args)["distribution"])
    if made is None or made.family not in ("model.text", "model.line"):
        return "it is not known to be a text"
    if made.family == "model.line" and whole.by == "line":
        return "it is one line already"
    return None


def address_not_kept(whole: Whole) -> str | None:
    """Nobody asks for the whole text by its address: it is not fixed, proposed for, or to be kept."""
    return "its address is to be kept" if whole.info.keeps(whole.sample) else None


def addresses_free(whole: Whole) -> str | None:
    """The pieces' addresses are nobody else's."""
    site = whole.sample.site
    if site.dynamic:
        return "its name is computed"
    taken = any(s.name == site.name and s.depth == site.depth + 1 for s in whole.program.sites)
    return f"there is another site called {site.name + '[·]' * (site.depth + 1)!r}" if taken else None


def drawn_by_constraint(whole: Whole) -> str | None:
    """It has no proposal but what constraint pushing made, which can be split in the same way."""
    proposal = dict(whole.sample.args).get("proposal")
    node = None if proposal is None else whole.info.facts.definer.get(proposal)
    pushed = node is not None and "push" in node.provenance
    return None if proposal is None or pushed else "it has a proposal of its own"


CONDITIONS: tuple[Condition, ...] = (factorises, address_not_kept, addresses_free, drawn_by_constraint)


# --- the pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SplitTexts(Pass):
    """Draw texts line by line, or token by token, with a barrier after each piece.

    p(text) is the product of p(piece | pieces before), so particle methods may resample inside the text: by weights
    that come with its pieces, as a pushed constraint's do, or with the text that others write meanwhile.

    Law: JOINT after the address map: the text ``x`` is what ``x[0]``, ``x[1]``, … make together, and the product of
    their probabilities is its own. To those who ask for ``x`` itself it is gone; so the level is MARGINAL, and sites
    that are fixed or kept stay whole.

    Attributes:
        by: where pieces end: ``line``, with the first token that holds a newline, or ``token``.
    """

    name = "split"
    level = Level.MARGINAL

    conditions: tuple[Condition, ...] = CONDITIONS
    by: str = "line"

    def __post_init__(self) -> None:
        """Check the option.

        Raises:
            ValueError: there are no such pieces.
        """
        if self.by not in ("line", "token"):
            raise ValueError(f"by={self.by!r}: a text is split by 'line' or by 'token'")

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []

        def change(node: ir.Node) -> list[ir.Node]:
            if not isinstance(node, ir.Effect) or isinstance(node, ir.Each) or node.site.kind != "sample":
                return [node]
            made = info.facts.constructor(dict(node.args)["distribution"])
            if made is None or made.local:
                return [node]  # what is no text is no concern of this pass
            reason = self.failing(Whole(node, self.by, program, info))
            if reason is not None:
                remarks.append(self.missed(node.span, f"{described(node)} is drawn as a whole: {reason}"))
                return [node]
            remarks.append(self.applied(node.span, f"{described(node)} is drawn {self.by} by {self.by}"))
            return self._pieces(node)

        return rewrite.with_body(program, rewrite.map_nodes(program.body, change)), remarks

    def pieces(self, before: ir.Program, after: ir.Program) -> frozenset[tuple[str, int]]:
        old = {(site.name, site.depth) for site in before.sites if site.kind == "sample"}
        new = {(site.name, site.depth) for site in after.sites if site.kind == "sample"}
        return frozenset((name, depth) for name, depth in old - new if (name, depth + 1) in new)

    def bought(self, before: ir.Program, after: ir.Program) -> list[str]:
        texts = sum(
            effect.site.kind == "barrier" and self.name in effect.provenance for effect in ir.effects(after.body)
        )
        return [f"{several(texts, 'text')} after each {self.by} of which runs can be resampled"]

    def _pieces(self, sample: ir.Effect) -> list[ir.Node]:
        """A loop that draws the pieces, and the text that they make."""
        args, at, by = dict(sample.args), sample.span, self.name
        whole = [args["distribution"], self.by, *([args["proposal"]] if "proposal" in args else [])]
        start = computed("·written", "·pieces", *whole, at=at, by=by)
        counter = ir.Value(f"·{sample.site.name}")
        tested, written, ended, result = (ir.Value("·written") for _ in range(4))
        is_open = _attribute("·open", tested, "open", at, by)
        test = ir.Region((tested,), (is_open,), ir.Yield(span=at, values=(value_of(is_open), tested)))
        loop = ir.While(
            span=at,
            provenance=(by,),
            initial=(value_of(start),),
            counter=counter,
            test=test,
            body=self._body(sample, written, counter),
            orelse=ir.Region((ended,), (), ir.Yield(span=at, values=(ended,))),
            results=(result,),
        )
        text = _attribute(sample.result.name, result, "text", at, by)
        named = ir.Py(
            span=at, provenance=(by,), code=text.code, reads=text.reads, writes=((sample.result.name, sample.result),)
        )
        return [start, loop, named]

    def _body(self, sample: ir.Effect, written: ir.Value, counter: ir.Value) -> ir.Region:
        """Draw a piece, and let the population be weighed."""
        site, at, by = sample.site, sample.span, self.name
        index = (*sample.index, counter)
        nodes: list[ir.Node] = []
        args: list[tuple[str, ir.Value]] = []
        for word, attribute in (("distribution", "next"), ("proposal", "proposal")):
            if word in dict(sample.args):
                nodes.append(_attribute(f"·{attribute}", written, attribute, at, by))
                args.append((word, nodes[-1].defines[0]))
        piece = Site("sample", site.name, site.depth + 1, site.program, site.span)
        drawn = ir.Effect(
            span=at, provenance=(by,), site=piece, args=tuple(args), index=index, result=ir.Value("·piece")
        )
        more = method("·written", written, "followed", drawn.result, at=at, by=by)
        pause = Site("barrier", f"{site.name}·piece", site.depth + 1, site.program, site.span)
        barrier = ir.Effect(span=at, provenance=(by,), site=pause, index=index, result=ir.Value("·0"))
        end = ir.Continue(span=at, values=(value_of(more),))
        return ir.Region((written,), (*nodes, drawn, more, barrier), end)


def _attribute(name: str, owner: ir.Value, attribute: str, at: Span, by: str) -> ir.Py:
    """The statement ``name = owner.attribute``."""
    code = ast.Attribute(ast.Name("·1", ast.Load()), attribute, ast.Load())
    return assigned(name, code, {"·1": owner}, at=at, by=by)
