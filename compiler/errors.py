"""Where something stands in the user's source, and how the compiler says that it can't compile it."""

from __future__ import annotations

import ast
import io
import linecache
import tokenize
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the user's source.

    Attributes:
        file: the file's name, as Python's own tracebacks give it.
        line: its first line, from 1.
        column: its first column, from 0, in UTF-8 bytes (as in ``ast``).
        end_line: its last line.
        end_column: the column after its last.
    """

    file: str
    line: int
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    @staticmethod
    def of(node: ast.AST, file: str) -> Span:
        """The span of a node of a syntax tree whose positions are those of ``file``."""
        line = getattr(node, "lineno", 0)
        column = getattr(node, "col_offset", 0)
        end_line = getattr(node, "end_lineno", None) or line
        return Span(file, line, column, end_line, getattr(node, "end_col_offset", None) or column)

    @property
    def text(self) -> str:
        """The source line without a comment at its end, stripped; an empty string where the file can't be read."""
        return _without_comment(linecache.getline(self.file, self.line).strip())

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def _without_comment(line: str) -> str:
    try:
        for token in tokenize.generate_tokens(io.StringIO(line).readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip():  # a string that goes on elsewhere
                break
            if token.type == tokenize.COMMENT and token.start[1] > 0:
                return line[: token.start[1]].rstrip()
    except (tokenize.TokenError, SyntaxError):  # a part of something longer
        pass
    return line


class CompileError(SyntaxError):
    """A program uses Python that can't be compiled. Python shows it with file, line and caret.

    Attributes:
        reason: what is wrong, in one sentence.
        remedy: what to write instead.
    """

    def __init__(self, reason: str, remedy: str, span: Span) -> None:
        self.reason = reason
        self.remedy = remedy
        self.span = span
        line = linecache.getline(span.file, span.line).rstrip("\n")
        end_column = span.end_column if span.end_line == span.line else len(line.encode())
        # SyntaxError counts characters from 1; ast counts UTF-8 bytes from 0.
        start = len(line.encode()[: span.column].decode(errors="ignore")) + 1
        end = len(line.encode()[:end_column].decode(errors="ignore")) + 1
        message = f"{reason}\n  {remedy}"
        super().__init__(message, (span.file, span.line, start, line, span.line, max(end, start + 1)))
