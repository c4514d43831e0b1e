"""Parse tree → IR."""

from __future__ import annotations

import json
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from lark import Token, Tree

from . import ir, snippets
from .errors import Span
from .printer import PLAIN_FILE
from .requests import Site
from .syntax_errors import Source

T = TypeVar("T")

ENDS: dict[str, type[ir.Terminator]] = {
    kind.word: kind for kind in (ir.Yield, ir.Break, ir.Continue, ir.Return, ir.Unreachable)
}
_FILE = rf'(?:{PLAIN_FILE.pattern}|"(?:[^"\\]|\\.)*")'
_PLACE = rf"({_FILE}):(\d{{1,9}})(?::(\d{{1,9}})-(?:(\d{{1,9}}):)?(\d{{1,9}}))?"
COMMENT = re.compile(rf"# {_PLACE}(?: site {_PLACE})?(?: by (\S+(?:, \S+)*))?")
"""The comment at the end of a line. Any other is only a comment."""

Branch = Tree[Token]


class Reader:
    """Builds one program.

    Attributes:
        values: what each value's name stands for.
        mentioned: where each value was used first.
        defined: the values that are defined somewhere.
        sites: every effect's site, in the order of the text.
    """

    def __init__(self, source: Source, files: Mapping[str, str]) -> None:
        self.source = source
        self.files = files
        self.values: dict[str, ir.Value] = {}
        self.mentioned: dict[str, Token] = {}
        self.defined: set[str] = set()
        self.sites: list[Site] = []
        self.name = ""

    def read(self, tree: Branch) -> ir.Program:
        """The program of a whole tree.

        Raises:
            IRSyntaxError: something in it has no meaning.
        """
        (name,), (signature,) = _tokens(tree, "NAME"), _tokens(tree, "SIGNATURE")
        free, *order, body = _trees(tree)
        self.name = self.identifier(name)
        code, comment = self.split(signature)
        closed = code.rstrip()
        if not closed.endswith(")"):
            line, column = _position(signature)
            end = column + len(closed)
            raise self.source.error(f"')' should stand here: the '(' in column {column} is still open", line, end)
        span = self.place(signature, comment)[0]
        region = self.region(body)
        for text, where in self.mentioned.items():
            if text not in self.defined:
                self.fail(where, f"{text} is used, and nothing defines it")
        parameters = self.python(snippets.signature, signature, closed[1:-1], span)
        sites = self.order(order[0]) if order else tuple(self.sites)
        return ir.Program(self.name, parameters, region, tuple(map(self.identifier, _names(free))), span, sites)

    # --- regions and nodes ---

    def region(self, tree: Branch) -> ir.Region:
        parameters, *nodes, end = _trees(tree)
        params = self.definitions(parameters)
        return ir.Region(params, tuple(map(self.node, nodes)), self.end(end))

    def node(self, tree: Branch) -> ir.Node:
        kinds: dict[str, Callable[[Branch], ir.Node]] = {
            "py": self.py,
            "effect": self.effect,
            "gather": self.gather,
            "if": self.if_,
            "while": self.while_,
            "for": self.for_,
        }
        return kinds[tree.data](tree)

    def end(self, tree: Branch) -> ir.Terminator:
        (uses,) = _trees(tree)
        span, _, passes = self.where(tree)
        return ENDS[_tokens(tree, "END")[0]](span=span, values=self.uses(uses), provenance=passes)

    def py(self, tree: Branch) -> ir.Py:
        reads, writes, *tied = _trees(tree)
        lines = _tokens(tree, "CODE")
        span, _, passes = self.where(tree)
        code = "\n".join(line[2:] for line in lines)
        if not _tokens(tree, "PLACE") and lines[0].line == writes.meta.line:
            first, comment = self.split(lines[0])
            code = first[2:]
            span, _, passes = self.place(lines[0], comment)
        return ir.Py(
            span=span,
            code=self.python(snippets.statement, lines, code, span),
            reads=self.bindings(reads, self.use),
            writes=tuple((self.identifier(n), self.definition(d)) for n, d in _pairs(writes)),
            tied=frozenset(self.identifier(name) for name in tied[0].children) if tied else frozenset(),
            provenance=passes,
        )

    def effect(self, tree: Branch) -> ir.Effect:
        results, *owner, fields, uses = _trees(tree)
        results_ = self.definitions(results)
        if len(results_) != 1:
            self.fail(tree, f"an effect has one result, not {len(results_)}")
        (kind,), (name,) = _tokens(tree, "KIND"), _tokens(tree, "STRING")
        span, site_span, passes = self.where(tree)
        index = self.uses(uses)
        each = bool(_tokens(tree, "EACH"))
        program = self.identifier(owner[0].children[0]) if owner else self.name
        dynamic = bool(_tokens(tree, "DYNAMIC"))
        try:
            word = json.loads(name)
        except ValueError as error:
            self.fail(name, f"this is no string: {error}")
        site = Site(str(kind), word, len(index) + each, program, site_span, dynamic)
        self.sites.append(site)
        args = self.bindings(fields, self.use)
        made = ir.Each if each else ir.Effect
        return made(span=span, site=site, args=args, index=index, result=results_[0], provenance=passes)

    def gather(self, tree: Branch) -> ir.Gather:
        span, _, passes = self.where(tree)
        return ir.Gather(span=span, effects=tuple(map(self.effect, _trees(tree))), provenance=passes)

    def if_(self, tree: Branch) -> ir.If:
        results, then, orelse = _trees(tree)
        span, _, passes = self.where(tree)
        return ir.If(
            span=span,
            test=self.use(_uses(tree)[0]),
            then=self.region(then),
            orelse=self.region(orelse),
            results=self.definitions(results),
            provenance=passes,
        )

    def while_(self, tree: Branch) -> ir.While:
        results, initial, *counter, test, body, orelse = _trees(tree)
        span, _, passes = self.where(tree)
        return ir.While(
            span=span,
            test=self.region(test),
            initial=self.uses(initial),
            counter=self.counter(counter),
            body=self.region(body),
            orelse=self.region(orelse),
            results=self.definitions(results),
            provenance=passes,
        )

    def for_(self, tree: Branch) -> ir.For:
        results, initial, *counter, body, orelse = _trees(tree)
        span, _, passes = self.where(tree)
        return ir.For(
            span=span,
            iterable=self.use(_uses(tree)[0]),
            initial=self.uses(initial),
            counter=self.counter(counter),
            body=self.region(body),
            orelse=self.region(orelse),
            results=self.definitions(results),
            provenance=passes,
        )

    def order(self, tree: Branch) -> tuple[Site, ...]:
        numbers = [int(n) for n in _tokens(tree, "NUMBER")]
        if sorted(numbers) != list(range(len(self.sites))):
            self.fail(tree, f"there are {len(self.sites)} sites, so each number below that should stand here once")
        return tuple(self.sites[n] for n in numbers)

    # --- values ---

    def use(self, token: Token) -> ir.Value:
        if token.type == "UNDEFINED":
            return ir.UNDEFINED
        self.mentioned.setdefault(str(token), token)
        return self.value(token)

    def value(self, token: Token) -> ir.Value:
        text = str(token)
        if text not in self.values:
            self.values[text] = ir.Value(self.identifier(token, text[1:].partition(".")[0]))
        return self.values[text]

    def definition(self, tree: Branch) -> ir.Value:
        token, *loose = tree.children
        assert isinstance(token, Token)
        if str(token) in self.defined:
            self.fail(token, f"{token} is defined twice")
        self.defined.add(str(token))
        value = self.value(token)
        value.maybe_unbound = bool(loose)
        return value

    def counter(self, found: Sequence[Branch]) -> ir.Value | None:
        return self.definition(_trees(found[0])[0]) if found else None

    def uses(self, tree: Branch) -> tuple[ir.Value, ...]:
        return tuple(map(self.use, _uses(tree)))

    def definitions(self, tree: Branch) -> tuple[ir.Value, ...]:
        return tuple(map(self.definition, _trees(tree)))

    def bindings(self, tree: Branch, of: Callable[[Token], ir.Value]) -> tuple[tuple[str, ir.Value], ...]:
        return tuple((self.identifier(name), of(value)) for name, value in _pairs(tree))

    def identifier(self, token: Any, text: str | None = None) -> str:
        """A name that Python could have, or one of the compiler's."""
        name = str(token) if text is None else text
        plain = name.replace("·", "_")
        if not plain.isidentifier() or keyword.iskeyword(name) or unicodedata.normalize("NFKC", plain) != plain:
            self.fail(token, f"{name!r} can't be a name in Python")
        return name

    # --- places ---

    def where(self, tree: Branch) -> tuple[Span, Span, tuple[str, ...]]:
        """What the comment at the end of a construct's line says."""
        comment = _tokens(tree, "PLACE")
        return self.place(comment[0], str(comment[0])) if comment else self.place(tree, "")

    def place(self, at: Any, comment: str) -> tuple[Span, Span, tuple[str, ...]]:
        """The place that a comment names, that of the site, and the passes; by default, where ``at`` stands."""
        found = COMMENT.fullmatch(comment)
        if found is None:
            line = _position(at)[0]
            span = Span(self.source.file, line, 0, line, len(self.source.lines[line - 1].encode("utf-8", "replace")))
            return span, span, ()
        span = self.span(at, found.groups()[:5])
        site = self.span(at, found.groups()[5:10]) if found[6] else span
        return span, site, tuple(found[11].split(", ")) if found[11] else ()

    def span(self, at: Any, parts: Sequence[str | None]) -> Span:
        file = parts[0] or ""
        if file.startswith('"'):
            try:
                file = json.loads(file)
            except ValueError:
                self.fail(at, "the file's name is no string")
        line, column, end_line, end_column = (None if p is None else int(p) for p in parts[1:])
        assert line is not None
        span = Span(
            self.files.get(file, file), line, column or 0, line if end_line is None else end_line, end_column or 0
        )
        if (span.end_line, span.end_column) < (span.line, span.column):
            self.fail(at, "this place ends before it begins")
        return span

    def split(self, token: Token) -> tuple[str, str]:
        """Python up to the end of a line, and the comment behind it."""
        code, _, comment = str(token).rpartition("  # ")
        return (code, f"# {comment}") if COMMENT.fullmatch(f"# {comment}") else (str(token), "")

    def python(self, read: Callable[[str, Span], T], at: Token | Sequence[Token], text: str, span: Span) -> T:
        """Python in the text, parsed."""
        lines = [at] if isinstance(at, Token) else at
        try:
            return read(text, span)
        except snippets.SnippetError as error:
            line, column = _position(lines[min(error.line, len(lines) - 1)])
            skipped = 1 if isinstance(at, Token) else 2
            raise self.source.error(f"in this Python: {error}", line, column + skipped + error.column) from None

    def fail(self, at: Any, message: str) -> NoReturn:
        raise self.source.error(message, *_position(at))


def _trees(tree: Branch) -> list[Branch]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Branch, kind: str) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token) and child.type == kind]


def _uses(tree: Branch) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token) and child.type in ("VALUE", "UNDEFINED")]


def _names(tree: Branch) -> list[Token]:
    return _tokens(tree, "NAME")


def _pairs(tree: Branch) -> Iterator[tuple[Any, Any]]:
    """``a=b, c=d`` as pairs."""
    return zip(tree.children[::2], tree.children[1::2], strict=True)


def _position(at: Any) -> tuple[int, int]:
    where = at if isinstance(at, Token) else at.meta
    assert where.line is not None and where.column is not None
    return where.line, where.column
