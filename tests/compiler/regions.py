"""Random IR, made directly: all that the verifier lets pass, whether or not any source would be lowered to it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from ppl.compiler import Site, Span, ir
from ppl.compiler.requests import EFFECTS
from ppl.compiler.scan import names
from ppl.compiler.verify import verify

NAMES = ["x", "xs", "y", "·1", "·k0", "été", "_", "entry", "test", "at", "undefined", "match"]
FILES = ["a.py", "<stdin>", "my file.py", 'q"#,:.py', "/tmp/dir/b.py"]
CODE = [
    "pass",
    "x = 1",
    "·1, xs = ·k0, f'{x!r:>{y}}  # a.py:3'",
    "del x",
    "def y(a, *b, c=1, **d):\n    'Doc.\\n\\n    string  '\n    return a",
    "try:\n    x = '|'\nexcept (A, B) as e:\n    raise\nelse:\n    pass",
    "with a as (b, c), d:\n    x[1:2, ...] += -1 ** 2",
    "match x:\n    case {'a': [1, *rest], **more} if y:\n        pass\n    case P(z=1) | None as q:\n        pass",
    "class C(B, metaclass=M):\n    x: int = 0",
    "x = [lambda: (yield) for y in xs if y], {**z}, {*()}, b'\\xff', '\\ud800 \\u2028 \\x00'",
]
if sys.version_info >= (3, 11):
    CODE.append("try:\n    x = '|'\nexcept* (A, B) as e:\n    raise")


class Regions:
    """Builds one program from hypothesis's draws."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.sites: list[Site] = []
        self.counters: list[ir.Value] = []
        self.budget = 12

    def one_of(self, options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def span(self) -> Span:
        file, line = self.one_of(FILES), self.draw(st.integers(1, 200))
        if self.draw(st.booleans()):
            return Span(file, line, 0, line, 0)
        column, end = self.draw(st.integers(0, 99)), line + self.draw(st.integers(0, 2))
        return Span(file, line, column, end, column + self.draw(st.integers(0, 9)))

    def common(self) -> dict[str, Any]:
        passes = st.lists(st.sampled_from(["hoist", "batch", "split-text", "x.y"]), max_size=2)
        return {"span": self.span(), "provenance": tuple(self.draw(passes))}

    def new(self) -> ir.Value:
        return ir.Value(self.one_of(NAMES), self.draw(st.booleans()))

    def several(self, most: int = 2) -> tuple[ir.Value, ...]:
        return tuple(self.new() for _ in range(self.draw(st.integers(0, most))))

    def use(self, visible: list[ir.Value]) -> ir.Value:
        return self.one_of([*visible, ir.UNDEFINED])

    def operand(self, visible: list[ir.Value]) -> ir.Value:
        """A value that is surely bound: the program's first parameter is."""
        return self.one_of([value for value in visible if not value.maybe_unbound])

    def uses(self, count: int, visible: list[ir.Value]) -> tuple[ir.Value, ...]:
        return tuple(self.use(visible) for _ in range(count))

    # --- regions ---

    def program(self) -> ir.Program:
        signature = ast.parse("def f(x, /, xs=f'{x}', *y, k: 'int'=(1, '  # a.py:3'), **z): pass").body[0]
        assert isinstance(signature, ast.FunctionDef)
        params = tuple(ir.Value(n) for n in ("x", "xs", "y", "k", "z"))
        body = self.region(params, [], None, {ir.Return: 1})
        sites = tuple(self.draw(st.permutations(self.sites)))
        return ir.Program("f", signature.args, body, ("f", "été"), self.span(), sites)

    def region(
        self, params: tuple[ir.Value, ...], visible: list[ir.Value], index: Any, exits: dict[Any, int]
    ) -> ir.Region:
        """A region with some nodes; ``exits``: the terminators that it may have, and how many values each carries."""
        visible = [*visible, *params]
        nodes = []
        while self.budget > 0 and self.draw(st.booleans()):
            self.budget -= 1
            node = self.one_of([self.py, self.py, self.effect, self.gather, self.branch, self.loop])(visible, exits)
            nodes.append(node)
            visible += node.defines
        kind = self.one_of(list(exits))
        if kind is ir.Unreachable:
            nodes.append(self.leaving(visible))
        several = self.operand if kind is ir.Return else self.use
        values = tuple(several(visible) for _ in range(exits[kind]))
        return ir.Region(params, tuple(nodes), kind(values=values, **self.common()))

    def leaving(self, visible: list[ir.Value]) -> ir.If:
        """What control does not get past."""
        regions = [ir.Region((), (), ir.Return(values=(self.operand(visible),), **self.common())) for _ in range(2)]
        return ir.If(test=self.operand(visible), then=regions[0], orelse=regions[1], **self.common())

    def py(self, visible: list[ir.Value], exits: Any) -> ir.Py:
        code = _dotted(ast.parse(self.one_of(CODE).replace("·", "dot·")).body[0])
        found = names(code)
        gone = {name for name in sorted(found.deletes) if self.draw(st.booleans())}
        reads = tuple((n, self.use(visible)) for n in NAMES if self.draw(st.booleans()))
        writes = tuple((n, self.new()) for n in sorted(found.binds - gone))
        both = sorted(dict(reads).keys() & dict(writes).keys())
        tied = frozenset(n for n in both if self.draw(st.booleans()))
        return ir.Py(code=code, reads=reads, writes=writes, tied=tied, **self.common())

    def effect(self, visible: list[ir.Value], exits: Any, gathered: bool = False) -> ir.Effect:
        kind = self.one_of([kind for kind in EFFECTS if kind != "program" or not gathered])
        spec = EFFECTS[kind]
        common = self.common()
        dynamic = "name" in spec.optional and self.draw(st.booleans())
        each = bool(kind != "program" and spec.operands and not dynamic and self.draw(st.booleans()))
        index = () if dynamic else tuple(self.counters)
        word = self.draw(st.text(max_size=6))
        if not dynamic:
            word = f"{word.translate(dict.fromkeys(map(ord, '/[]')))}{len(self.sites)}·"  # an address of its own
        span = self.one_of([common["span"], self.span()])
        site = Site(kind, word, len(index) + each, self.one_of(["f", "g"]), span, dynamic)
        self.sites.append(site)
        optional = [n for n in spec.optional if (dynamic if n == "name" else self.draw(st.booleans()))]
        words = self.draw(st.permutations([*spec.operands, *optional]))
        args = tuple((n, self.operand(visible)) for n in words)
        made = ir.Each if each else ir.Effect
        return made(site=site, args=args, index=index, result=self.new(), **common)

    def gather(self, visible: list[ir.Value], exits: Any) -> ir.Gather:
        effects = tuple(self.effect(visible, exits, True) for _ in range(self.draw(st.integers(1, 2))))
        return ir.Gather(effects=effects, **self.common())

    def branch(self, visible: list[ir.Value], exits: dict[Any, int]) -> ir.If:
        results = self.several()
        inner = {**exits, ir.Yield: len(results), ir.Unreachable: 0}
        regions = [self.region((), visible, None, inner) for _ in range(2)]
        test = self.operand(visible)
        return ir.If(test=test, then=regions[0], orelse=regions[1], results=results, **self.common())

    def loop(self, visible: list[ir.Value], exits: dict[Any, int]) -> ir.Loop:
        results = self.several()
        initial = self.uses(len(results), visible)
        counter = ir.Value(self.one_of(NAMES))
        inside = [*visible, counter]
        fresh = lambda: tuple(self.new() for _ in results)  # noqa: E731
        leave = {ir.Break: len(results), ir.Continue: len(results)}
        after = {**{k: n for k, n in exits.items() if k is not ir.Yield}, ir.Yield: len(results)}
        more: dict[str, Any] = {"initial": initial, "results": results, **self.common()}
        more["orelse"] = self.region(fresh(), visible, None, after)
        self.counters.append(counter)
        made: type[ir.Loop] = self.one_of([ir.For, ir.While])
        if made is ir.For:
            more["iterable"] = self.operand(visible)
            more["body"] = self.region((self.new(), *fresh()), inside, None, leave)
        else:
            more["test"] = self.region(fresh(), inside, None, {ir.Yield: len(results) + 1})
            more["body"] = self.region(fresh(), inside, None, leave)
        self.counters.pop()
        needed = any(counter in node.uses for part in ("test", "body") if part in more for node in ir.walk(more[part]))
        return made(counter=counter if needed or self.draw(st.booleans()) else None, **more)


def _dotted(code: ast.stmt) -> ast.stmt:
    """``code`` with names of the compiler, which Python can't parse, where it has ``dot·1``."""
    for node in ast.walk(code):
        if isinstance(node, ast.Name):
            node.id = node.id.removeprefix("dot")
    return code


@st.composite
def programs(draw: Callable[[Any], Any]) -> ir.Program:
    """A random program's IR, verified."""
    program = Regions(draw).program()
    verify(program)
    return program
