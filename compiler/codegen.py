"""IR → block functions, as a Python syntax tree with the user's positions.

Code between effects is emitted as the Python it was, native ``if``, ``for`` and ``while`` included. At an effect the
block ends: it returns the request, the block to go on with and the values that block needs. Structured control flow
that an effect interrupts becomes more blocks: one for what follows a branch, one for the head of a loop.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from . import ir
from .blocks import Code, Context, Edge, Generated, onward
from .codegen_loops import Loops
from .errors import Span
from .rename import renamed
from .syntax import bare, block_or_pass, call, function, load, outer, pack, position, unbind

REQUESTS = {
    "sample": "·Sample",
    "observe": "·Observe",
    "factor": "·Factor",
    "condition": "·Condition",
    "twist": "·Twist",
    "barrier": "·Barrier",
    "call": "·Call",
    "program": "·Invoke",
}

SHORT = 6
"""What follows a branch is repeated in the branches if it is at most so many nodes, none an effect."""


def generate(program: ir.Program, helpers: Sequence[str]) -> Generated:
    """The block functions of ``program``.

    Args:
        program: verified IR.
        helpers: the names that the linker provides to every block.
    """
    return _Generator(program).run(helpers)


class _Generator(Loops):
    def __init__(self, program: ir.Program) -> None:
        super().__init__(program)
        nodes = list(ir.walk(program.body))
        self.uses = Counter(value for node in nodes for value in node.uses)
        self.site_names: dict[ir.Effect, str] = {}

    def run(self, helpers: Sequence[str]) -> Generated:
        program = self.program
        entry = function(f"{program.name}·0", bare(program.signature), [])
        self.functions.append(entry)
        entry.body = self.sequence(program.body, 0, Context())
        while self.unfinished:
            self.unfinished.pop()()
        names = [*program.free, *map(outer, program.free), *helpers, *self.sites, *(f.name for f in self.functions)]
        module = ast.Module([function("·factory", names, self.functions)], [])
        return Generated(position(module, program.span), [f.name for f in self.functions], self.sites)

    # --- regions ---

    def sequence(self, region: ir.Region, start: int, context: Context) -> list[ast.stmt]:
        """Code for the nodes of ``region`` from ``start`` on, and its terminator.

        Temporaries that the very next node uses, and nothing else, are handed to it as expressions.
        """
        out: list[ast.stmt] = []
        waiting: list[tuple[ir.Value, ast.stmt]] = []
        for i in range(start, len(region.nodes)):
            node = region.nodes[i]
            if isinstance(node, ir.Py):
                code = self.native(node)
                if self._is_passing(node, code):
                    waiting.append((node.writes[0][1], code[0]))
                    continue
                out += [*(s for _, s in waiting), *code]
                waiting = []
                continue
            inline, before = self._inlined(node, waiting)
            out += before
            waiting = []
            if isinstance(node, (ir.Effect, ir.Gather)):
                return out + self.effect(region, i, context, inline)
            rest = self.rest(region, i, context) if node in self.with_effects else None
            if isinstance(node, ir.If):
                if rest is not None and not context.joins:
                    return out + self.branch(node, replace(context, on_yield=rest), inline)
                out += self.joined_if(node, context, rest, inline)
            elif isinstance(node, ir.Loop):
                if rest is not None and not context.room:
                    return out + self.cut_loop(node, rest, context, inline)
                out += self.native_loop(node, context, rest, inline)
        inline, before = self._inlined(region.end, waiting)
        return [*out, *before, *self.end(region.end, context, inline)]

    def _is_passing(self, node: ir.Py, code: list[ast.stmt]) -> bool:
        """Whether a statement only computes a temporary that is used once."""
        return (
            len(code) == 1
            and isinstance(code[0], ast.Assign)
            and len(node.writes) == 1
            and node.writes[0][0].startswith("·")
            and self.uses[node.writes[0][1]] == 1
            and len(code[0].targets) == 1
            and isinstance(code[0].targets[0], ast.Name)
        )

    def _inlined(
        self, node: ir.Node, waiting: list[tuple[ir.Value, ast.stmt]]
    ) -> tuple[dict[ir.Value, ast.expr], list[ast.stmt]]:
        """Which of the temporaries before ``node`` it can compute itself, and the statements for the others.

        It computes its operands in their order, so they have to be wanted in the order in which they stood.
        """
        wanted: list[ir.Value] = []
        if isinstance(node, ir.If):
            wanted = [node.test]
        elif isinstance(node, ir.For) and node in self.with_effects:
            wanted = [node.iterable]
        elif isinstance(node, ir.Return):
            wanted = list(node.values)
        elif isinstance(node, ir.Effect) and node.site.kind != "program":
            wanted = [v for _, v in node.args]
        elif isinstance(node, ir.Gather):
            wanted = [v for effect in node.effects for _, v in effect.args]
        taken = 0
        for value in reversed(wanted):
            if taken < len(waiting) and waiting[-1 - taken][0] is value:
                taken += 1
        split = len(waiting) - taken
        inline = {v: s.value for v, s in waiting[split:] if isinstance(s, ast.Assign)}
        return inline, [s for _, s in waiting[:split]]

    def end(self, end: ir.Terminator, context: Context, inline: dict[ir.Value, ast.expr]) -> list[ast.stmt]:
        """Code for a terminator."""
        edge = context.edge(end)
        if edge is not None:
            return edge(end.values, end.span)
        if isinstance(end, ir.Return):
            value = inline.get(end.values[0]) or self.load(end.values[0])
            return [position(ast.Return(pack(value, ast.Constant(None), pack())), end.span)]
        assert isinstance(end, ir.Unreachable)
        return []

    def rest(self, region: ir.Region, i: int, context: Context) -> Edge:
        """The edge to what follows node ``i``; its values are the node's results."""
        node = region.nodes[i]
        params = self.live.sorted(self.live.after[node])
        slots = [j for j, d in enumerate(node.defines) if d in params]
        mapped = [node.defines[j] for j in slots]

        def enter(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            name = self.continuation(region, i, (), params, lambda: self.sequence(region, i + 1, context.detached))
            return self.call_edge(name, params, mapped)(tuple(values[j] for j in slots), span)

        def repeat(context: Context) -> Code:
            return lambda values, span: [
                *self.copies(node.defines, values, self.live.after[node]),
                *self.sequence(region, i + 1, context),
            ]

        following = region.nodes[i + 1 :]
        edge = context.edge(region.end)
        size = sum(1 + sum(1 for r in n.regions for _ in ir.walk(r)) for n in following) + (edge.size if edge else 1)
        if size > SHORT or not self.with_effects.isdisjoint(following):
            return Edge(enter)
        return Edge(repeat(context), repeat(context.detached), size)

    # --- nodes ---

    def native(self, node: ir.Py) -> list[ast.stmt]:
        """A native statement, its names exchanged for those of its values."""
        reads = {n: self.names[v] for n, v in node.reads if v is not ir.UNDEFINED}
        writes = {n: self.names[v] for n, v in node.writes}
        given = dict(node.reads)
        out: list[ast.stmt] = []
        for name in sorted(node.tied):
            target = dict(node.writes)[name]
            out += self.copies([target], [given[name]], frozenset({target}))
            reads[name] = writes[name]
        busy = {self.names[v] for v in self.live.after[node]} | set(reads.values())
        for name, value in node.reads:
            if value is ir.UNDEFINED and writes.get(name) != name:
                # Reading an unbound local is Python's own error: make it a local of this block, unbound.
                reads[name] = name if name not in busy else f"{name}·unbound"
                out += unbind(reads[name])
        changed = any(a != b for a, b in (*reads.items(), *writes.items()))
        code = renamed(node.code, reads, writes) if changed else node.code
        return [*(position(s, node.span) for s in out), code]

    def effect(self, region: ir.Region, i: int, context: Context, inline: dict[ir.Value, ast.expr]) -> list[ast.stmt]:
        """Ask, and go on in a new block with the answer."""
        node = region.nodes[i]
        assert isinstance(node, (ir.Effect, ir.Gather))
        params = [p for p in self.live.sorted(self.live.after[node]) if p not in node.defines]
        answer = self.names[node.result] if isinstance(node, ir.Effect) else "·answers"

        def body() -> list[ast.stmt]:
            return [*self.answered(node), *self.sequence(region, i + 1, context.detached)]

        then = load(self.continuation(region, i, (answer,), params, body))
        before, args = self.passed(params)
        request = self.request(node, inline)
        out: list[ast.stmt] = [*before]
        ask = ast.Return(pack(request, then, pack(*args)))
        if isinstance(node, ir.Effect) and node.site.kind == "program":
            given = dict(node.args)
            out.append(ast.If(call("·is_program", self.load(given["program"])), [ask], []))
            native = ast.Call(
                self.load(given["program"]),
                [ast.Starred(self.load(given["args"]), ast.Load())],
                [ast.keyword(None, self.load(given["kwargs"]))],
            )
            # By way of the driver, so that the stack does not grow with each such call.
            out.append(ast.Return(pack(ast.Constant(None), then, pack(native, *args))))
        else:
            out.append(ask)
        return [position(s, node.span) for s in out]

    def answered(self, node: ir.Effect | ir.Gather) -> list[ast.stmt]:
        """Take the answers of several effects apart."""
        if isinstance(node, ir.Effect):
            return []
        names: list[ast.expr] = [ast.Name(self.names[result], ast.Store()) for result in node.defines]
        return [position(ast.Assign([ast.Tuple(names, ast.Store())], load("·answers")), node.span)]

    def request(self, node: ir.Effect | ir.Gather, inline: dict[ir.Value, ast.expr]) -> ast.expr:
        """What the runtime is asked for."""
        if isinstance(node, ir.Gather):
            return call("·Gather", pack(*(self.request(effect, inline) for effect in node.effects)))
        site = self.site_names.setdefault(node, f"·site{len(self.sites)}")
        self.sites[site] = node.site
        operands = [load(site), pack(*map(self.load, node.index))]
        kind = load(REQUESTS[node.site.kind])
        new = call("·each", kind, *operands) if isinstance(node, ir.Each) else ast.Call(kind, operands, [])
        new.keywords = [ast.keyword(k, inline.get(v) or self.load(v)) for k, v in node.args]
        return new

    def branch(self, node: ir.If, context: Context, inline: dict[ir.Value, ast.expr]) -> list[ast.stmt]:
        """An ``if`` whose branches end where ``context`` says."""
        test = inline.get(node.test) or self.load(node.test)
        then = self.sequence(node.then, 0, context)
        orelse = self.sequence(node.orelse, 0, context)
        return [position(ast.If(test, block_or_pass(then), orelse), node.span)]

    def joined_if(
        self, node: ir.If, context: Context, rest: Edge | None, inline: dict[ir.Value, ast.expr]
    ) -> list[ast.stmt]:
        """An ``if`` that native code follows. Branches that were cut go on at ``rest``."""
        after = self.live.after[node]
        join = onward(lambda values, span: self.copies(node.results, values, after), rest)
        return self.branch(node, replace(context, on_yield=join), inline)
