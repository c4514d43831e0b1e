"""Programs that can't be compiled, by what is wrong with them."""

from __future__ import annotations

import textwrap

BODIES: dict[str, str] = {
    # name → what stands in ``def f(a, b, xs)``
    "generator": "yield a",
    "generator-from": "yield from xs",
    "global": "global g",
    "global-in-function": "def h():\n    global g",
    "nonlocal-in-function": "c = 1\ndef h():\n    nonlocal c\n    c = 2",
    "locals": "return locals()",
    "vars": "return vars()",
    "dir": "x = 1\nreturn 'x' in dir()",
    "lambda-effect": "return lambda: sample(a)",
    "lambda-calls-program": "return lambda: coin(a)",
    "function-effect": "def h():\n    return sample(a)\nreturn h()",
    "coroutine-effect": "async def h():\n    return sample(a)",
    "async-comprehension-effect": "async def h():\n    return [sample(x) async for x in xs]",
    "class-effect": "class C:\n    def h(self):\n        return sample(a)",
    "class-body-effect": "class C:\n    x = sample(a)",
    "generator-expression": "return sum(sample(x) for x in xs)",
    "generator-expression-filter": "return [*(x for x in xs if sample(x))]",
    "loop-over-generator": "for x in (y for y in xs):\n    sample(x)",
    "try-effect": "try:\n    x = sample(a)\nexcept ValueError:\n    pass",
    "finally-effect": "try:\n    x = a\nfinally:\n    observe(a, b)",
    "try-calls-program": "try:\n    x = coin(a)\nexcept ValueError:\n    pass",
    "with-effect": "with open(a):\n    x = sample(a)",
    "with-effect-in-head": "with sample(a):\n    pass",
    "guard-effect": "match a:\n    case x if sample(x):\n        pass",
    "default-effect": "def h(x=sample(a)):\n    return x",
    "default-effect-of-program": "@program\ndef h(x=sample(a)):\n    return x",
    "default-effect-of-lambda": "return lambda x=sample(a): x",
    "decorator-effect": "@sample(a)\ndef h():\n    pass",
    "base-class-effect": "class C(sample(a)):\n    pass",
    "assertion-message-effect": "assert a, sample(a)",
    "nested-target-effect": "(xs[sample(a)], b) = 1, 2",
    "no-distribution": "x = sample()",
    "no-value": "observe(a)",
    "too-many-arguments": "factor(a, b, a)",
    "no-arguments-wanted": "barrier(a, b)",
    "starred-argument": "sample(*xs)",
    "double-starred-argument": "sample(**xs)",
    "unknown-argument": "sample(a, nam='x')",
    "argument-twice": "sample(a, distribution=b)",
    "no-function": "call()",
    "starred-function": "call(*xs)",
    "empty-name": "sample(a, name='')",
    "slash-in-name": "sample(a, name='x/y')",
    "bracket-in-name": "observe(a, b, name='x[0]')",
    "number-for-a-name": "sample(a, name=3)",
    "name-twice": "sample(a, name='x')\nsample(b, name='x')",
    "name-twice-across-kinds": "for x in xs:\n    sample(a, name='x')\n    observe(a, x, name='x')",
    "captured-then-assigned": "c = 1\nh = lambda: c\nc = 2\nreturn h()",
    "captured-loop-variable": "for i in xs:\n    h = lambda: i\nreturn h",
    "captured-itself-in-loop": "for i in xs:\n    def h(k):\n        return k and h(k - 1)\n    sample(h(i))",
    "captured-comprehension-variable": "return [((lambda: i), sample(i)) for i in xs]",
    "captured-then-augmented": "total = 0\ndef h():\n    return total\ntotal += sample(a)\nreturn h()",
    "captured-function-below": "def h():\n    return k()\ndef k():\n    return 1\nreturn h()",
    "wide-characters-before": "return ('äöü→', lambda: sample(a))",
    "several-lines": "return sum(\n    sample(x)\n    for x in xs\n)",
    "helper": "x = draw(a)",
    "helper-of-helper": "return [score(x) for x in xs]",
    "helper-calls-program": "return doubled(a)",
    "helper-in-module": "return helpers.look(a)",
    "locals-shadowed-helper": "draw = len\nreturn [draw(x) for x in xs] + [tossed(a)]",
    "helper-is-static-method": "return Die.throw(a)",
    "helper-is-class-method": "return Die.thrown()",
    "helper-is-method": "return die.again()",
    "helper-is-callable": "return die(a)",
    "helper-is-partial": "return fair()",
    "helper-is-cached": "return remembered(a)",
    "helper-is-wrapped": "return logged(a)",
    "helper-is-lambda": "return quick(a)",
    "helper-is-generator": "return [x for x in draws(a)]",
    "helper-is-coroutine": "return later(a)",
    "helper-in-dictionary": "return TOOLS['draw'](a)",
    "helper-under-another-name": "look = score\nreturn look(a)",
    "helper-calls-lambda": "return twice(a)",
    "effect-under-another-name": "draw_it = sample\nreturn draw_it(a)",
    "effect-in-dictionary": "return TOOLS['sample'](a)",
    "effect-in-partial": "return given_d()",
    "effect-imported": "from ppl import dist, sample as draw_it\nreturn draw_it(dist.flip(a))",
    "effect-in-imported-module": "import ppl\nx = [ppl.sample(d) for d in xs]",
    "imported-effect-mapped": "from ppl import sample\nreturn list(map(sample, xs))",
    "map-effect": "return list(map(sample, xs))",
    "map-helper": "return list(map(draw, xs))",
    "filter-program": "return list(filter(coin, xs))",
    "sorted-by-helper": "return sorted(xs, key=score)",
    "class-captures-list": "log = []\nclass C:\n    def note(self):\n        log.append(1)\nreturn sample(a), C",
    "class-holds-dictionary": "class C:\n    seen: dict = {}\nc = C()\nreturn sample(a), c",
    "class-holds-list-in-loop": "for x in xs:\n    sample(x)\n    class C:\n        seen = list(xs)",
    "class-counts": "class C:\n    n = 0\n    def __init__(self):\n        C.n += 1\nc = C()\nreturn sample(a), c.n",
    "class-method-counts": "class C:\n    @classmethod\n    def more(cls):\n        cls.n += 1\nreturn sample(a), C",
    "class-attribute-set": "class C:\n    n = 0\nC.n = sample(a)\nreturn sample(b), C.n",
    "class-counts-by-type": (
        "class C:\n    n = 0\n    def __init__(self):\n        type(self).n += 1\nc = C()\nreturn sample(a), C().n"
    ),
    "class-counts-in-new": (
        "class C:\n    def __new__(cls):\n        cls.n = 1\n        return object.__new__(cls)\nreturn sample(a), C()"
    ),
    "class-counts-in-subclass": (
        "class B:\n    n = 0\nclass C(B):\n    def __init__(self):\n        B.n += 1\nc = C()\nreturn sample(a), B.n"
    ),
    "class-counts-in-function": (
        "class C:\n    n = 0\ndef more():\n    C.n += 1\n    return C.n\nreturn sample(a), more()"
    ),
    "class-attribute-set-by-alias": "class C:\n    n = 0\nK = C\nL = K\nL.n += sample(a)\nreturn sample(b), C.n",
    "class-attribute-set-by-setattr": (
        "class C:\n    n = 0\nc = C()\nsetattr(c.__class__, 'n', sample(a))\nreturn sample(b), C.n"
    ),
    "cached-captures-list": "log = [a]\n@functools.cache\ndef h(v):\n    log.append(v)\nh(sample(a))",
    "eval": "x = sample(a)\nreturn eval('x + 1')",
    "exec": "exec(a)",
}

