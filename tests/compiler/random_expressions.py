"""Random expressions: numbers, tests, lists and dictionaries, with effects inside where they may stand."""

from __future__ import annotations

from collections.abc import Callable

INTS = ["a", "b", "c", "d"]


class Expressions:
    """Generates the text of expressions.

    Attributes:
        pick: decides: it returns a number below the one that it is given.
        functions, helpers: the names of the closures and programs that may be called.
        lists: the names of lists that may be used here.
        inner: how many comprehensions are around.
    """

    def __init__(self, pick: Callable[[int], int]) -> None:
        self.pick = pick
        self.functions: list[str] = []
        self.helpers: list[str] = []
        self.lists = ["xs", "ys"]
        self.inner = 0

    def chance(self, percent: int) -> bool:
        # The low numbers are the simple choices, so that shrinking goes towards them.
        return self.pick(100) >= 100 - percent

    def one_of(self, options: list[str]) -> str:
        return options[self.pick(len(options))]

    def integer(self, depth: int, pure: bool = False) -> str:
        """An expression that is a number, most of the time."""
        if depth <= 0:
            if not pure and self.chance(35):
                return self.one_of(["sample(1)", "sample('d')", "note(sample(2))"])
            return self.one_of(["1", "2", *self.names(), "note(4)"])
        e = lambda: self.integer(depth - 1, pure)  # noqa: E731
        t = lambda: self.test(depth - 1, pure)  # noqa: E731
        z = lambda: self.integer(0, pure).replace("'d'", "k")  # noqa: E731
        options: list[Callable[[], str]] = [
            lambda: self.integer(0, pure),
            lambda: f"({e()} {self.one_of(['+', '-', '*', '//', '|'])} {e()})",
            lambda: f"note({e()})",
            lambda: f"({e()} if {t()} else {e()})",
            lambda: f"({e()} {self.one_of(['and', 'or'])} {e()})",
            lambda: f"({e()} and {e()} or {e()})",
            lambda: f"({self.one_of(INTS)} := {e()})",
            lambda: f"len({self.sequence(depth - 1, pure)})",
            lambda: f"{self.one_of(self.lists)}[{e()} % 2]",
            lambda: f"m.get({e()}, {e()})",
            lambda: f"({e()}, {e()})[{e()} % 2]",
            lambda: f"sum({self.sequence(depth - 1, pure)})",
            lambda: f"show({self.arguments(depth - 1, pure)})",
            lambda: f"len(f'{{{z()}}}:{{{z()}!r:>{{{z()}}}}}{{o:{{{z()}}}}}')",
            lambda: f"o[{e()}]",
            lambda: f"o.method({e()}, {e()})",
            lambda: f"-{e()}",
            lambda: f"int({t()})",
            lambda: f"max({e()}, {e()})",
            lambda: f"{{{e()}: {e()}, **{self.mapping(depth - 1, pure)}}}.get({e()}, 5)",
            lambda: f"len({{{e()}, {e()}}})",
            lambda: f"xs[{e()}:{e()}][0]",
            lambda: f"sum(v + {self.integer(0, True)} for v in {self.sequence(depth - 1, pure)})",
        ]
        if not pure:
            options += [
                lambda: f"sample({e()})",
                lambda: f"sample(({e()}, {self.one_of(self.lists)}))",
                lambda: f"call(double, {e()})",
                lambda: f"len([{e()}, observe({e()}, {e()}), factor({e()})])",
                lambda: f"xs.append({e()}) or {e()}",
                lambda: f"xs.pop({e()} % 2)",
                lambda: f"m.setdefault({e()}, {e()})",
            ]
            if self.functions and not self.inner:
                options.append(lambda: f"{self.one_of(self.functions)}({e()})")
            if self.helpers:
                options.append(lambda: f"helper({self.arguments(depth - 1, pure)})")
        return options[self.pick(len(options))]()

    def names(self) -> list[str]:
        return [*INTS, "c0", "k"]

    def arguments(self, depth: int, pure: bool) -> str:
        """The arguments of a call."""
        e = lambda: self.integer(depth, pure)  # noqa: E731
        forms: list[Callable[[], str]] = [
            lambda: f"{e()} % 4",
            lambda: f"{e()} % 4, {e()}",
            lambda: f"{e()} % 4, *{self.sequence(depth, pure)}, {e()}",
            lambda: f"{e()} % 4, k={e()} % 3",
            lambda: f"{e()} % 4, k={e()} % 3, *{self.sequence(depth, pure)}",
            lambda: f"{e()} % 4, **{{'k': {e()} % 3}}",
        ]
        return forms[self.pick(len(forms))]()

    def test(self, depth: int, pure: bool = False) -> str:
        """A condition."""
        e = lambda: self.integer(depth, pure)  # noqa: E731
        forms: list[Callable[[], str]] = [
            lambda: f"{e()} > 2",
            lambda: f"{e()} % 2",
            lambda: f"{e()} < {e()} <= {e()}",
            lambda: f"{e()} in {self.sequence(max(depth - 1, 0), pure)}",
            lambda: f"not {e()} % 3",
            lambda: f"({e()} > 1 and {e()} < 5)",
            lambda: f"({e()} > 4 or {e()} < {e()} < {e()} or {e()})",
            lambda: f"any(v > {self.integer(0, True)} for v in {self.one_of(self.lists)})",
        ]
        return forms[self.pick(len(forms))]()

    def sequence(self, depth: int, pure: bool = False) -> str:
        """A list."""
        if depth <= 0:
            return self.one_of([*self.lists, "[1, 2]", "args"])
        e = lambda: self.integer(depth - 1, pure)  # noqa: E731
        s = lambda: self.sequence(depth - 1, pure)  # noqa: E731
        forms: list[Callable[[], str]] = [
            lambda: self.one_of(self.lists),
            lambda: f"[{e()}, {e()}]",
            lambda: f"[{e()}, *{s()}, {e()}]",
            lambda: f"{s()}[{e()}:{e()}]",
            lambda: f"({s()} + {s()})",
            lambda: f"list({self.mapping(depth - 1, pure)})",
            lambda: f"sorted({s()}, key=lambda v: (v % 3, v))",
            lambda: self.comprehension(depth, pure),
            lambda: f"({s()} if {self.test(depth - 1, pure)} else {s()})",
        ]
        return forms[self.pick(len(forms))]()

    def comprehension(self, depth: int, pure: bool) -> str:
        """A list comprehension; its variables often share their names with the function's."""
        self.inner += 1
        first = self.sequence(depth - 1, pure)
        v, w = self.one_of(["a", "v", "xs"]), self.one_of(["b", "w"])
        iterable = self.one_of([first, f"enumerate({first})", f"zip({first}, ys)", f"range({v if v == 'a' else 2})"])
        pair = iterable.startswith(("enumerate", "zip"))
        target = f"({v}, {w})" if pair else v
        old, self.names = self.names, lambda: [v, v, "c", "c0"] if v != "xs" else ["c", "c0"]  # type: ignore
        lists, self.lists = self.lists, [name for name in self.lists if name != v]
        e = self.integer(depth - 1, pure)
        if ":=" in e:
            e = note_free(e)
        more = self.one_of(["", f" if {self.integer(0, pure)} != 2", " if tick()"])
        if self.chance(25):
            more += f" for {w} in {self.one_of(['ys', 'range(2)'])} if {self.integer(0, pure)}"
        self.lists = lists
        self.names = old  # type: ignore[method-assign]
        self.inner -= 1
        kind = self.pick(4)
        if kind == 3:
            return f"list({{{v if v != 'xs' else w if pair else 'c'}: {e} for {target} in {iterable}{more}}}.values())"
        if kind == 2:
            return f"sorted({{{e} for {target} in {iterable}{more}}})"
        return f"[{e} for {target} in {iterable}{more}]"

    def mapping(self, depth: int, pure: bool) -> str:
        """A dictionary."""
        if depth <= 0:
            return "m"
        e = lambda: self.integer(depth - 1, pure)  # noqa: E731
        return self.one_of(["m", f"{{{e()}: {e()}}}", f"{{{e()}: {e()}, **m, {e()}: {e()}}}"])


def note_free(expression: str) -> str:
    """``expression`` without walrus: those may not bind a comprehension's variable."""
    for name in INTS:
        expression = expression.replace(f"({name} := ", "(0 + ")
    return expression
