"""Small finite programs that between them use every statement of the language: what methods are certified on; and some
more that give the compiler's passes something to do."""

from __future__ import annotations

import math
from typing import Any

from . import dist
from .constraints import StartsWith
from .effects import barrier, call, condition, factor, observe, sample, twist
from .lm import table_lm
from .nested import nested as run_by_itself
from .program import Program, program
from .runtime.methods import Importance
from .text import Text

flip, categorical = dist.flip, dist.categorical


@program
def hidden_markov(observations: list[bool]) -> tuple[bool, ...]:
    state = sample(flip(0.4), name="start")
    states = []
    for seen in observations:
        state = sample(flip(0.7 if state else 0.2))
        observe(flip(0.9 if state else 0.25), seen)
        states.append(state)
    return tuple(states)


@program
def ends_early() -> int:
    """Runs of different lengths: finished ones must be absorbing."""
    steps = 0
    while steps < 3:
        steps += 1
        if sample(flip(0.5), name="stop"):
            break
        factor(math.log(0.6 + 0.2 * steps))
    return steps


@program
def soft_and_hard() -> tuple[int, bool]:
    x = sample(categorical([0.2, 0.3, 0.5]))
    factor(0.5 * x)
    condition(x != 1)
    y = sample(flip(0.3 if x else 0.8))
    factor(-1.0 if y else 0.25)
    return x, y


@program
def twisted() -> tuple[bool, bool]:
    a = sample(flip(0.5))
    twist(2.0 if a else -1.0)
    b = sample(flip(0.3 if a else 0.6))
    twist(-3.0 if b else 0.5)
    observe(flip(0.9 if a == b else 0.2), True)
    return a, b


@program
def twisted_and_early() -> int:
    """A hint that is still set when a run ends must be divided out."""
    a = sample(categorical([0.5, 0.3, 0.2]))
    twist(1.5 * a)
    if a == 1:
        return a
    b = sample(flip(0.5))
    factor(0.7 if b else -0.2)
    return a + 10 * b


@program
def proposed() -> tuple[int, bool]:
    x = sample(categorical([0.7, 0.2, 0.1]), proposal=categorical([0.2, 0.3, 0.5]))
    observe(flip(0.1 + 0.4 * x), True)
    y = sample(flip(0.5), proposal=flip(0.9 if x else 0.4))
    return x, y


@program
def coin(bias: float) -> bool:
    side = sample(flip(bias))
    factor(0.3 if side else -0.3)
    return side


@program
def nested(depth: int) -> int:
    first = coin(0.3)
    if depth == 0 or not first:
        return int(first)
    rest = nested(depth - 1)
    return 1 + rest


second_opinion = run_by_itself(coin, Importance(n=2))


@program
def asks() -> tuple[bool, bool]:
    """A program that is run by a method of its own, and whose evidence counts here."""
    biased = sample(flip(0.4))
    side = second_opinion(0.8 if biased else 0.5)
    observe(flip(0.9 if side == biased else 0.3), True)
    return biased, side


@program
def mutable() -> tuple[int, ...]:
    """A mutable local that forks must not share."""
    seen: list[int] = []
    for _ in range(2):
        seen.append(sample(categorical([0.5, 0.25, 0.25]), name="x"))
        factor(0.4 * sum(seen))
    return tuple(seen)


def doubled(xs: list[int]) -> list[int]:
    return [2 * x for x in xs]


@program
def uses_tools() -> int:
    x = sample(categorical([0.5, 0.5]))
    barrier()
    y = call(doubled, x)
    factor(0.8 * y)
    z = [sample(flip(0.5 + 0.2 * y - 0.1 * i)) for i in range(2)]
    condition(any(z) or x)
    return y + sum(z)


@program
def impossible() -> bool:
    x = sample(flip(0.5))
    condition(False)
    return x


@program
def lopsided() -> bool:
    """One particle of three may hold next to all of the weight, as methods that temper it are made for."""
    x = sample(flip(0.3))
    factor(3.0 if x else -1.0)
    factor(-0.5 if x else 0.5)
    return x


