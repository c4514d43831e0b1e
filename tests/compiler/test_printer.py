"""The printed form of a few programs, as people read it. ``PPL_UPDATE_GOLDEN=1`` writes it anew."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from ppl.compiler import ir
from ppl.compiler.printer import to_text, value_names

from .driver import define
from .programs import Programs

GOLDEN = Path(__file__).parent / "golden"
PROGRAMS = {
    "coins": """\
def f(data, a=1):
    bias = sample(a, name="bias")
    for x in data:
        observe(bias, x)
    return bias
""",
    "reasoning": """\
def f(question, steps=3, *rest, k: int = 2):
    thought = question
    while steps > 0 and sample(thought) != "stop":
        line = sample(thought, proposal=k)
        try:
            value = int(line)
        except ValueError:
            continue
        if value > k:
            del thought
            break
        thought = thought + line
        steps -= 1
    else:
        return None
    return [value, *rest]
""",
    "names": """\
def f(xs):
    total = 0
    pairs = [(sample(x), y) for x, y in enumerate(xs) if y]
    for i, pair in enumerate(pairs):
        sample(pair, name=f"pair {i}")
        total += call(double, i) or sample(total)
    condition(total > 3 and sample("last") < 5)
    twist(total)
    barrier()
    return f(pairs)
""",
}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 writes the targets of an unpacking in brackets")
@pytest.mark.parametrize("name", PROGRAMS)
def test_printed_form(name: str) -> None:
    _, compiled = define(PROGRAMS[name])
    text = to_text(compiled.ir).replace(Path(compiled.ir.span.file).name, f"{name}.py")
    path = GOLDEN / f"{name}.ir"
    if os.environ.get("PPL_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_value_has_a_name_of_its_own() -> None:
    for seed in range(20):
        _, compiled = define(Programs(random.Random(seed).randrange).source)
        names = value_names(compiled.ir)
        assert len(set(names.values())) == len(names)
        defined = [v for node in ir.walk(compiled.ir.body) for v in node.defines]
        assert all(v in names for v in defined)


def test_every_line_is_one_construct() -> None:
    for seed in range(20):
        _, compiled = define(Programs(random.Random(seed).randrange).source)
        for line in to_text(compiled.ir).splitlines():
            first = line.split()[0]
            assert (
                first in ("program", "free", "entry", "py", "|", "then", "else", "test", "body")
                or line.strip()[0] == "["
                or first in ("yield", "break", "continue", "return", "unreachable")
            ), line
