"""``ppl ir``: text that can be read back, graphs that can be drawn, and what each pass changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result

import ppl
from ppl.ir_text import read_ir

from .test_cli import run  # noqa: F401

Run = Callable[..., Result]
MOVES = """
from ppl import dist, observe, program, sample

@program
def moves():
    x = sample(dist.flip(0.5))
    unused = sample(dist.flip(0.25))
    observe(dist.flip(0.75), x)
    return x
"""


def test_what_is_printed_can_be_read(run: Run) -> None:  # noqa: F811
    result = run("ir", "coins.py:coins")
    again = read_ir(result.stdout, {"dist": ppl.dist, "print": lambda text: None})
    assert again.name == "coins" and [site.name for site in again.sites] == ["a", "b", "condition"]


def test_passes_are_shown_as_differences(run: Run) -> None:  # noqa: F811
    out = run("ir", "moves.py", "--passes", "--pass", "dead", "--pass", "hoist", moves=MOVES).stdout
    dead, hoist = out.split("=== 2. ")
    assert dead.startswith("=== 1. dead (keeps MARGINAL)\n") and "line 7: left out the sample 'unused'" in dead
    assert re.search(r'^-    \[%unused\] = sample "unused"', dead, re.M)
    assert hoist.startswith("hoist (keeps JOINT)") and "the same as before" in hoist
    assert "\x1b" not in out  # no colours where it is not a terminal
    assert "hoist" in run("ir", "moves.py", "--passes").stdout
    assert "unused" not in run("ir", "moves.py", "--pass", "all").stdout
    assert "unused" in run("ir", "moves.py").stdout


def test_drawings(run: Run, tmp_path: Path) -> None:  # noqa: F811
    result = run("ir", "coins.py:coins", "--svg", "out/coins.svg")
    assert result.exit_code == 0 and result.stdout == "" and "out/coins.svg" in result.stderr
    assert ElementTree.parse(tmp_path / "out" / "coins.svg").getroot().tag.endswith("svg")
    assert run("ir", "coins.py:coins", "--dot").stdout.startswith('digraph "coins" {')


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--svg", "a.png"), "call the file a.svg"),
        (("--dot", "--passes"), "leave one of them out"),
        (("--pass", "ded"), "no pass 'ded'; there are 'dead'"),
    ],
)
def test_wrong_calls(run: Run, args: tuple[str, ...], message: str) -> None:  # noqa: F811
    result = run("ir", "coins.py:coins", *args)
    assert result.exit_code == 2 and message in result.stderr