@program
def wasteful() -> int:
    """What the compiler can save: a sample that nothing uses, one that only weighs, and a condition on a draw."""
    spare = sample(flip(0.3))  # noqa: F841
    hidden = sample(flip(0.4))
    observe(flip(0.8 if hidden else 0.3), True)
    kept = sample(categorical([0.2, 0.3, 0.5]))
    condition(kept in (0, 2))
    return kept


lm = table_lm(
    ["a", "b", "ab", "."],
    {
        (): {"a": 1},
        ("a",): {"b": 2, ".": 1},
        ("b",): {"ab": 1, ".": 3},
        ("ab",): {"a": 1, ".": 1},
        ("b", "ab"): {"a": 3, ".": 1},
        (".",): {"a": 1, "ab": 2},
    },
)
ended = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)
spelling = table_lm(
    ["a", "b", "ab", "\n"],
    {
        (): {"a": 2, "ab": 3, "b": 1},
        ("a",): {"b": 1, "\n": 1},
        ("b",): {"\n": 1},
        ("ab",): {"\n": 1},
        ("\n",): {"a": 1, "b": 1},
        ("b", "\n"): {"a": 3, "b": 1},
        ("ab", "\n"): {"a": 1, "b": 4},
    },
)


@program
def writes(steps: int) -> tuple[Text, ...]:
    context = lm.context("a")
    lines: list[Text] = []
    for _ in range(steps):
        line = sample(context.text(stop=".", max_tokens=2))
        context = context + line
        lines.append(line)
        condition(line != "b.")
        if line.endswith("."):
            break
    return tuple(lines)


@program
def judges() -> tuple[str, str]:
    text = sample(ended.context("b").text(max_tokens=2, temperature=0.7, top_k=2))
    observe(ended.context("a").choice(["a", "b"]), "a" if "a" in text else "b")
    verdict = sample(ended.context("ab").choice(["a", "ba"]), name="verdict")
    observe(ended.context("").token(top_p=0.9), "b" if verdict == "a" else "a")
    return str(text), str(verdict)


@program
def spells() -> str:
    """A line that reads "ab" is one token or two, and what the model then expects depends on which."""
    start = spelling.context("")
    line = sample(start.line(max_tokens=3, top_k=2))
    factor(0.25 * len(line))
    observe((start + line).token(), "a")
    return str(line)


@program
def constrained() -> str:
    """A text from a cut distribution, drawn as a condition on it will want it."""
    start = ended.context("b")
    whole = start.text(max_tokens=2, top_p=0.8)
    text = sample(whole, proposal=whole.restricted(StartsWith("a")))
    condition(text.startswith("a"))
    factor(0.5 * len(text))
    return str(text)


@program
def asks_many() -> tuple[str, ...]:
    """Model calls that do not wait for each other, as statements and in a comprehension."""
    first = sample(ended.context("a").choice(["a", "b"]))
    observe(ended.context("b").choice(["a", "ba"]), "ba")
    marks = [sample(ended.context(x).choice(["a", "b"])) for x in ("ab", "ba")]
    condition(first == "a" or marks[0] == "a")
    return str(first), *[str(mark) for mark in marks]


CORPUS: dict[str, tuple[Program, tuple[Any, ...]]] = {
    "hidden_markov": (hidden_markov, ([True, False],)),
    "ends_early": (ends_early, ()),
    "soft_and_hard": (soft_and_hard, ()),
    "twisted": (twisted, ()),
    "twisted_and_early": (twisted_and_early, ()),
    "proposed": (proposed, ()),
    "nested": (nested, (1,)),
    "asks": (asks, ()),
    "mutable": (mutable, ()),
    "uses_tools": (uses_tools, ()),
    "impossible": (impossible, ()),
    "lopsided": (lopsided, ()),
    "given": (hidden_markov.given({"state[0]": True}), ([True, False],)),
    "do": (hidden_markov.do({"state[0]": True}), ([True, False],)),
    "writes": (writes, (2,)),
    "judges": (judges, ()),
    "spells": (spells, ()),
    "constrained": (constrained, ()),
}
TO_REWRITE: dict[str, tuple[Program, tuple[Any, ...]]] = {
    "wasteful": (wasteful, ()),
    "asks_many": (asks_many, ()),
}
"""Besides these: what passes are certified on."""
