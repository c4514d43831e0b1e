"""A definition is cut out of its file where it ends, and stands where it stood."""

from __future__ import annotations

import ast
import linecache
import textwrap
from typing import Any

import pytest

from ppl.compiler import CompileError, Span
from ppl.compiler.source import parse_function

PIECES = {
    "one line": "def f(): return 1\nx = 2",
    "decorated": "keep = lambda f: f\n\n@keep\n@keep\ndef f():\n    return 1\n\n# a remark\nx = 2",
    "a signature over lines": "def f(\n    a,\n    b=(1,\n2),\n):\n    return a\nx = 2",
    "a string that is not indented": 'def f():\n    text = """\nnot indented\nnor this\n"""\n    return text\nx = 2',
    "brackets that are not indented": "def f():\n    y = [\n1,\n2,\n]\n    return y\nx = 2",
    "a line that goes on": "def f():\n    y = 1 + \\\n2\n    return y\nx = 2",
    "a remark that is not indented": "def f():\n    y = 1\n# not indented\n    return y\nx = 2",
    "many lines that are not indented": 'def f():\n    text = """\n' + "line\n" * 50 + '"""\n    return text\nx = 2',
    "the end of the file": "x = 2\ndef f():\n    return 1",
    "else below": "if True:\n    def f():\n        return 1\nelse:\n    x = 2",
    "nested": "def outer():\n    def f():\n        return 1\n    return f\nf = outer()",
    "nested, many lines that are not indented": (
        'def outer():\n    def f():\n        text = """\n' + "line\n" * 50 + '"""\n        return text\n'
        "    return f\nf = outer()"
    ),
    "nested, empty lines": "def outer():\n\n    def f():\n        y = 1\n\n        return y\n    return f\nf = outer()",
}


@pytest.mark.parametrize("source", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("before", [0, 1, 40])
def test_a_definition_is_found_whole_and_in_its_place(source: str, before: int) -> None:
    source = "\n" * before + textwrap.dedent(source)
    file = f"<source {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope: dict[str, Any] = {}
    exec(compile(source, file, "exec"), scope)
    found, _ = parse_function(scope["f"])
    (whole,) = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "f")
    assert ast.dump(found, include_attributes=True) == ast.dump(whole, include_attributes=True)


@pytest.mark.parametrize("now", ["def f(:\n", "    x = (\n    1\n", "    return 1\n  x = 1\n"])
def test_a_file_that_has_changed_since_is_told_with_a_remedy(now: str) -> None:
    file = f"<changed {hash(now)}>"
    scope: dict[str, Any] = {}
    exec(compile("def f():\n    return 1\n", file, "exec"), scope)
    linecache.cache[file] = (len(now), None, now.splitlines(True), file)
    with pytest.raises(CompileError, match=r"(?s)'f' can't be told .* import it anew") as caught:
        parse_function(scope["f"])
    assert (caught.value.filename, caught.value.lineno) == (file, 1)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x = f('#')  # a remark", "x = f('#')"),
        ("    y = g(a,  # of two", "y = g(a,"),
        ("z = 1", "z = 1"),
        ('x = f("a # b \\', 'x = f("a # b \\'),
        ("# only a remark", "# only a remark"),
        ("", ""),
    ],
)
def test_a_line_is_shown_without_its_remark(line: str, shown: str) -> None:
    file = f"<line {hash(line)}>"
    linecache.cache[file] = (len(line), None, [f"{line}\n"], file)
    assert Span(file, 1).text == shown
