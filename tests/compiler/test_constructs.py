"""Each construct of the subset, and each tricky rule of Python's order of evaluation, compared with CPython."""

from __future__ import annotations

import pytest

from .check import differences
from .driver import Machine, define, run_plain

BODIES = {
    "method is loaded before its arguments": "o = Box(); return o.method(sample(1), note(sample(2)))",
    "method of a list": "xs = [a]; xs.append(sample(1)); ys = xs; xs.extend([sample(2)]); return xs, ys is xs",
    "bound method kept": "xs = [a]; push = xs.append; push(sample(1)); observe(1, len(xs)); push(2); return xs",
    "a missing method fails before its arguments": "xs = [a]; xs.nothing(sample(1))",
    "a missing function fails before its arguments": "missing(sample(1))",
    "augmented item reads first": "o = Box(); o[note(a)] += sample(note(1)); return o",
    "augmented item of a list": "xs = [1, 2]; i = 0; xs[i] += sample(1) + (i := 1); return xs, i",
    "augmented slice": "xs = [1, 2, 3]; xs[note(1):] += [sample(1)]; return xs",
    "augmented slices": "o = Box(); o[1:sample(2), note(3)] += sample(1)",
    "augmented attribute": "o = Box(q=1); o.q += sample(o.q); return o.q",
    "augmented name": "a += sample(a); a -= sample(1) + sample(2); return a",
    "augmented name rebound in the value": "a += (a := sample(1)) + a; return a",
    "augmented unbound name": "if a > 9: c = 1\nc += sample(1)",
    "augmented list keeps its identity": "xs = ys = [a]; xs += [sample(1)]; return xs is ys, ys",
    "augmented tuple": "t = (a,); t += (sample(1),); return t",
    "f-string formats as it goes": "o = Box(); return f'{o}{sample(1)}{o:x}{sample(2)!r:>{sample(3)}}{o!r}'",
    "f-string with a late effect": "xs = [a]; return f'{xs}{xs.append(sample(1))}{xs}'",
    "dict display": "m = {0: 1}; return {note(1): sample(2), **m, sample(3): note(4), **{5: m.clear()}}",
    "dict display copies what it unpacks": "m = {0: 1}; return {**m, 1: m.pop(0) + sample(1)}",
    "list display copies what it unpacks": "xs = [1]; return [*xs, xs.append(sample(1)), *xs]",
    "starred arguments": "xs = [1]; return show(*xs, xs.append(sample(1)), *xs, k=sample(2), **{'j': note(3)})",
    "starred after keyword": "return show(k=sample(1), *[note(2)])",
    "set display": "return sorted({sample(1), note(a), sample(2)})",
    "slices": "xs = [1, 2, 3, 4]; return xs[sample(1):note(4):sample(2) + 1]",
    "slice assignment": "xs = [1, 2, 3]; xs[sample(1):note(2)] = [sample(3), 9]; return xs",
    "two slices": "o = Box(); o[note(1):sample(1), sample(2):] = sample(3)",
    "chained comparison": "return note(1) < sample(2) < note(3) < sample(4) < 9",
    "chained comparison stops": "return 9 < sample(1) < missing",
    "and, or, not": "return (sample(1) and note(2) or sample(3)), not sample(4), (a or sample(5) or sample(6))",
    "conditional": "return sample(1) if sample(2) > 2 else note(sample(3))",
    "walrus": "return (c := sample(1)) + c + (c := sample(2)) + c",
    "walrus in a condition": "while (c := sample(1)) > 1 and (d := sample(c)) > 1: note((c, d))\nreturn c",
    "walrus that may not happen": "a > 1 and (c := 3)\nsample(1)\nreturn c",
    "walrus in a comprehension": "ys = [c := sample(i) for i in range(a)]; return ys, c",
    "walrus before an operand": "x = 1; return show(x, (x := sample(1)), x)",
    "comprehension condition": "return [sample(x) for x in range(a) if sample(x) > 1 if note(x) != 1]",
    "comprehension nested": "return [(x, y) for x in range(sample(1)) for y in range(x) if sample(y)]",
    "comprehension of comprehensions": "return [[sample(x) + y for y in range(2)] for x in range(a)]",
    "comprehension hides a variable": "x = 7; ys = [sample(x) for x in [x, x + 1]]; return x, ys",
    "comprehension over itself": "a = [1, 2]; return [sample(a) for a in a], a",
    "comprehension unpacks": "return [sample(x) + y for x, (y, *z) in [(1, (2, 3)), (4, (5,))]]",
    "set and dict comprehensions": "return sorted({sample(x) for x in range(a)}), {sample(x): note(x) for x in [1, 2]}",
    "generator over an effect": "return sum(x for x in [sample(1), sample(2)]), list(y for y in range(sample(3)))",
    "lambda beside an effect": "return show(sorted([3, 1], key=lambda v, b=b: v * b), sample(1))",
    "nested attribute calls": "o = Box(p=Box()); return o.p.method(sample(1)), o.p[sample(2)]",
    "tuple assignment": "a, b = b, sample(a); return a, b",
    "swap after effect": "x, y = sample(1), sample(2); x, y = y, x; return x, y",
    "targets in order": "o = Box(); o[note(1)], o[note(2)] = sample(1), sample(2)",
    "chained assignment": "o = Box(); xs = o[note(1)] = ys = [sample(1)]; return xs is ys",
    "chained assignment rebinds": "xs = [0, 0]; i = 0; i = xs[i] = sample(1) % 2; return xs, i",
    "target with an effect": "xs = [0] * 9; xs[sample(1)] = note(sample(2)); return xs",
    "starred target": "c, *d = [sample(1), sample(2), a]; return c, d",
    "annotated assignment": "c: int = sample(1); d: list[int]; return c",
    "deleted": "c = sample(1); del c; return c",
    "deleted on one path": "c = sample(1)\nif c > 2: del c\nsample(2)\nreturn c",
    "deleted in a loop": "c = 1\nfor i in range(3):\n  if sample(1) > 3: del c\n  note(c)",
    "deleted items": "o = Box(); del o[sample(1)], o[note(2)], o[sample(3)]",
    "maybe unbound": "if sample(1) > 2: c = 1\nsample(2)\nreturn c",
    "unbound loop variable": "for i in range(sample(1) % 2): pass\nsample(2)\nreturn i",
    "unbound in a nested scope": "if sample(1) > 2: c = 1\nsample(2)\nreturn [c for _ in [1]]",
    "assert": "assert sample(1) > 1, note('low')\nassert note(a) < 9\nreturn 1",
    "raise": "if sample(1) > 2: raise ValueError(sample(2)) from KeyError(note(3))\nreturn 1",
    "for else": "for i in range(a):\n  if sample(i) > 3: break\nelse: return sample('none')\nreturn i",
    "for else continue": "for i in range(3):\n  for j in range(2):\n    if sample(j) > 2: break\n"
    "  else: continue\n  note((i, j))\nreturn b",
    "while else": "while a > 0 and sample(a) > 1: a -= 1\nelse: note('else')\nreturn a",
    "while true": "while True:\n  c = sample(1)\n  if c > 2: break\n  if c == 1: continue\n  note(c)\nreturn c",
    "break through levels": "for i in range(3):\n  while True:\n    if sample(i) > 2: break\n"
    "    if sample('x'): return i\n"
    "  else: note('never')\nreturn 'end'",
    "for over a growing list": "xs = [1]\nfor x in xs:\n  if len(xs) < 5: xs.append(sample(x))\nreturn xs",
    "for over a shrinking list": "xs = [1, 2, 3, 4]\nfor x in xs:\n  sample(x); xs.pop()\nreturn xs",
    "for over a dict": "m = {1: 2, 3: 4}\nfor k in m: m[k] = sample(m[k])\nreturn m",
    "for over items that change": "m = {1: 2, 3: 4, 5: 6}\nfor k, v in m.items(): m[5] = sample(v); note((k, v))\n"
    "return m",
    "for over values": "m = {1: 2, 3: 4}\nfor v in m.values(): m[3] = sample(v)\nreturn m",
    "for over a dict that grows": "m = {1: 2}\nfor k in m: m[sample(k) + 2] = 0\nreturn m",
    "for over a set": "s = {1, 2}\nfor x in s: sample(x)\nreturn s",
    "for over enumerate": "xs = [1, 2]\nfor i, x in enumerate(xs, sample(1)):\n  if i < 8: xs.append(sample(x))\n"
    "return xs",
    "for over zip": "xs = [1]; m = {1: 2, 3: 4}\nfor x, (k, v) in zip(xs, m.items()):\n"
    "  xs.append(sample(v)); m[3] = x\n"
    "return xs, m",
    "for over strict zip": "for x, y in zip([1, 2], [sample(1)], strict=True): note(sample(x))",
    "for over long strict zip": "for x, y in zip([1], [2, 3], [4, 5], strict=True): note(sample(x))",
    "for over reversed": "xs = [1, 2, 3]\nfor x in reversed(xs): xs[0] = sample(x)\nreturn xs",
    "for over map": "for x in map(lambda v: v + 1, [1, 2]): sample(x)",
    "for over a string": "return [sample(ch) for ch in 'abc' if ch != 'b']",
    "for over an iterator": "it = iter([1, 2, 3, 4])\nfor x in it:\n  note((x, sample(x), next(it, None)))",
    "for over something else": "for x in 5: sample(x)",
    "for with an odd target": "xs = [0, 0]\nfor xs[sample(1) % 2] in [3, 4]: note(list(xs))\nreturn xs",
    "loop variable survives": "for i in range(sample(1)): pass\nfor i in range(sample(2)): note(i)\nreturn b",
    "try with exits": "for i in range(4):\n  c = sample(i)\n  try:\n    if c == 1: continue\n    if c == 2: break\n"
    "    if c == 3: return 'three'\n    note(1 // c)\n  except ZeroDivisionError as e: note(str(e))\n"
    "  else: note('else')\n  finally: note('finally')\nreturn c",
    "try binds": "c = 0\ntry: c = sample and 1 // a; d = 2\nexcept Exception: b = 5\nsample(1)\nreturn b, c, d",
    "return in finally": "c = sample(1)\ntry: 1 // a\nfinally: return note(c)",
    "exits of nested loops in try": "c = sample(1)\ntry:\n  for i in range(9):\n    for j in range(9):\n"
    "      if i * j == c: return i, j\n      if j > i: break\n    else: continue\n    if i > 7: break\n"
    "  else: note('none')\nexcept Exception: pass\nreturn 'end'",
    "break in finally calls a return off": "for i in range(3):\n  try: note(i); sample\n  finally: note('f')\n"
    "with contextlib.suppress(Exception):\n  for i in range(3):\n    try:\n      if i == b: return i\n    finally:\n"
    "      if i == a: break\n  note('after')\nsample(1)\nreturn 'end'",
    "continue in finally calls a return off": "try:\n  for i in range(3):\n    try: return i\n    finally:\n"
    "      for j in range(3):\n        if j == 1: break\n      if i < a: continue\nfinally: note('out')\nreturn 'end'",
    "return in finally calls a break off": "for i in range(3):\n  try:\n    if sample: break\n  finally:\n"
    "    if i == a: return 'inside'\nsample(i)\nreturn 'end'",
    "an exception calls a return off": "try:\n  try: return 1\n  finally: note(1 // a)\n"
    "except ZeroDivisionError: note('caught')\nsample(a)\nreturn 'end'",
    "a suppressed exception calls a return off": "with contextlib.suppress(ZeroDivisionError):\n  try: return 1\n"
    "  finally: note(1 // a)\nsample(a)\nreturn 'end'",
    "recorded exits are forgotten": "with contextlib.suppress(Exception):\n  if b > 9: return 1\n"
    "for i in range(2):\n  if i:\n    with contextlib.nullcontext():\n      if a > 9: return 2\n  sample(i)\n",
    "a handler in finally keeps the return": "try: return note('returned')\nfinally:\n  try: note(1 // a)\n"
    "  except ZeroDivisionError: note('handled')\n",
    "with": "with contextlib.nullcontext(sample) as s: c = a\nsample(c)\nwith contextlib.suppress(ZeroDivisionError): "
    "return 1 // b\nreturn c",
    "match": "c = sample(1)\nmatch [c, a]:\n  case [1, x]: note(x)\n  case [x, 2 | 3] if x > 2: return x\n"
    "  case _: pass\n"
    "sample(2)\nreturn x",
    "match with effects": "for i in range(3):\n  match sample(i), a:\n    case (1, x): y = sample(x)\n"
    "    case (2, _): continue\n"
    "    case (3, _): break\n    case (4, z): return sample(z)\n  note(i)\nreturn b",
    "match on an effect": "match sample(1):\n  case 1: return 'one'\n  case int(x): return x",
    "program": "@program\ndef h(v, *r, k=sample and 2, **kw):\n  return sample(v) + k, r, kw\n"
    "return h(a), h(sample(1), 2, *[3], k=sample(4), **{'j': 5})",
    "program with a duplicate argument": "@program\ndef h(v, k=1): return sample(v)\n"
    "return h(1, k=sample(2), **{'k': 3})",
    "program with a missing argument": "@program\ndef h(v, k): return sample(v)\nreturn h(sample(1))",
    "program in a comprehension": "@program\ndef h(v): return sample(v)\nreturn [h(v) for v in range(3)]",
    "program as a value": "@program\ndef h(v): return sample(v)\nreturn [g(1) for g in (h, show, h)], (lambda v: v)(a)",
    "program that recurses": "@program\ndef h(v):\n  return [sample(v), *h(v - 1)] if v > 0 else []\nreturn h(a), h(2)",
    "program that captures": "xs = [a]\n@program\ndef h():\n  xs.append(sample(1))\n  return len(xs)\n"
    "return h(), h(), xs",
    "closure": "xs = [a]\ndef add(v, n=b):\n  xs.append(v + n)\n  return xs\nadd(sample(1)); add(sample(2)); return xs",
    "closure that recurses": "def fact(n): return n * fact(n - 1) if n > 0 else 1\n"
    "return fact(sample(1)), fact(sample(2))",
    "class": "class P:\n  def __init__(self, v): self.v = v\np = P(sample(1)); p.v += sample(2); return p.v",
    "import": "import os.path as p, json\nfrom math import floor\nsample(1)\nreturn p.sep, json.dumps(a), floor(2.5)",
    "call": "return call(double, sample(1)), call(double, *[a], name='twice')",
    "keywords in another order": "observe(value=sample(1), distribution=sample(2)); return sample(distribution=a)",
    "names": "x = sample(1, name='first'); sample(2, name=f'n{x}'); return x",
    "aliases across a cut": "xs = [[a]] * 2; m = {0: xs[0]}; sample(1); m[0].append(1); sample(2); return xs, m",
    "docstring and pass": "'a docstring'\npass\n...\nreturn sample(1)",
    "nothing": "pass",
    "shadowed builtins": "set = 1; slice = 2; enumerate = lambda xs: [(9, x) for x in xs]\n"
    "return {sample(x) for x in [1]}, [[sample(i) for i, x in enumerate([1])]]",
}


