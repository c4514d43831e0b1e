"""The IR's text is read back as it was, and where it is wrong the error says what should stand there."""

from __future__ import annotations

import ast
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ppl import law_programs
from ppl.compiler import ir, printer
from ppl.compiler.parser import MAX_REGIONS, parse
from ppl.compiler.portable import unparse
from ppl.compiler.printer import to_text
from ppl.compiler.scan import names
from ppl.compiler.syntax_errors import IRSyntaxError
from ppl.compiler.verify import InvalidIR

from .compare import difference
from .driver import define
from .programs import Programs
from .test_printer import GOLDEN, PROGRAMS

COINS = (GOLDEN / "coins.ir").read_text(encoding="utf-8")


def check(program: ir.Program) -> None:
    text = to_text(program)
    again = parse(text)
    assert to_text(again) == text
    assert difference(program, again) is None


def random_program(seed: int) -> ir.Program:
    return define(Programs(random.Random(seed).randrange).source)[1].ir


@pytest.mark.parametrize("name", PROGRAMS)
def test_read_back(name: str) -> None:
    check(define(PROGRAMS[name])[1].ir)


@pytest.mark.parametrize("batch", range(4))
def test_random_programs_are_read_back(batch: int) -> None:
    for seed in range(batch * 30, batch * 30 + 30):
        check(random_program(seed))


def test_the_corpus_is_read_back() -> None:
    for program, _ in law_programs.CORPUS.values():
        check(program.compiled.ir)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_many_random_programs_are_read_back(batch: int) -> None:
    for seed in range(1000 + batch * 200, 1200 + batch * 200):
        check(random_program(seed))


# --- what the text says besides ---


def changed(program: ir.Program, change: Callable[[Any], Any]) -> ir.Program:
    region = replace(program.body, nodes=tuple(map(change, program.body.nodes)), end=change(program.body.end))
    return replace(program, body=region)


def test_passes_and_moved_sites_are_read_back() -> None:
    program = define(PROGRAMS["names"])[1].ir
    program = changed(program, lambda node: replace(node, provenance=("hoist-observes", "batch")))
    check(program)
    check(replace(program, sites=program.sites[::-1]))

    def elsewhere(node: ir.Node) -> ir.Node:
        return replace(node, span=replace(node.span, line=99, end_line=99)) if isinstance(node, ir.Effect) else node

    check(changed(program, elsewhere))
    assert " by hoist-observes, batch" in to_text(program)


def test_effects_asked_for_together_are_read_back() -> None:
    program = define("def f(a, b):\n    x = sample(a)\n    y = sample(b, name='other')\n    return x, y\n")[1].ir
    first, second, *rest = program.body.nodes
    assert isinstance(first, ir.Effect) and isinstance(second, ir.Effect)
    each = ir.Each(
        span=second.span, site=replace(second.site, depth=1), args=second.args, index=(), result=second.result
    )
    for both in ((first, second), (first, each)):
        gather = ir.Gather(span=first.span, effects=both, provenance=("batch",))
        body = replace(program.body, nodes=(gather, *rest))
        check(replace(program, body=body, sites=tuple(effect.site for effect in both)))


@pytest.mark.parametrize("file", ["a b.py", "<stdin>", "<ipython-input-1-abc>", 'q".py', "ä,#:.py", "x.py:3"])
def test_names_of_files_are_read_back(file: str) -> None:
    program = define(PROGRAMS["coins"])[1].ir
    check(changed(program, lambda node: replace(node, span=replace(node.span, file=file))))


def test_a_text_without_places_stands_for_itself() -> None:
    head = "program f(a)\n  free []\n  # only a comment\n\n  entry (%a)\n"
    text = head + "    py [a=%a] -> [b=%b] | b = a # 1\n    return [%b]\n"
    program = parse(text, "mine.ir")
    (node,) = program.body.nodes
    assert (node.span.file, node.span.line, program.body.end.span.line) == ("mine.ir", 6, 7)
    check(program)


def test_python_ends_where_its_comment_begins() -> None:
    shown = "py [] -> [x=%x] | x = '  # b.py:3'  # a.py:7"
    (node,) = parse(f"program f()\n  free []\n  entry ()\n    {shown}\n    return [%x]\n").body.nodes
    assert isinstance(node, ir.Py) and unparse(node.code) == "x = '  # b.py:3'" and node.span.line == 7


