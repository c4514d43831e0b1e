"""A bracket that is never closed is told where the line ends, with the place where it was opened.

The texts are in ``golden/open-brackets.txt``, to be read as prose. After a change, write them anew with

    PPL_UPDATE_GOLDEN=1 python -m pytest tests/compiler/test_ir_brackets.py

and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppl.compiler.parser import parse
from ppl.compiler.syntax_errors import IRSyntaxError

GOLDEN = Path(__file__).parent / "golden" / "open-brackets.txt"
TEXT = """\
program f(a, b)  # f.py:1
  free [g]  # f.py:1
  entry (%a, %b)
    py [a=%a] -> [c=%c]
      | c = g(a)
    [%x] = sample "(x" (distribution=%c) at []  # f.py:3:4-9
    [] = if %x  # f.py:4
      then ()
        yield []
      else ()
        yield []
    return [%x]  # f.py:6
"""
LINES = ["(a, b)  #", "[g]  #", "(%a, %b)", "[a=%a]", "[c=%c]", "(a)", "%c) at", "at []  #", "then ()", "[%x]  #"]
"""Each holds a bracket to leave out, in a line of its own."""


def refusal(piece: str) -> str:
    at = TEXT.rindex(piece)
    closing = min(i for i in (TEXT.find(")", at), TEXT.find("]", at)) if i >= 0)
    with pytest.raises(IRSyntaxError) as caught:
        parse(TEXT[:closing] + TEXT[closing + 1 :], "f.ir")
    error = caught.value
    assert error.text is not None and error.offset is not None
    assert error.lineno == TEXT[:closing].count("\n") + 1, "not in the line of the bracket"
    return f"line {error.lineno}\n{error.text}\n{' ' * (error.offset - 1)}^\n{error.msg}\n"


def test_the_text_is_right() -> None:
    assert parse(TEXT).name == "f"


def test_open_brackets_are_told_where_they_stand() -> None:
    found = "\n".join(map(refusal, LINES))
    if os.environ.get("PPL_UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