def source(body: str) -> str:
    """A program of two numbers with this body."""
    return "def f(a, b=2):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_construct(body: str) -> None:
    found = differences(source(body), runs=8)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("head", "args"),
    [
        ("def f(a, /, b, *rest, k=3, **kw): return a, b, rest, k, kw, sample(1)", ((1, 2, 3), {"k": 4, "z": 5})),
        ("def f(a, b=[1], *, k): b.append(sample(k)); return b", ((1,), {"k": 2})),
        ("def f(*, k=1): return sample(k)", ((), {})),
        ("def f(a): return sample(a)", ((), {})),
        ("def f(a): return sample(a)", ((1, 2), {})),
        ("def f(a, *, k): return sample(a)", ((1,), {"j": 2})),
    ],
)
def test_signature(head: str, args: tuple[tuple[int, ...], dict[str, int]]) -> None:
    plain, compiled = define(head)
    outcomes = []
    for fn in (lambda: plain(*args[0], **args[1]), lambda: compiled.entry(*args[0], **args[1])):
        try:
            outcomes.append(("", repr(fn())))
        except TypeError as error:
            outcomes.append(("TypeError", str(error)))
        except Exception as error:  # the plain program asks for an answer that nobody gives
            outcomes.append(("", type(error).__name__))
    assert outcomes[0][0] == outcomes[1][0]
    if outcomes[0][0]:
        assert outcomes[0] == outcomes[1]