@pytest.mark.parametrize(
    "source",
    [
        "x = f'{a:\\r}'",
        "def h(v=f'{a:\\n}'):\n    '''Two\n\n    lines  '''\n    return v",
        "x = '·1 dot_· _· \\u2028 \\x85 \\x0c'",
        "try:\n    x = lambda: (yield)\nexcept ValueError as e:\n    pass",
        "x = {*()}, -1 ** 2, 1e309, '\\ud800', b'\\xff', 3 .real, not -a, a[1:2, ::3], (y := 1)",
    ],
)
def test_python_is_read_back(source: str) -> None:
    code = ast.parse(source).body[0]
    program = define(PROGRAMS["coins"])[1].ir
    found = names(code)
    writes = tuple((name, ir.Value(name)) for name in sorted(found.binds - found.deletes))
    node = ir.Py(span=program.span, code=code, writes=writes)
    check(replace(program, body=replace(program.body, nodes=(node, *program.body.nodes))))


def awkward() -> ast.expr:
    """An f-string that holds all quotes and a backslash."""
    tree = ast.parse("f'a{x!r:>{w}}'", mode="eval").body
    assert isinstance(tree, ast.JoinedStr) and isinstance(tree.values[1], ast.FormattedValue)
    tree.values[1].value = ast.Constant("\r\\'\"'''\"\"\"")
    return tree


def test_python_that_ast_unparse_gives_up_on() -> None:
    assert eval(unparse(awkward()), {"w": 20}) == f"a{eval(ast.unparse(awkward().values[1].value))!r:>20}"  # type: ignore[attr-defined]
    if sys.version_info < (3, 12):
        with pytest.raises(ValueError):
            ast.unparse(awkward())


# --- errors ---

