"""Text → IR: what ``printer.py`` wrote, or a person.

Parsing is safe on any text: it evaluates nothing, takes time in proportion to the text, and says where it is wrong.
Running what was parsed is another matter: it runs the Python in it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING

from . import ir
from .syntax_errors import Source
from .verify import verify

if TYPE_CHECKING:
    import lark

MAX_CHARACTERS = 1_000_000
"""The longest text: some ten thousand nodes, read in a few seconds."""

MAX_REGIONS = 100
"""How deeply regions may be nested."""


def parse(text: str, file: str = "<ir>", sources: Mapping[str, str] | None = None) -> ir.Program:
    """The program that ``to_text`` printed as ``text``.

    Lines without a place (``# coins.py:4``) stand for themselves, in ``file``. Comments and empty lines are skipped.

    Args:
        text: the IR, at most ``MAX_CHARACTERS`` long, its regions at most ``MAX_REGIONS`` deep, and the Python in it
            at most ``snippets.MAX_DEPTH``.
        file: what the text is called in errors.
        sources: the paths of the files that its places name, as far as they are known.

    Returns:
        Verified IR.

    Raises:
        IRSyntaxError: a ``SyntaxError`` with file, line and caret, that says what was expected.
        InvalidIR: it can be read, but breaks a rule of the verifier.
    """
    from .read_tree import Reader

    source = Source(text, file)
    if len(text) > MAX_CHARACTERS:
        raise source.error(f"the text is {len(text)} characters long, and {MAX_CHARACTERS} are allowed", 1, 1)
    program = Reader(source, sources or {}).read(_tree(source))
    verify(program)
    return program


def _tree(source: Source) -> lark.ParseTree:
    """The parse tree of a text."""
    import lark

    try:
        return _grammar().parse(source.text)
    except lark.exceptions.UnexpectedCharacters as error:
        raise source.unexpected(error.line, error.column, error.allowed or ()) from None
    except lark.exceptions.UnexpectedToken as error:
        raise source.unexpected(
            error.line, error.column, _accepted(error), str(error.token), error.token.type
        ) from None


def _accepted(error: lark.exceptions.UnexpectedToken) -> Iterable[str]:
    """The terminals that could have stood in the place of the wrong one."""
    return error.accepts or error.expected


@functools.cache
def _grammar() -> lark.Lark:
    import lark

    grammar = resources.files(__package__).joinpath("ir.lark").read_text(encoding="utf-8")
    return lark.Lark(
        grammar,
        parser="lalr",
        postlex=_Layout(),
        maybe_placeholders=False,
        propagate_positions=True,
    )


class _Layout:
    """Line ends → the beginnings and ends of indented blocks. It keeps no state, so threads may share it."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[lark.Token]) -> Iterator[lark.Token]:
        """Add ``_INDENT`` and ``_DEDENT`` after the ends of lines.

        Raises:
            IRSyntaxError: a line is indented as none before it, or too deeply.
        """
        import lark

        depths = [0]
        token = None
        for token in stream:
            if token.type != "_NL":
                yield token
                continue
            yield token
            depth = len(re.split("\n", token)[-1])
            place = {"line": token.end_line, "column": depth + 1, "end_line": token.end_line}
            if depth > depths[-1]:
                depths.append(depth)
                yield lark.Token("_INDENT", "", **place)
            if depth not in depths or len(depths) > 2 * MAX_REGIONS + 1:
                yield lark.Token("_WRONG_INDENT", "", **place)
            while depth < depths[-1]:
                depths.pop()
                yield lark.Token("_DEDENT", "", **place)
        if token is not None:
            for _ in depths[1:]:
                yield lark.Token.new_borrow_pos("_DEDENT", "", token)
