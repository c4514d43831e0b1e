"""A generator of random programs: Python of the subset, with effects wherever they may stand.

Everything is decided by ``pick(n)``, which returns a number below ``n``, so that both hypothesis (which shrinks) and
a plain random generator (which is fast) can drive it. Programs end: every loop calls ``tick()``.
"""

from __future__ import annotations

from collections.abc import Callable

from .random_expressions import INTS, Expressions

MAX_STATEMENTS = 28


class Programs(Expressions):
    """Generates one program; ``source`` is its text. The function is called ``f`` and takes two numbers."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        super().__init__(pick)
        self.lines: list[str] = []
        self.indent = 0
        self.fresh = 0
        self.statements = 0
        self.loops = 0
        self.unbound = False
        self.source = self._module()

    def new(self, stem: str) -> str:
        self.fresh += 1
        return f"{stem}{self.fresh}"

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    # --- the whole ---

    def _module(self) -> str:
        helper = self.chance(40)
        if helper:
            self.line("@program")
            self.line("def helper(v, w=2, *rest, k=3):")
            self.indent = 1
            self.line(self.one_of(["r = sample(v)", "r = v", "if v > 3: return sample(w)\n    r = v * w"]))
            self.line("observe(r, (w, rest))")
            self.line("if v > 0 and k > 0: return helper(v - 1, r, k=k - 1) + r")
            self.line("return r + k")
            self.indent = 0
        self.helpers = ["helper"] if helper else []
        self.line("@program")
        self.line("def f(a, b=2, *args, k=3, **kw):")
        self.indent = 1
        self.line("c0 = a")
        if not self.chance(30):
            self.line("c = d = 0")
        else:
            self.unbound = True
        self.line("xs = [1, 2]; ys = [a]; m = {0: 1}; s = 'ab'; o = Box(q=1)")
        if self.chance(30):
            self.line("g = lambda v, q=b: show(v, q) + c0")
            self.functions.append("g")
        if self.chance(25):
            self.line("@program")
            self.line("def h(v, t=xs):")
            self.line("    t.append(sample(v))")
            self.line("    return len(t) + c0")
            self.functions.append("h")
        self.block(3)
        self.line(self.one_of(["return a, b, xs, ys, m", "return (a, b, c, d, xs, ys, m, s)", "return a", "pass"]))
        return "\n".join(self.lines) + "\n"

    # --- statements ---

    def block(self, depth: int, pure: bool = False, in_loop: bool = False) -> None:
        """One statement or more."""
        for _ in range(1 + self.pick(4)):
            self.statement(depth, pure, in_loop)

    def body(self, depth: int, pure: bool, in_loop: bool, *first: str) -> None:
        self.indent += 1
        for text in first:
            self.line(text)
        self.block(depth, pure, in_loop)
        self.indent -= 1

    def statement(self, depth: int, pure: bool, in_loop: bool) -> None:
        self.statements += 1
        if self.statements > MAX_STATEMENTS:
            self.line("pass")
            return
        if depth > 0 and self.chance(45):
            compound = [self.if_, self.for_, self.while_, self.rarely, self.try_, self.with_, self.match_]
            compound[self.pick(len(compound))](depth, pure, in_loop)
            return
        e = lambda: self.integer(1 + self.pick(2), pure)  # noqa: E731
        name = self.one_of(INTS)
        forms: list[Callable[[], str]] = [
            lambda: f"{name} = {e()}",
            lambda: f"{name} {self.one_of(['+=', '-=', '|='])} {self.unwalrus(name, e())}",
            lambda: f"{name}, {self.one_of(INTS)} = {e()}, {e()}",
            lambda: f"{name} = {self.one_of(INTS)} = {e()}",
            lambda: f"{name}, *ys = {self.sequence(2, pure)}",
            lambda: f"{self.one_of(self.lists)} = {self.sequence(2, pure)}",
            lambda: f"if len(xs) < 8: xs.append({e()})",
            lambda: f"xs += [{e()}]" if self.chance(60) else "xs = list(xs)",
            lambda: f"xs[{e()} % 2] = {e()}",
            lambda: f"xs[{e()} % 2] += {e()}",
            lambda: f"m[{e()}] = {e()}",
            lambda: f"o[{e()}] += {e()}",
            lambda: f"o[{e()}:{e()}] = {e()}",
            lambda: f"o[{e()}:{e()}, {e()}] += {e()}",
            lambda: f"o.q, {name} = {e()}, {e()}",
            lambda: f"o.q += {e()}",
            lambda: f"show({e()}, {e()})",
            lambda: f"{e()}",
            lambda: f"assert {self.test(1, pure)} or 1",
            lambda: f"{name}: int = {e()}",
            lambda: f"del {name}" if self.chance(30) else "pass",
            lambda: f"del o[{e()}], o[{e()}]",
            lambda: f"m = {self.mapping(2, pure)}",
            lambda: f"if {self.test(1, pure)}: return {e()}, {self.one_of(self.lists)}",
        ]
        if in_loop:
            forms += [lambda: f"if {self.test(1, pure)}: {self.one_of(['break', 'continue'])}"] * 3
            forms.append(lambda: self.one_of(["break", "continue"]))
        if not pure:
            forms += [
                lambda: f"{name} = sample({e()})",
                lambda: f"observe({e()}, {e()})",
                lambda: f"factor({e()})",
                lambda: f"condition({self.test(1)})",
                lambda: f"twist(log_value={e()})",
                lambda: "barrier()",
                lambda: f"ys = {self.comprehension(2, False)}",
                lambda: f"observe(value={e()}, distribution={e()})",
                lambda: f"{name} = sample({e()}, name=f'{self.new('n')}{{note(1)}}')" if not self.loops else "pass",
            ]
        self.line(forms[self.pick(len(forms))]())

    @staticmethod
    def unwalrus(name: str, expression: str) -> str:
        """``x += … (x := …) …`` is refused."""
        return expression.replace(f"({name} := ", "(c := " if name != "c" else "(d := ")

    def if_(self, depth: int, pure: bool, in_loop: bool) -> None:
        self.line(f"if {self.test(2, pure)}:")
        self.body(depth - 1, pure, in_loop)
        if self.chance(30):
            self.line(f"elif {self.test(1, pure)}:")
            self.body(depth - 1, pure, in_loop)
        if self.chance(50):
            self.line("else:")
            self.body(depth - 1, pure, in_loop)

    def for_(self, depth: int, pure: bool, in_loop: bool) -> None:
        name = self.one_of([*INTS, "i", "j"])
        target, iterable = self.one_of(
            [
                f"{name} in range({self.integer(0, pure)} % 4)",
                f"{name} in xs",
                f"{name} in {self.sequence(2, pure)}",
                f"i, {name} in enumerate(xs)",
                f"i, {name} in zip(xs, ys)",
                f"{name}, j in m.items()",
                f"{name} in m",
                f"i, ({name}, j) in enumerate(m.items())",
                "ch in s",
                "i in range(7)",
                "i, ch in enumerate('abcdef', b)",
                "xs[0] in range(3)",
                f"{name} in [4, 5, 6]",
                f"o[{self.integer(1, pure)}] in [4, 5]",
            ]
        ).split(" in ", 1)
        self.loops += 1
        self.line(f"for {target} in {iterable}:")
        self.body(depth - 1, pure, True, "tick()")
        self.loops -= 1
        if self.chance(30):
            self.line("else:")
            self.body(depth - 1, pure, in_loop)

    def rarely(self, depth: int, pure: bool, in_loop: bool) -> None:
        """A loop most of whose iterations reach no effect."""
        item = self.new("r")
        over = self.one_of(["range(7)", "list(range(6))", "iter(range(7))", "{0: 1, 1: 2, 2: 3, 4: 5}"])
        over, target = (f"zip({over}, range(9))", f"{item}, i") if self.chance(30) else (over, item)
        self.loops += 1
        self.line(f"for {target} in {over}:")
        self.indent += 1
        self.line(self.one_of([f"tick() and note({item})", f"b += tick() and {item}"]))
        self.line(f"if {item} % {2 + self.pick(3)} == {self.pick(2)}:")
        self.body(depth - 1, pure, True, f"c = {'note' if pure else 'sample'}({item})")
        if depth > 1 and self.chance(40):
            self.rarely(depth - 1, pure, True)
        elif self.chance(50):
            self.statement(0, True, True)
        self.indent -= 1
        self.loops -= 1

    def while_(self, depth: int, pure: bool, in_loop: bool) -> None:
        count = self.new("w")
        self.line(f"{count} = 0")
        test = self.one_of([f"{count} < 3", f"{count} < 3 and {self.test(1, pure)}", "True", self.test(2, pure)])
        self.loops += 1
        self.line(f"while {test}:")
        first = [f"{count} += 1", "tick()"]
        if not self.chance(20):
            first.append(f"if {count} > {self.one_of(['3', '7'])}: break")
        if self.chance(40):
            first.append(f"if {count} % 2: continue")
        self.body(depth - 1, pure, True, *first)
        self.loops -= 1
        if self.chance(30):
            self.line("else:")
            self.body(depth - 1, pure, in_loop)

    def try_(self, depth: int, pure: bool, in_loop: bool) -> None:
        self.line("try:")
        self.body(depth - 1, True, in_loop)
        if self.chance(30):
            self.line("except (ZeroDivisionError, TypeError):")
            self.body(depth - 1, True, in_loop)
        self.line(self.one_of(["except Exception:", "except NameError as a:", "except Exception as e:"]))
        self.body(depth - 1, True, in_loop)
        if self.chance(20):
            self.line("else:")
            self.body(depth - 1, True, in_loop)
        if self.chance(25):
            self.line("finally:")
            self.body(depth - 1, True, in_loop)

    def with_(self, depth: int, pure: bool, in_loop: bool) -> None:
        item = self.one_of(["contextlib.suppress(Exception)", "contextlib.nullcontext(3) as b"])
        self.line(f"with {item}:")
        self.body(depth - 1, True, in_loop)

    def match_(self, depth: int, pure: bool, in_loop: bool) -> None:
        self.line(f"match {self.one_of(['xs', '(a, b)', 'm', self.integer(1, True)])}:")
        self.indent += 1
        for pattern in (
            self.one_of(["[a, *ys]|(1, 2)", "{0: c}|_", "[1, b] as xs|int(c) if c > 2|_", "(a, 1 | 2)|d"])
            .replace("|(1", ";(1")
            .replace("1 | 2", "1 ! 2")
            .split("|")
        ):
            self.line(f"case {pattern.replace('!', '|').split(';')[0]}:")
            self.body(depth - 1, True, in_loop)
        self.indent -= 1