WRONG: dict[str, tuple[str, str, str, str]] = {
    # what is wrong: (what is replaced, by what, the text from the caret on, a part of the message)
    "the first word": ("program", "prog", "prog f", "'program' should stand here, not 'prog'"),
    "parameters without an end": ("a=1)", "a=1", "  # coins", "the '(' in column 10 is still open"),
    "a parameter without a value": ("a=1)", "a=)", "", "in this Python: "),
    "not only parameters": ("a=1)", "a=1) -> (b)", "data", "no parameters"),
    "a keyword": ("free []", "fre []", "fre []", "'free' should stand here"),
    "a number for a name": ("free []", "free [1]", "1]", "a name or ']' should stand here, not '1'"),
    "no comma": ("(%data, %a)", "(%data %a)", "%a)", "',', '?' or ')' should stand here, not '%a'"),
    "no effect": ("sample", "smple", "smple", "or an effect such as 'sample' should stand here, not 'smple'"),
    "an open bracket": ("%·k0]  # coins", "%·k0  # coins", "  # coins", "']' should stand here, not the end of the"),
    "two results of an effect": ("[%bias] =", "[%bias, %b] =", "[%bias, %b]", "one result, not 2"),
    "a name without quotes": ('"bias"', "bias", "bias (", "a name in double quotes should stand here, not 'bias'"),
    "quotes without an end": ('"bias"', '"bias', '"bias (', "a name in double quotes should stand here"),
    "a wrong escape": ('"bias"', '"bi\\xas"', '"bi', "this is no string"),
    "no percent": ("distribution=%a", "distribution=a", "a)", "or a value such as %x should stand here, not 'a'"),
    "a Python keyword": ("distribution=%a", "class=%a", "class", "'class' can't be a name in Python"),
    "a value from nowhere": ("return [%bias]", "return [%b]", "%b]", "%b is used, and nothing defines it"),
    "a value defined twice": ("(%x, %x.1?)", "(%x, %x)", "%x)", "%x is defined twice"),
    "too deep": ("  entry", "    entry", "entry", "stands deeper than the one above allows"),
    "in the wrong block": ("    return", "      return", "return", "the end of the block should stand here"),
    "a broken indentation": ("    return", "   return", "return", "indented as no line above it"),
    "no end": ("    return [%bias]", "    barrier", "barrier", "an end such as 'return' should stand here"),
    "nothing below py": ("    return", "    py [] -> []\n    return", "return", "an indented line should stand here"),
    "no Python": ("    return", "    py [] -> [] | x = = 1\n    return", "= 1", "in this Python: invalid syntax"),
    "no Python, lower": (
        "    return",
        "    py [] -> []\n      | if x:\n      |   ·1 = )\n    return",
        ")",
        "unmatched",
    ),
    "two statements": ("    return", "    py [] -> [] | a; b\n    return", "a; b", "one statement stands here, not 2"),
    "Python that leaves": ("    return", "    py [] -> [] | return 1\n    return", "return 1", "can't leave its place"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_should_stand_there(case: str) -> None:
    old, new, rest, message = WRONG[case]
    text = COINS.replace(old, new, 1)
    assert text != COINS
    with pytest.raises(IRSyntaxError) as caught:
        parse(text, "coins.ir")
    error = caught.value
    assert message in error.msg and error.filename == "coins.ir"
    assert error.text is not None and error.offset is not None and error.lineno is not None
    assert error.text == text.split("\n")[error.lineno - 1] and error.text[error.offset - 1 :].startswith(rest)
    assert "^" in "".join(traceback.format_exception_only(error))


def test_errors_list_what_was_expected() -> None:
    with pytest.raises(IRSyntaxError) as caught:
        parse(COINS.replace("(%data, %a)", "(%data %a)"))
    assert caught.value.expected == ("','", "'?'", "')'")
    with pytest.raises(IRSyntaxError) as caught:
        parse("")
    assert caught.value.expected == ("'program'",) and caught.value.lineno == 1


def test_a_place_that_ends_before_it_begins_is_refused() -> None:
    for place in ("coins.py:4:8-5", "coins.py:4:8-3:9"):
        with pytest.raises(IRSyntaxError, match="ends before it begins"):
            parse(COINS.replace("return [%bias]  #", f"return [%bias]  # {place}\n#"))


def test_sites_are_ordered_in_full() -> None:
    for order in ("[0]", "[0, 0]", "[0, 2]", "[0, 1, 2]"):
        with pytest.raises(IRSyntaxError, match="there are 2 sites"):
            parse(COINS.replace("free []", f"free []\n  sites {order}"))


def test_what_can_be_read_is_verified() -> None:
    with pytest.raises(InvalidIR, match="not defined"):
        parse(COINS.replace("return [%bias]", "return [%x]"))


def nested(depth: int) -> str:
    """A program with ``depth`` regions inside each other."""
    lines = ["program f(a)", "  free []", "  entry (%a)"]
    for level in range(1, depth):
        lines += [" " * 4 * level + "[] = if %a", " " * (4 * level + 2) + "then ()"]
    lines.append(" " * 4 * depth + "return [%a]")
    for level in reversed(range(1, depth)):
        lines += [" " * (4 * level + 2) + "else ()", " " * (4 * level + 4) + "yield []"]
        lines.append(" " * 4 * level + "return [%a]")
    return "\n".join(lines) + "\n"


def test_regions_nest_up_to_a_limit() -> None:
    check(parse(nested(MAX_REGIONS)))
    with pytest.raises(IRSyntaxError, match="too deeply"):
        parse(nested(MAX_REGIONS + 1))


# --- the tests are seen to fail ---


def _loses_a_mark(self: Any, value: ir.Value) -> str:
    return str(self.use(value))


def _loses_the_version(self: Any, value: ir.Value) -> str:
    return "undefined" if value is ir.UNDEFINED else f"%{value.name}"


def _loses_the_columns(span: Any) -> str:
    return f"{span.file}:{span.line}"


@pytest.mark.parametrize(
    ("place", "name", "bug"),
    [
        (printer._Printer, "definition", _loses_a_mark),
        (printer._Printer, "use", _loses_the_version),
        (printer, "_place", _loses_the_columns),
        (printer, "quoted", lambda text: f'"{text}"'),
        (printer, "unparse", ast.unparse),
        (printer._Printer, "sites", lambda self, program: None),
    ],
)
def test_planted_bugs_of_the_printer_are_caught(
    place: Any, name: str, bug: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [define(PROGRAMS["reasoning"])[1].ir, define(PROGRAMS["names"])[1].ir]
    programs.append(replace(programs[1], sites=programs[1].sites[::-1]))
    code = ast.Expr(awkward())
    programs.append(changed(programs[0], lambda n: replace(n, code=code) if isinstance(n, ir.Py) else n))
    quoted = define("def f(a):\n    sample(a, name='x')\n")[1].ir
    object.__setattr__(quoted.sites[0], "name", 'a"b')
    programs.append(quoted)
    monkeypatch.setattr(place, name, bug)

    def broken(program: ir.Program) -> bool:
        try:
            check(program)
        except (AssertionError, SyntaxError, ValueError, InvalidIR):
            return True
        return False

    assert any(map(broken, programs))
