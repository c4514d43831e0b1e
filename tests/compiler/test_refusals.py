"""What can't be compiled is refused where it stands: what is wrong, why, and what to write instead.

The texts are in ``golden/errors``, one file a case, to be read as prose. After a change, write them anew with

    PPL_UPDATE_GOLDEN=1 python -m pytest tests/compiler/test_refusals.py

and read the difference.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import traceback
import types
from pathlib import Path
from typing import Any

import pytest

import ppl
from ppl.compiler import CompileError, compile_function
from ppl.effects import EffectOutsideProgram

from .refused import BODIES, HELPERS, MODULES, source

GOLDEN = Path(__file__).parent / "golden" / "errors"
CASES = [*BODIES, *MODULES]


def wrapping(fn: Any) -> Any:
    """A decorator that knows nothing of programs."""

    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


def define(text: str, file: str, names: dict[str, Any]) -> None:
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec", dont_inherit=True), names)


@functools.cache
def world() -> dict[str, Any]:
    """What the cases may use."""
    names = {word: getattr(ppl, word) for word in ppl.__all__}
    names |= {"cached": wrapping, "helpers": types.ModuleType("helpers"), "functools": functools}
    define(HELPERS, "helpers.py", names)
    vars(names["helpers"]).update(look=names["draw"])
    return names


def refusal(name: str) -> CompileError:
    """The error of a case, which stands in the file ``f.py``."""
    with pytest.raises(CompileError) as caught:
        define(source(name), "f.py", dict(world()))
    return caught.value


def shown(error: CompileError) -> str:
    """The error as Python 3.11 shows it; other versions draw the marks a little differently."""
    line = error.text or ""
    start, end = (error.offset or 1) - 1, error.end_offset or 1
    stripped = line.lstrip()
    if not line:
        return f'File "{error.filename}", line {error.lineno}\n{error.msg}\n'
    marks = " " * (start - (len(line) - len(stripped))) + "^" * (end - 1 - start)
    return f'File "{error.filename}", line {error.lineno}\n    {stripped.rstrip()}\n    {marks}\n{error.msg}\n'


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    error = refusal(name)
    text = f"{source(name)}\n{shown(error)}"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PPL_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    # What is wrong and why, in one sentence without a full stop; then what to write, in whole sentences.
    assert re.fullmatch(r"[^\s.].*[^.\s]", error.reason) and re.fullmatch(r"[A-Z].*\.", error.remedy)
    assert "\n" not in error.reason + error.remedy and len(error.reason) < 180
    python = "".join(traceback.format_exception_only(error))
    assert ("^" in python or not error.text) and error.reason in python and error.remedy in python


def test_every_text_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES) and len(CASES) >= 40


# The source under the marks, for each kind of place.
MARKED = {
    "generator": "yield a",
    "lambda-effect": "sample(a)",
    "generator-expression": "(sample(x) for x in xs)",
    "several-lines": "return sum("[10:],
    "unknown-argument": "nam='x'",
    "double-starred-argument": "xs",
    "starred-argument": "*xs",
    "captured-loop-variable": "lambda: i",
    "captured-function-below": "def h():",
    "wide-characters-before": "sample(a)",
    "helper": "draw(a)",
    "method": "def step(self):",
}


@pytest.mark.parametrize("name", MARKED)
def test_the_marks_stand_under_what_is_wrong(name: str) -> None:
    error = refusal(name)
    assert error.text is not None and error.offset is not None and error.end_offset is not None
    assert error.text[error.offset - 1 : error.end_offset - 1] == MARKED[name]


@pytest.mark.parametrize("value", [3, len, Path])
def test_other_objects_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="takes a function written with def"):
        compile_function(value)


# --- what looks alike and is none of it ---


def test_helpers_that_a_program_may_call() -> None:
    names = dict(world())
    text = """\
def infers(d):
    return infer(coin, dist.flip(d), method="forward", n=1).runs[0].value

def recursive(n):
    return n and recursive(n - 1)

def holds_program():
    @program
    def inner():
        return sample(dist.flip(0.5))
    return inner

@program
def f(a):
    draw = len
    x = sample(dist.flip(a))
    return infers(0.5), recursive(3), holds_program().name, draw("abc"), [score(1) for score in (abs,)], vars(dist)
"""
    define(text, "fine.py", names)
    assert names["f"](0.5)[1:5] == (0, "inner", 3, [1])


@pytest.mark.parametrize(
    ("helper", "remedy"),
    [
        ("draw", "Put @program above def draw"),
        ("die.again", "Write def again .* as a function outside the class"),
        ("quick", "Write the lambda .* as a function with def"),
        ("remembered", "Put @program directly above def remembered .* in the place of what wraps it"),
        ("lambda d: next(draws(d))", "as a function with @program above, and call it in a loop"),
        ("sample", r"call sample\(\) by its own name, in the program itself"),
    ],
)
def test_effects_in_functions_handed_around_are_refused_when_they_run(helper: str, remedy: str) -> None:
    names = dict(world())
    define("@program\ndef f(h):\n    return h(*[1] * (h.__name__ != 'again'))\n", "later.py", names)
    with pytest.raises(EffectOutsideProgram, match=remedy):
        names["f"](eval(helper, names))


def test_a_program_may_import_what_is_no_effect() -> None:
    """Even ``@program``: what is below it, the compiler reads when that runs."""
    names = dict(world())
    text = """\
@program
def f(p):
    import math as m
    from ppl import dist as d, program as model
    try:
        from ppl.effects import sample as unused
    except ImportError:
        unused = None
    @model
    def inner():
        x = sample(d.flip(p))
        return m.floor(x)
    return inner()
"""
    define(text, "imports.py", names)
    found = dict(ppl.infer(names["f"], 0.3, method="enumerate").distribution())
    assert found == pytest.approx({0: 0.7, 1: 0.3})


def test_a_name_that_is_not_only_imported_is_not_judged_by_the_import() -> None:
    names = dict(world())
    text = """\
@program
def f(known):
    from ppl import sample as look
    if known:
        def look(d):
            return 3
    return look(1)
"""
    define(text, "twice.py", names)
    assert names["f"](True) == 3


def test_captured_containers_go_with_the_run() -> None:
    """A nested function may change a captured list: each copy of the run has its own."""
    names = dict(world())
    text = """\
@program
def f():
    xs = []
    total = lambda: sum(xs)
    for _ in range(2):
        xs.append(int(sample(dist.flip(0.5), name="x")))
        factor(0.7 * total())
    return tuple(xs), total()
"""
    define(text, "captured.py", names)
    assert ppl.validate(names["f"], method="smc", n=(2, 3))
