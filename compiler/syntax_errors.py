"""What is wrong with a text of IR, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "_NL": "the end of the line",
    "_INDENT": "an indented line",
    "_DEDENT": "the end of the block",
    "$END": "the end of the text",
    "NAME": "a name",
    "NUMBER": "a number",
    "VALUE": "a value such as %x",
    "UNDEFINED": "'undefined'",
    "LOOSE": "'?'",
    "STRING": "a name in double quotes",
    "KIND": "an effect such as 'sample'",
    "END": "an end such as 'return'",
    "EACH": "'each'",
    "DYNAMIC": "'dynamic'",
    "CODE": "'| ' and Python",
    "SIGNATURE": "'(' and the parameters",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "EQUAL": "'='",
    "__ANON_0": "'->'",
}
UNSAID = {"PLACE"}
"""What may stand in so many places that it is no help to say so."""


class IRSyntaxError(SyntaxError):
    """A text is no IR. Python shows it with file, line and caret.

    Attributes:
        expected: what could have stood there, in words; empty if something else is wrong.
    """

    def __init__(self, message: str, place: tuple[str, int, int, str], expected: tuple[str, ...] = ()) -> None:
        super().__init__(message, place)
        self.expected = expected


class Source:
    """A text of IR and its name."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text.replace("\r\n", "\n").removeprefix("\ufeff") + "\n"
        self.lines = self.text.split("\n")
        self.file = file

    def error(self, message: str, line: int, column: int, expected: tuple[str, ...] = ()) -> IRSyntaxError:
        """An error at a line and column, both from 1."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        shown = text.encode("utf-8", "backslashreplace").decode()
        return IRSyntaxError(message, (self.file, line, column, shown), expected)

    def unexpected(
        self, line: int, column: int, terminals: Iterable[str], found: str = "", kind: str = ""
    ) -> IRSyntaxError:
        """An error where something else was expected.

        Args:
            line, column: where, both from 1.
            terminals: the grammar's names for what could have stood there.
            found: what stands there, if it is a word of the language.
            kind: the grammar's name for it.
        """
        if kind == "_WRONG_INDENT":
            return self.error("this line is indented as no line above it, or too deeply", line, column)
        if kind == "_INDENT":
            return self.error("this line stands deeper than the one above allows", line, column)
        wanted = set(terminals) - UNSAID
        wanted -= {"_NL"} if len(wanted) > 1 else set()
        words = (WORDS.get(t) or f"'{t.lower()}'" for t in sorted(wanted))
        expected = tuple(sorted(dict.fromkeys(words), key=lambda word: "such as" in word))
        before = self.lines[line - 1][: column - 1] if 0 < line <= len(self.lines) else ""
        if kind == "PLACE":  # a comment, so the line ended before it
            found, column = WORDS["_NL"], len(before.rstrip()) + 1
        elif kind in WORDS and not found.strip():
            found = WORDS[kind]
        else:
            found = repr(found) if 0 < len(found) < 40 else self._word(line, column)
        bracket = _open_bracket(before) if wanted & {"RPAR", "RSQB"} else None
        still = f": the {before[bracket]!r} in column {bracket + 1} is still open" if bracket is not None else ""
        return self.error(f"{listed(expected)} should stand here, not {found}{still}", line, column, expected)

    def _word(self, line: int, column: int) -> str:
        """The beginning of what stands at a place."""
        rest = self.lines[line - 1][column - 1 :].split(" ")[0] if 0 < line <= len(self.lines) else ""
        return repr(rest[:20]) if rest else "the end of the line"


def _open_bracket(text: str) -> int | None:
    """Where the last bracket stands that is opened in a piece of a line and not closed; quoted names are skipped."""
    still: list[int] = []
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[][()]', text):
        if found.group() in ("(", "["):
            still.append(found.start())
        elif found.group() in (")", "]") and still:
            still.pop()
    return still[-1] if still else None


def listed(words: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