MODULES: dict[str, str] = {
    # name → a module of its own
    "nonlocal": "def make():\n    n = 0\n\n    @program\n    def f():\n        nonlocal n\n        n = 1\n\nmake()",
    "coroutine": "@program\nasync def f(a):\n    return a",
    "lambda": "f = program(lambda a: a)",
    "method": "class Model:\n    @program\n    def step(self):\n        return sample(self.d)",
    "class-method": "class Model:\n    @staticmethod\n    @program\n    def step():\n        return 1",
    "wrapped": "@program\n@cached\ndef f(a):\n    return a",
    "helper-in-the-same-file": (
        "def g(a):\n    return sample(a)\n\n\ndef h(a):\n    return g(a)\n\n\n@program\ndef f(a):\n    return h(a)"
    ),
    "no-source": "exec('@program\\ndef f(a): return a', globals())",
    "closure-helper": (
        "def make(d):\n    def look():\n        return sample(d)\n\n"
        "    @program\n    def f():\n        return look()\n\nmake(1)"
    ),
}

HELPERS = """\
def draw(d):
    return sample(d)


def score(d):
    y = draw(d)
    return y


@program
def coin(d):
    return sample(d)


def doubled(d):
    return 2 * coin(d)


def tossed(d):
    return [observe(d, x) for x in (1, 2)]


class Die:
    sides = 6

    @staticmethod
    def throw(d):
        return sample(d)

    @classmethod
    def thrown(cls):
        return sample(cls.sides)

    def again(self):
        return sample(self.sides)

    def __call__(self, d):
        return sample(d)


die = Die()
fair = functools.partial(draw, 0.5)
given_d = functools.partial(sample, 0.5)
quick = lambda d: sample(d)


@functools.lru_cache
def remembered(d):
    return sample(d)


@cached
def logged(d):
    return sample(d)


def draws(d):
    while True:
        yield sample(d)


async def later(d):
    return sample(d)


def twice(d):
    return quick(d) + draw(d)


TOOLS = {"draw": draw, "sample": sample}
"""
"""What the programs above may call."""


def source(name: str) -> str:
    """The source of a case."""
    if name in MODULES:
        return MODULES[name] + "\n"
    return "@program\ndef f(a, b, xs):\n" + textwrap.indent(BODIES[name], "    ") + "\n"
