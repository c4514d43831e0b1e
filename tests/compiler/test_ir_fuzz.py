"""Any IR is read back as it was; any text is read or refused, soon, and nothing in it is run."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppl.compiler import ir
from ppl.compiler.parser import MAX_CHARACTERS, parse
from ppl.compiler.printer import to_text
from ppl.compiler.snippets import MAX_DEPTH
from ppl.compiler.syntax_errors import IRSyntaxError
from ppl.compiler.verify import InvalidIR

from .compare import difference
from .driver import define
from .programs import Programs
from .regions import programs
from .test_parser import COINS
from .test_printer import GOLDEN

relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck))
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(GOLDEN.glob("*.ir"))]
WORDS = [
    *("program", "free", "sites", "entry", "py", "->", "tied", "gather", "each", "if", "while", "for", "counting"),
    *("then", "else", "test", "body", "sample", "program", "dynamic", "of", "at", "yield", "return", "undefined"),
    *("[", "]", "(", ")", ",", "=", "|", "?", "%x", "%·1", "%x.1", '"name"', "# a.py:1:2-3 by p", "\n", "\n  ", " "),
    *("| x = (", "\x00", "\ud800", "\t", "\r", "\\", "'''", "9" * 5000, "·", "é", "\u2028", "%", "."),
]


seen: set[type] = set()


def check(program: ir.Program) -> None:
    text = to_text(program)
    again = parse(text)
    assert to_text(again) == text
    assert difference(program, again) is None


@given(programs())
@settings(relaxed, max_examples=120, derandomize=True)
def test_any_ir_is_read_back(program: ir.Program) -> None:
    check(program)
    seen.update(map(type, ir.walk(program.body)))
    seen.update(map(type, ir.effects(program.body)))


@pytest.mark.slow
@given(programs())
@settings(relaxed, max_examples=3000)
def test_much_ir_is_read_back(program: ir.Program) -> None:
    check(program)


@given(st.data())
@settings(relaxed, max_examples=30)
def test_any_lowered_program_is_read_back(data: st.DataObject) -> None:
    check(define(Programs(lambda n: data.draw(st.integers(0, n - 1))).source)[1].ir)


def test_all_kinds_of_nodes_were_read_back() -> None:
    kinds = {ir.Py, ir.Effect, ir.Each, ir.Gather, ir.If, ir.While, ir.For, ir.Break, ir.Continue, ir.Unreachable}
    assert kinds <= seen


# --- hostile text ---


def seconds(text: str) -> float:
    """How long it takes to read a text, or to refuse it."""
    start = time.process_time()
    with contextlib.suppress(IRSyntaxError, InvalidIR):
        parse(text, "hostile.ir")
    return time.process_time() - start


def harmless(text: str) -> ir.Program | None:
    """Read any text: it takes no time to speak of, and ends in IR that can be printed and read, or in a refusal."""
    start = time.process_time()
    try:
        program = parse(text, "hostile.ir")
    except IRSyntaxError as error:
        assert error.lineno is not None and 1 <= error.lineno <= text.count("\n") + 2 and error.msg
        str(error).encode("utf-8")
        (error.text or "").encode("utf-8")
        return None
    except InvalidIR:
        return None
    finally:
        limit = 2 + len(text) / 50_000
        # Once more, if it took long: a whole garbage collection may have come in between.
        assert time.process_time() - start < limit or seconds(text) < limit
    printed = to_text(program)
    assert to_text(parse(printed)) == printed
    return program


@st.composite
def mutated(draw: Any) -> str:
    """A valid text with some pieces dropped, doubled, moved or exchanged."""
    text: str = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(text)))
        j = min(len(text), i + draw(st.integers(0, 30)))
        new = draw(st.one_of(st.just(""), st.sampled_from(WORDS), st.just(text[i:j] * 2), st.text(max_size=5)))
        text = text[:i] + new + text[j:]
    return text


@given(mutated())
@settings(relaxed, max_examples=300)
def test_a_mutated_text_does_no_harm(text: str) -> None:
    harmless(text)


@given(st.one_of(st.lists(st.sampled_from(WORDS)).map(" ".join), st.text()))
@settings(relaxed, max_examples=200)
@example("")
@example("\ufeffprogram f()\r\n  free []\r\n  entry ()\r\n    return [undefined]\r\n")
def test_a_random_text_does_no_harm(text: str) -> None:
    harmless(text)


@pytest.mark.slow
@given(mutated())
@settings(relaxed, max_examples=10_000)
def test_many_mutated_texts_do_no_harm(text: str) -> None:
    harmless(text)


def test_lines_exchanged_at_random_do_no_harm() -> None:
    choose = random.Random(0)
    read = 0
    for _ in range(150):
        lines = choose.choice(TEXTS).split("\n")
        i, j = choose.randrange(len(lines)), choose.randrange(len(lines))
        lines[i], lines[j] = lines[j], lines[i]
        read += harmless("\n".join(lines)) is not None
    assert read  # so that what was read has been printed again


def with_code(code: str, name: str = "x") -> str:
    """A text with a statement that assigns, or binds, a name."""
    written = f"{name}=%made" if code.startswith("x = ") or name != "x" else ""
    return COINS.replace("    return [%bias]", f"    py [] -> [{written}] | {code}\n    return [%bias]")


HOSTILE = {
    "deep parentheses": with_code("x = " + "(" * 50_000 + ")" * 50_000),
    "deep lists": with_code("x = " + "[" * 150 + "]" * 150),
    "a long chain of attributes": with_code("x" + ".x" * 100_000),
    "a long sum": with_code("x = " + "+".join("x" * 100_000)),
    "many signs": with_code("x = " + "-" * 100_000 + "1"),
    "many nots": with_code("x = " + "not " * 50_000 + "1"),
    "a long chain of comparisons": with_code("x = " + "<".join("x" * 20_000)),
    "deep lambdas": with_code("x = " + "lambda:" * 50_000 + "1"),
    "deep f-strings": with_code("x = f'" + "{x:" * 5_000 + "}" * 5_000 + "'"),
    "a huge number": with_code("x = " + "9" * 300_000),
    "a huge exponent": with_code("x = 9 ** 9 ** 9 ** 9"),
    "a huge line number": COINS.replace("coins.py:5", "coins.py:" + "9" * 5_000),
    "a huge version": COINS.replace("%bias]", "%bias." + "9" * 100_000 + "]"),
    "a null byte": with_code("x = '\x00'"),
    "a surrogate": with_code("x = '\ud800'"),
    "a surrogate for a name": COINS.replace("bias", "\ud800"),
    "an escape that ends": COINS.replace('"bias"', '"\\'),
    "many backslashes": COINS.replace('"bias"', '"' + "\\" * 200_001 + '"'),
    "many quotes": COINS.replace('"bias"', '"' * 200_000),
    "many spaces": COINS.replace(" = ", " " * 200_000 + "=" + " " * 200_000),
    "many comments": "# x\n" * 100_000,
    "many almost comments": with_code("x" + "  # a" * 100_000),
    "many empty lines": "\n" * 300_000,
    "deep indentation": "\n".join(" " * i + "entry" for i in range(600)),
    "many open brackets": COINS.replace("free []", "free " + "[" * 200_000),
    "many sites": COINS.replace("free []", "free []\n  sites [" + "0, " * 100_000 + "0]"),
    "many defaults": COINS.replace("a=1", ", ".join(f"a{i}=1" for i in range(10_000))),
    "too long": COINS + "# x\n" * (MAX_CHARACTERS // 4),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_does_no_harm(case: str) -> None:
    harmless(HOSTILE[case])


def test_python_nests_up_to_a_limit() -> None:
    terms = MAX_DEPTH - 5
    assert harmless(with_code("x = " + " + ".join("x" * terms))) is not None
    with pytest.raises(IRSyntaxError, match=f"more than {MAX_DEPTH} deep"):
        parse(with_code("x = " + " + ".join("x" * (MAX_DEPTH + 5))))


_events: list[str] | None = None


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """What Python reports to its auditors while the block runs."""
    global _events
    if not hasattr(recorded, "hooked"):
        sys.addaudithook(lambda event, args: _events.append(event) if _events is not None else None)
        recorded.hooked = True  # type: ignore[attr-defined]
    _events = []
    try:
        yield _events
    finally:
        _events = None


RUNS = [
    with_code("__import__('os').system('true')"),
    with_code("exec('import os')"),
    with_code("x = [open('/dev/null') for y in (1,)]"),
    with_code("import antigravity", "antigravity"),
    with_code("def h(x=exec('1')): pass", "h"),
    COINS.replace("a=1", "a=exec('1')"),
    COINS.replace("a=1", "a: exec('1')=1"),
    COINS.replace("a=1", "a=[].__class__.__base__.__subclasses__()"),
]


@pytest.mark.parametrize("text", RUNS)
def test_nothing_is_run(text: str) -> None:
    parse(COINS)  # what is imported and opened once
    with recorded() as events:
        parse(text)
    assert events and set(events) <= {"compile", "builtins.id"}, events  # Python reports so that it parses
    with recorded() as events:
        exec("import os")
    assert "exec" in events  # it would have been seen