def test_unbound_variables_raise_unbound_local_error() -> None:
    plain, compiled = define("def f(a, b):\n    if sample(1) > 9: c = 1\n    sample(2)\n    return c\n")
    with pytest.raises(UnboundLocalError, match="'c'") as expected:
        _raise(lambda: run_plain_raw(plain))
    with pytest.raises(UnboundLocalError, match="'c'") as found:
        step = compiled.entry(0, 0)
        while step[1] is not None:
            step = step[1](0, *step[2])
    assert str(found.value) == str(expected.value)


def _raise(run: object) -> None:
    run()  # type: ignore[operator]


def run_plain_raw(plain: object) -> None:
    """Run the plain program with zeros for answers, letting its error out."""
    from . import driver

    with driver.current(driver.Run([0] * 9)):
        plain(0, 0)  # type: ignore[operator]


def test_a_closure_is_compiled_anew_when_its_names_mean_something_else() -> None:
    _, compiled = define(
        "def make(h):\n    @program\n    def inner(v):\n        try: return h(v)\n        except ValueError: return 0\n"
        "    return inner\n"
        "@program\ndef f(a, b):\n    return make(show)(a), sample(1)\n"
    )
    assert Machine().start(compiled, (1, 2), [3]).value == "(1, 3)"


def test_long_programs_of_skipped_effects_do_not_exhaust_the_stack() -> None:
    body = "\n".join(f"if a > {i + 50}: sample({i})\nshow(b)\ng(b)" for i in range(200))
    plain, compiled = define(source("g = show\n" + body + "\nreturn a"))
    assert Machine().start(compiled, (1, 2), []) == run_plain(plain, (1, 2), [])
