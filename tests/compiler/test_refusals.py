"""What can't be compiled is refused where it stands, with a reason and a remedy."""

from __future__ import annotations

import functools
import linecache
import textwrap
import traceback
from typing import Any

import pytest

from ppl.compiler import CompileError, compile_function

from .driver import _COMPILED, Program

# body → (the source under the caret, a part of the reason, a part of the remedy)
REFUSED: dict[str, tuple[str, str, str]] = {
    "yield a": ("yield a", "generator", "list"),
    "yield from xs": ("yield from xs", "generator", "list"),
    "global g": ("global g", "global", "Return the value"),
    "nonlocal n": ("nonlocal n", "nonlocal", "Return the value"),
    "def h():\n    global g": ("global g", "global", "Return the value"),
    "c = 1\ndef h():\n    nonlocal c\n    c = 2": ("nonlocal c", "'c'", "Return the new value"),
    "return locals()": ("locals()", "locals()", "Name the variables"),
    "return lambda: sample(a)": ("sample(a)", "lambda", "@program"),
    "def h(): return sample(a)": ("sample(a)", "'h', which is no program", "@program above 'h'"),
    "class C:\n    def h(self): return sample(a)": ("sample(a)", "class", "def"),
    "return sum(sample(x) for x in xs)": ("(sample(x) for x in xs)", "generator", "[ … ]"),
    "for x in (y for y in xs): sample(x)": ("(y for y in xs)", "generator", "[ … ]"),
    "try: x = sample(a)\nexcept ValueError: pass": ("sample(a)", "inside try", "before or after"),
    "with open(a): x = sample(a)": ("sample(a)", "inside with", "before or after"),
    "with sample(a): pass": ("sample(a)", "inside with", "before or after"),
    "match a:\n    case x if sample(x): pass": ("sample(x)", "guard", "before the match"),
    "def h(x=sample(a)): return x": ("sample(a)", "default", "Compute it first"),
    "@program\ndef h(x=sample(a)): return x": ("sample(a)", "default", "Compute it first"),
    "@sample(a)\ndef h(): pass": ("sample(a)", "decorator", "Compute it first"),
    "class C(sample(a)): pass": ("sample(a)", "base class", "Compute it first"),
    "return lambda x=sample(a): x": ("sample(a)", "default", "Compute it first"),
    "assert a, sample(a)": ("sample(a)", "message", "Compute it first"),
    "(xs[sample(a)], b) = 1, 2": ("sample(a)", "nested assignment target", "plain variables"),
    "x = sample()": ("sample()", "needs the argument 'distribution'", "sample(distribution)"),
    "observe(a)": ("observe(a)", "needs the argument 'value'", "observe(distribution, value)"),
    "factor(a, b, a)": ("factor(a, b, a)", "takes", "factor(log_weight)"),
    "sample(*xs)": ("*xs", "spelled out", "sample(distribution)"),
    "sample(**xs)": ("xs", "spelled out", "sample(distribution)"),
    "sample(a, nam='x')": ("nam='x'", "'nam'", "sample(distribution)"),
    "sample(a, distribution=b)": ("distribution=b", "'distribution' twice", "sample(distribution)"),
    "barrier(a, b)": ("barrier(a, b)", "takes", "barrier()"),
    "call()": ("call()", "needs the argument 'function'", "call(function, *args)"),
    "sample(a, name='')": ("''", "can't be a name", "word"),
    "sample(a, name='x/y')": ("'x/y'", "can't be a name", "word"),
    "sample(a, name=3)": ("3", "string", "name="),
    "sample(a, name='x')\nsample(b, name='x')": ("sample(b, name='x')", "'x' is taken", "name="),
    "c = 1\nh = lambda: c\nc = 2\nreturn h()": ("lambda: c", "'c'", "c=c"),
    "for i in xs:\n    h = lambda: i\nreturn h": ("lambda: i", "'i'", "i=i"),
    "def h(): return k()\ndef k(): return 1\nreturn h()": ("def h(): return k()", "'k'", "Move"),
}


def _compile(source: str, file: str) -> Any:
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    names: dict[str, Any] = dict(_COMPILED)
    exec(compile(source, file, "exec", dont_inherit=True), names)
    fn = names["make"]()
    return compile_function(fn.fn if isinstance(fn, Program) else fn)


@pytest.mark.parametrize("body", REFUSED)
def test_refused(body: str) -> None:
    inner = textwrap.indent("def f(a, b, xs):\n" + textwrap.indent(body, "    "), "    ")
    source = f"def make():\n    n = 0\n{inner}\n    return f\n"
    with pytest.raises(CompileError) as caught:
        _compile(source, f"<refused {body!r}>")
    error = caught.value
    marked, reason, remedy = REFUSED[body]
    assert reason in error.reason and remedy in error.remedy, (error.reason, error.remedy)
    assert error.filename == f"<refused {body!r}>" and error.lineno is not None and error.text is not None
    end = error.end_offset if error.end_lineno == error.lineno else None
    under = source.splitlines()[error.lineno - 1][(error.offset or 0) - 1 : end and end - 1]
    assert under == marked.split("\n")[0]
    # One sentence each: what is wrong and why, then what to write.
    assert error.reason[0] != " " and not error.reason.endswith(".") and error.remedy.endswith(".")
    shown = "".join(traceback.format_exception_only(error))
    assert "^" in shown and error.reason in shown and error.remedy in shown


async def _coroutine(a: int) -> int:
    return a


def _wrap(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


@_wrap
def _wrapped(a: int) -> int:
    return a


class _Class:
    def method(self) -> int:
        return 1

    def with_super(self) -> str:
        return super().__repr__()


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (_coroutine, "coroutine"),
        (lambda a: a, "lambda"),
        (_wrapped, "wrapped by another decorator"),
        (_Class.method, "a method of _Class"),
        (_Class.with_super, "a method of _Class"),
    ],
)
def test_refused_functions(fn: Any, reason: str) -> None:
    with pytest.raises(CompileError, match=reason) as caught:
        compile_function(fn)
    assert caught.value.filename == __file__


def test_a_function_without_source_is_refused() -> None:
    names: dict[str, Any] = {}
    exec("def f(a): return a", names)
    with pytest.raises(CompileError, match="source of 'f' can't be found"):
        compile_function(names["f"])


@pytest.mark.parametrize("value", [3, len, _Class])
def test_other_objects_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="takes a function written with def"):
        compile_function(value)


def test_the_caret_stands_right_after_wide_characters() -> None:
    with pytest.raises(CompileError) as caught:
        _compile("def make():\n    def f(a): return ('äöü→', lambda: sample(a))\n    return f\n", "<wide>")
    assert caught.value.text is not None
    assert caught.value.text[(caught.value.offset or 0) - 1 :].startswith("sample(a)")
