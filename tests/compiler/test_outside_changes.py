"""Programs that change what their module holds are told so when they are decorated, at the line.

The text is in ``golden/outside-changes.txt``, to be read as prose. After a change, write it anew with

    PPL_UPDATE_GOLDEN=1 python -m pytest tests/compiler/test_outside_changes.py

and read the difference.
"""

from __future__ import annotations

import collections
import linecache
import os
import random
import types
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl import dist, infer, program, sample

GOLDEN = Path(__file__).parent / "golden" / "outside-changes.txt"
BODY = """\
@program
def f(xs):
    x = sample(dist.flip(0.5))
    {}
    return x
"""


CAPTURING = """\
def make():
    seen, state, own = [], STATE, RNG
    @program
    def f(xs):
        x = sample(dist.flip(0.5))
        {}
        return x
    return f
f = make()
"""
NESTED = """\
@program
def outer():
    seen = []
    @program
    def inner():
        x = sample(dist.flip(0.5))
        seen.append(x)
        return x
    inner()
    inner()
    return tuple(seen)
"""


def told(statement: str, body: str = BODY) -> list[str]:
    """What is said about a program with a statement."""
    return [f"{w.filename}:{w.lineno}: {w.message}" for w in define(body.format(statement))[1]]


def define(text: str) -> tuple[dict[str, Any], list[warnings.WarningMessage]]:
    """The names of the file ``f.py`` with a text, and what is said about it."""
    settings = types.ModuleType("settings")
    vars(settings).update(TABLE={}, log=print)
    state = types.SimpleNamespace(last=None, log=[], inner=types.SimpleNamespace())
    names: dict[str, Any] = {
        **{"LOG": [], "SEEN": {1}, "COUNTS": collections.Counter(), "QUEUE": collections.deque(), "TABLE": {}},
        **{"NAMES": ("a",), "settings": settings, "infer": infer, "STATE": state, "Fraction": Fraction},
        **{"random": random, "np": np, "torch": torch, "shuffle": random.shuffle},
        **{"RNG": random.Random(0), "GENERATOR": np.random.default_rng(0)},
        **{"program": program, "sample": sample, "dist": dist, "__name__": "f"},
    }
    linecache.cache["f.py"] = (len(text), None, text.splitlines(True), "f.py")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(text, "f.py", "exec"), names)
    assert all(w.filename == "f.py" and w.category is UserWarning for w in caught)
    return names, caught


CHANGES = [
    "LOG.append(x)",
    "LOG[0] += 1",
    "if x: COUNTS[x] += 1",
    "del SEEN[x], TABLE[x]",
    "settings.TABLE[x] = [y for y in xs]",
    "y = QUEUE.popleft() if xs else TABLE.setdefault(x, 3)",
    "STATE.last = x",
    "STATE.inner.last = x",
    "del settings.log",
    "Fraction.seen = x",
    "STATE.log.append(x)",
    "y = random.random()",
    "shuffle(xs)",
    "y = [np.random.normal() for _ in xs]",
    "y = torch.randn(3)",
    "y = RNG.random()",
    "y = GENERATOR.normal()",
]
FINE = [
    "xs.append(x)",
    "LOG = []; LOG.append(x)",
    "y = [LOG.append(x) for LOG in xs]",
    "y = LOG[0] + len(SEEN) + COUNTS.get(x, 0) + sorted(LOG)[0]",
    "y = TABLE.copy(); y[x] = 1",
    "NAMES.count(x); NEW.append(x)",
    "settings.log.append(x)",
    "xs.last = x",
    "STATE = xs; STATE.last = x",
    "y = STATE.last",
    "y = random.Random(0)",
    "y = np.random.default_rng(3).normal()",
    "y = torch.randn(3, generator=torch.Generator())",
    "y = torch.zeros(3)",
]


def test_changes_are_told_with_reason_and_remedy() -> None:
    found = "\n".join(f"{text}\n" for statement in CHANGES for text in told(statement))
    if os.environ.get("PPL_UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("statement", FINE)
def test_nothing_is_said_of_what_is_the_runs_own_or_only_read(statement: str) -> None:
    assert told(statement) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("seen.append(x)", "f changes seen, a list outside of it"),
        ("seen[0] += 1", "f changes seen, a list outside of it"),
        ("state.last = x", "f changes state.last, an attribute of state, a SimpleNamespace outside of it"),
        ("y = own.random()", "f uses own, an outside random generator"),
    ],
)
def test_what_an_enclosing_function_holds_is_outside_too(statement: str, said: str) -> None:
    (warning,) = told(statement, CAPTURING)
    assert warning.startswith(f"f.py:6: {said}")


@pytest.mark.parametrize("statement", ["y = len(seen)", "seen = []; seen.append(x)", "[seen.append(1) for seen in x]"])
def test_what_is_only_captured_is_not_told(statement: str) -> None:
    assert told(statement, CAPTURING) == []


def test_what_a_nested_program_captures_is_the_runs_own() -> None:
    names, said = define(NESTED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = infer(names["outer"], method="enumerate", passes=[]).distribution()
    assert said == [] and len(dict(found)) == 4
