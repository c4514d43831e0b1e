"""What all parts of the code generator share: variables for values, block functions, and the edges between them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import ir
from .errors import Span
from .liveness import Liveness, Values, analyse, check_names
from .requests import Site
from .syntax import assign, call, delete, function, increment, is_mark, load, pack, position, unbind

LONG = 1000
"""The size of code that is made only once."""

Code = Callable[[tuple[ir.Value, ...], Span], list[ast.stmt]]


@dataclass(frozen=True)
class Edge:
    """Where control goes, as code made for the values that it carries.

    Attributes:
        here: the code in the function that the edge was made in, where native ``continue`` may do.
        elsewhere: the code in any other block; ``None`` if it is the same.
        size: how much code it makes, in nodes; what is long must not be made often.
    """

    here: Code
    elsewhere: Code | None = None
    size: int = 1

    def __call__(self, values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
        return [position(s, span) for s in self.here(values, span)]

    @property
    def detached(self) -> Edge:
        """The edge as seen from another block."""
        return self if self.elsewhere is None else Edge(self.elsewhere, None, self.size)


@dataclass(frozen=True)
class Context:
    """Where control goes at each kind of terminator, and how much may stay native on the way.

    Attributes:
        joins: a branch that is cut does not end the code: where it reaches no effect, what follows comes natively.
        room: how many loops that are cut may still be put into each other natively.
    """

    on_yield: Edge | None = None
    on_break: Edge | None = None
    on_continue: Edge | None = None
    joins: bool = False
    room: int = 0

    def edge(self, end: ir.Terminator) -> Edge | None:
        """Where control goes at ``end``; ``None`` if it leaves the program."""
        if isinstance(end, ir.Yield):
            return self.on_yield
        if isinstance(end, ir.Break):
            return self.on_break
        return self.on_continue if isinstance(end, ir.Continue) else None

    @property
    def detached(self) -> Context:
        """The same exits as seen from another block, where nothing is native that can be had elsewhere."""
        on_yield, on_break, on_continue = (e and e.detached for e in (self.on_yield, self.on_break, self.on_continue))
        return Context(on_yield, on_break, on_continue)


def onward(here: Code, rest: Edge | None) -> Edge:
    """Native code ``here``, and from other blocks on to ``rest``; without it there are no other blocks."""
    return Edge(here) if rest is None else Edge(here, rest.detached, rest.size)


@dataclass
class Generated:
    """The code of a program.

    Attributes:
        module: a module with one function, the factory, that holds a definition for each block.
        blocks: the names of the blocks; the first is the entry, with the user's own signature.
        sites: variable name → site that the code refers to by it.
    """

    module: ast.Module
    blocks: list[str] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)


class Blocks:
    """The block functions of one program."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.live: Liveness = analyse(program)
        self.names = check_names(program, self.live)
        self.functions: list[ast.FunctionDef] = []
        self.sites: dict[str, Site] = {}
        self.continuations: dict[tuple[ir.Region, int], str] = {}
        self.unfinished: list[Callable[[], None]] = []
        self.with_effects = {n for n in ir.walk(program.body) if ir.has_effects(n)}

    def sequence(self, region: ir.Region, start: int, context: Context) -> list[ast.stmt]:
        """Code for the nodes of ``region`` from ``start`` on, and its terminator."""
        raise NotImplementedError

    # --- values ---

    def load(self, value: ir.Value) -> ast.expr:
        """The variable of a value that is surely bound."""
        return load(self.names[value])

    def passed(self, values: Sequence[ir.Value]) -> tuple[list[ast.stmt], list[ast.expr]]:
        """Expressions that hand values over to another block, and the statements that they need first."""
        before: list[ast.stmt] = []
        out: list[ast.expr] = []
        for value in values:
            if value is ir.UNDEFINED:
                out.append(load("·UNBOUND"))
            elif value.maybe_unbound:
                holder = f"·held{len(before)}"
                out.append(load(holder))
                handler = ast.ExceptHandler(load("·NameError"), None, [assign(holder, load("·UNBOUND"))])
                before.append(ast.Try([assign(holder, self.load(value))], [handler], [], []))
            else:
                out.append(self.load(value))
        return before, out

    def copies(self, targets: Sequence[ir.Value], values: Sequence[ir.Value], needed: Values) -> list[ast.stmt]:
        """Native code for an edge: those targets that are needed take the values, all at once."""
        pairs: list[tuple[str, ir.Value]] = []
        out: list[ast.stmt] = []
        for target, value in zip(targets, values, strict=True):
            name = self.names[target]
            if target not in needed:
                continue
            if value is not ir.UNDEFINED:
                pairs += [(name, value)] if name != self.names[value] else []
            elif name != target.name:
                out += unbind(name)  # it may still hold what it held the last time
        if not pairs:
            return out
        before, loads = self.passed([v for _, v in pairs])
        after = [ast.If(is_mark(name, "·UNBOUND"), [delete(name)], []) for name, value in pairs if value.maybe_unbound]
        if len(pairs) == 1:
            return [*before, assign(pairs[0][0], loads[0]), *after, *out]
        stores: list[ast.expr] = [ast.Name(name, ast.Store()) for name, _ in pairs]
        return [*before, ast.Assign([ast.Tuple(stores, ast.Store())], pack(*loads)), *after, *out]

    # --- blocks and edges ---

    def block(self, first: Sequence[str], params: Sequence[ir.Value]) -> ast.FunctionDef:
        """A new block function; the caller fills in its body."""
        body: list[ast.stmt] = [
            ast.If(is_mark(self.names[p], "·UNBOUND"), [delete(self.names[p])], []) for p in params if p.maybe_unbound
        ]
        name = f"{self.program.name}·{len(self.functions)}"
        new = function(name, [*first, *(self.names[p] for p in params)], body)
        self.functions.append(new)
        return new

    def later(self, block: ast.FunctionDef, body: Callable[[], list[ast.stmt]]) -> None:
        """Fill in a block's body when those begun before are done, so that long programs don't nest deeply."""

        def finish() -> None:
            block.body += body()

        self.unfinished.append(finish)

    def continuation(
        self,
        region: ir.Region,
        i: int,
        first: Sequence[str],
        params: Sequence[ir.Value],
        body: Callable[[], list[ast.stmt]],
    ) -> str:
        """The name of the block that goes on after node ``i``: one, however often the node itself is generated."""
        found = self.continuations.get((region, i))
        if found is None:
            block = self.block(first, params)
            found = self.continuations[region, i] = block.name
            self.later(block, body)
        return found

    def call_edge(self, name: str, params: Sequence[ir.Value], mapped: Sequence[ir.Value]) -> Code:
        """Go forward into block ``name``; of its ``params``, those in ``mapped`` take the edge's values."""

        def code(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            given = dict(zip(mapped, values, strict=True))
            before, args = self.passed([given.get(p, p) for p in params])
            return [*before, ast.Return(call(name, *args))]

        return code

    def back_edge(self, name: str, params: Sequence[ir.Value], mapped: Sequence[ir.Value], counter: ir.Value) -> Code:
        """Go back to a loop's head by way of the driver, counting the iteration."""

        def code(values: tuple[ir.Value, ...], span: Span) -> list[ast.stmt]:
            given = dict(zip(mapped, values, strict=True))
            before, args = self.passed([given.get(p, p) for p in params])
            args[params.index(counter)] = increment(self.names[counter])
            return [*before, ast.Return(pack(ast.Constant(None), load(name), pack(*args)))]

        return code
